//! Many agents are called that have slept for long.

use std::time::Duration;

use crate::{
    fleet::{Fleet, echo},
    load::{Connections, Pace},
    scene::{PHASE_LIMIT, Scene},
    schedule::Schedule,
    targets::Targets,
};

/// Instances end soon, so that a run need not wait long for them; code stays a while, so that the second waking
/// of everybody finds it.
const FLAGS: [&str; 4] = ["--idle-timeout", "2s", "--code-idle-timeout", "20s"];
const IDLE_LIMIT: Duration = Duration::from_secs(30);
/// Both timeouts, and as long again.
const MEMORY_LIMIT: Duration = Duration::from_secs(44);

pub(super) async fn run(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    scene.serve(&FLAGS).await?;
    let sizes = &scene.plan.sizes;
    let fleet = scene.deploy('s', sizes.agents, sizes.layout()).await?;
    // Started again, the server has no code loaded.
    scene.serve(&FLAGS).await?;
    let before = scene.memory_at_rest().await?;

    let cold = wake_each(scene, &fleet, "each once, code on disk").await?;
    scene
        .finding
        .rate("woken_per_second", cold, "agents woken, their code on disk");
    scene.until_idle(IDLE_LIMIT).await?;
    let warm = wake_each(scene, &fleet, "each once, code loaded").await?;
    scene.finding.rate(
        "woken_warm_per_second",
        warm,
        "agents woken, their code loaded",
    );
    scene.until_idle(IDLE_LIMIT).await?;

    spread(scene, "evenly", Targets::evenly(fleet.paths())).await?;
    spread(
        scene,
        "by popularity",
        Targets::by_popularity(fleet.paths()),
    )
    .await?;
    scene.memory_after(before, MEMORY_LIMIT).await
}

/// Calls every agent once, and answers how many a second.
async fn wake_each(scene: &mut Scene<'_>, fleet: &Fleet, name: &str) -> anyhow::Result<f64> {
    let call = echo(&scene.authority()?, Targets::in_turn(fleet.paths()))?;
    let connections = Connections::unused(&call, scene.plan.connections).await?;
    let each = Pace::Count(fleet.len() as u64, PHASE_LIMIT);
    let phase = scene.phase(name, connections, each).await?;
    let rate = phase.requests_per_second;
    let hot = phase.starts.get("hot").copied().unwrap_or(0);
    if hot > 0 {
        let problem = format!("{name}: {hot} agents were awake already");
        scene.finding.problem(problem);
    }
    Ok(rate)
}

/// Closed loop for the capacity, then open loop at half of it, as for the rows of the table.
async fn spread(scene: &mut Scene<'_>, name: &str, targets: Targets) -> anyhow::Result<()> {
    let call = echo(&scene.authority()?, targets)?;
    let connections = Connections::open(&call, scene.plan.connections).await?;
    let closed = Pace::BackToBack(scene.plan.phase);
    let capacity = scene.phase(name, connections, closed).await?;
    let capacity = capacity.requests_per_second;
    let rate = scene.plan.open_loop_rate(capacity);
    let due = Pace::Due(Schedule::new(rate, scene.plan.phase, 1));
    let connections = Connections::open(&call, scene.plan.connections).await?;
    scene
        .phase(&format!("{name}, open loop"), connections, due)
        .await?;
    Ok(())
}
