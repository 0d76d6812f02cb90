//! Every limit of a runtime, and the four presets of the original with its values. Unlike there, each acts.

use std::time::Duration;

/// How agents are run and bounded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WasmAgentConfig {
    /// Count instructions: a budget that is the same for the same input on every machine, and costs time.
    pub fuel_enabled: bool,
    /// Interrupt by the clock. Without it, and with fuel, the wall time is looked at every
    /// [`FUEL_PER_LOOK`] instructions.
    pub epoch_enabled: bool,
    /// How often a running agent is made to let others run, and its wall time is looked at.
    pub epoch_tick_interval: Duration,
    pub limits: Limits,
}

/// What the agents of a runtime may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Agents loaded at a time, over the whole runtime.
    pub max_instances: usize,
    /// Linear memory of an instance, all its memories together, in bytes.
    pub max_memory: usize,
    /// Wall time of one call, waits in the host included.
    pub max_execution_time: Duration,
    /// Processor time of one call: it acts where it is less than [`max_execution_time`](Self::max_execution_time), for
    /// calls that must not end because others compute beside them. Looked at by the clock, so not without epochs.
    pub max_processor_time: Duration,
    /// Instructions of one call. Starting, `get-info` and `configure` are calls, too.
    pub max_fuel: u64,
    /// Elements of one table.
    pub max_table_elements: usize,
    /// Tables that one module of a component declares.
    pub max_tables: u32,
    /// Memories that one module of a component declares.
    pub max_memories: u32,
    /// Bytes of the code of one function.
    pub max_function_size: usize,
    /// Bytes of a component.
    pub max_component_size: usize,
    /// Bytes that an answer may have, and bytes that a call may write to stdout and stderr.
    pub max_output: usize,
}

/// Instructions between two looks at the clock when epochs are off: well under a millisecond.
pub const FUEL_PER_LOOK: u64 = 100_000;

/// The names of the presets, the tightest first.
pub const PRESETS: [&str; 4] = ["strict", "minimal", "default", "high-performance"];

/// See [`Limits::among_others`].
const WALL_TIMES: u32 = 5;

/// A component is at most so many times as large as its largest function may be, as in the original.
const FUNCTIONS: usize = 10;
/// Enough for the decision on one request, and for what is worth logging of it.
const OUTPUT: usize = 256 << 10;

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_instances: 4,
            max_memory: 64 << 20,
            max_execution_time: Duration::from_millis(100),
            max_processor_time: Duration::from_millis(100),
            max_fuel: 10_000_000,
            max_table_elements: 10_000,
            max_tables: 1,
            max_memories: 1,
            max_function_size: 1 << 20,
            max_component_size: FUNCTIONS << 20,
            max_output: OUTPUT,
        }
    }
}

impl Limits {
    /// For agents that share threads with others: five times as much wall time as processor time, because none is to fail
    /// by what others do beside it.
    #[must_use]
    pub fn among_others(self) -> Self {
        Self {
            max_execution_time: self.max_processor_time * WALL_TIMES,
            ..self
        }
    }

    /// None of them more than `ceiling` has.
    #[must_use]
    pub fn at_most(self, ceiling: &Self) -> Self {
        Self {
            max_instances: self.max_instances.min(ceiling.max_instances),
            max_memory: self.max_memory.min(ceiling.max_memory),
            max_execution_time: self.max_execution_time.min(ceiling.max_execution_time),
            max_processor_time: self.max_processor_time.min(ceiling.max_processor_time),
            max_fuel: self.max_fuel.min(ceiling.max_fuel),
            max_table_elements: self.max_table_elements.min(ceiling.max_table_elements),
            max_tables: self.max_tables.min(ceiling.max_tables),
            max_memories: self.max_memories.min(ceiling.max_memories),
            max_function_size: self.max_function_size.min(ceiling.max_function_size),
            max_component_size: self.max_component_size.min(ceiling.max_component_size),
            max_output: self.max_output.min(ceiling.max_output),
        }
    }
}

impl Default for WasmAgentConfig {
    fn default() -> Self {
        Self {
            fuel_enabled: true,
            epoch_enabled: true,
            epoch_tick_interval: Duration::from_millis(1),
            limits: Limits::default(),
        }
    }
}

impl WasmAgentConfig {
    /// The preset of this name, which is one of [`PRESETS`].
    pub fn preset(name: &str) -> Option<Self> {
        match name {
            "strict" => Some(Self::strict()),
            "minimal" => Some(Self::minimal()),
            "default" => Some(Self::default()),
            "high-performance" => Some(Self::high_performance()),
            _ => None,
        }
    }

    /// One small agent on a small machine: no clock thread.
    pub fn minimal() -> Self {
        Self {
            epoch_enabled: false,
            epoch_tick_interval: Duration::from_millis(10),
            limits: Limits {
                max_instances: 1,
                max_memory: 16 << 20,
                max_execution_time: Duration::from_millis(50),
                max_processor_time: Duration::from_millis(50),
                max_fuel: 1_000_000,
                max_table_elements: 1_000,
                max_function_size: 256 << 10,
                max_component_size: FUNCTIONS * (256 << 10),
                ..Limits::default()
            },
            ..Self::default()
        }
    }

    /// For agents that look at whole bodies.
    pub fn high_performance() -> Self {
        Self {
            epoch_tick_interval: Duration::from_micros(100),
            limits: Limits {
                max_instances: 8,
                max_memory: 256 << 20,
                max_execution_time: Duration::from_millis(500),
                max_processor_time: Duration::from_millis(500),
                max_fuel: 100_000_000,
                max_table_elements: 100_000,
                max_tables: 4,
                max_function_size: 4 << 20,
                max_component_size: FUNCTIONS * (4 << 20),
                ..Limits::default()
            },
            ..Self::default()
        }
    }

    /// For agents of strangers. A hundred table elements are few: a component that formats text has more.
    pub fn strict() -> Self {
        Self {
            limits: Limits {
                max_memory: 8 << 20,
                max_execution_time: Duration::from_millis(10),
                max_processor_time: Duration::from_millis(10),
                max_fuel: 100_000,
                max_table_elements: 100,
                max_function_size: 64 << 10,
                max_component_size: FUNCTIONS * (64 << 10),
                ..Limits::default()
            },
            ..Self::default()
        }
    }
}
