//! An agent that answers at once, beside many calls that wait in the host, as agents wait for models.

use std::{sync::Arc, time::Duration};

use anyhow::Context;

use crate::{
    a2a::{Call, Expected},
    fleet::{WAIT, echo},
    load::{Connections, Pace},
    module::MAX_AGENTS,
    scene::Scene,
    stats::{median, ratio},
    targets::Targets,
};

/// Longer than a phase by what it takes until all of them wait.
const LEAD: Duration = Duration::from_secs(5);

pub(super) async fn run(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    let waiting = scene.plan.sizes.waiting;
    // Room for those that wait, and for the others.
    let instances = (waiting + 1_000).to_string();
    let flags = ["--max-instances", &instances, "--drain-timeout", "5s"];
    let mut ratios = Vec::new();
    for _ in 1..=scene.plan.rounds {
        scene.serve(&flags).await?;
        ratios.extend(round(scene, waiting).await?);
    }
    let throughput = median(ratios.into_iter()).context("there was no throughput")?;
    scene.finding.ratio(
        "throughput_ratio",
        throughput,
        "throughput beside waiting calls, of that alone",
    );
    Ok(())
}

async fn round(scene: &mut Scene<'_>, waiting: u32) -> anyhow::Result<Option<f64>> {
    let authority = scene.authority()?;
    let victim = scene.deploy('m', 1, 1).await?;
    let patient = scene.deploy('w', u32::from(MAX_AGENTS), MAX_AGENTS).await?;
    let call = echo(&authority, Targets::in_turn(victim.paths()))?;
    let count = scene.plan.connections;

    let connections = Connections::open(&call, count).await?;
    let closed = Pace::BackToBack(scene.plan.phase);
    let alone = scene
        .phase("alone", connections, closed)
        .await?
        .requests_per_second;

    let targets = Targets::in_turn(patient.paths());
    let wait = Call::spread(&authority, targets, Some(WAIT), Expected::CompletedTask)?;
    let waiters = Connections::unused(&Arc::new(wait), waiting as usize).await?;
    let waiters = tokio::spawn(waiters.drive(Pace::BackToBack(scene.plan.phase + LEAD)));
    // Some are always between two waits.
    scene
        .until_busy(u64::from(waiting) * 9 / 10, LEAD * 4)
        .await?;
    let connections = Connections::open(&call, count).await?;
    let closed = Pace::BackToBack(scene.plan.phase);
    let name = format!("beside {waiting} waiting calls");
    let beside = scene
        .phase(&name, connections, closed)
        .await?
        .requests_per_second;

    let waited = waiters.await??;
    if waited.errors > 0 || waited.replies == 0 {
        let (errors, samples) = (waited.errors, waited.samples.join("; "));
        let problem = format!("{name}: {errors} of the waiting calls failed: {samples}");
        scene.finding.problem(problem);
    }
    Ok(ratio(beside, alone))
}
