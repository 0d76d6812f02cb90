//! Where a guest runs. A call begins in the future of its caller, without the cost of a task. One whose
//! guest keeps that thread for a whole tick moves to the slow lane: threads of low priority of their
//! own, where agents take turns (`turns.rs`). So what computes for long holds up neither the event loops nor the calls
//! that are quick, nor those of other agents that compute (docs/decisions/0011). A call of a skill that is known for it (`habit.rs`) begins there.

use crate::call::{Temperature, VersionRef};
use crate::engine::TICK;
use crate::turns::{self, Joined, Turns};
use dormouse_filters::spent::{nanos, processor_time};
use futures_util::task::AtomicWaker;
use rustix::process::setpriority_process;
use std::cell::Cell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// The lowest priority that there is. The kernel gives it about a sixtieth of a core that others want, and
/// all of one that nobody wants.
const NICE: i32 = 19;

/// Puts the calling thread behind all others, for good.
pub(crate) fn give_way() {
    // On Linux this is the priority of the thread that asks, not of its process.
    if let Err(error) = setpriority_process(None, NICE) {
        tracing::warn!(%error, "long computations will not give way to others");
    }
}

thread_local! {
    static MAY_BE_HELD_UP: Cell<bool> = const { Cell::new(false) };
}

/// Whether this is a thread of a lane: what takes long may be done here at once.
pub(crate) fn may_be_held_up() -> bool {
    MAY_BE_HELD_UP.get()
}

/// The threads for guests that compute for long.
pub(crate) struct SlowLane(Turns);

/// Whose turn work in a lane takes.
#[derive(Clone)]
pub(crate) enum Owner {
    Agent(Arc<VersionRef>),
    /// Modules that are asked for their agents, which nobody owns yet.
    Deploys,
    /// By its name.
    Filter(Arc<str>),
}

impl Owner {
    fn name(&self) -> &str {
        match self {
            Self::Agent(version) => &version.agent,
            // No agent and no filter has such a name. Agents and filters are in lanes of their own.
            Self::Deploys => "(deploys)",
            Self::Filter(name) => name,
        }
    }
}

impl SlowLane {
    /// # Errors
    /// When the system gives no more threads.
    pub(crate) fn start() -> io::Result<Self> {
        Self::of("slow-lane", || {
            give_way();
            MAY_BE_HELD_UP.set(true);
        })
    }

    /// Another one, for filters. It does not give way: a request waits for each of them, a filter has little time by the
    /// clock, and its breaker opens when it uses that up again and again.
    ///
    /// # Errors
    /// As of [`start`](Self::start).
    pub(crate) fn of_filters() -> io::Result<Self> {
        Self::of("filter-lane", || MAY_BE_HELD_UP.set(true))
    }

    fn of(name: &str, begin: fn()) -> io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Turns::start(name, cores, begin).map(Self)
    }
}

/// Set in [`Pace::used`] when it was reported. Nanoseconds come so far in three centuries.
const REPORTED: u64 = 1 << 63;

const WAITS: u8 = 0;
const BEGUN: u8 = 1;
const GIVEN_UP: u8 = 2;

/// What is known of a call from outside, wherever it runs, and also after it was dropped in the middle.
/// Its future and the clock callback of its guest share it.
pub(crate) struct Pace {
    /// When the guest function was entered, and how the instance was had.
    pub(crate) entered: OnceLock<(Instant, Temperature)>,
    /// Fuel that the guest function has used, once it has ended.
    pub(crate) fuel: OnceLock<u64>,
    /// Bytes of linear memory that its instance had at most while the call was in it.
    memory: AtomicU64,
    /// How the instance was had, when that is known before the guest function is entered.
    pub(crate) temperature: OnceLock<Temperature>,
    epoch: Instant,
    /// Nanoseconds of the clock at which the poll in progress has begun.
    polled_at: AtomicU64,
    /// Nanoseconds that polls before it have taken, and [`REPORTED`].
    used: AtomicU64,
    /// The guest has kept its thread for a whole tick.
    spent: AtomicBool,
    slow: AtomicBool,
    /// Nanoseconds used when the call moved to the slow lane.
    used_before: AtomicU64,
    polling: AtomicBool,
    woken: AtomicBool,
    /// Calls that entered a shared instance, of the pace of that.
    calls: AtomicU64,
    /// Of a call in a shared instance: [`WAITS`], [`BEGUN`] or [`GIVEN_UP`].
    stage: AtomicU8,
    /// There is no guest's clock that says so: a poll that takes a tick is long.
    by_polls: bool,
    caller: AtomicWaker,
}

impl Pace {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self::fresh(false))
    }

    /// Of work that is long when a single poll of it is.
    pub(crate) fn of_polls() -> Arc<Self> {
        Arc::new(Self::fresh(true))
    }

    fn fresh(by_polls: bool) -> Self {
        Self {
            entered: OnceLock::new(),
            fuel: OnceLock::new(),
            memory: AtomicU64::new(0),
            temperature: OnceLock::new(),
            epoch: Instant::now(),
            polled_at: AtomicU64::new(0),
            used: AtomicU64::new(0),
            spent: AtomicBool::new(false),
            slow: AtomicBool::new(false),
            used_before: AtomicU64::new(0),
            polling: AtomicBool::new(false),
            woken: AtomicBool::new(false),
            calls: AtomicU64::new(0),
            stage: AtomicU8::new(WAITS),
            by_polls,
            caller: AtomicWaker::new(),
        }
    }

    /// Asked at a tick: whether the guest has had its thread for a tick, and must let others run.
    pub(crate) fn must_yield(&self) -> bool {
        let is_long = self.poll_so_far() >= TICK || self.slow.load(Ordering::Relaxed);
        if is_long {
            self.spent.store(true, Ordering::Relaxed);
        }
        is_long
    }

    /// The processor time of the call in the polls that have ended; a poll of a guest ends at every tick. In the slow
    /// lane it is measured; before that it is the time that polls took, which differs when the kernel lets others run
    /// in between.
    pub(crate) fn used_in_polls(&self) -> Duration {
        Duration::from_nanos(self.used.load(Ordering::Relaxed) & !REPORTED)
    }

    /// The instance of the call has so many bytes of linear memory. It never has fewer again.
    pub(crate) fn has_memory(&self, bytes: usize) {
        self.memory.store(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn memory(&self) -> u64 {
        self.memory.load(Ordering::Relaxed)
    }

    /// The processor time at the end of the call, for its report. What is charged from now on comes too late for that.
    pub(crate) fn report(&self) -> Duration {
        let used = self.used.fetch_or(REPORTED, Ordering::Relaxed);
        Duration::from_nanos(used & !REPORTED)
    }

    /// The same with the poll in progress, for the thread that is in it.
    pub(crate) fn used(&self) -> Duration {
        let used = self.used_in_polls();
        if self.polling.load(Ordering::Relaxed) {
            used + self.poll_so_far()
        } else {
            used
        }
    }

    /// Whether the call has done more in the slow lane than end there: one that the kernel made late has nearly ended
    /// when it moves. Of a shared instance, whether its calls have, one with another.
    pub(crate) fn was_long(&self) -> bool {
        let before = Duration::from_nanos(self.used_before.load(Ordering::Relaxed));
        let used = nanos(self.used_in_polls().saturating_sub(before));
        let calls = self.calls.load(Ordering::Relaxed).max(1);
        self.slow.load(Ordering::Relaxed) && used / calls >= nanos(TICK / 4)
    }

    /// Whether a shared instance is in the slow lane although its calls are short, one with another.
    pub(crate) fn is_misplaced(&self) -> bool {
        self.slow.load(Ordering::Relaxed) && !self.was_long()
    }

    /// A call has entered the shared instance that this is the pace of.
    pub(crate) fn count_call(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds processor time that was used for the call elsewhere. Returns what comes too late for its report.
    pub(crate) fn charge(&self, time: Duration) -> Duration {
        let before = self.used.fetch_add(nanos(time), Ordering::Relaxed);
        if before & REPORTED == 0 {
            Duration::ZERO
        } else {
            time
        }
    }

    /// Asked by who puts the call into a shared instance. `false`: it was given up before.
    pub(crate) fn begin(&self) -> bool {
        let (success, failure) = (Ordering::Relaxed, Ordering::Relaxed);
        let begun = self.stage.compare_exchange(WAITS, BEGUN, success, failure);
        begun.is_ok()
    }

    /// Nobody waits for the call any more. Whether it had begun in a shared instance; else it will not.
    pub(crate) fn give_up(&self) -> bool {
        self.stage.swap(GIVEN_UP, Ordering::Relaxed) == BEGUN
    }

    pub(crate) fn is_given_up(&self) -> bool {
        self.stage.load(Ordering::Relaxed) == GIVEN_UP
    }

    /// How long the poll in progress has taken.
    pub(crate) fn poll_so_far(&self) -> Duration {
        let begun = self.polled_at.load(Ordering::Relaxed);
        Duration::from_nanos(self.clock().saturating_sub(begun))
    }

    fn clock(&self) -> u64 {
        let now = if self.slow.load(Ordering::Relaxed) {
            processor_time()
        } else {
            self.epoch.elapsed()
        };
        nanos(now)
    }

    fn begin_poll(&self) {
        self.polled_at.store(self.clock(), Ordering::Relaxed);
        self.woken.store(false, Ordering::SeqCst);
        self.polling.store(true, Ordering::SeqCst);
    }

    /// Whether somebody has woken the call in the meantime.
    fn end_poll(&self) -> bool {
        self.polling.store(false, Ordering::SeqCst);
        let took = self.poll_so_far();
        // Of a call that was given up in this poll it is a tick at most.
        let _late = self.charge(took);
        if self.by_polls && took >= TICK {
            self.spent.store(true, Ordering::Relaxed);
        }
        self.woken.load(Ordering::SeqCst)
    }
}

/// A wake-up during a poll, which wasmtime gives itself several times in a call, is kept until the poll
/// has ended: most calls have then, too. Passed on at once, it would have the runtime poll the whole
/// connection again, on another thread.
impl Wake for Pace {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::SeqCst);
        if !self.polling.load(Ordering::SeqCst) {
            self.caller.wake();
        }
    }
}

/// A call, wherever it runs. Dropping it ends the call at its guest's next tick or wait.
pub(crate) struct Lane<T: Send + 'static> {
    place: Place<T>,
    pace: Arc<Pace>,
    slow: turns::Handle,
    owner: Owner,
}

/// In a box from the beginning: what is large is not copied on its way here.
pub(crate) type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;

enum Place<T> {
    /// With its caller.
    Here(Work<T>),
    Slow(Joined<T>),
    Done,
}

impl<T: Send + 'static> Lane<T> {
    pub(crate) fn new(lane: &SlowLane, owner: Owner, pace: Arc<Pace>, work: Work<T>) -> Self {
        Self {
            place: Place::Here(work),
            pace,
            slow: lane.0.handle().clone(),
            owner,
        }
    }

    /// As one that has spent its first tick.
    pub(crate) fn moved(mut self) -> Self {
        self.move_over();
        self
    }

    fn poll_here(&mut self, cx: &mut Context<'_>) -> Poll<T> {
        let Place::Here(work) = &mut self.place else {
            return Poll::Pending;
        };
        self.pace.caller.register(cx.waker());
        let waker = Waker::from(Arc::clone(&self.pace));
        self.pace.begin_poll();
        let poll = work.as_mut().poll(&mut Context::from_waker(&waker));
        let woken = self.pace.end_poll();
        if poll.is_ready() {
            self.place = Place::Done;
        } else if self.pace.spent.load(Ordering::Relaxed) {
            self.move_over();
        } else if woken {
            cx.waker().wake_by_ref();
        }
        poll
    }

    fn move_over(&mut self) {
        let Place::Here(work) = std::mem::replace(&mut self.place, Place::Done) else {
            return;
        };
        let used = nanos(self.pace.used_in_polls());
        self.pace.used_before.store(used, Ordering::Relaxed);
        self.pace.slow.store(true, Ordering::Relaxed);
        let slow = Slow {
            work,
            pace: Arc::clone(&self.pace),
            caller: Handle::current(),
        };
        self.place = Place::Slow(self.slow.spawn(self.owner.name(), slow));
    }
}

impl<T: Send + 'static> Future for Lane<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let this = &mut *self;
        if let Poll::Ready(done) = this.poll_here(cx) {
            return Poll::Ready(done);
        }
        let Place::Slow(task) = &mut this.place else {
            return Poll::Pending;
        };
        match ready!(Pin::new(task).poll(cx)) {
            Ok(done) => Poll::Ready(done),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

impl<T: Send + 'static> Drop for Lane<T> {
    fn drop(&mut self) {
        if let Place::Slow(task) = &self.place {
            task.abort();
        }
    }
}

/// A call in the slow lane.
struct Slow<T> {
    work: Work<T>,
    pace: Arc<Pace>,
    /// What the call spawns and waits for belongs to the runtime that it came from.
    caller: Handle,
}

impl<T> Future for Slow<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let this = &mut *self;
        let _entered = this.caller.enter();
        this.pace.begin_poll();
        let poll = this.work.as_mut().poll(cx);
        this.pace.end_poll();
        poll
    }
}

#[cfg(test)]
#[path = "lane_tests.rs"]
mod tests;
