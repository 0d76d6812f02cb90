//! As many agents as a node can hold: asleep, then alive.

use std::time::Duration;

use anyhow::Context;
use tokio::time::Instant;

use crate::{
    fleet::{Fleet, echo},
    load::{Connections, Pace},
    procfs::Resident,
    scene::{PHASE_LIMIT, Scene},
    schedule::uniform,
    stats::Latencies,
    targets::Targets,
};

/// Random agents whose first answer is timed.
const FIRST_ANSWERS: u64 = 20;

/// So many agents are surely woken in a second, so none is evicted before the last one is alive.
const WOKEN_PER_SECOND: u32 = 250;

pub(super) async fn run(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    let sizes = &scene.plan.sizes;
    let live = sizes.live.min(sizes.agents);
    let idle = Duration::from_secs(u64::from(5 + live / WOKEN_PER_SECOND));
    let idle_timeout = format!("{}s", idle.as_secs());
    let instances = (live + 16).to_string();
    let flags = [
        ["--idle-timeout", &idle_timeout],
        ["--code-idle-timeout", &idle_timeout],
        ["--max-instances", &instances],
    ];
    let (fleet, asleep) = deploy(scene, flags.as_flattened()).await?;
    first_answers(scene, &fleet).await?;
    scene.until_idle(idle * 3).await?;
    wake(scene, &fleet, live).await?;
    scene.memory_after(asleep, idle * 3).await
}

/// Deploys all agents and starts the server again; answers its memory while nobody has been called.
async fn deploy(scene: &mut Scene<'_>, flags: &[&str]) -> anyhow::Result<(Fleet, Resident)> {
    let (agents, layout) = {
        let sizes = &scene.plan.sizes;
        (sizes.agents, sizes.layout())
    };
    scene.serve(flags).await?;
    let empty = scene.memory_at_rest().await?;
    let begun = Instant::now();
    let fleet = scene.deploy('e', agents, layout).await?;
    let each_us = begun.elapsed().as_secs_f64() * 1e6 / f64::from(agents);
    let start_us = scene.serve(flags).await?.as_secs_f64() * 1e6;
    let asleep = scene.memory_at_rest().await?;
    let added = asleep.kib_since(empty) / f64::from(agents);
    let found = &mut scene.finding;
    found.count("agents", f64::from(agents), "agents deployed");
    found.count("modules", f64::from(layout.modules(agents)), "modules");
    found.time(
        "deploy_us_per_agent",
        each_us,
        "time to deploy one, with two connections",
    );
    found.time("start_us", start_us, "start of the server with them");
    found.kib("empty_kib", empty.all_kib as f64, "memory without agents");
    found.kib(
        "kib_per_idle_agent",
        added,
        "memory added by each, all idle",
    );
    Ok((fleet, asleep))
}

/// Calls a few random agents, one after the other, each for the first time.
async fn first_answers(scene: &mut Scene<'_>, fleet: &Fleet) -> anyhow::Result<()> {
    let paths = fleet.paths();
    let random = |n| (uniform(n) * (paths.len() - 1) as f64) as usize;
    let chosen = (1..=FIRST_ANSWERS).map(|n| paths[random(n)].clone());
    let call = echo(&scene.authority()?, Targets::in_turn(chosen.collect()))?;
    let mut connection = call.connect().await?;
    let mut times = Latencies::new();
    for _ in 0..FIRST_ANSWERS {
        times.record(call.make_timed(&mut connection).await?);
    }
    let times = times.quantiles().context("nothing was answered")?;
    let found = &mut scene.finding;
    found.time(
        "first_answer_p50_us",
        times.p50_us,
        "first answer of a random one, p50 of 20",
    );
    found.time("first_answer_max_us", times.max_us, "the slowest of them");
    Ok(())
}

/// Wakes so many agents, so that all of them live at once.
async fn wake(scene: &mut Scene<'_>, fleet: &Fleet, live: u32) -> anyhow::Result<()> {
    let mut apart = fleet.sample(fleet.len() / live as usize);
    apart.truncate(live as usize);
    let call = echo(&scene.authority()?, Targets::in_turn(apart))?;
    let connections = Connections::unused(&call, scene.plan.connections).await?;
    let before = scene.memory_at_rest().await?;
    let each = Pace::Count(u64::from(live), PHASE_LIMIT);
    let waking = scene.phase("waking", connections, each).await?;
    let rate = waking.requests_per_second;
    let alive = scene.counters().await?.live;
    let now = scene.memory()?;
    let added = now.kib_since(before) / alive.max(1) as f64;
    let anonymous = now.anonymous_kib_since(before) / alive.max(1) as f64;
    let found = &mut scene.finding;
    if alive != u64::from(live) {
        found.problem(format!(
            "{alive} instances were alive at once instead of {live}"
        ));
    }
    found.count("live", alive as f64, "instances alive at once");
    found.rate("woken_per_second", rate, "agents woken");
    found.kib(
        "kib_per_live_instance",
        added,
        "memory added by each that lives, with its code",
    );
    found.kib(
        "anonymous_kib_per_live_instance",
        anonymous,
        "the same without mapped files",
    );
    Ok(())
}
