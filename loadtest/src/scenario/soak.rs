//! Many calls over many agents in a pool that is too small for them: nothing fails, leaks or is lost count of.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context;
use tokio::{
    task::AbortHandle,
    time::{interval, sleep},
};

use crate::{
    finding::Finding,
    fleet::echo,
    load::{Connections, Pace},
    metrics::Counters,
    module::MAX_AGENTS,
    procfs,
    scene::{PHASE_LIMIT, Scene},
    stats::{median, ratio},
    targets::Targets,
};

const SAMPLE_EVERY: Duration = Duration::from_millis(100);
const PROGRESS_EVERY_SAMPLES: usize = 300;

/// How often counters with a gap are read again, and after how long.
const READ_AGAIN: usize = 5;
const READ_AFTER: Duration = Duration::from_millis(200);

/// Memory is compared between these fifths of the run; in the first one, caches fill.
const FIFTHS: usize = 5;

pub(super) async fn run(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    let agents = scene.plan.sizes.soak_agents;
    let room = (agents / 4).to_string();
    let flags = ["--max-instances", &room, "--idle-timeout", "1s"];
    scene.serve(&flags).await?;
    let fleet = scene.deploy('k', agents, MAX_AGENTS.min(50)).await?;
    let before = scene.counters().await?;

    let call = echo(&scene.authority()?, Targets::by_popularity(fleet.paths()))?;
    let connections = Connections::unused(&call, scene.plan.connections).await?;
    let memory = Memory::watch(scene.server()?.pid());
    let calls = scene.plan.sizes.calls;
    let phase = scene
        .phase("soak", connections, Pace::Count(calls, PHASE_LIMIT))
        .await?;
    let (made, failed) = (phase.replies + phase.errors, phase.errors);
    let counted = settled(scene, &before, made).await?;
    let found = &mut scene.finding;
    found.count("failed_calls", failed as f64, "calls that failed");
    consistency(found, &before, &counted, made);
    let evictions = counted.evictions - before.evictions;
    if evictions < u64::from(agents) {
        found.problem(format!(
            "only {evictions} instances were evicted: the run is too short to show much"
        ));
    }
    let windows = memory.windows();
    let (early, late) = windows.context("the run was too short to see memory grow")?;
    found.kib(
        "memory_early_kib",
        early,
        "memory in the second fifth of the run",
    );
    found.kib("memory_late_kib", late, "memory in the last fifth");
    let growth = ratio(late, early).unwrap_or_default();
    found.ratio("memory_growth", growth, "late, of early");
    Ok(())
}

/// The counters after so many calls. They are not read all at once, and instances go meanwhile: a gap that is gone when
/// they are read again was none.
async fn settled(scene: &Scene<'_>, before: &Counters, calls: u64) -> anyhow::Result<Counters> {
    let mut now = scene.counters().await?;
    for _again in 0..READ_AGAIN {
        if gaps(before, &now, calls) == (0, 0) {
            break;
        }
        sleep(READ_AFTER).await;
        now = scene.counters().await?;
    }
    Ok(now)
}

/// Calls and instances that are not accounted for. Every call is a start of some temperature; every instance that was
/// started was evicted, or lives.
fn gaps(before: &Counters, now: &Counters, calls: u64) -> (u64, u64) {
    let lost_calls = now.starts.since(&before.starts).total().abs_diff(calls);
    let ended_or_live = now.evictions + now.live;
    (lost_calls, now.started.abs_diff(ended_or_live))
}

fn consistency(found: &mut Finding, before: &Counters, now: &Counters, calls: u64) {
    let (lost_calls, lost_instances) = gaps(before, now, calls);
    let gaps = lost_calls + lost_instances;
    found.count("evictions", now.evictions as f64, "instances evicted");
    found.count(
        "lost_calls",
        lost_calls as f64,
        "calls, apart from counted starts",
    );
    found.count(
        "lost_instances",
        lost_instances as f64,
        "instances started, apart from ended or alive",
    );
    found.count("counter_gaps", gaps as f64, "both together");
}

/// Resident memory over time, sampled until it is dropped.
struct Memory {
    samples: Arc<Mutex<Vec<f64>>>,
    sampling: AbortHandle,
}

impl Memory {
    fn watch(pid: u32) -> Self {
        let samples = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&samples);
        let sampling = tokio::spawn(async move {
            let mut tick = interval(SAMPLE_EVERY);
            loop {
                tick.tick().await;
                // A server that is gone is noticed by its calls.
                let Ok(resident) = procfs::resident(pid) else {
                    return;
                };
                let kib = resident.all_kib;
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                seen.push(kib as f64);
                if seen.len().is_multiple_of(PROGRESS_EVERY_SAMPLES) {
                    let seconds = seen.len() / 10;
                    eprintln!("  {seconds} s: {:.0} MiB", kib as f64 / 1024.0);
                }
            }
        });
        Memory {
            samples,
            sampling: sampling.abort_handle(),
        }
    }

    /// The medians of the second and of the last fifth, in KiB.
    fn windows(&self) -> Option<(f64, f64)> {
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        let fifth = samples.len() / FIFTHS;
        let middle = |window: &[f64]| median(window.iter().copied());
        let early = middle(samples.get(fifth..2 * fifth)?)?;
        let late = middle(&samples[samples.len() - fifth..])?;
        Some((early, late))
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.sampling.abort();
    }
}
