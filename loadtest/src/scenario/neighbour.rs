//! An agent that answers, beside calls that compute for ever, and beside calls that fail, again and again, at a limit.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use tokio::task::JoinSet;

use crate::{
    a2a::{Call, Expected},
    connection::Fault,
    fleet::{BOMB, FLOOD, Fleet, SPIN, echo},
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

/// Calls at a time that fail at a limit of their agent, for each core.
const FAILING_PER_CORE: usize = 2;

/// Neighbours whose every call fails: the skill, what it does, the figure and what that says.
const FAILING: [[&str; 4]; 2] = [
    [
        BOMB,
        "memory bombs",
        "bomb_p99_ratio",
        "p99 beside agents that fill their memory, of p99 alone",
    ],
    [
        FLOOD,
        "log floods",
        "flood_p99_ratio",
        "p99 beside agents that flood their log, of p99 alone",
    ],
];

const BUSY_LIMIT: Duration = Duration::from_secs(20);

pub(super) async fn run(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    let call_timeout = format!("{}s", scene.plan.phase.as_secs() + 120);
    let flags = ["--call-timeout", &call_timeout, "--drain-timeout", "1s"];
    let mut ratios = Vec::new();
    let mut failing: [Vec<f64>; FAILING.len()] = Default::default();
    let mut cores = Vec::new();
    for number in 1..=scene.plan.rounds {
        scene.serve(&flags).await?;
        let victim = scene.deploy('v', 1, 1).await?;
        let noisy = scene.deploy('n', 1, 1).await?;
        let round = round(scene, number, &victim, &noisy).await?;
        ratios.extend(ratio(round.beside_us, round.alone_us));
        for (ratios, beside_us) in failing.iter_mut().zip(round.beside_failing_us) {
            ratios.extend(ratio(beside_us, round.alone_us));
        }
        cores.push(round.cores);
    }
    let found = &mut scene.finding;
    let p99_ratio = median(ratios.into_iter()).context("there was no p99 to compare with")?;
    found.ratio(
        "p99_ratio",
        p99_ratio,
        "p99 beside endless loops, of p99 alone",
    );
    for ([_, _, figure, says], ratios) in FAILING.into_iter().zip(failing) {
        let p99_ratio = median(ratios.into_iter()).unwrap_or_default();
        found.ratio(figure, p99_ratio, says);
    }
    let cores = median(cores.into_iter()).unwrap_or_default();
    found.count(
        "server_cores",
        cores,
        "cores busy in the server beside them",
    );
    Ok(())
}

/// The victim's p99 alone and beside its neighbours, in microseconds.
struct Round {
    alone_us: f64,
    /// Beside the loops.
    beside_us: f64,
    /// In the order of [`FAILING`].
    beside_failing_us: Vec<f64>,
    /// Cores that the server used beside the loops.
    cores: f64,
}

async fn round(
    scene: &mut Scene<'_>,
    number: u32,
    victim: &Fleet,
    noisy: &Fleet,
) -> anyhow::Result<Round> {
    let authority = scene.authority()?;
    let call = echo(&authority, Targets::in_turn(victim.paths()))?;
    let count = scene.plan.connections;
    let connections = Connections::open(&call, count).await?;
    let closed = Pace::BackToBack(scene.plan.phase / 2);
    let capacity = scene.phase("capacity", connections, closed).await?;
    let share = capacity.requests_per_second * VICTIM_SHARE;
    let rate = scene.plan.rate.map_or(share, f64::from).max(1.0);
    let phase = scene.plan.phase;
    let due = || Pace::Due(Schedule::new(rate, phase, u64::from(number)));

    let connections = Connections::open(&call, count).await?;
    let alone = scene.phase("alone", connections, due()).await?;
    let alone_us = latency(alone)?.p99_us;

    // Before the loops, which go on in the server when their clients have left.
    let mut beside_failing_us = Vec::new();
    for [skill, what, ..] in FAILING {
        let callers = scene.plan.server_threads * FAILING_PER_CORE;
        let _failing = call_on(&authority, noisy, skill, callers)?;
        let connections = Connections::open(&call, count).await?;
        let name = format!("beside {callers} {what}");
        let beside = scene.phase(&name, connections, due()).await?;
        beside_failing_us.push(latency(beside)?.p99_us);
    }

    let loops = scene.plan.server_threads * LOOPS_PER_CORE;
    let _spinning = call_on(&authority, noisy, SPIN, loops)?;
    scene.until_busy(loops as u64, BUSY_LIMIT).await?;
    let connections = Connections::open(&call, count).await?;
    let name = format!("beside {loops} endless loops");
    let beside = scene.phase(&name, connections, due()).await?;
    let (beside_us, cores) = (latency(beside)?.p99_us, beside.server_cores);
    let busy = scene.counters().await?.busy;
    if busy < loops as u64 {
        let problem = format!("{name}: only {busy} loops ran to the end");
        scene.finding.problem(problem);
    }
    Ok(Round {
        alone_us,
        beside_us,
        beside_failing_us,
        cores,
    })
}

/// Clients that call this skill over and over, each on a connection of its own, until the set is dropped. That a
/// call fails, or is never answered, is what they are for.
fn call_on(
    authority: &str,
    noisy: &Fleet,
    skill: &str,
    clients: usize,
) -> anyhow::Result<JoinSet<()>> {
    let targets = Targets::in_turn(noisy.paths());
    let call = Call::spread(authority, targets, Some(skill), Expected::CompletedTask)?;
    let call = Arc::new(call);
    let mut calling = JoinSet::new();
    for _ in 0..clients {
        let call = Arc::clone(&call);
        calling.spawn(async move {
            while let Ok(mut connection) = call.connect().await {
                let mut is_good = true;
                while is_good {
                    let made = call.make(&mut connection).await;
                    is_good = matches!(made, Ok(()) | Err(Fault::Answer(_)));
                }
            }
        });
    }
    Ok(calling)
}
