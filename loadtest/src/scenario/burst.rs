//! Silence, then many calls at once.

use std::time::Duration;

use crate::{
    fleet::echo,
    load::{Connections, Pace},
    module::MAX_AGENTS,
    scene::Scene,
    stats::median,
    targets::Targets,
};

const FLAGS: [&str; 2] = ["--idle-timeout", "1s"];
const IDLE_LIMIT: Duration = Duration::from_secs(30);

pub(super) async fn run(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    scene.serve(&FLAGS).await?;
    let fleet = scene.deploy('b', u32::from(MAX_AGENTS), MAX_AGENTS).await?;
    let one = Targets::in_turn(fleet.sample(fleet.len()));
    let took = bursts(scene, "one agent", &one).await?;
    scene.finding.time(
        "one_agent_us",
        took,
        "until a burst to one agent was answered",
    );
    let many = Targets::in_turn(fleet.paths());
    let took = bursts(scene, "64 agents", &many).await?;
    scene.finding.time(
        "many_agents_us",
        took,
        "until a burst to 64 agents was answered",
    );
    Ok(())
}

/// One burst in each round; answers the median time until the last answer, in microseconds.
async fn bursts(scene: &mut Scene<'_>, to: &str, targets: &Targets) -> anyhow::Result<f64> {
    let count = scene.plan.sizes.burst;
    let mut took_us = Vec::new();
    for _ in 1..=scene.plan.rounds {
        let call = echo(&scene.authority()?, targets.clone())?;
        let connections = Connections::unused(&call, count as usize).await?;
        scene.until_idle(IDLE_LIMIT).await?;
        let name = format!("{count} calls to {to}");
        let burst = Pace::AtOnce(u64::from(count));
        let phase = scene.phase(&name, connections, burst).await?;
        took_us.push(phase.seconds * 1e6);
    }
    Ok(median(took_us.into_iter()).unwrap_or_default())
}
