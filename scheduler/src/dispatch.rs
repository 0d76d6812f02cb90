//! A call finds an instance and runs: parked, else started from loaded code, else from compiled
//! code on disk.

use crate::call::{CallFailure, CallReport, CallRequest, Temperature};
use crate::code::{CodeCache, CodeError};
use crate::config::SchedulerConfig;
use crate::convert;
use crate::deploy::{DeployError, Prepared, prepare};
use crate::engine::Engine;
use crate::instance::{DeadlinePassed, Instance, ProcessorTimeSpent, is_too_much_for_host};
use crate::lane::{Lane, Pace, SlowLane};
use crate::metrics::Metrics;
use crate::policy::Caps;
use crate::pool::{Acquired, Live, Owner, Pool};
use dormouse_services::logs::LogFlood;
use dormouse_services::model::{FailureClass, Isolation, Outcome};
use dormouse_store::{Digest, ModuleStore};
use std::sync::Arc;
use std::time::{Duration, Instant};
use thiserror::Error;
use wasmtime::Trap;

/// Runs calls. Cheap to clone; one per process.
#[derive(Clone)]
pub struct Scheduler(Arc<Inner>);

struct Inner {
    config: SchedulerConfig,
    engine: Arc<Engine>,
    code: Arc<CodeCache>,
    pool: Arc<Pool>,
    slow_lane: SlowLane,
    metrics: Arc<Metrics>,
}

/// Why the scheduler cannot begin.
#[derive(Debug, Error)]
pub enum SchedulerError {
    #[error("the WebAssembly engine does not start on this machine")]
    Engine(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the folder of compiled code cannot be used")]
    Code(#[source] DeployError),
    #[error("no threads can be started")]
    Threads(#[source] std::io::Error),
    #[error("a metric is registered twice")]
    Metrics(#[source] prometheus::Error),
}

impl Scheduler {
    /// Starts the engine and the ticker that evicts idle instances. Needs a tokio runtime.
    pub fn new(
        config: SchedulerConfig,
        modules: Arc<dyn ModuleStore>,
        registry: &prometheus::Registry,
    ) -> Result<Self, SchedulerError> {
        let metrics = Arc::new(Metrics::register(registry).map_err(SchedulerError::Metrics)?);
        let engine = Arc::new(Engine::new(&config).map_err(|e| SchedulerError::Engine(e.into()))?);
        let code = CodeCache::new(Arc::clone(&engine), &config, modules, Arc::clone(&metrics))
            .map_err(SchedulerError::Code)?;
        let caps = Caps {
            instances: config.max_instances,
            instances_per_agent: config.max_instances_per_agent,
            queue: config.max_queue,
        };
        let pool = Pool::new(caps, Arc::clone(&metrics));
        let inner = Arc::new(Inner {
            config,
            engine,
            code: Arc::new(code),
            pool,
            slow_lane: SlowLane::start().map_err(SchedulerError::Threads)?,
            metrics,
        });
        tokio::spawn(keep_house(Arc::downgrade(&inner)));
        Ok(Self(inner))
    }

    /// Checks, lifts, compiles and asks an upload for its agents. Keeps only compiled code.
    ///
    /// # Errors
    /// Every refusal has a code and a sentence; see [`DeployError`].
    pub async fn prepare(&self, bytes: bytes::Bytes) -> Result<Prepared, DeployError> {
        prepare(&self.0.engine, &self.0.code, &self.0.config.limits, bytes).await
    }

    /// Compiles, in the background of requests, every module of the list that has no compiled
    /// code: after an engine upgrade, or when the folder was lost. Returns how many it compiled.
    pub async fn compile_missing(&self, digests: Vec<Digest>) -> u64 {
        let before = self.0.metrics.compiles.get();
        for digest in digests {
            if let Err(error) = self.0.code.compile_stored(digest).await {
                let error = &error as &dyn std::error::Error;
                tracing::error!(%digest, error, "a stored module cannot be compiled");
            }
        }
        self.0.metrics.compiles.get() - before
    }

    /// Runs one call to its end: an outcome, a trap, its deadline, or the task's interruption. A call that
    /// is dropped ends at its guest's next tick or wait.
    pub async fn call(&self, request: CallRequest) -> CallReport {
        let inner = &self.0;
        let begun = Instant::now();
        let deadline = begun + inner.config.limits.deadline;
        let pace = Pace::new();
        let task = Arc::clone(&request.task);
        let run = Arc::clone(inner).run(request, deadline, Arc::clone(&pace));
        let mut run = Lane::new(&inner.slow_lane, Arc::clone(&pace), run);
        let result = tokio::select! {
            biased;
            result = &mut run => result,
            () = task.interrupted() => Err(failure(
                FailureClass::Interrupted,
                "The call was interrupted: its task was canceled or the server is stopping.",
            )),
            () = tokio::time::sleep_until(deadline.into()) => Err(inner.too_late()),
        };
        let mut report = CallReport {
            result,
            start: None,
            ran: Duration::ZERO,
            processor: pace.used(),
        };
        if let Some((entered, temperature)) = pace.entered.get() {
            let after = *entered - begun;
            inner.metrics.started(*temperature, after);
            if report.result.is_err() {
                inner.metrics.evicted("failed", 1);
            }
            report.start = Some((*temperature, after));
            report.ran = entered.elapsed();
        }
        report
    }

    /// Evicts the parked instances of an agent's other versions; all of them if none is active.
    pub fn retire(&self, agent: &str, active: Option<u32>) {
        self.0.pool.retire(agent, |number| Some(number) == active);
    }

    /// Drops a removed module's code from memory and disk.
    pub fn forget(&self, digest: &Digest) {
        self.0.code.forget(digest);
    }

    /// Evicts every parked instance. Calls must have ended before.
    pub async fn drain(&self) {
        self.0
            .pool
            .evict_idle(tokio::time::Instant::now(), Duration::ZERO);
    }
}

impl Inner {
    async fn run(
        self: Arc<Self>,
        request: CallRequest,
        deadline: Instant,
        pace: Arc<Pace>,
    ) -> Result<Outcome, CallFailure> {
        let owner = owner(&request);
        let (mut live, temperature) = self.find(&request, &owner, deadline, &pace).await?;
        pace.entered.get_or_init(|| (Instant::now(), temperature));
        let said = live
            .instance
            .call(&self.engine, &request, deadline, pace)
            .await;
        let said = said.map_err(|error| self.explain(&error))?;
        // The memory of an instance that has answered nonsense is not trusted again either.
        let outcome = convert::outcome(said).map_err(|e| {
            failure(
                FailureClass::InvalidResponse,
                &format!("The agent's answer is not valid: {e}."),
            )
        })?;
        if request.version.isolation != Isolation::Call && !self.config.idle_timeout.is_zero() {
            self.pool.park(live, owner, tokio::time::Instant::now());
        }
        Ok(outcome)
    }

    async fn find(
        &self,
        request: &CallRequest,
        owner: &Owner,
        deadline: Instant,
        pace: &Arc<Pace>,
    ) -> Result<(Live, Temperature), CallFailure> {
        let acquired = self
            .pool
            .acquire(&request.version, owner)
            .await
            .map_err(|_refused| {
                failure(
                    FailureClass::Unavailable,
                    "The platform is at its limit of running calls. Try again in a moment.",
                )
            })?;
        let slot = match acquired {
            Acquired::Parked(live) => return Ok((live, Temperature::Hot)),
            Acquired::Room(slot) => slot,
        };
        let (code, temperature) = self
            .code
            .get(request.version.digest)
            .await
            .map_err(|error| no_code(&error))?;
        let limits = &self.config.limits;
        let instance = Instance::start(&self.engine, &code, limits, deadline, Arc::clone(pace))
            .await
            .map_err(|error| self.explain(&error))?;
        Ok((Live { instance, slot }, temperature))
    }

    fn too_late(&self) -> CallFailure {
        let seconds = self.config.limits.deadline.as_secs_f32();
        let sentence = format!("The agent did not finish within {seconds} seconds.");
        failure(FailureClass::Deadline, &sentence)
    }

    /// Whose fault a failed call is, and what to tell its user.
    fn explain(&self, error: &wasmtime::Error) -> CallFailure {
        if error.is::<DeadlinePassed>() {
            return self.too_late();
        }
        if error.is::<ProcessorTimeSpent>() {
            let seconds = self.config.limits.processor.as_secs_f32();
            let sentence = format!("The agent used up its {seconds} seconds of processor time.");
            return failure(FailureClass::Limit, &sentence);
        }
        if let Some(flood) = error.downcast_ref::<LogFlood>() {
            return failure(
                FailureClass::Limit,
                &format!("The agent was stopped: {flood}."),
            );
        }
        let root = error.root_cause();
        match error.downcast_ref::<Trap>() {
            Some(trap) => failure(FailureClass::Trap, &format!("The agent trapped: {trap}.")),
            None if is_too_much_for_host(error) => failure(
                FailureClass::Limit,
                &format!(
                    "The agent passed more than {} bytes to the host at once.",
                    self.config.limits.host_call_bytes
                ),
            ),
            None => failure(
                FailureClass::Trap,
                &format!("The agent was stopped: {root}."),
            ),
        }
    }
}

fn no_code(error: &CodeError) -> CallFailure {
    tracing::error!(
        error = error as &dyn std::error::Error,
        "an agent's code cannot be had"
    );
    failure(
        FailureClass::Platform,
        "The platform cannot load this agent's code.",
    )
}

fn failure(class: FailureClass, sentence: &str) -> CallFailure {
    CallFailure {
        class,
        sentence: sentence.to_owned(),
    }
}

fn owner(request: &CallRequest) -> Owner {
    match request.version.isolation {
        Isolation::Shared | Isolation::Call => None,
        Isolation::Principal => Some(request.principal.clone()),
        Isolation::Context => Some(format!(
            "{}\n{}",
            request.principal,
            request.task.context_id()
        )),
    }
}

/// How often idle instances and idle code are looked for, at most.
const HOUSE_TICK: Duration = Duration::from_millis(500);

/// Evicts what is idle, until the scheduler is gone.
async fn keep_house(inner: std::sync::Weak<Inner>) {
    let mut tick = tokio::time::interval(HOUSE_TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let Some(inner) = inner.upgrade() else { return };
        inner
            .pool
            .evict_idle(tokio::time::Instant::now(), inner.config.idle_timeout);
        inner.code.tick();
    }
}
