//! The wasmtime engines of the process, one for agents and one for filters, and the clock that lets guests be interrupted.

use crate::config::SchedulerConfig;
use crate::machine::{CORE_INSTANCES, MEMORIES, TABLES, agent_slots, filter_slots, stacks};
use dormouse_filters::clock::{Clock, Running};
use dormouse_services::LogBook;
use dormouse_services::egress::Egress;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

/// How often a running guest is made to yield, unless somebody configures otherwise, so that a loop holds up its
/// thread for one tick and no longer.
pub(crate) const TICK: Duration = Duration::from_millis(1);

/// The full version of wasmtime. Part of the key of compiled code, because wasmtime itself accepts
/// code of older patch releases, and a fixed compiler bug must not live on in old code.
pub(crate) const ENGINE_VERSION: &str = "48.0.8";

/// Bytes of a guest's stack, that of the host functions it calls not included: the engine's own default.
const STACK: usize = 512 << 10;

/// Bytes of a slot's memory, and of a table, that stay resident when its instance is dropped. Written over, as a
/// small agent's pages then are, they cost 50 microseconds less than given back and faulted in again; more than this
/// saves nothing that could be measured. Nothing gives them back later, so it bounds what a storm leaves behind: so
/// much for each slot that was ever used.
const KEEP_MEMORY: usize = 16 << 10;
const KEEP_TABLE: usize = 4 << 10;
/// Slots that are free and yet set up for the module which they had last, so that its next instance starts sooner. Each
/// keeps the mapping of that module's code, which counts as resident.
const WARM_SLOTS: u32 = 16;

/// Tables of an instance of a filter. A component for `wasm32-wasip2` has two, one that was composed of two has four.
pub(crate) const FILTER_TABLES: u32 = 4;

pub(crate) struct Engine {
    pub(crate) wasmtime: wasmtime::Engine,
    /// That of filters (`docs/decisions/0027`).
    pub(crate) filters: wasmtime::Engine,
    /// What its guests log.
    pub(crate) logs: Arc<LogBook>,
    pub(crate) clock: Arc<Clock>,
    /// The way out for its guests.
    pub(crate) egress: Arc<Egress>,
}

impl Engine {
    pub(crate) fn new(config: &SchedulerConfig) -> wasmtime::Result<Self> {
        let mut agents = settings(config);
        agents
            .wasm_component_model_async(true)
            .allocation_strategy(InstanceAllocationStrategy::Pooling(agent_pool(config)));
        let mut filters = settings(config);
        filters
            .concurrency_support(false)
            .allocation_strategy(InstanceAllocationStrategy::Pooling(filter_pool(config)));
        let wasmtime = wasmtime::Engine::new(&agents)?;
        let filters = wasmtime::Engine::new(&filters)?;
        let engines = vec![wasmtime.clone(), filters.clone()];
        let clock = Arc::new(Clock::start(engines, config.tick));
        Ok(Self {
            wasmtime,
            filters,
            logs: Arc::default(),
            clock,
            egress: Arc::clone(&config.egress),
        })
    }

    /// What compiled code depends on besides its module: another name, other code.
    pub(crate) fn fingerprint(&self) -> String {
        let mut hasher = DefaultHasher::new();
        for engine in [&self.wasmtime, &self.filters] {
            engine.precompile_compatibility_hash().hash(&mut hasher);
        }
        format!("{ENGINE_VERSION}-{:016x}", hasher.finish())
    }

    /// Must be held while guest code may run: the clock rests while nobody holds one.
    pub(crate) fn enter(&self) -> Running<'_> {
        self.clock.enter()
    }
}

/// What both have in common.
fn settings(config: &SchedulerConfig) -> Config {
    let mut settings = Config::new();
    settings
        .wasm_component_model(true)
        .epoch_interruption(true)
        // Counting changes the code, so nobody pays for it who does not ask for it.
        .consume_fuel(config.limits.fuel.is_some())
        .max_wasm_stack(STACK)
        // Nobody is shown one, and every trap would pay for it.
        .wasm_backtrace_max_frames(None)
        // The youngest and most often repaired parts of the engine; no guest of ours needs them.
        .wasm_gc(false)
        .wasm_function_references(false)
        .wasm_exceptions(false)
        .wasm_threads(false);
    settings
}

fn agent_pool(config: &SchedulerConfig) -> PoolingAllocationConfig {
    let instances = agent_slots(config.max_instances);
    let mut pool = pool(config, instances, stacks(instances));
    pool
        // Enough for instances that are all as large as one may be.
        .total_core_instances(count(instances * CORE_INSTANCES))
        .total_memories(count(instances * MEMORIES))
        .total_tables(count(instances * TABLES))
        // Reset only what a guest has touched.
        .pagemap_scan(Enabled::Auto)
        .linear_memory_keep_resident(KEEP_MEMORY)
        .table_keep_resident(KEEP_TABLE)
        .max_unused_warm_slots(WARM_SLOTS)
        // Together, a small one could be the one that gives back what large ones had, on an event loop.
        .decommit_batch_size(1);
    pool
}

/// Filters live long and are few, so nothing is kept of one that has ended.
fn filter_pool(config: &SchedulerConfig) -> PoolingAllocationConfig {
    let instances = filter_slots(config.max_instances);
    let mut pool = pool(config, instances, instances);
    // One instance may have as many of each as there are for each, so that counting instances counts all: nobody takes
    // what is another's. A component for `wasm32-wasip2` has three core instances, a memory and two tables; one that was
    // composed of two has twice as many core instances and tables.
    let (core_instances, memories, tables) = (8, 1, FILTER_TABLES as usize);
    pool.total_core_instances(count(instances * core_instances))
        .max_core_instances_per_component(count(core_instances))
        // More would be addresses that `machine.rs` does not count.
        .total_memories(count(instances * memories))
        .max_memories_per_component(count(memories))
        .total_tables(count(instances * tables))
        .max_tables_per_component(count(tables));
    pool
}

fn pool(config: &SchedulerConfig, instances: usize, stacks: usize) -> PoolingAllocationConfig {
    let ceiling = config.ceiling();
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(count(instances))
        .total_stacks(count(stacks))
        .max_core_instances_per_component(count(CORE_INSTANCES))
        .max_memories_per_component(count(MEMORIES))
        .max_tables_per_component(count(TABLES))
        .max_memory_size(ceiling.memory_bytes)
        .table_elements(ceiling.table_elements);
    pool
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
