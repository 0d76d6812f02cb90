//! Live instances: which are parked, who waits for one, and how many there may be.
//!
//! What becomes free is handed to whoever waits for it under the same lock, so nobody waits while there is
//! room for it, and nobody who comes later gets ahead. An instance is only ever dropped outside the lock.

mod place;
mod seats;

use crate::call::VersionRef;
use crate::instance::Instance;
use crate::keep_alive::Rhythms;
use crate::metrics::{Ended, Metrics};
use crate::policy::{Admission, Caps, Load, admit};
use crate::queue::FairQueue;
use crate::shared::Message;
pub(crate) use place::{Acquired, Found, Lead, Live, Place, Room, Seat, Slot};
use place::{Has, Queued};
use seats::Seats;
use std::collections::{BTreeMap, HashMap};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Whose memory an instance may hold; `None` is anybody's.
pub(crate) type Owner = Option<String>;

/// The queue is full, or the agent's share of it.
#[derive(Debug)]
pub(crate) struct Refused;

pub(crate) struct Pool<I = Box<Instance>> {
    caps: Caps,
    metrics: Arc<Metrics>,
    state: Mutex<State<I>>,
}

/// A time, and a counter that tells apart equal times.
type Stamp = (Instant, u64);

struct State<I> {
    parked: HashMap<Arc<VersionRef>, Vec<Parked<I>>>,
    /// Parked instances in the order of their last use, and of the end of their keep-alive.
    by_use: BTreeMap<Stamp, Arc<VersionRef>>,
    by_end: BTreeMap<Stamp, Stamp>,
    /// Places that are taken, by parked and busy instances and by those that start.
    live: usize,
    agents: HashMap<String, AgentLoad>,
    /// Busy instances that calls may join.
    seats: Seats<Message>,
    waiters: FairQueue<Waiter<I>>,
    rhythms: Rhythms,
    stamps: u64,
}

#[derive(Default, Clone, Copy)]
struct AgentLoad {
    live: usize,
    parked: usize,
    /// Instances that its last call allowed it, if it has a limit of its own.
    most: Option<usize>,
}

struct Waiter<I> {
    version: Arc<VersionRef>,
    owner: Owner,
    give: oneshot::Sender<Acquired<I>>,
    _queued: Queued,
}

struct Parked<I> {
    used: Stamp,
    end: Stamp,
    owner: Owner,
    live: Live<I>,
}

impl<I> Pool<I> {
    pub(crate) fn new(caps: Caps, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            caps,
            metrics,
            state: Mutex::new(State::new()),
        })
    }

    /// A place for a call: with a parked instance that fits, or room for a new one, or in the queue.
    pub(crate) fn enter(
        self: &Arc<Self>,
        version: &Arc<VersionRef>,
        owner: Owner,
    ) -> Result<Place<I>, Refused> {
        let mut state = self.lock();
        state.rhythms.called(&version.agent, Instant::now());
        if state.allow(version) {
            state.serve_waiters(self);
        }
        let has = if let Some(acquired) = state.serve(self, version, &owner) {
            Has::Given(acquired)
        } else if admit(self.caps, state.load(&version.agent)) == Admission::Wait {
            let (give, given) = oneshot::channel();
            let waiter = Waiter {
                version: Arc::clone(version),
                owner: owner.clone(),
                give,
                _queued: Queued::new(&self.metrics),
            };
            Has::Turn {
                number: state.waiters.push(&version.agent, waiter),
                given,
            }
        } else {
            drop(state);
            let reason = ["queue_full"];
            self.metrics.rejected.with_label_values(&reason).inc();
            return Err(Refused);
        };
        drop(state);
        Ok(Place {
            pool: Arc::clone(self),
            version: Arc::clone(version),
            owner,
            has,
        })
    }

    /// Keeps an instance for the next call of its version, for so long at most: its agent's rhythm may say less.
    pub(crate) fn park(
        self: &Arc<Self>,
        live: Live<I>,
        owner: Owner,
        now: Instant,
        bound: Duration,
    ) {
        let over = self.lock().park(self, live, owner, now, bound);
        drop(over);
    }

    /// Evicts what nobody has called for the time that it was to be kept.
    pub(crate) fn evict_idle(&self, now: Instant) {
        self.evict(Ended::Idle, |state| {
            let (end, used) = state.by_end.first_key_value()?;
            (end.0 <= now).then_some(*used)
        });
    }

    /// Evicts every parked instance.
    pub(crate) fn evict_all(&self) {
        self.evict(Ended::Idle, |state| {
            state.by_use.first_key_value().map(|(used, _)| *used)
        });
    }

    /// Evicts so many parked instances, the least recently used first. Returns how many there were.
    pub(crate) fn evict_oldest(&self, count: usize) -> usize {
        let mut left = count;
        self.evict(Ended::Pressure, |state| {
            left = left.checked_sub(1)?;
            state.by_use.first_key_value().map(|(used, _)| *used)
        })
    }

    /// Evicts the parked instances of every version of an agent that `keep` refuses. They end when they are dropped.
    #[must_use]
    pub(crate) fn retire(&self, agent: &str, keep: impl Fn(u32) -> bool) -> Vec<Live<I>> {
        self.take_all(Ended::Replaced, |state| {
            state.oldest(|version| version.agent == agent && !keep(version.number))
        })
    }

    /// Parked instances.
    pub(crate) fn parked(&self) -> usize {
        self.lock().by_use.len()
    }

    fn evict(&self, end: Ended, which: impl FnMut(&State<I>) -> Option<Stamp>) -> usize {
        self.take_all(end, which).len()
    }

    fn take_all(
        &self,
        end: Ended,
        mut which: impl FnMut(&State<I>) -> Option<Stamp>,
    ) -> Vec<Live<I>> {
        let mut evicted = Vec::new();
        let mut state = self.lock();
        while let Some(mut live) = which(&state).and_then(|used| state.take(used)) {
            live.end_as(end);
            evicted.push(live);
        }
        evicted
    }

    fn lock(&self) -> MutexGuard<'_, State<I>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<I> State<I> {
    fn new() -> Self {
        Self {
            parked: HashMap::new(),
            by_use: BTreeMap::new(),
            by_end: BTreeMap::new(),
            live: 0,
            agents: HashMap::new(),
            seats: Seats::default(),
            waiters: FairQueue::default(),
            rhythms: Rhythms::default(),
            stamps: 0,
        }
    }

    /// Returns the instance if its agent has more than it may have by now: to be dropped outside the lock.
    #[must_use]
    fn park(
        &mut self,
        pool: &Arc<Pool<I>>,
        mut live: Live<I>,
        owner: Owner,
        now: Instant,
        bound: Duration,
    ) -> Option<Live<I>> {
        let load = self.agents.get(&live.slot.version.agent);
        if load.is_some_and(|load| load.most.is_some_and(|most| load.live > most)) {
            live.end_as(Ended::Replaced);
            return Some(live);
        }
        if let Some(counted) = &mut live.slot.counted {
            counted.park();
        }
        let keep = self.rhythms.rested(&live.slot.version.agent, now, bound);
        self.put(live, owner, now, keep);
        self.serve_waiters(pool);
        None
    }

    /// What a call can have now without waiting: a seat, an instance, or room for one.
    fn serve(
        &mut self,
        pool: &Arc<Pool<I>>,
        version: &Arc<VersionRef>,
        owner: &Owner,
    ) -> Option<Acquired<I>> {
        if !version.is_shared() {
            return self.find(pool, version, owner).map(Acquired::Own);
        }
        let seat = |number, to| Seat {
            pool: Arc::clone(pool),
            version: Arc::clone(version),
            number,
            to,
            spoilt: false,
        };
        if let Some((number, to)) = self.seats.join(version, owner) {
            return Some(Acquired::Seat(seat(number, to)));
        }
        let found = self.find(pool, version, owner)?;
        let opened = self.seats.open(version, owner);
        let lead = Lead {
            pool: Arc::clone(pool),
            version: Arc::clone(version),
            number: opened.number,
            inbox: opened.inbox,
        };
        Some(Acquired::Lead(found, lead, seat(opened.number, opened.to)))
    }

    fn find(
        &mut self,
        pool: &Arc<Pool<I>>,
        version: &Arc<VersionRef>,
        owner: &Owner,
    ) -> Option<Found<I>> {
        if let Some(live) = self.take_fitting(version, owner) {
            return Some(Found::Parked(live));
        }
        let oldest = match admit(pool.caps, self.load(&version.agent)) {
            Admission::Start => {
                self.live += 1;
                self.count(version);
                let slot = Slot {
                    pool: Arc::clone(pool),
                    version: Arc::clone(version),
                    counted: None,
                };
                let evicted = None;
                return Some(Found::Room(Room { evicted, slot }));
            }
            Admission::EvictAny => self.oldest(|_| true),
            Admission::EvictOwn => self.oldest(|parked| parked.agent == version.agent),
            Admission::Wait | Admission::Refuse => None,
        };
        let Live { instance, mut slot } = self.take(oldest?)?;
        // The place changes hands with the instance still in it; whoever gets it drops that first.
        let before = mem::replace(&mut slot.version, Arc::clone(version));
        self.uncount(&before.agent);
        self.count(version);
        let mut counted = slot.counted.take();
        if let Some(counted) = &mut counted {
            counted.end = Ended::Capacity;
        }
        let evicted = Some((instance, counted));
        Some(Found::Room(Room { evicted, slot }))
    }

    /// Hands out what is free, in turns, until nobody who waits can go.
    fn serve_waiters(&mut self, pool: &Arc<Pool<I>>) {
        while self.live < pool.caps.instances || !self.by_use.is_empty() {
            let mut waiters = mem::take(&mut self.waiters);
            let next = waiters.next(|agent| admit(pool.caps, self.load(agent)).is_go());
            self.waiters = waiters;
            let Some(waiter) = next else { break };
            if !self.give(pool, waiter) {
                break;
            }
        }
        if !self.waiters.is_empty() {
            self.seat_waiters(pool);
        }
    }

    /// Seats need no room, so they go to whoever waits for just these.
    fn seat_waiters(&mut self, pool: &Arc<Pool<I>>) {
        for (version, owner, free) in self.seats.free() {
            let fits = |waiter: &Waiter<I>| waiter.version == version && waiter.owner == owner;
            for _seat in 0..free {
                let Some(waiter) = self.waiters.take(&version.agent, fits) else {
                    break;
                };
                self.give(pool, waiter);
            }
        }
    }

    fn give(&mut self, pool: &Arc<Pool<I>>, waiter: Waiter<I>) -> bool {
        let Some(acquired) = self.serve(pool, &waiter.version, &waiter.owner) else {
            return false;
        };
        // It listens: a place leaves the queue, under the lock, before its receiver is dropped.
        let _listens = waiter.give.send(acquired);
        true
    }

    fn put(&mut self, live: Live<I>, owner: Owner, now: Instant, keep: Duration) {
        self.stamps += 1;
        let used = (now, self.stamps);
        let end = (now + keep, self.stamps);
        let version = Arc::clone(&live.slot.version);
        if let Some(load) = self.agents.get_mut(&version.agent) {
            load.parked += 1;
        }
        self.by_use.insert(used, Arc::clone(&version));
        self.by_end.insert(end, used);
        let parked = Parked {
            used,
            end,
            owner,
            live,
        };
        self.parked.entry(version).or_default().push(parked);
    }

    fn take_fitting(&mut self, version: &Arc<VersionRef>, owner: &Owner) -> Option<Live<I>> {
        let parked = self.parked.get(version)?;
        // The newest first: its memory is the likeliest to be in the processor's cache.
        let place = parked
            .iter()
            .rposition(|candidate| candidate.owner == *owner)?;
        let version = Arc::clone(version);
        self.take_at(&version, place)
    }

    /// The parked instance that was used then.
    fn take(&mut self, used: Stamp) -> Option<Live<I>> {
        let version = Arc::clone(self.by_use.get(&used)?);
        let parked = self.parked.get(&version)?;
        let place = parked.iter().position(|candidate| candidate.used == used)?;
        self.take_at(&version, place)
    }

    fn take_at(&mut self, version: &Arc<VersionRef>, place: usize) -> Option<Live<I>> {
        let parked = self.parked.get_mut(version)?;
        let mut found = parked.remove(place);
        if parked.is_empty() {
            self.parked.remove(version);
        }
        self.by_use.remove(&found.used);
        self.by_end.remove(&found.end);
        if let Some(load) = self.agents.get_mut(&version.agent) {
            load.parked -= 1;
        }
        if let Some(counted) = &mut found.live.slot.counted {
            counted.unpark();
        }
        Some(found.live)
    }

    /// When the least recently used parked instance of a version that fits was used.
    fn oldest(&self, fits: impl Fn(&VersionRef) -> bool) -> Option<Stamp> {
        let found = self.by_use.iter().find(|(_, version)| fits(version));
        found.map(|(used, _)| *used)
    }

    fn count(&mut self, version: &VersionRef) {
        if let Some(load) = self.agents.get_mut(&version.agent) {
            load.live += 1;
        } else {
            let most = version.limits.max_instances;
            let (live, parked) = (1, 0);
            let load = AgentLoad { live, parked, most };
            self.agents.insert(version.agent.clone(), load);
        }
    }

    /// Holds an agent to what its newest call says, and returns whether that is new. One without an instance may
    /// have one in any case.
    fn allow(&mut self, version: &VersionRef) -> bool {
        let most = version.limits.max_instances;
        let load = self.agents.get_mut(&version.agent);
        load.is_some_and(|load| mem::replace(&mut load.most, most) != most)
    }

    fn uncount(&mut self, agent: &str) {
        if let Some(load) = self.agents.get_mut(agent) {
            load.live -= 1;
            if load.live == 0 {
                self.agents.remove(agent);
            }
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
            waiting_of_agent: self.waiters.len_of(agent),
            most_of_agent: own.most,
        }
    }
}

#[cfg(test)]
mod tests;
