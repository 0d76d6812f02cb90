//! An agent that answers, beside calls that compute for ever.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use tokio::task::JoinSet;

use crate::{
    a2a::{Call, Expected},
    fleet::{Fleet, SPIN, echo},
    load::{Connections, Pace},
    scene::{Scene, latency},
    schedule::Schedule,
    stats::{median, ratio},
    targets::Targets,
};

/// Calls of the victim as a share of what it could do alone: the neighbours want all the rest.
const VICTIM_SHARE: f64 = 0.2;

/// More loops than cores, so that none is left by chance.
const LOOPS_PER_CORE: usize = 2;

const BUSY_LIMIT: Duration = Duration::from_secs(20);

pub(super) async fn run(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    let call_timeout = format!("{}s", scene.plan.phase.as_secs() + 120);
    let flags = ["--call-timeout", &call_timeout, "--drain-timeout", "1s"];
    let mut ratios = Vec::new();
    let mut cores = Vec::new();
    for number in 1..=scene.plan.rounds {
        scene.serve(&flags).await?;
        let victim = scene.deploy('v', 1, 1).await?;
        let noisy = scene.deploy('n', 1, 1).await?;
        let (alone_us, beside_us, used) = round(scene, number, &victim, &noisy).await?;
        ratios.extend(ratio(beside_us, alone_us));
        cores.push(used);
    }
    let found = &mut scene.finding;
    let p99_ratio = median(ratios.into_iter()).context("there was no p99 to compare with")?;
    found.ratio(
        "p99_ratio",
        p99_ratio,
        "p99 beside endless loops, of p99 alone",
    );
    let cores = median(cores.into_iter()).unwrap_or_default();
    found.count(
        "server_cores",
        cores,
        "cores busy in the server beside them",
    );
    Ok(())
}

/// The victim's p99 alone and beside the loops, in microseconds, and the cores that the server used.
async fn round(
    scene: &mut Scene<'_>,
    number: u32,
    victim: &Fleet,
    noisy: &Fleet,
) -> anyhow::Result<(f64, f64, f64)> {
    let authority = scene.authority()?;
    let call = echo(&authority, Targets::in_turn(victim.paths()))?;
    let count = scene.plan.connections;
    let connections = Connections::open(&call, count).await?;
    let closed = Pace::BackToBack(scene.plan.phase / 2);
    let capacity = scene.phase("capacity", connections, closed).await?;
    let share = capacity.requests_per_second * VICTIM_SHARE;
    let rate = scene.plan.rate.map_or(share, f64::from).max(1.0);
    let due = || Pace::Due(Schedule::new(rate, scene.plan.phase, u64::from(number)));
    let (due_alone, due_beside) = (due(), due());

    let connections = Connections::open(&call, count).await?;
    let alone = scene.phase("alone", connections, due_alone).await?;
    let alone_us = latency(alone)?.p99_us;

    let loops = scene.plan.server_threads * LOOPS_PER_CORE;
    let _spinning = spin(&authority, noisy, loops)?;
    scene.until_busy(loops as u64, BUSY_LIMIT).await?;
    let connections = Connections::open(&call, count).await?;
    let name = format!("beside {loops} endless loops");
    let beside = scene.phase(&name, connections, due_beside).await?;
    let (beside_us, cores) = (latency(beside)?.p99_us, beside.server_cores);
    let busy = scene.counters().await?.busy;
    if busy < loops as u64 {
        let problem = format!("{name}: only {busy} loops ran to the end");
        scene.finding.problem(problem);
    }
    Ok((alone_us, beside_us, cores))
}

/// Calls that are never answered, each on a connection of its own, until the set is dropped.
fn spin(authority: &str, noisy: &Fleet, loops: usize) -> anyhow::Result<JoinSet<()>> {
    let targets = Targets::in_turn(noisy.paths());
    let call = Call::spread(authority, targets, Some(SPIN), Expected::CompletedTask)?;
    let call = Arc::new(call);
    let mut spinning = JoinSet::new();
    for _ in 0..loops {
        let call = Arc::clone(&call);
        spinning.spawn(async move {
            if let Ok(mut connection) = call.connect().await {
                // It ends with the server, by an error that says so.
                let _ = call.make(&mut connection).await;
            }
        });
    }
    Ok(spinning)
}
