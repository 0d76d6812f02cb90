//! The command line, and the plan that it amounts to.

use std::{num::NonZero, path::PathBuf, thread, time::Duration};

use clap::{Parser, Subcommand};
use serde::Serialize;

use crate::{callers::Callers, sizes::Sizes, workload::Workload};

const EXAMPLES: &str = "\
Examples:
  Everything, with a task row, at the default 10 s per phase:
    loadtest --dormouse target/release/dormouse --agent-wasm echo.wasm --task-agent-wasm hostile.wasm

  A first look in a few seconds:
    loadtest --agent-wasm echo.wasm --quick

  Only parked instances, 2,000 calls a second, numbers for a machine:
    loadtest --agent-wasm echo.wasm --workloads hot --rate 2000 --json > hot.json

  What this machine can do without any platform (needs no agent):
    loadtest --workloads baseline

  A hundred thousand agents, ten thousand of them alive at once, and pictures:
    loadtest --load-wasm load.wasm --workloads density --agents 100000 --live 10000 --plot plots

  Is every promise kept that these workloads measure?
    loadtest --agent-wasm echo.wasm --load-wasm load.wasm --workloads hot,storm,neighbour --check

Reading the table:
  requests/s, CPU    closed loop: every connection sends as soon as it has its answer
  of echo            divided by a bare hyper JSON echo, measured in the same round
  1 conn             one connection, one call after the other
  at rate            open loop: calls are due at random times (Poisson) at that rate, by default half of the
                     capacity just measured; latency counts from the time a call was due
  temperature        share of calls that the server's own metrics count as what the row claims
  baseline, hot, task, warm and cold are rows of it; every other workload is a block of phases and figures.

Exit code: 0 done, 1 an error or an invalid measurement, 2 wrong usage, 3 a promise was missed (with --check).";

/// Load of an open loop as a share of the capacity measured just before, when no rate is asked for. At half load
/// a server queues a little, as it would in service; near capacity latency says only how long the run was.
const OPEN_LOOP_SHARE: f64 = 0.5;

/// Measures A2A servers: throughput, processor time and honest latency, next to a bare HTTP echo.
#[derive(Debug, Parser)]
#[command(name = "loadtest", version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Options {
    #[command(subcommand)]
    pub command: Option<Hidden>,

    /// The dormouse binary [default: the one beside this program, else the one in PATH]
    #[arg(long, value_name = "PATH", overrides_with = "dormouse")]
    dormouse: Option<PathBuf>,

    /// Module with the agent that answers with a message, for hot, warm and cold
    #[arg(long, value_name = "FILE")]
    agent_wasm: Option<PathBuf>,

    /// The agent to call in it; not needed when the module declares only one
    #[arg(long, value_name = "NAME", default_value = "echo")]
    agent: String,

    /// The skill to call on it; not needed when the agent has only one
    #[arg(long, value_name = "ID")]
    skill: Option<String>,

    /// Module with an agent that completes a task, for the workload `task`
    #[arg(long, value_name = "FILE")]
    task_agent_wasm: Option<PathBuf>,

    /// The skill in it that completes a task
    #[arg(long, value_name = "ID", default_value = "echo-task")]
    task_skill: String,

    /// The test guest `load`, of which the workloads with many agents make their modules, or `small`, which does less and
    /// needs less; the last one counts
    #[arg(long, value_name = "FILE", overrides_with = "load_wasm")]
    load_wasm: Option<PathBuf>,

    /// The test guest `hostile`, armed (`cargo xtask guests`), for the calls that `neighbour` makes fail
    #[arg(long, value_name = "FILE")]
    hostile_wasm: Option<PathBuf>,

    /// Module whose entrypoint never returns, which `neighbour` uploads over and over
    #[arg(long, value_name = "FILE")]
    endless_wasm: Option<PathBuf>,

    /// Folder with the filters that ship, for the workload `filters`
    #[arg(long, value_name = "FOLDER")]
    filters: Option<PathBuf>,

    /// What to measure, beside the baseline [default: hot, warm, cold; and task if it has a module]
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    workloads: Option<Vec<Workload>>,

    /// Time for each of the three phases of a workload, divided over the rounds [default: 10s]
    #[arg(long, value_parser = humantime::parse_duration, value_name = "DURATION")]
    duration: Option<Duration>,

    /// Interleaved rounds, of which medians are reported [default: 3]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100), value_name = "N")]
    rounds: Option<u32>,

    /// Keep-alive connections of the closed and the open loop
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096), value_name = "N")]
    connections: u16,

    /// Calls per second in the open loop [default: half of the measured capacity]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000), value_name = "N")]
    rate: Option<u32>,

    /// Threads of the generator [default: 2, or 1 on one core]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=64), value_name = "N")]
    threads: Option<u16>,

    /// Where the servers' temporary data folders go; a folder in memory makes durable tasks look cheap
    /// [default: the system's temporary folder]
    #[arg(long, value_name = "DIR")]
    data_root: Option<PathBuf>,

    /// Leave the servers' data and logs behind, and say where
    #[arg(long)]
    keep_data: bool,

    /// Keep idle cores from sleeping (root; /dev/cpu_dma_latency): a virtual machine's wake slowly, which is then part of
    /// every latency at low load, the echo's too
    #[arg(long)]
    awake: bool,

    /// One round of 1 s per phase: a smoke test, not a measurement
    #[arg(long)]
    quick: bool,

    /// Print every number as JSON instead of the table
    #[arg(long)]
    pub json: bool,

    /// Fail if a promise of SPECIFICATION.md that was measured is missed
    #[arg(long)]
    pub check: bool,

    /// Draw the latencies of each workload, as an SVG in this folder
    #[arg(long, value_name = "FOLDER")]
    pub plot: Option<PathBuf>,

    #[command(flatten)]
    sizes: Sizes,
}

#[derive(Debug, Clone, Subcommand)]
pub enum Hidden {
    /// The bare echo that everything is compared with; ends when its stdin does
    #[command(hide = true)]
    Baseline {
        #[arg(long, default_value_t = 1)]
        worker_threads: usize,
    },
    /// Threads that compute for ever at the lowest priority; ends when its stdin does
    #[command(hide = true)]
    Native {
        #[arg(long, default_value_t = 1)]
        threads: usize,
    },
    /// Clients that call or upload over and over; ends when its stdin does
    #[command(hide = true)]
    Callers(Callers),
}

/// What will be done, with every default filled in.
#[derive(Debug, Serialize)]
pub struct Plan {
    pub workloads: Vec<Workload>,
    pub rounds: u32,
    /// Length of one phase in one round.
    #[serde(serialize_with = "as_seconds", rename = "phase_seconds")]
    pub phase: Duration,
    pub connections: usize,
    /// Calls per second in the open loop; `None` takes half of the capacity measured just before.
    pub rate: Option<u32>,
    /// Threads of the generator.
    pub threads: usize,
    /// Tokio worker threads of either server.
    pub server_threads: usize,
    pub dormouse: PathBuf,
    pub agent_wasm: Option<PathBuf>,
    pub agent: String,
    pub skill: Option<String>,
    pub task_agent_wasm: Option<PathBuf>,
    pub task_skill: String,
    pub load_wasm: Option<PathBuf>,
    pub hostile_wasm: Option<PathBuf>,
    pub endless_wasm: Option<PathBuf>,
    pub filters: Option<PathBuf>,
    pub sizes: Sizes,
    pub data_root: PathBuf,
    pub keep_data: bool,
    /// Whether idle cores are kept from sleeping.
    pub awake: bool,
}

impl Plan {
    /// Calls per second of an open loop, where a closed one has just managed this many.
    pub fn open_loop_rate(&self, capacity: f64) -> f64 {
        self.rate
            .map_or(capacity * OPEN_LOOP_SHARE, f64::from)
            .max(1.0)
    }
}

impl Options {
    /// Fills in the defaults. An `Err` is a sentence about wrong usage.
    pub fn plan(self) -> Result<Plan, String> {
        let workloads = self.chosen_workloads();
        let needs_agent =
            |w: &Workload| matches!(w, Workload::Hot | Workload::Warm | Workload::Cold);
        if workloads.iter().any(needs_agent) && self.agent_wasm.is_none() {
            return Err(
                "hot, warm and cold need --agent-wasm FILE (or ask for `--workloads baseline`)"
                    .into(),
            );
        }
        if workloads.contains(&Workload::Task) && self.task_agent_wasm.is_none() {
            return Err("the workload `task` needs --task-agent-wasm FILE".into());
        }
        if let Some(many) = workloads.iter().find(|w| !w.is_row())
            && self.load_wasm.is_none()
        {
            let name = many.name();
            return Err(format!("the workload `{name}` needs --load-wasm FILE"));
        }
        if workloads.contains(&Workload::Filters) && self.filters.is_none() {
            return Err("the workload `filters` needs --filters FOLDER".into());
        }
        let has_hostile = self.hostile_wasm.is_some() && self.endless_wasm.is_some();
        if workloads.contains(&Workload::Neighbour) && !has_hostile {
            return Err(
                "the workload `neighbour` needs --hostile-wasm FILE and --endless-wasm FILE".into(),
            );
        }
        let rounds = self.rounds.unwrap_or(if self.quick { 1 } else { 3 });
        let usual = Duration::from_secs(if self.quick { 1 } else { 10 });
        let phase = self.duration.unwrap_or(usual) / rounds;
        if !(Duration::from_millis(10)..=Duration::from_secs(3600)).contains(&phase) {
            return Err("--duration divided by --rounds must be between 10ms and 1h".into());
        }
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        Ok(Plan {
            workloads,
            rounds,
            phase,
            connections: usize::from(self.connections),
            rate: self.rate,
            threads: self.threads.map_or(cores.min(2), usize::from),
            server_threads: cores,
            dormouse: self.dormouse.unwrap_or_else(dormouse_nearby),
            agent_wasm: self.agent_wasm,
            agent: self.agent,
            skill: self.skill,
            task_agent_wasm: self.task_agent_wasm,
            task_skill: self.task_skill,
            load_wasm: self.load_wasm,
            hostile_wasm: self.hostile_wasm,
            endless_wasm: self.endless_wasm,
            filters: self.filters,
            sizes: self.sizes,
            data_root: self.data_root.unwrap_or_else(std::env::temp_dir),
            keep_data: self.keep_data,
            awake: self.awake,
        })
    }

    /// The asked-for rows in the order of the table; the baseline leads, because the ratios need it.
    fn chosen_workloads(&self) -> Vec<Workload> {
        let mut workloads = self.workloads.clone().unwrap_or_else(|| {
            let mut usual = vec![Workload::Hot, Workload::Warm, Workload::Cold];
            usual.extend(self.task_agent_wasm.is_some().then_some(Workload::Task));
            usual
        });
        workloads.push(Workload::Baseline);
        workloads.sort_unstable();
        workloads.dedup();
        workloads
    }
}

/// The `dormouse` built beside this program; failing that, a bare name for PATH to resolve.
fn dormouse_nearby() -> PathBuf {
    std::env::current_exe()
        .ok()
        .map(|exe| exe.with_file_name("dormouse"))
        .filter(|path| path.is_file())
        .unwrap_or_else(|| PathBuf::from("dormouse"))
}

fn as_seconds<S: serde::Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(duration.as_secs_f64())
}
