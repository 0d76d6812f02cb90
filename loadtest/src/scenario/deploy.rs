//! New versions of an agent while it is called; and how soon a large module answers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use tokio::time::{Instant, sleep_until};

use crate::{
    a2a,
    connection::Connection,
    fleet::{Fleet, echo},
    load::{Connections, Pace},
    module::{Label, Template},
    scene::{PHASE_LIMIT, Scene},
    schedule::Schedule,
    stats::{Latencies, median},
    targets::Targets,
};

/// Load as a share of capacity: compiling wants a core.
const LOAD_SHARE: f64 = 0.2;

/// The size that the promise of section 9 speaks of.
const LARGE_BYTES: usize = 1_000_000;

pub(super) async fn run(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    scene.serve(&[]).await?;
    let agent = scene.deploy('d', 1, 1).await?;
    under_load(scene, &agent).await?;
    large(scene).await
}

async fn under_load(scene: &mut Scene<'_>, agent: &Fleet) -> anyhow::Result<()> {
    let authority = scene.authority()?;
    let call = echo(&authority, Targets::in_turn(agent.paths()))?;
    let count = scene.plan.connections;
    let connections = Connections::open(&call, count).await?;
    let closed = Pace::BackToBack(scene.plan.phase / 2);
    let capacity = scene.phase("capacity", connections, closed).await?;
    let share = capacity.requests_per_second * LOAD_SHARE;
    let rate = scene.plan.rate.map_or(share, f64::from).max(1.0);
    let due = Pace::Due(Schedule::new(rate, scene.plan.phase, 1));
    let connections = Connections::open(&call, count).await?;
    scene.phase("no uploads", connections, due).await?;

    let redeploys = scene.plan.sizes.redeploys;
    let done = Arc::new(AtomicBool::new(false));
    let due = Schedule::new(rate, PHASE_LIMIT, 2).until(Arc::clone(&done));
    let connections = Connections::open(&call, count).await?;
    let template = Arc::clone(&scene.template);
    let at_least = Instant::now() + scene.plan.phase;
    let uploads = tokio::spawn(async move {
        let times = redeploy(&authority, &template, redeploys).await;
        sleep_until(at_least).await;
        done.store(true, Ordering::Relaxed);
        times
    });
    let name = format!("{redeploys} uploads");
    let phase = scene.phase(&name, connections, Pace::Due(due)).await?;
    let failed = phase.errors as f64;
    let uploads = uploads.await??;
    let uploads = uploads.quantiles().context("nothing was uploaded")?;
    let found = &mut scene.finding;
    found.count(
        "failed_calls",
        failed,
        "calls that failed during the uploads",
    );
    found.time(
        "upload_p50_us",
        uploads.p50_us,
        "upload under load until it is active, p50",
    );
    found.time("upload_max_us", uploads.max_us, "the slowest of them");
    Ok(())
}

/// Uploads one version after the other, and answers how long each took.
async fn redeploy(
    authority: &str,
    template: &Template,
    redeploys: u32,
) -> anyhow::Result<Latencies> {
    let mut connection = Connection::open(authority).await?;
    let mut times = Latencies::new();
    for revision in 1..=redeploys {
        let module = template.module(&label('d', revision));
        let begun = Instant::now();
        a2a::deploy(&mut connection, authority, module).await?;
        times.record(begun.elapsed());
    }
    Ok(times)
}

/// From the first byte of an upload of a megabyte to the first answer of its agent, with nothing else running.
async fn large(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    let template = scene.template.grown(LARGE_BYTES)?;
    let mut deployed_us = Vec::new();
    let mut answered_us = Vec::new();
    for revision in 1..=scene.plan.rounds {
        let module = template.module(&label('g', revision));
        let authority = scene.authority()?;
        let begun = Instant::now();
        let mut connection = Connection::open(&authority).await?;
        let deployed = a2a::deploy(&mut connection, &authority, module).await?;
        deployed_us.push(micros(begun.elapsed()));
        let only = deployed.agents.first().context("no agent was deployed")?;
        let call = echo(&authority, Targets::in_turn(vec![only.path()?]))?;
        call.make_timed(&mut connection).await?;
        answered_us.push(micros(begun.elapsed()));
    }
    let found = &mut scene.finding;
    let deployed = median(deployed_us.into_iter()).context("there was no round")?;
    found.time(
        "large_upload_us",
        deployed,
        "module of 1 MB until it is active",
    );
    let answered = median(answered_us.into_iter()).context("there was no round")?;
    found.time(
        "upload_to_answer_us",
        answered,
        "the same until its first answer",
    );
    Ok(())
}

fn label(kind: char, revision: u32) -> Label {
    Label {
        agents: 1,
        kind,
        number: 0,
        revision,
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
