//! Live instances: which are parked, who waits for one, and how many there may be.

use crate::call::VersionRef;
use crate::instance::Instance;
use crate::metrics::Metrics;
use crate::policy::{Admission, Caps, Load, admit, idle};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Whose memory an instance may hold; `None` is anybody's.
pub(crate) type Owner = Option<String>;

pub(crate) struct Pool {
    caps: Caps,
    metrics: Arc<Metrics>,
    state: Mutex<State>,
}

/// Parked instances in the order of their last use; the counter tells apart equal times.
type Stamp = (Instant, u64);

#[derive(Default)]
struct State {
    parked: HashMap<Arc<VersionRef>, Vec<Parked>>,
    by_use: BTreeMap<Stamp, Arc<VersionRef>>,
    live: usize,
    agents: HashMap<String, AgentLoad>,
    waiters: VecDeque<Waiter>,
    stamps: u64,
}

/// A call that waits for an instance of its agent.
struct Waiter {
    agent: String,
    wake: oneshot::Sender<()>,
}

#[derive(Default, Clone, Copy)]
struct AgentLoad {
    live: usize,
    parked: usize,
}

struct Parked {
    stamp: Stamp,
    owner: Owner,
    live: Live,
}

/// An instance in its place of the pool. Dropping it frees both.
pub(crate) struct Live {
    pub(crate) instance: Instance,
    pub(crate) slot: Slot,
}

/// The right to have one live instance of a version.
pub(crate) struct Slot {
    pool: Arc<Pool>,
    version: Arc<VersionRef>,
}

pub(crate) enum Acquired {
    Parked(Live),
    /// Nothing fits: start an instance in this place.
    Room(Slot),
}

/// The queue is full.
#[derive(Debug)]
pub(crate) struct Refused;

enum Step {
    Done(Acquired),
    Evict(Live, Slot),
    Wait(oneshot::Receiver<()>),
    Refused,
}

impl Pool {
    pub(crate) fn new(caps: Caps, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            caps,
            metrics,
            state: Mutex::default(),
        })
    }

    /// A parked instance that fits, or room for a new one; waits while there is neither.
    pub(crate) async fn acquire(
        self: &Arc<Self>,
        version: &Arc<VersionRef>,
        owner: &Owner,
    ) -> Result<Acquired, Refused> {
        loop {
            match self.step(version, owner) {
                Step::Done(acquired) => return Ok(acquired),
                Step::Evict(evicted, slot) => {
                    // Outside the lock: dropping an instance resets its memory. Its own slot is
                    // freed by the drop, and the new one was counted before.
                    drop(evicted);
                    self.metrics.evicted("capacity", 1);
                    return Ok(Acquired::Room(slot));
                }
                Step::Wait(woken) => {
                    let _queued = Queued::new(&self.metrics);
                    // An error means that the pool forgot this waiter: look again all the same.
                    let _woken = woken.await;
                }
                Step::Refused => {
                    self.metrics
                        .rejected
                        .with_label_values(&["queue_full"])
                        .inc();
                    return Err(Refused);
                }
            }
        }
    }

    fn step(self: &Arc<Self>, version: &Arc<VersionRef>, owner: &Owner) -> Step {
        let mut state = self.lock();
        if let Some(live) = state.take_fitting(version, owner) {
            self.metrics.parked.dec();
            self.metrics.busy.inc();
            return Step::Done(Acquired::Parked(live));
        }
        let mut admission = admit(self.caps, state.load(&version.agent));
        if admission == Admission::Refuse {
            // Calls that ended while they waited still stand in the queue.
            state.waiters.retain(|waiter| !waiter.wake.is_closed());
            admission = admit(self.caps, state.load(&version.agent));
        }
        let evicted = match admission {
            Admission::Start => None,
            Admission::EvictAny => state.take_oldest(|_| true),
            Admission::EvictOwn => state.take_oldest(|parked| parked.agent == version.agent),
            Admission::Wait => {
                let (wake, woken) = oneshot::channel();
                let agent = version.agent.clone();
                state.waiters.push_back(Waiter { agent, wake });
                return Step::Wait(woken);
            }
            Admission::Refuse => return Step::Refused,
        };
        state.live += 1;
        state.agents.entry(version.agent.clone()).or_default().live += 1;
        self.metrics.busy.inc();
        let slot = Slot {
            pool: Arc::clone(self),
            version: Arc::clone(version),
        };
        match evicted {
            None => Step::Done(Acquired::Room(slot)),
            Some(live) => {
                self.metrics.parked.dec();
                self.metrics.busy.inc();
                Step::Evict(live, slot)
            }
        }
    }

    /// Keeps an instance for the next call of its version.
    pub(crate) fn park(&self, live: Live, owner: Owner, now: Instant) {
        let mut state = self.lock();
        state.stamps += 1;
        let stamp = (now, state.stamps);
        let version = Arc::clone(&live.slot.version);
        if let Some(load) = state.agents.get_mut(&version.agent) {
            load.parked += 1;
        }
        state.by_use.insert(stamp, Arc::clone(&version));
        state
            .parked
            .entry(version)
            .or_default()
            .push(Parked { stamp, owner, live });
        self.metrics.parked.inc();
        self.metrics.busy.dec();
        state.wake_one(self.caps);
    }

    /// Evicts what nobody has called for `timeout`. Also wakes a waiter if there is room, so that
    /// one whose wake-up was lost with its call does not hold up the others.
    pub(crate) fn evict_idle(&self, now: Instant, timeout: Duration) {
        let mut evicted = Vec::new();
        let mut state = self.lock();
        let count = idle(state.by_use.keys().map(|(used, _)| *used), now, timeout);
        for _ in 0..count {
            evicted.extend(state.take_oldest(|_| true));
        }
        state.wake_one(self.caps);
        drop(state);
        self.drop_parked("idle", evicted);
    }

    /// Evicts the parked instances of every version of an agent that `keep` refuses.
    pub(crate) fn retire(&self, agent: &str, keep: impl Fn(u32) -> bool) {
        let mut evicted = Vec::new();
        let mut state = self.lock();
        while let Some(live) =
            state.take_oldest(|version| version.agent == agent && !keep(version.number))
        {
            evicted.push(live);
        }
        drop(state);
        self.drop_parked("replaced", evicted);
    }

    fn drop_parked(&self, reason: &'static str, evicted: Vec<Live>) {
        let count = evicted.len();
        self.metrics.parked.sub(count as i64);
        // The slots count down busy when they drop, like those of any other instance.
        self.metrics.busy.add(count as i64);
        drop(evicted);
        if count > 0 {
            self.metrics.evicted(reason, count);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take_fitting(&mut self, version: &Arc<VersionRef>, owner: &Owner) -> Option<Live> {
        let parked = self.parked.get_mut(version)?;
        // The newest first: its memory is the likeliest to be in the processor's cache.
        let place = parked
            .iter()
            .rposition(|candidate| candidate.owner == *owner)?;
        let found = parked.remove(place);
        self.forget_parked(&found.stamp, version);
        Some(found.live)
    }

    fn take_oldest(&mut self, fits: impl Fn(&VersionRef) -> bool) -> Option<Live> {
        let (stamp, version) = self
            .by_use
            .iter()
            .find(|(_, version)| fits(version))
            .map(|(stamp, version)| (*stamp, Arc::clone(version)))?;
        let parked = self.parked.get_mut(&version)?;
        let place = parked
            .iter()
            .position(|candidate| candidate.stamp == stamp)?;
        let found = parked.remove(place);
        self.forget_parked(&stamp, &version);
        Some(found.live)
    }

    fn forget_parked(&mut self, stamp: &Stamp, version: &Arc<VersionRef>) {
        self.by_use.remove(stamp);
        if self.parked.get(version).is_some_and(Vec::is_empty) {
            self.parked.remove(version);
        }
        if let Some(load) = self.agents.get_mut(&version.agent) {
            load.parked -= 1;
        }
    }

    fn load(&self, agent: &str) -> Load {
        let own = self.agents.get(agent).copied().unwrap_or_default();
        Load {
            live: self.live,
            live_of_agent: own.live,
            parked: self.by_use.len(),
            parked_of_agent: own.parked,
            waiting: self.waiters.len(),
        }
    }

    /// Wakes the first waiter that would not have to wait again.
    fn wake_one(&mut self, caps: Caps) {
        let can_go = |state: &Self, waiter: &Waiter| {
            let admission = admit(caps, state.load(&waiter.agent));
            !matches!(admission, Admission::Wait | Admission::Refuse)
        };
        while let Some(place) = (self.waiters.iter()).position(|waiter| can_go(self, waiter))
            && let Some(waiter) = self.waiters.remove(place)
        {
            // A waiter that has given up no longer listens.
            if waiter.wake.send(()).is_ok() {
                return;
            }
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        state.live -= 1;
        if let Some(load) = state.agents.get_mut(&self.version.agent) {
            load.live -= 1;
            if load.live == 0 {
                state.agents.remove(&self.version.agent);
            }
        }
        state.wake_one(self.pool.caps);
        drop(state);
        self.pool.metrics.busy.dec();
    }
}

/// Counts a waiting call for as long as it waits.
struct Queued<'a>(&'a Metrics);

impl<'a> Queued<'a> {
    fn new(metrics: &'a Metrics) -> Self {
        metrics.queue_depth.inc();
        Self(metrics)
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.queue_depth.dec();
    }
}
