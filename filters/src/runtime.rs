//! Components and agents by name.

use crate::AgentInfo;
use crate::agent::{Shared, WasmAgentInstance};
use crate::blocking::Blocking;
use crate::check::check;
use crate::clock::Clock;
use crate::config::{Limits, WasmAgentConfig};
use crate::error::WasmRuntimeError;
use crate::live::{Engine, State};
use crate::metrics::MetricSink;
use crate::world::{Code, linker};
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, InstanceAllocationStrategy, PoolingAllocationConfig};

/// Compiles components and keeps the agents that were loaded from them. Dropping it drops its agents without
/// a word; [`shutdown`](WasmAgentRuntime::shutdown) lets them end in order.
pub struct WasmAgentRuntime {
    shared: Arc<Shared>,
    linker: Linker<State>,
    compiler: Box<dyn Compile>,
    /// Places beside [`max_instances`](Limits::max_instances), for what takes the place of others.
    spare: usize,
    state: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    components: HashMap<String, Code>,
    agents: HashMap<String, Arc<WasmAgentInstance>>,
    /// Agents that are being loaded, which count already.
    loading: usize,
    /// Agents that are in their `shutdown`, and have their places until that has ended.
    ending: usize,
    stopped: bool,
}

/// What turns the bytes of a component into code: whoever keeps compiled code does it otherwise.
pub trait Compile: Send + Sync {
    /// # Errors
    /// When the engine does not take the bytes.
    fn compile(&self, engine: &wasmtime::Engine, bytes: &[u8]) -> wasmtime::Result<Component>;
}

/// Anew each time.
struct Anew;

impl Compile for Anew {
    fn compile(&self, engine: &wasmtime::Engine, bytes: &[u8]) -> wasmtime::Result<Component> {
        Component::new(engine, bytes)
    }
}

/// How much a runtime holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuntimeStats {
    pub compiled_modules: usize,
    pub active_agents: usize,
    pub max_instances: usize,
}

impl WasmAgentRuntime {
    /// A runtime with an engine of its own.
    ///
    /// # Errors
    /// When nothing would ever stop a loop, or the engine cannot have so many instances on this machine.
    pub fn new(settings: WasmAgentConfig) -> Result<Self, WasmRuntimeError> {
        if !settings.fuel_enabled && !settings.epoch_enabled {
            let sentence = "with neither fuel nor epochs, nothing stops a loop";
            return Err(WasmRuntimeError::EngineCreation(sentence.into()));
        }
        let engine = wasmtime::Engine::new(&engine_settings(&settings)).map_err(no_engine)?;
        let clock = settings.epoch_enabled.then(|| {
            Arc::new(Clock::start(
                vec![engine.clone()],
                settings.epoch_tick_interval,
            ))
        });
        // As `pool` has it.
        let spare = settings.limits.max_instances;
        Self::build(engine, clock, settings, spare, Box::new(Anew), None)
    }

    /// A runtime on somebody else's engine, whose pool must have room for
    /// [`max_instances`](Limits::max_instances) and `spare` more, for agents that take the place of others. Whether
    /// instructions are counted is compiled into all code of an engine, so it is the engine's to say. `metrics` is told
    /// the numbers that agents report of themselves.
    ///
    /// # Errors
    /// When the engine counts instructions and the configuration does not ask for it, or the other way round.
    pub fn on_engine(
        engine: wasmtime::Engine,
        clock: Arc<Clock>,
        settings: WasmAgentConfig,
        spare: usize,
        compiler: Box<dyn Compile>,
        metrics: Arc<dyn MetricSink>,
    ) -> Result<Self, WasmRuntimeError> {
        Self::build(
            engine,
            Some(clock),
            settings,
            spare,
            compiler,
            Some(metrics),
        )
    }

    fn build(
        wasmtime: wasmtime::Engine,
        clock: Option<Arc<Clock>>,
        settings: WasmAgentConfig,
        spare: usize,
        compiler: Box<dyn Compile>,
        metrics: Option<Arc<dyn MetricSink>>,
    ) -> Result<Self, WasmRuntimeError> {
        let mut probe = wasmtime::Store::new(&wasmtime, ());
        if settings.fuel_enabled != probe.set_fuel(1).is_ok() {
            let sentence = "fuel_enabled must be what the engine was made with";
            return Err(WasmRuntimeError::EngineCreation(sentence.into()));
        }
        Ok(Self {
            linker: linker(&wasmtime).map_err(no_engine)?,
            shared: Arc::new(Shared {
                engine: Engine {
                    wasmtime,
                    clock,
                    metrics,
                },
                settings,
                blocking: Blocking::default(),
            }),
            compiler,
            spare,
            state: Mutex::default(),
        })
    }

    pub fn config(&self) -> &WasmAgentConfig {
        &self.shared.settings
    }

    /// Checks, compiles and links a component, and keeps it under this name. Takes long: 100 ms are usual.
    ///
    /// # Errors
    /// When it is over a limit, damaged, or of neither world; the sentence names what does not fit.
    pub fn compile_component(&self, id: &str, bytes: &[u8]) -> Result<(), WasmRuntimeError> {
        self.compile_component_within(&self.shared.settings.limits, id, bytes)
    }

    /// [`compile_component`](Self::compile_component) under other limits than those of the runtime.
    ///
    /// # Errors
    /// As of [`compile_component`](Self::compile_component).
    pub fn compile_component_within(
        &self,
        limits: &Limits,
        id: &str,
        bytes: &[u8],
    ) -> Result<(), WasmRuntimeError> {
        if self.lock().stopped {
            return Err(WasmRuntimeError::Shutdown);
        }
        check(bytes, limits)?;
        let compiled = self.compiler.compile(&self.shared.engine.wasmtime, bytes);
        let component =
            compiled.map_err(|error| WasmRuntimeError::Compilation(format!("{error:#}")))?;
        let code = Code::link(&self.linker, &component)?;
        self.lock().components.insert(id.to_owned(), code);
        Ok(())
    }

    /// # Errors
    /// When the file cannot be read, or as of [`compile_component`](Self::compile_component).
    pub fn compile_component_file(
        &self,
        id: &str,
        path: impl AsRef<Path>,
    ) -> Result<(), WasmRuntimeError> {
        let path = path.as_ref();
        let bytes = fs::read(path).map_err(|cause| WasmRuntimeError::LoadFile {
            path: path.to_owned(),
            cause,
        })?;
        self.compile_component(id, &bytes)
    }

    /// Starts an agent of a compiled component and configures it. One that had this id before ends, with its
    /// `shutdown`, when the new one is there; if the new one refuses its configuration, the old one stays.
    ///
    /// # Errors
    /// When there is no such component, the runtime is full, or the agent does not start.
    pub async fn load(
        &self,
        agent_id: &str,
        component_id: &str,
        config: &str,
    ) -> Result<Arc<WasmAgentInstance>, WasmRuntimeError> {
        let limits = &self.shared.settings.limits;
        self.load_within(limits, 0, agent_id, component_id, config)
            .await
    }

    /// [`load`](Self::load) under other limits than those of the runtime: the engine's pool must have room for its memory
    /// and tables, and [`max_instances`](Limits::max_instances) is the runtime's in any case. And beside agents that will
    /// be unloaded soon: `leaving` of those that are here, which do not count against that while the spare places last.
    ///
    /// # Errors
    /// As of [`load`](Self::load).
    pub async fn load_within(
        &self,
        limits: &Limits,
        leaving: usize,
        agent_id: &str,
        component_id: &str,
        config: &str,
    ) -> Result<Arc<WasmAgentInstance>, WasmRuntimeError> {
        let loading = Loading::begin(self, leaving, agent_id)?;
        let code = self.lock().components.get(component_id).cloned();
        let code = code.ok_or_else(|| WasmRuntimeError::Unknown {
            kind: "component",
            id: component_id.to_owned(),
        })?;
        let shared = Arc::clone(&self.shared);
        let agent =
            Arc::new(WasmAgentInstance::load(shared, code, limits, agent_id, config).await?);
        let (replaced, stopped) = {
            let mut known = self.lock();
            let stopped = known.stopped;
            let new = (!stopped).then(|| Arc::clone(&agent));
            let replaced = new.and_then(|new| known.agents.insert(agent_id.to_owned(), new));
            (replaced.map(|agent| known.ends(self, agent)), stopped)
        };
        if stopped {
            agent.unload().await;
            return Err(WasmRuntimeError::Shutdown);
        }
        drop(loading);
        if let Some(replaced) = replaced {
            replaced.end().await;
        }
        Ok(agent)
    }

    /// [`load`](Self::load) for those who do not wait asynchronously.
    ///
    /// # Errors
    /// As of [`load`](Self::load).
    pub fn load_agent(
        &self,
        agent_id: &str,
        component_id: &str,
        config: &str,
    ) -> Result<Arc<WasmAgentInstance>, WasmRuntimeError> {
        let limits = &self.shared.settings.limits;
        self.load_agent_within(limits, agent_id, component_id, config)
    }

    /// [`load_within`](Self::load_within) for those who do not wait asynchronously.
    ///
    /// # Errors
    /// As of [`load`](Self::load).
    pub fn load_agent_within(
        &self,
        limits: &Limits,
        agent_id: &str,
        component_id: &str,
        config: &str,
    ) -> Result<Arc<WasmAgentInstance>, WasmRuntimeError> {
        let loading = self.load_within(limits, 0, agent_id, component_id, config);
        self.shared.blocking.wait(loading)
    }

    /// Compiles a component under the agent's own id, and loads it.
    ///
    /// # Errors
    /// As of [`compile_component`](Self::compile_component) and [`load`](Self::load).
    pub fn load_agent_from_bytes(
        &self,
        agent_id: &str,
        bytes: &[u8],
        config: &str,
    ) -> Result<Arc<WasmAgentInstance>, WasmRuntimeError> {
        self.compile_component(agent_id, bytes)?;
        self.load_agent(agent_id, agent_id, config)
    }

    pub fn get_agent(&self, id: &str) -> Option<Arc<WasmAgentInstance>> {
        self.lock().agents.get(id).cloned()
    }

    /// What the loaded agents say of themselves, in the order of their ids here.
    pub fn list_agents(&self) -> Vec<(String, AgentInfo)> {
        let known = self.lock();
        let agents = known.agents.iter();
        let mut agents: Vec<_> = agents
            .map(|(id, agent)| (id.clone(), agent.info().clone()))
            .collect();
        agents.sort_by(|(one, _), (other, _)| one.cmp(other));
        agents
    }

    /// Ends an agent, its `shutdown` included; false when there is none of this id. A call that is in it ends
    /// first.
    pub async fn unload(&self, id: &str) -> bool {
        let ending = {
            let mut known = self.lock();
            let agent = known.agents.remove(id);
            agent.map(|agent| known.ends(self, agent))
        };
        match ending {
            Some(ending) => {
                ending.end().await;
                true
            }
            None => false,
        }
    }

    /// [`unload`](Self::unload) for those who do not wait asynchronously.
    pub fn unload_agent(&self, id: &str) -> bool {
        self.shared.blocking.wait(self.unload(id))
    }

    /// Forgets a component; agents that were loaded from it live on. False when there is none of this id.
    pub fn unload_component(&self, id: &str) -> bool {
        self.lock().components.remove(id).is_some()
    }

    /// Agents that there is a place for now, spare places included.
    pub fn free(&self) -> usize {
        let known = self.lock();
        let places = self.shared.settings.limits.max_instances + self.spare;
        places.saturating_sub(known.here())
    }

    pub fn stats(&self) -> RuntimeStats {
        let known = self.lock();
        RuntimeStats {
            compiled_modules: known.components.len(),
            active_agents: known.agents.len(),
            max_instances: self.shared.settings.limits.max_instances,
        }
    }

    /// Ends all agents. What is loaded or called afterwards answers [`Shutdown`](WasmRuntimeError::Shutdown).
    pub async fn close(&self) {
        let agents = {
            let mut known = self.lock();
            known.stopped = true;
            known.components.clear();
            std::mem::take(&mut known.agents)
        };
        for agent in agents.into_values() {
            agent.unload().await;
        }
    }

    /// [`close`](Self::close) for those who do not wait asynchronously.
    pub fn shutdown(&self) {
        self.shared.blocking.wait(self.close());
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Agents that have a place.
    fn here(&self) -> usize {
        self.agents.len() + self.loading + self.ending
    }

    fn ends<'a>(
        &mut self,
        runtime: &'a WasmAgentRuntime,
        agent: Arc<WasmAgentInstance>,
    ) -> Ending<'a> {
        self.ending += 1;
        Ending { runtime, agent }
    }
}

/// An agent that nobody finds any more, with its place.
struct Ending<'a> {
    runtime: &'a WasmAgentRuntime,
    agent: Arc<WasmAgentInstance>,
}

impl Ending<'_> {
    async fn end(self) {
        self.agent.unload().await;
    }
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.runtime.lock().ending -= 1;
    }
}

/// A place for an agent that is being loaded.
struct Loading<'a>(&'a WasmAgentRuntime);

impl<'a> Loading<'a> {
    fn begin(
        runtime: &'a WasmAgentRuntime,
        leaving: usize,
        id: &str,
    ) -> Result<Self, WasmRuntimeError> {
        let max = runtime.shared.settings.limits.max_instances;
        let mut known = runtime.lock();
        if known.stopped {
            return Err(WasmRuntimeError::Shutdown);
        }
        // One that takes the place of another is no further one.
        let leaving = leaving.saturating_add(usize::from(known.agents.contains_key(id)));
        let leaving = leaving.saturating_add(known.ending);
        let here = known.here();
        if here.saturating_sub(leaving) >= max || here >= max + runtime.spare {
            let sentence = format!("{max} agents at a time (max_instances)");
            return Err(WasmRuntimeError::ResourceLimit(sentence));
        }
        known.loading += 1;
        Ok(Self(runtime))
    }
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        self.0.lock().loading -= 1;
    }
}

fn no_engine(error: wasmtime::Error) -> WasmRuntimeError {
    WasmRuntimeError::EngineCreation(format!("{error:#}"))
}

fn engine_settings(settings: &WasmAgentConfig) -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        // Filters are of plain functions, and every call would pay for it: 1.1 of 1.7 microseconds.
        .concurrency_support(false)
        .consume_fuel(settings.fuel_enabled)
        .epoch_interruption(settings.epoch_enabled)
        .wasm_gc(false)
        .wasm_function_references(false)
        .wasm_exceptions(false)
        .wasm_threads(false)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool(&settings.limits)));
    config
}

/// Core instances of one component: itself, what lifts it, and what it was composed of.
const CORE_INSTANCES: u32 = 8;

fn pool(limits: &Limits) -> PoolingAllocationConfig {
    // An agent and what takes its place live at the same time.
    let instances = u32::try_from(limits.max_instances).unwrap_or(u32::MAX / 64) * 2;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances * CORE_INSTANCES)
        .total_memories(instances * limits.max_memories)
        .total_tables(instances * (limits.max_tables + 2))
        .total_stacks(instances)
        .max_core_instances_per_component(CORE_INSTANCES)
        .max_memories_per_component(limits.max_memories)
        .max_tables_per_component(limits.max_tables + 2)
        .max_memory_size(limits.max_memory)
        .table_elements(limits.max_table_elements);
    pool
}
