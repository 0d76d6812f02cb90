//! Where modules are compiled: on threads of their own, which live while there is work, in two lanes. What
//! somebody waits for (an upload, a call) comes first, at the usual priority; what is only missing comes when
//! nobody else wants the processor (docs/decisions/0015).

use crate::code::{CodeError, unless_short};
use crate::code_files::CodeFiles;
use crate::config::CallLimits;
use crate::deploy::{DeployError, lift};
use crate::engine::Engine;
use crate::lane::give_way;
use crate::metrics::Metrics;
use crate::snapshot::initialised;
use bytes::Bytes;
use dormouse_store::{Digest, ModuleStore};
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::oneshot;

/// Modules that somebody waits for, after which a call for one more is refused. Compiling takes about a second for
/// a large module, so a later one would pass its deadline in the queue.
const MAX_AWAITED: usize = 64;

/// Bytes of a module that is not to wait behind larger ones. Some tens of megabytes compile for half a minute.
const SMALL: usize = 1 << 20;

/// Threads that share the functions of one module. More of them gain little, and hold memory.
const MAX_THREADS: usize = 8;

/// What becomes of a module: whether it had to be compiled.
pub(crate) type Made = Result<bool, CodeError>;

/// The queue of modules to compile. Dropping it ends its threads after what they are at.
pub(crate) struct Compiler(Arc<Shared>);

/// What turns a module into a file of compiled code.
pub(crate) struct Workshop {
    pub(crate) engine: Arc<Engine>,
    pub(crate) limits: CallLimits,
    pub(crate) files: Arc<CodeFiles>,
    pub(crate) modules: Arc<dyn ModuleStore>,
    pub(crate) metrics: Arc<Metrics>,
}

struct Shared {
    workshop: Workshop,
    /// Modules compiled at a time for somebody who waits.
    workers: usize,
    /// Length of the queue of modules that somebody waits for.
    awaited: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By module, until its code is there.
    jobs: HashMap<Digest, Job>,
    awaited: VecDeque<Digest>,
    missing: VecDeque<Digest>,
    /// Running threads by lane.
    running: [usize; 3],
    stopped: bool,
}

/// Where the bytes of a module are that somebody waits for.
pub(crate) enum Source {
    Upload(Bytes),
    /// In the store, which says how many there are.
    Store(u64),
}

impl Source {
    fn is_small(&self) -> bool {
        match self {
            Self::Upload(bytes) => bytes.len() <= SMALL,
            Self::Store(bytes) => *bytes <= SMALL as u64,
        }
    }
}

#[derive(Default)]
struct Job {
    /// `None`: they are in the store.
    bytes: Option<Bytes>,
    is_small: bool,
    is_awaited: bool,
    tell: Vec<oneshot::Sender<Made>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lane {
    /// Somebody waits.
    Awaited,
    /// Somebody waits for a small module, and the threads for all that is awaited are at others.
    Small,
    /// At the lowest priority.
    Missing,
}

impl Compiler {
    pub(crate) fn new(workshop: Workshop, workers: usize) -> Self {
        Self(Arc::new(Shared {
            workshop,
            workers: workers.max(1),
            awaited: AtomicUsize::new(0),
            state: Mutex::default(),
        }))
    }

    /// Compiles a module before all that nobody waits for, be it queued already or not.
    pub(crate) fn soon(&self, digest: Digest, source: Source) -> oneshot::Receiver<Made> {
        let mut state = self.0.lock();
        let told = state.soon(digest, source);
        let are_busy = state.running[Lane::Awaited as usize] >= self.0.workers;
        self.0.start(&mut state, Lane::Awaited);
        if are_busy {
            self.0.start(&mut state, Lane::Small);
        }
        told
    }

    /// Compiles these modules, in this order, when nobody waits for another.
    pub(crate) fn later(&self, digests: &[Digest]) -> Vec<oneshot::Receiver<Made>> {
        let mut state = self.0.lock();
        let all = digests.iter().map(|digest| state.later(*digest));
        let all = all.collect();
        self.0.start(&mut state, Lane::Missing);
        all
    }

    /// Whether so much is awaited that one more module would come too late. Those that are awaited already are
    /// welcome. Takes no lock while little is awaited.
    pub(crate) fn is_swamped(&self, digest: &Digest) -> bool {
        self.0.awaited.load(Ordering::Relaxed) >= MAX_AWAITED && !self.0.lock().is_awaited(digest)
    }
}

impl Drop for Compiler {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        let State { jobs, missing, .. } = &mut *state;
        jobs.clear();
        missing.clear();
        state.awaited.clear();
        state.stopped = true;
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to it that somebody works in a lane.
    fn start(self: &Arc<Self>, state: &mut State, lane: Lane) {
        self.count(state);
        let (most, queued) = match lane {
            Lane::Awaited => (self.workers, state.awaited.len()),
            Lane::Small => (1, usize::from(state.small().is_some())),
            Lane::Missing => (1, state.missing.len()),
        };
        let running = &mut state.running[lane as usize];
        if *running >= most || queued == 0 {
            return;
        }
        let shared = Arc::clone(self);
        let thread = std::thread::Builder::new().name("compile".into());
        match thread.spawn(move || shared.work(lane)) {
            Ok(_runs_by_itself) => *running += 1,
            // Somebody else is at it, and comes to these later.
            Err(_) if *running > 0 || lane == Lane::Small => {}
            Err(error) => self.fail_all(state, lane, &error),
        }
    }

    /// No thread could be had for a lane, so nobody would ever tell those who wait.
    fn fail_all(&self, state: &mut State, lane: Lane, error: &io::Error) {
        let queue = match lane {
            Lane::Awaited | Lane::Small => &mut state.awaited,
            Lane::Missing => &mut state.missing,
        };
        let shortage = CodeError::Compile(Arc::new(DeployError::Shortage(error.to_string())));
        for job in queue
            .drain(..)
            .filter_map(|digest| state.jobs.remove(&digest))
        {
            job.tell_all(&Err(shortage.clone()));
        }
        self.count(state);
    }

    fn work(self: Arc<Self>, lane: Lane) {
        if lane == Lane::Missing {
            give_way();
        }
        let pool = pool(lane);
        while let Some((digest, bytes)) = self.next(lane) {
            let make = || self.workshop.make(digest, bytes);
            let made = catch_unwind(AssertUnwindSafe(|| match &pool {
                Ok(pool) => pool.install(make),
                Err(_no_threads) => make(),
            }));
            self.done(digest, &made.unwrap_or(Err(CodeError::Died)));
        }
    }

    /// The next module of a lane. `None` ends its thread.
    fn next(&self, lane: Lane) -> Option<(Digest, Option<Bytes>)> {
        let mut state = self.lock();
        let next = state.next(lane);
        if next.is_none() {
            state.running[lane as usize] -= 1;
        }
        self.count(&state);
        next
    }

    fn done(&self, digest: Digest, made: &Made) {
        let mut state = self.lock();
        let job = state.jobs.remove(&digest);
        self.count(&state);
        drop(state);
        if let Some(job) = job {
            job.tell_all(made);
        }
    }

    fn count(&self, state: &State) {
        self.awaited.store(state.awaited.len(), Ordering::Relaxed);
        let pending = i64::try_from(state.jobs.len()).unwrap_or(i64::MAX);
        self.workshop.metrics.compiles_pending.set(pending);
    }
}

impl State {
    fn soon(&mut self, digest: Digest, source: Source) -> oneshot::Receiver<Made> {
        let (tell, told) = oneshot::channel();
        if self.stopped {
            return told;
        }
        let job = self.jobs.entry(digest).or_default();
        job.tell.push(tell);
        job.is_small = source.is_small();
        if let Source::Upload(bytes) = source {
            job.bytes = Some(bytes);
        }
        if !std::mem::replace(&mut job.is_awaited, true) {
            self.awaited.push_back(digest);
        }
        told
    }

    fn later(&mut self, digest: Digest) -> oneshot::Receiver<Made> {
        let (tell, told) = oneshot::channel();
        if self.stopped {
            return told;
        }
        let job = self.jobs.entry(digest).or_default();
        if job.tell.is_empty() {
            self.missing.push_back(digest);
        }
        job.tell.push(tell);
        told
    }

    /// Of what is in both lanes, whoever is first does it, and the slow lane leaves it to the other.
    fn next(&mut self, lane: Lane) -> Option<(Digest, Option<Bytes>)> {
        loop {
            let digest = match lane {
                Lane::Awaited => self.awaited.pop_front(),
                Lane::Small => self.small().and_then(|place| self.awaited.remove(place)),
                Lane::Missing => self.missing.pop_front(),
            }?;
            if let Some(job) = self.jobs.get(&digest)
                && (lane != Lane::Missing || !job.is_awaited)
            {
                return Some((digest, job.bytes.clone()));
            }
        }
    }

    /// The place in the line of the first module that is small.
    fn small(&self) -> Option<usize> {
        let is_small = |digest| self.jobs.get(digest).is_some_and(|job| job.is_small);
        self.awaited.iter().position(is_small)
    }

    fn is_awaited(&self, digest: &Digest) -> bool {
        self.jobs.get(digest).is_some_and(|job| job.is_awaited)
    }
}

impl Job {
    fn tell_all(self, made: &Made) {
        for tell in self.tell {
            // Who does not wait any more need not know.
            let _left = tell.send(made.clone());
        }
    }
}

/// The threads among which the functions of a module are shared.
fn pool(lane: Lane) -> Result<ThreadPool, rayon::ThreadPoolBuildError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    ThreadPoolBuilder::new()
        .num_threads(cores.min(MAX_THREADS))
        .thread_name(|_| "compile".into())
        .start_handler(move |_| {
            if lane == Lane::Missing {
                give_way();
            }
        })
        .build()
}

impl Workshop {
    /// Compiles a module unless there is whole code of it.
    fn make(&self, digest: Digest, bytes: Option<Bytes>) -> Made {
        if self.files.is_whole(&digest) {
            return Ok(false);
        }
        let is_stored = bytes.is_none();
        let bytes = match bytes {
            Some(bytes) => bytes,
            None => {
                let found = self.modules.get(&digest);
                let found = found.map_err(|error| CodeError::Store(Arc::new(error)))?;
                found.ok_or(CodeError::Missing(digest))?.into()
            }
        };
        let compiled = self.compile(digest, &bytes);
        compiled.map_err(|error| CodeError::Compile(Arc::new(error)))?;
        // A module that was removed in the meantime leaves no code behind.
        if is_stored && matches!(self.modules.size(&digest), Ok(None)) {
            self.files.remove(&digest);
            return Err(CodeError::Missing(digest));
        }
        Ok(true)
    }

    fn compile(&self, digest: Digest, bytes: &[u8]) -> Result<(), DeployError> {
        let begun = Instant::now();
        let module = initialised(&self.engine, &self.limits, bytes)?;
        let component = lift(&module)?;
        let compiled = self.engine.wasmtime.precompile_component(&component);
        let code = compiled.map_err(|e| unless_short(&e, DeployError::Compile))?;
        self.files.write(&digest, &code)?;
        self.metrics.compiles.inc();
        let took = begun.elapsed().as_secs_f64();
        self.metrics.compile_seconds.observe(took);
        Ok(())
    }
}

#[cfg(test)]
#[path = "compile_tests.rs"]
mod tests;
