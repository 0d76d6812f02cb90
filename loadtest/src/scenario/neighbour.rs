//! An agent that answers, beside calls that compute for ever, and beside calls that fail, again and again, at a limit.

use std::{sync::Arc, time::Duration};

use anyhow::Context;

use crate::{
    a2a::{Call, DeployedAgent, deploy_file},
    callers::Callers,
    finding::Finding,
    fleet::{ECHO, SPIN, echo},
    load::{Connections, Pace},
    native,
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

/// Who is beside the victim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Neighbour {
    /// A skill of the test guest `hostile` whose every call fails.
    skill: &'static str,
    phase: &'static str,
    figure: &'static str,
    says: &'static str,
}

macro_rules! neighbour {
    ($skill:literal, $figure:literal, $does:literal) => {
        Neighbour {
            skill: $skill,
            phase: concat!("beside agents that ", $does),
            figure: concat!($figure, "_p99_ratio"),
            says: concat!("p99 beside agents that ", $does, ", of p99 alone"),
        }
    };
}

const FAILING: [Neighbour; 9] = [
    neighbour!("memory-bomb", "memory_bomb", "fill their memory"),
    neighbour!("table-bomb", "table_bomb", "grow their table"),
    neighbour!("recurse", "recurse", "overflow their stack"),
    neighbour!(
        "recurse-in-host",
        "recurse_in_host",
        "overflow it in a host call"
    ),
    neighbour!("handle-leak", "handle_leak", "leak handles"),
    neighbour!("huge-state", "huge_state", "make the host allocate"),
    neighbour!(
        "many-waits",
        "many_waits",
        "wait ten thousand times at once"
    ),
    neighbour!("log-flood", "log_flood", "flood their log"),
    neighbour!("trap", "trap", "trap"),
];

/// Those who do nothing wrong, called over and over as the failing ones are: what as many clients cost anyway.
const PEACEFUL: &str = "beside as many calls of an agent that does nothing wrong";

/// Uploads that never end, which call no skill.
const ENDLESS: Neighbour = neighbour!("", "endless_entrypoint", "loop in their entrypoint");

const BUSY_LIMIT: Duration = Duration::from_secs(20);

pub(super) async fn run(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    let call_timeout = format!("{}s", scene.plan.phase.as_secs() + 120);
    let flags = ["--call-timeout", &call_timeout, "--drain-timeout", "1s"];
    let (mut loops, mut native, mut of_native) = (Vec::new(), Vec::new(), Vec::new());
    let mut cores = Vec::new();
    let (mut peaceful, mut of_peaceful) = (Vec::new(), Vec::new());
    // By skill, in the order of the first round.
    let mut failing: Vec<(Neighbour, Vec<f64>)> = Vec::new();
    for number in 1..=scene.plan.rounds {
        scene.serve(&flags).await?;
        let round = round(scene, number).await?;
        loops.extend(round.of_alone(round.beside_loops_us));
        native.extend(round.of_alone(round.beside_native_us));
        of_native.extend(ratio(round.beside_loops_us, round.beside_native_us));
        cores.push(round.cores);
        peaceful.extend(round.of_alone(round.beside_peaceful_us));
        let worst = round.beside_failing.iter().map(|(_, p99)| *p99);
        let worst = worst.reduce(f64::max);
        of_peaceful.extend(worst.and_then(|worst| ratio(worst, round.beside_peaceful_us)));
        for (neighbour, beside_us) in &round.beside_failing {
            let ratio = round.of_alone(*beside_us);
            match failing.iter_mut().find(|(known, _)| known == neighbour) {
                Some((_, ratios)) => ratios.extend(ratio),
                None => failing.push((*neighbour, ratio.into_iter().collect())),
            }
        }
    }
    let found = &mut scene.finding;
    let p99_ratio = median(loops.into_iter()).context("there was no p99 to compare with")?;
    found.ratio(
        "p99_ratio",
        p99_ratio,
        "p99 beside endless loops, of p99 alone",
    );
    found.ratio(
        "native_p99_ratio",
        median(native.into_iter()).unwrap_or_default(),
        "p99 beside threads of another program at the lowest priority, of p99 alone",
    );
    found.ratio(
        "p99_of_native",
        median(of_native.into_iter()).unwrap_or_default(),
        "p99 beside endless loops, of p99 beside those threads",
    );
    let cores = median(cores.into_iter()).unwrap_or_default();
    found.count(
        "server_cores",
        cores,
        "cores busy in the server beside them",
    );
    found.ratio(
        "peaceful_p99_ratio",
        median(peaceful.into_iter()).unwrap_or_default(),
        "p99 beside as many calls of an agent that does nothing wrong, of p99 alone",
    );
    tell_of_failing(found, failing, of_peaceful);
    Ok(())
}

/// `of_peaceful`: the worst of each round, of that beside the agent that does nothing wrong.
fn tell_of_failing(
    found: &mut Finding,
    failing: Vec<(Neighbour, Vec<f64>)>,
    of_peaceful: Vec<f64>,
) {
    let mut worst: Option<f64> = None;
    for (neighbour, ratios) in failing {
        let p99_ratio = median(ratios.into_iter()).unwrap_or_default();
        worst = Some(worst.map_or(p99_ratio, |worst| worst.max(p99_ratio)));
        found.ratio(neighbour.figure, p99_ratio, neighbour.says);
    }
    let Some(worst) = worst else {
        return;
    };
    found.ratio(
        "worst_p99_ratio",
        worst,
        "the worst of the agents that fail",
    );
    found.ratio(
        "worst_p99_of_peaceful",
        median(of_peaceful.into_iter()).unwrap_or_default(),
        "p99 beside the worst of them in a round, of p99 beside the agent that does nothing wrong",
    );
}

/// The victim's p99 alone and beside its neighbours, in microseconds.
struct Round {
    /// The median of three: before, in between and after, because a machine has its moods.
    alone_us: f64,
    /// Beside threads that compute for ever in another program, at the lowest priority.
    beside_native_us: f64,
    beside_loops_us: f64,
    /// Beside as many clients as call what fails.
    beside_peaceful_us: f64,
    beside_failing: Vec<(Neighbour, f64)>,
    /// Cores that the server used beside the loops.
    cores: f64,
}

impl Round {
    fn of_alone(&self, beside_us: f64) -> Option<f64> {
        ratio(beside_us, self.alone_us)
    }
}

/// How the victim is called while neighbours are what they are.
struct Victim {
    call: Arc<Call>,
    rate: f64,
    number: u32,
}

impl Victim {
    async fn p99_us(&self, scene: &mut Scene<'_>, name: &str) -> anyhow::Result<f64> {
        let connections = Connections::open(&self.call, scene.plan.connections).await?;
        let due = Schedule::new(self.rate, scene.plan.phase, u64::from(self.number));
        let phase = scene.phase(name, connections, Pace::Due(due)).await?;
        Ok(latency(phase)?.p99_us)
    }
}

async fn round(scene: &mut Scene<'_>, number: u32) -> anyhow::Result<Round> {
    let victim = scene.deploy('v', 1, 1).await?;
    let noisy = scene.deploy('n', 1, 1).await?;
    let authority = scene.authority()?;
    let call = echo(&authority, Targets::in_turn(victim.paths()))?;
    let connections = Connections::open(&call, scene.plan.connections).await?;
    let closed = Pace::BackToBack(scene.plan.phase / 2);
    let capacity = scene.phase("capacity", connections, closed).await?;
    let share = capacity.requests_per_second * VICTIM_SHARE;
    let rate = scene.plan.rate.map_or(share, f64::from).max(1.0);
    let victim = Victim { call, rate, number };

    let mut alone = vec![victim.p99_us(scene, "alone").await?];
    let threads = scene.plan.server_threads;
    let callers = threads * FAILING_PER_CORE;
    let path = noisy.paths().into_iter().next();
    let path = path.context("there is no agent beside the victim")?;
    let native = native::start(threads)?;
    let name = format!("beside {threads} threads of another program");
    let beside_native_us = victim.p99_us(scene, &name).await?;
    drop(native);
    let beside_peaceful_us = {
        let _calling = Callers::of_skill(&authority, callers, &path, ECHO).start()?;
        victim.p99_us(scene, PEACEFUL).await?
    };
    alone.push(victim.p99_us(scene, "alone again").await?);
    // Before the loops, which go on in the server when their clients have left.
    let beside_failing = beside_failing(scene, &victim, callers).await?;
    alone.push(victim.p99_us(scene, "alone at last").await?);
    let alone_us = median(alone.into_iter()).unwrap_or_default();

    let loops = threads * LOOPS_PER_CORE;
    let _spinning = Callers::of_skill(&authority, loops, &path, SPIN).start()?;
    scene.until_busy(loops as u64, BUSY_LIMIT).await?;
    let name = format!("beside {loops} endless loops");
    let beside_loops_us = victim.p99_us(scene, &name).await?;
    let cores = scene.finding.phases.last().map(|phase| phase.server_cores);
    let busy = scene.counters().await?.busy;
    if busy < loops as u64 {
        let problem = format!("{name}: only {busy} loops ran to the end");
        scene.finding.problem(problem);
    }
    Ok(Round {
        alone_us,
        beside_native_us,
        beside_loops_us,
        beside_peaceful_us,
        beside_failing,
        cores: cores.unwrap_or_default(),
    })
}

/// The victim's p99 beside each kind of agent that goes wrong, one kind after the other.
async fn beside_failing(
    scene: &mut Scene<'_>,
    victim: &Victim,
    callers: usize,
) -> anyhow::Result<Vec<(Neighbour, f64)>> {
    let authority = scene.authority()?;
    let mut beside = Vec::new();
    if let Some(module) = &scene.plan.hostile_wasm {
        let agents = deploy_file(&authority, module).await?;
        let hostile = |agent: &&DeployedAgent| agent.has_skill(FAILING[0].skill);
        let agent = agents.iter().find(hostile);
        let path = agent.context("the module is not the guest `hostile`")?;
        let path = path.path()?;
        for neighbour in FAILING {
            let failing = Callers::of_skill(&authority, callers, &path, neighbour.skill);
            let _failing = failing.start()?;
            beside.push((neighbour, victim.p99_us(scene, neighbour.phase).await?));
        }
    }
    if let Some(module) = &scene.plan.endless_wasm {
        let _uploading = Callers::of_uploads(&authority, callers, module).start()?;
        beside.push((ENDLESS, victim.p99_us(scene, ENDLESS.phase).await?));
    }
    Ok(beside)
}
