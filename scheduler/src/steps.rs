//! The steps of a call one by one, for the benches in `scheduler/benches`. Not for use: nothing here is a promise.

use crate::call::{CallRequest, Entry, VersionRef};
use crate::code::{Code, CodeCache};
use crate::config::SchedulerConfig;
use crate::deploy::prepare;
use crate::dispatch::Scheduler;
use crate::engine::Engine;
use crate::host::wit::dormouse::agent::types::Outcome;
use crate::instance::Instance;
use crate::lane::Pace;
use crate::metrics::Metrics;
use dormouse_services::model::{Message, Part, Role};
use dormouse_services::{NewTask, TaskEngine, TaskLimits, TaskScope};
use dormouse_store::Store;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasmtime::component::Component;

/// An engine with one agent in it, which answers without a task.
pub struct Steps {
    engine: Arc<Engine>,
    code: Arc<CodeCache>,
    config: SchedulerConfig,
    tasks: TaskEngine,
    version: Arc<VersionRef>,
    skill: String,
}

/// Code that is mapped, and code that is linked as well.
pub struct Mapped(Component);
pub struct Linked(Code);

/// A live instance.
pub struct Started(Instance);

/// What a guest has answered.
pub struct Answer(#[expect(dead_code, reason = "it is dropped where the bench says")] Outcome);

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl Steps {
    /// Deploys a module whose first agent's first skill answers any text.
    ///
    /// # Errors
    /// When the module cannot be deployed.
    pub async fn new(module: Vec<u8>, folder: &Path) -> Result<Self, Failure> {
        let store = Store::in_memory();
        let mut config = SchedulerConfig::new(folder.join("code"));
        config.max_instances = 4;
        // Under a tool that counts instructions a call takes longer than a tick, and would move to the slow lane.
        config.tick = Duration::from_secs(60 * 60);
        let metrics = Arc::new(Metrics::register(&prometheus::Registry::new())?);
        let engine = Arc::new(Engine::new(&config)?);
        let modules = store.modules.clone();
        let code = CodeCache::new(Arc::clone(&engine), &config, modules, metrics)?;
        let code = Arc::new(code);
        // No lane: such a tool loses its way when guests run on several threads.
        let prepared = prepare(&engine, None, &code, &config.limits, module.into()).await?;
        let definition = &prepared.definitions[0];
        let (tasks, _recovered) =
            TaskEngine::open(store.tasks.clone(), TaskLimits::default()).await?;
        Ok(Self {
            version: Arc::new(VersionRef {
                agent: definition.name.clone(),
                declared: definition.name.clone(),
                number: 1,
                digest: prepared.digest,
                isolation: definition.isolation,
                concurrency: definition.concurrency,
                grants: dormouse_services::Grants::default(),
                config: Arc::default(),
                limits: Arc::new(config.limits.clone()),
                usage: Arc::default(),
            }),
            skill: definition.skills[0].id.clone(),
            engine,
            code,
            config,
            tasks,
        })
    }

    /// A scheduler with this agent in it.
    ///
    /// # Errors
    /// When it does not start.
    pub fn scheduler(&self) -> Result<Scheduler, Failure> {
        let modules = Store::in_memory().modules;
        Ok(Scheduler::new(
            self.config.clone(),
            modules,
            &prometheus::Registry::new(),
        )?)
    }

    /// Maps compiled code from its file.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn map(&self) -> Result<Mapped, Failure> {
        Ok(Mapped(
            self.code.map(&self.engine.wasmtime, &self.version.digest)?,
        ))
    }

    /// Links it with what the host offers.
    ///
    /// # Errors
    /// When an import is missing.
    pub fn link(&self, mapped: &Mapped) -> Result<Linked, Failure> {
        Ok(Linked(self.code.link(&mapped.0)?))
    }

    /// Starts an instance.
    ///
    /// # Errors
    /// When the engine has no room.
    pub async fn start(&self, linked: &Linked) -> Result<Started, Failure> {
        let pace = Pace::new();
        let started = Instance::start(&self.engine, &linked.0, &self.version, later(), pace);
        Ok(Started(started.await?))
    }

    /// What a call needs.
    pub fn request(&self) -> CallRequest {
        let message = Message::new(Role::User, vec![Part::text("hello")]);
        let task = self.tasks.begin(NewTask {
            scope: TaskScope {
                agent: self.version.agent.clone(),
                principal: "anonymous".to_owned(),
            },
            version: 1,
            skill: self.skill.clone(),
            message: message.clone(),
        });
        CallRequest {
            version: Arc::clone(&self.version),
            entry: Entry::Request,
            skill: self.skill.clone(),
            message,
            metadata: None,
            principal: "anonymous".to_owned(),
            extensions: Vec::new(),
            task: Arc::new(task),
        }
    }

    /// Calls the guest.
    ///
    /// # Errors
    /// When it traps.
    pub async fn call(
        &self,
        instance: &mut Started,
        request: CallRequest,
    ) -> Result<Answer, Failure> {
        let said = instance
            .0
            .call(&self.engine, Box::new(request), later(), Pace::new())
            .await?;
        Ok(Answer(said))
    }
}

fn later() -> Instant {
    Instant::now() + Duration::from_secs(60)
}
