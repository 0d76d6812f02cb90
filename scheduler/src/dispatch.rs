//! A call finds an instance and runs: parked, else started from loaded code, else from compiled
//! code on disk.

mod blame;
mod filters;
mod shared;

use crate::call::{CallFailure, CallReport, CallRequest, Temperature, VersionRef};
use crate::code::{Code, CodeCache};
use crate::config::{CallLimits, Ceiling, SchedulerConfig};
use crate::deploy::{DeployError, Prepared, describe, prepare};
use crate::engine::Engine;
use crate::instance::{self, Instance};
use crate::lane::{self, Lane, Pace, SlowLane};
use crate::metrics::Metrics;
use crate::policy::Caps;
use crate::pool::{self, Acquired, Found, Live, Owner, Pool};
use crate::pressure::{Relief, relief};
use crate::usage::{Book, Usage};
use crate::watchdog::Watchdog;
use blame::{failure, too_late};
use dormouse_services::model::{AgentDefinition, FailureClass, Isolation, Outcome};
use dormouse_services::{Grants, LogBook};
use dormouse_store::{Digest, ModuleStore};
use std::sync::Arc;
use std::time::{Duration, Instant};
use thiserror::Error;

/// Runs calls. Cheap to clone; one per process.
#[derive(Clone)]
pub struct Scheduler(Arc<Inner>);

struct Inner {
    config: SchedulerConfig,
    engine: Arc<Engine>,
    code: Arc<CodeCache>,
    pool: Arc<Pool>,
    slow_lane: SlowLane,
    filter_lane: SlowLane,
    metrics: Arc<Metrics>,
    limits: Arc<CallLimits>,
    usage: Book,
    _watchdog: Watchdog,
}

/// A call's place, to be used by [`Scheduler::call_at`]. Dropping it gives it back.
pub struct Place(pool::Place);

impl Place {
    /// Waits until the call could begin. Nothing is lost if the wait is given up.
    pub async fn ready(&mut self) {
        self.0.ready().await;
    }
}

/// Why a call cannot have a place. Nothing was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NoPlace {
    /// Too many calls wait for an instance, over all agents or of this one.
    #[error("The platform is at its limit of running calls. Try again in a moment.")]
    QueueFull,
    /// The agent has no compiled code, and calls wait for that of many others.
    #[error("The agent is not compiled yet, and others are before it. Try again in a moment.")]
    Compiling,
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
        let watchdog = Watchdog::start(config.stall_after, Arc::clone(&metrics))
            .map_err(SchedulerError::Threads)?;
        let mut limits = config.limits.clone();
        let most = config.max_instances_per_agent.min(config.max_instances);
        limits.max_instances.get_or_insert(most);
        let inner = Arc::new(Inner {
            limits: Arc::new(limits),
            usage: Book::default(),
            _watchdog: watchdog,
            config,
            engine,
            code: Arc::new(code),
            pool,
            slow_lane: SlowLane::start().map_err(SchedulerError::Threads)?,
            filter_lane: SlowLane::of_filters().map_err(SchedulerError::Threads)?,
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
        self.prepare_under(&self.0.limits, bytes).await
    }

    /// As [`Scheduler::prepare`], for agents that are to have limits of their own: they are asked for under these.
    ///
    /// # Errors
    /// The same.
    pub async fn prepare_under(
        &self,
        limits: &CallLimits,
        bytes: bytes::Bytes,
    ) -> Result<Prepared, DeployError> {
        let inner = &self.0;
        let lane = Some(&inner.filter_lane);
        prepare(&inner.engine, lane, &inner.code, limits, bytes).await
    }

    /// Sees to it that a module which was prepared, and is stored now, has its code: it goes with another upload of the same
    /// module that is refused meanwhile.
    ///
    /// # Errors
    /// When it must be compiled again and cannot.
    pub async fn keep_code(&self, digest: Digest, bytes: bytes::Bytes) -> Result<(), DeployError> {
        self.0.code.keep(digest, bytes).await
    }

    /// Asks a stored module which agents it declares.
    ///
    /// # Errors
    /// As of [`Scheduler::prepare`].
    pub async fn describe(&self, digest: Digest) -> Result<Vec<AgentDefinition>, DeployError> {
        let inner = &self.0;
        let (engine, lane, code) = (&inner.engine, Some(&inner.filter_lane), &inner.code);
        describe(engine, lane, code, &inner.limits, digest).await
    }

    /// Compiles every module of the list that has no compiled code: after an engine upgrade, or when the folder was
    /// lost. The most used come first, after all that somebody waits for. Returns how many it compiled.
    pub async fn compile_missing(&self, digests: Vec<Digest>) -> u64 {
        self.0.code.compile_missing(digests).await
    }

    /// A place for a call that is about to be made, before anything of it is kept: an instance, room for one,
    /// or a turn in the queue. `context` is that of the call; if it is not known yet, no instance that is kept
    /// for a context fits.
    ///
    /// # Errors
    /// When the queue, or the agent's share of it, is full, or the agent's code would come too late.
    pub fn enter(
        &self,
        version: &Arc<VersionRef>,
        principal: &str,
        context: Option<&str>,
    ) -> Result<Place, NoPlace> {
        if self.0.code.is_too_far(&version.digest) {
            let rejected = &self.0.metrics.rejected;
            rejected.with_label_values(&["compiling"]).inc();
            return Err(NoPlace::Compiling);
        }
        let owner = match version.isolation {
            Isolation::Shared | Isolation::Call => None,
            Isolation::Principal => Some(principal.into()),
            Isolation::Context => context.map(|context| format!("{principal}\n{context}").into()),
        };
        let place = self.0.pool.enter(version, owner);
        place.map(Place).map_err(|_refused| NoPlace::QueueFull)
    }

    /// Runs a call that has no place yet; it fails as unavailable if there is none.
    pub async fn call(&self, request: CallRequest) -> CallReport {
        let context = request.task.context_id();
        match self.enter(&request.version, &request.principal, Some(&context)) {
            Ok(place) => self.call_at(place, Box::new(request)).await,
            Err(none) => CallReport {
                result: Err(failure(FailureClass::Unavailable, &none.to_string())),
                start: None,
                ran: Duration::ZERO,
                processor: Duration::ZERO,
                fuel: None,
                memory_bytes: 0,
            },
        }
    }

    /// Runs one call to its end: an outcome, a trap, its deadline, or the task's interruption. A call that
    /// is dropped ends at its guest's next tick or wait.
    pub async fn call_at(&self, place: Place, request: Box<CallRequest>) -> CallReport {
        debug_assert_eq!(*place.0.version(), request.version);
        let inner = &self.0;
        let begun = Instant::now();
        let version = Arc::clone(&request.version);
        let deadline = begun + version.limits.deadline;
        let pace = Pace::new();
        let habit = version.usage.habits.of(&request.skill);
        let task = Arc::clone(&request.task);
        task.keep_at_most(version.limits.task_bytes);
        let run = Box::pin(Arc::clone(inner).run(place.0, request, deadline, Arc::clone(&pace)));
        let owner = lane::Owner::Agent(Arc::clone(&version));
        let mut run = Lane::new(&inner.slow_lane, owner, Arc::clone(&pace), run);
        // In a shared instance it is that which computes; the call waits for it.
        if habit.is_long() && !version.is_shared() {
            run = run.moved();
        }
        let result = tokio::select! {
            biased;
            result = &mut run => result,
            () = task.interrupted() => Err(inner.log(&version, &task, failure(
                FailureClass::Interrupted,
                "The call was interrupted: its task was canceled or the server is stopping.",
            ))),
            () = tokio::time::sleep_until(deadline.into()) => {
                Err(inner.log(&version, &task, too_late(&version.limits)))
            }
        };
        let is_costly = matches!(&result, Err(failure) if failure.is_the_agents());
        habit.ended(is_costly || pace.was_long());
        let mut report = CallReport {
            result,
            start: None,
            ran: Duration::ZERO,
            processor: pace.report(),
            fuel: pace.fuel.get().copied(),
            memory_bytes: pace.memory(),
        };
        version
            .usage
            .add(report.processor, begun.elapsed(), report.fuel);
        if let Some((entered, temperature)) = pace.entered.get() {
            let after = *entered - begun;
            inner.metrics.started(*temperature, after);
            report.start = Some((*temperature, after));
            report.ran = entered.elapsed();
        }
        report
    }

    /// Evicts the parked instances of an agent's other versions; all of them if none is active.
    pub fn retire(&self, agent: &str, active: Option<u32>) {
        let retired = self.0.pool.retire(agent, |number| Some(number) == active);
        if !retired.is_empty() {
            // Not here: to unmap what many large instances had takes long.
            tokio::task::spawn_blocking(move || retired.into_iter().for_each(Live::end_here));
        }
    }

    /// Services that every agent gets which needs them.
    pub fn grants(&self) -> &Grants {
        &self.0.config.grants
    }

    /// What a call of an agent may use that has no limits of its own.
    pub fn limits(&self) -> &Arc<CallLimits> {
        &self.0.limits
    }

    /// What the limits of a single agent do not go beyond.
    pub fn ceiling(&self) -> Ceiling {
        self.0.config.ceiling()
    }

    /// What agents have logged lately, and how their calls failed.
    pub fn logs(&self) -> &Arc<LogBook> {
        &self.0.engine.logs
    }

    /// Where an agent's calls are summed up.
    pub fn usage(&self, agent: &str) -> Arc<Usage> {
        self.0.usage.of(agent)
    }

    /// Begins an agent's sums anew: it was deleted.
    pub fn forget_usage(&self, agent: &str) {
        self.0.usage.forget(agent);
    }

    /// Drops a removed module's code from memory and disk.
    pub fn forget(&self, digest: &Digest) {
        self.0.code.forget(digest);
    }

    /// Evicts every parked instance, and keeps what is known of the use of agents. Calls must have ended before.
    pub async fn drain(&self) {
        let pool = Arc::clone(&self.0.pool);
        let evicting = tokio::task::spawn_blocking(move || pool.evict_all());
        if let Err(error) = evicting.await {
            tracing::error!(%error, "instances were not evicted");
        }
        save_popularity(&self.0).await;
    }
}

impl Inner {
    async fn run(
        self: Arc<Self>,
        place: pool::Place,
        request: Box<CallRequest>,
        deadline: Instant,
        pace: Arc<Pace>,
    ) -> Result<Outcome, CallFailure> {
        self.code.called(&request.version.digest);
        let (version, task) = (Arc::clone(&request.version), Arc::clone(&request.task));
        let inner = Arc::clone(&self);
        let result = match place.take().await {
            Acquired::Own(found) => self.run_alone(found, request, deadline, pace).await,
            // In a box of its own: it is seldom, and every call pays for what this future holds.
            shared => Box::pin(self.run_shared(shared, request, deadline, pace)).await,
        };
        // Here and not where the caller waits: agents in the slow lane may hold the log for long.
        result.map_err(|failure| inner.log(&version, &task, failure))
    }

    async fn run_alone(
        self: Arc<Self>,
        found: Found,
        request: Box<CallRequest>,
        deadline: Instant,
        pace: Arc<Pace>,
    ) -> Result<Outcome, CallFailure> {
        let owner = owner(&request);
        let bound = self.config.idle_timeout;
        let keep = request.version.isolation != Isolation::Call && !bound.is_zero();
        let (mut live, temperature) = self.find(found, &request, deadline, &pace).await?;
        pace.entered.get_or_init(|| (Instant::now(), temperature));
        let limits = Arc::clone(&request.version.limits);
        let event_bytes = request.task.event_bytes();
        let said = live
            .instance()
            .call(&self.engine, request, deadline, Arc::clone(&pace))
            .await;
        if let Some(fuel) = live.instance().fuel_used() {
            pace.fuel.get_or_init(|| fuel);
        }
        let said = said.map_err(|error| self.explain(&error, &limits))?;
        let outcome = instance::outcome(said, event_bytes).await?;
        if keep && self.is_idle(&mut live).await {
            let now = tokio::time::Instant::now();
            self.pool.park(live, owner, now, bound);
        } else {
            live.spend();
        }
        Ok(outcome)
    }

    /// Whether its guest waits for nothing and has kept no answer to a request. What it waits for would not go on while it
    /// is parked, and keep its place at a service; an answer would hold its connection and its place on the way out.
    fn is_idle(&self, live: &mut Live) -> impl Future<Output = bool> + Send + use<> {
        let state = live.instance().store.data();
        let (is_left, share) = (state.has_left_something(), state.outgoing());
        // In a box, because few send any.
        let waiting = share.map(|share| Box::pin(async move { share.is_idle().await }));
        async move {
            match waiting {
                _ if is_left => false,
                Some(waiting) => waiting.await,
                None => true,
            }
        }
    }

    async fn find(
        &self,
        found: Found,
        request: &CallRequest,
        deadline: Instant,
        pace: &Arc<Pace>,
    ) -> Result<(Live, Temperature), CallFailure> {
        let slot = match found {
            Found::Parked(live) => return Ok((live, Temperature::Hot)),
            // Resets the memory of the instance that was there before.
            Found::Room(room) => Box::pin(room.make()).await,
        };
        let (code, temperature) = self.code(&request.version).await?;
        let version = &request.version;
        let pace = Arc::clone(pace);
        let instance = Instance::start(&self.engine, &code, version, deadline, pace)
            .await
            .map_err(|error| self.explain(&error, &version.limits))?;
        Ok((slot.hold(Box::new(instance)), temperature))
    }

    async fn code(&self, version: &VersionRef) -> Result<(Code, Temperature), CallFailure> {
        let code = self.code.get(version.digest).await;
        code.map_err(|error| self.no_code(&error))
    }

    /// Gives up what is kept for later while memory is over its budget.
    fn relieve(&self) {
        let Some(budget) = self.config.memory_budget else {
            return;
        };
        let Some(resident) = (self.config.resident)() else {
            return;
        };
        let relief = relief(resident, budget, self.pool.parked());
        if relief == Relief::default() {
            return;
        }
        let evicted = self.pool.evict_oldest(relief.instances);
        let dropped = relief.code && self.code.drop_loaded();
        if evicted > 0 || dropped {
            tracing::warn!(resident, budget, evicted, "memory is over its budget");
        }
    }
}

fn owner(request: &CallRequest) -> Owner {
    match request.version.isolation {
        Isolation::Shared | Isolation::Call => None,
        Isolation::Principal => Some(request.principal.as_str().into()),
        Isolation::Context => {
            let context = request.task.context_id();
            Some(format!("{}\n{context}", request.principal).into())
        }
    }
}

/// How often idle instances and idle code are looked for, at most.
const HOUSE_TICK: Duration = Duration::from_millis(500);

/// How often the use of agents is written down.
const USAGE_EVERY: Duration = Duration::from_secs(5 * 60);

async fn save_popularity(inner: &Inner) {
    let code = Arc::clone(&inner.code);
    let saving = tokio::task::spawn_blocking(move || code.save_popularity());
    if let Err(error) = saving.await {
        tracing::warn!(%error, "how often agents are called was not written");
    }
}

/// Evicts what is idle, until the scheduler is gone.
async fn keep_house(inner: std::sync::Weak<Inner>) {
    let mut tick = tokio::time::interval(HOUSE_TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut saved = Instant::now();
    loop {
        tick.tick().await;
        let Some(inner) = inner.upgrade() else { return };
        if saved.elapsed() >= USAGE_EVERY {
            saved = Instant::now();
            save_popularity(&inner).await;
        }
        let now = tokio::time::Instant::now();
        // Not here: to unmap what many large instances had takes long.
        let tidying = tokio::task::spawn_blocking(move || {
            inner.pool.evict_idle(now);
            inner.relieve();
            inner.code.tick();
        });
        if let Err(error) = tidying.await {
            tracing::error!(%error, "what is idle was not evicted");
        }
    }
}
