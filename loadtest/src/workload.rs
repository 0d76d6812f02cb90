//! The workloads: what each one is, in one place.

use clap::ValueEnum;
use serde::Serialize;

/// What can be measured. The doc comments are the `--help` texts; the order is that of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Workload {
    /// The bare hyper echo; always measured
    Baseline,
    /// A message from a parked instance
    Hot,
    /// A durable task, run and completed, on a parked instance
    Task,
    /// No instance is kept: every call starts one from loaded code
    Warm,
    /// No code is kept either: every call maps compiled code from disk
    Cold,
    /// Distinct agents: each of --agents woken once from disk, then once from loaded code, then calls spread
    /// evenly, then by popularity (Zipf); at the end memory after the idle timeout
    Storm,
    /// An idle agent, then --burst calls at once; the same spread over 64 agents
    Burst,
    /// An agent's p99 beside calls that compute for ever, twice as many as there are cores, and without them; and
    /// beside agents that fail at each limit (--hostile-wasm) and uploads that never end (--endless-wasm)
    Neighbour,
    /// An agent's throughput beside --waiting calls that wait in the host, and without them
    Mixed,
    /// A message from a parked instance, and the same with five of the --filters before its agent
    Filters,
    /// --redeploys uploads of new versions of an agent under constant load; and a module of 1 MB from its
    /// upload to its first answer
    Deploy,
    /// --agents deployed: memory of each, start-up of a server with them, first answer of random ones; then
    /// --live of them alive at once; then memory after the idle timeout
    Density,
    /// --calls calls over --soak-agents agents in a pool with room for a quarter of them: errors, memory,
    /// counters
    Soak,
}

impl Workload {
    /// Whether it is three phases of one call, in rounds, and so a row of the table; the others have a course of
    /// their own and are measured once.
    pub fn is_row(self) -> bool {
        self <= Workload::Cold
    }

    /// Flags that `dormouse serve` needs so that calls have the temperature that the row claims.
    pub fn serve_flags(self) -> &'static [&'static str] {
        match self {
            Workload::Warm => &["--idle-timeout", "0s"],
            Workload::Cold => &["--idle-timeout", "0s", "--code-idle-timeout", "0s"],
            _ => &[],
        }
    }

    /// The label of `dormouse_starts_total` that every call of the row must be counted under.
    pub fn temperature(self) -> Option<&'static str> {
        match self {
            Workload::Hot | Workload::Task => Some("hot"),
            Workload::Warm => Some("warm"),
            Workload::Cold => Some("cold"),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Workload::Baseline => "baseline",
            Workload::Hot => "hot",
            Workload::Task => "task",
            Workload::Warm => "warm",
            Workload::Cold => "cold",
            Workload::Storm => "storm",
            Workload::Burst => "burst",
            Workload::Neighbour => "neighbour",
            Workload::Mixed => "mixed",
            Workload::Filters => "filters",
            Workload::Deploy => "deploy",
            Workload::Density => "density",
            Workload::Soak => "soak",
        }
    }
}
