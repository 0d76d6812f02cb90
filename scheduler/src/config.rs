//! Every limit of the scheduler, with its reason beside it.

use crate::engine::TICK;
use crate::machine;
use dormouse_services::egress::Egress;
use dormouse_services::logs::LogLimits;
use dormouse_services::{Grants, TaskLimits};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// How instances are kept and calls are bounded.
#[derive(Debug, Clone)]
pub struct SchedulerConfig {
    /// Folder of compiled code. Only this process may write there: loading compiled code trusts it.
    pub code_dir: PathBuf,
    /// A parked instance is evicted after this long without a call, or sooner if its agent's rhythm says that
    /// keeping it does not pay. Zero parks nothing.
    pub idle_timeout: Duration,
    /// Loaded code is dropped after this long without a call. Zero keeps none loaded.
    pub code_idle_timeout: Duration,
    /// Live instances, parked and busy. Each takes a slot of the pooling allocator.
    pub max_instances: usize,
    /// Live instances of one agent, so that one agent's storm leaves room for others.
    pub max_instances_per_agent: usize,
    /// Calls that may wait for an instance, over all agents; one more is refused.
    pub max_queue: usize,
    /// Modules whose code is loaded at a time.
    pub max_loaded_code: u64,
    /// Resident memory of the process, in bytes, above which parked instances are evicted and loaded code is
    /// dropped. `None`: never.
    pub memory_budget: Option<u64>,
    /// What reads the resident memory; `None` if it cannot be read.
    pub resident: fn() -> Option<u64>,
    /// Modules compiled at a time for uploads and calls that wait. All cores share the functions of one, so more
    /// of them take longer each.
    pub compile_workers: usize,
    /// Event loops that have not run anything for this long stand still; it is logged and counted.
    pub stall_after: Duration,
    /// How often running guests are interrupted, to see whether their time is up and whether others wait for their
    /// thread. Longer only for tools under which everything takes long: what a guest does in between, it does.
    pub tick: Duration,
    /// What a call of an agent may use that has no limits of its own.
    pub limits: CallLimits,
    /// Services that every agent gets which needs them; others only those that were granted to them.
    pub grants: Grants,
    /// The way out for agents that were granted destinations.
    pub egress: Arc<Egress>,
}

/// A set of limits, from which single ones may still be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Preset {
    /// For agents of strangers that do little.
    Strict,
    #[default]
    Default,
    /// For agents that compute for long or hold a lot.
    Generous,
}

impl Preset {
    pub const ALL: [Self; 3] = [Self::Strict, Self::Default, Self::Generous];

    /// The word used in flags and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Default => "default",
            Self::Generous => "generous",
        }
    }

    pub fn limits(self) -> CallLimits {
        let usual = CallLimits::default();
        match self {
            Self::Strict => CallLimits {
                preset: self,
                deadline: Duration::from_secs(20),
                processor: Duration::from_secs(5),
                memory_bytes: 16 << 20,
                table_elements: 10_000,
                host_call_bytes: 1 << 20,
                handles: 250,
                log: LogLimits {
                    records: 200,
                    bytes: 64 << 10,
                },
                task_bytes: 8 << 20,
                ..usual
            },
            Self::Default => usual,
            Self::Generous => CallLimits {
                preset: self,
                deadline: Duration::from_secs(10 * 60),
                processor: Duration::from_secs(5 * 60),
                memory_bytes: 512 << 20,
                table_elements: 50_000,
                host_call_bytes: 32 << 20,
                handles: 10_000,
                log: LogLimits {
                    records: 10_000,
                    bytes: 2 << 20,
                },
                ..usual
            },
        }
    }
}

/// No preset has this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownPreset;

impl FromStr for Preset {
    type Err = UnknownPreset;

    fn from_str(word: &str) -> Result<Self, UnknownPreset> {
        let known = Self::ALL.into_iter().find(|one| one.as_str() == word);
        known.ok_or(UnknownPreset)
    }
}

/// What one call and its instance may use: of every agent the same, unless an agent has limits of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallLimits {
    /// What these limits were before single ones were changed.
    pub preset: Preset,
    /// Wall time of a call, host waits included.
    pub deadline: Duration,
    /// Processor time of a call. Waits do not count.
    pub processor: Duration,
    /// Linear memory of an instance, in bytes.
    pub memory_bytes: usize,
    /// Elements of one table.
    pub table_elements: usize,
    /// Bytes that may pass from guest to host in one host call: what the host has to allocate for
    /// a guest (messages, artifacts, log records).
    pub host_call_bytes: usize,
    /// Resources and waits of an instance, of which its guest holds handles. One that may have several calls at a time
    /// has some more for each.
    pub handles: usize,
    /// What a call may log.
    pub log: LogLimits,
    /// Bytes of all that a call may add to what is kept of its task; what is kept of it counts.
    pub task_bytes: u64,
    /// Live instances of the agent. `None`: [`SchedulerConfig::max_instances_per_agent`].
    pub max_instances: Option<usize>,
    /// Units of fuel of a call, about one for each instruction of WebAssembly; what it takes to start its instance
    /// has as much of its own. `None`: nothing is counted. Of all agents the same, because it decides what code
    /// is compiled to.
    pub fuel: Option<u64>,
    /// Wall time of `definitions` at deploy.
    pub discovery: Duration,
    /// Processor time of a module's initialisation at deploy.
    pub initialisation: Duration,
    /// Bytes of a module.
    pub module_bytes: usize,
}

impl Default for CallLimits {
    fn default() -> Self {
        Self {
            preset: Preset::Default,
            deadline: Duration::from_secs(60),
            processor: Duration::from_secs(30),
            memory_bytes: 64 << 20,
            table_elements: 20_000,
            host_call_bytes: 8 << 20,
            handles: 1_000,
            log: LogLimits::default(),
            task_bytes: TaskLimits::default().task_bytes,
            max_instances: None,
            fuel: None,
            discovery: Duration::from_secs(2),
            initialisation: Duration::from_secs(5),
            module_bytes: 32 << 20,
        }
    }
}

/// What no agent's own limits go beyond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ceiling {
    /// Linear memory of an instance, in bytes: what a slot of the engine's pool has.
    pub memory_bytes: usize,
    /// Elements of one table, likewise.
    pub table_elements: usize,
    /// Live instances of one agent.
    pub max_instances: usize,
}

impl SchedulerConfig {
    /// What single agents may be given. A slot has room for the most generous preset, also when the limits of all
    /// agents are tighter: room that nobody touches costs addresses, not memory.
    pub fn ceiling(&self) -> Ceiling {
        let generous = Preset::Generous.limits();
        Ceiling {
            memory_bytes: self.limits.memory_bytes.max(generous.memory_bytes),
            table_elements: self.limits.table_elements.max(generous.table_elements),
            max_instances: self.max_instances,
        }
    }

    /// The defaults, with compiled code in `code_dir`.
    pub fn new(code_dir: PathBuf) -> Self {
        Self {
            code_dir,
            idle_timeout: Duration::from_secs(60),
            code_idle_timeout: Duration::from_secs(15 * 60),
            max_instances: 1_000,
            max_instances_per_agent: 256,
            max_queue: 4_096,
            max_loaded_code: 4_096,
            memory_budget: None,
            resident: machine::resident,
            compile_workers: 1,
            stall_after: Duration::from_secs(2),
            tick: TICK,
            limits: CallLimits::default(),
            grants: Grants::default(),
            egress: Arc::default(),
        }
    }
}
