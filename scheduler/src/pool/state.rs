//! What the pool's lock guards: who has a place, what is parked, who waits. What becomes free is handed on here.

use super::fit::{Fit, Owner};
use super::place::{Acquired, Found, Has, Lead, Live, Queued, Room, Seat, Slot, Weighed};
use super::seats::Seats;
use super::shelf::{Shelf, Stamp, place_of};
use super::waiting::{Comes, Waiting};
use super::{Pool, VersionRef};
use crate::keep_alive::Rhythms;
use crate::metrics::Ended;
use crate::policy::{Admission, Load, admit};
use crate::shared::Message;
use std::collections::{HashMap, VecDeque};
use std::mem;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

pub(super) struct State<I: Weighed> {
    pub(super) shelf: Shelf<Live<I>>,
    /// Places that are taken, by parked and busy instances and by those that start.
    pub(super) live: usize,
    pub(super) agents: HashMap<String, AgentLoad>,
    /// Busy instances that calls may join.
    pub(super) seats: Seats<Message>,
    pub(super) waiting: Waiting<Waiter<I>>,
    pub(super) rhythms: Rhythms,
}

#[derive(Default)]
pub(super) struct AgentLoad {
    pub(super) live: usize,
    /// Its parked instances, in the order of their last use.
    pub(super) parked: VecDeque<Stamp>,
    /// Instances that its last call allowed it, if it has a limit of its own.
    most: Option<usize>,
}

pub(super) struct Waiter<I: Weighed> {
    give: oneshot::Sender<Acquired<I>>,
    _queued: Queued,
}

impl<I: Weighed> State<I> {
    pub(super) fn new() -> Self {
        Self {
            shelf: Shelf::default(),
            live: 0,
            agents: HashMap::new(),
            seats: Seats::default(),
            waiting: Waiting::default(),
            rhythms: Rhythms::default(),
        }
    }

    /// Returns the instance if its agent has more than it may have by now: to be dropped outside the lock.
    #[must_use]
    pub(super) fn park(
        &mut self,
        pool: &Arc<Pool<I>>,
        live: Live<I>,
        owner: Owner,
        now: Instant,
        bound: Duration,
    ) -> Option<Live<I>> {
        let keep = self.rhythms.rested(&live.slot().version.agent, now, bound);
        self.keep(pool, live, owner, now, keep)
    }

    /// The same of one that nobody has entered: it is kept for as long as it was to be before.
    #[must_use]
    pub(super) fn put_back(
        &mut self,
        pool: &Arc<Pool<I>>,
        live: Live<I>,
        owner: Owner,
        now: Instant,
    ) -> Option<Live<I>> {
        let until = live.slot().kept_until.unwrap_or(now);
        let keep = until.saturating_duration_since(now);
        self.keep(pool, live, owner, now, keep)
    }

    fn keep(
        &mut self,
        pool: &Arc<Pool<I>>,
        mut live: Live<I>,
        owner: Owner,
        now: Instant,
        keep: Duration,
    ) -> Option<Live<I>> {
        let load = self.agents.get(&live.slot().version.agent);
        if load.is_some_and(|load| load.most.is_some_and(|most| load.live > most)) {
            live.end_as(Ended::Replaced);
            return Some(live);
        }
        if let Some(counted) = &mut live.slot_mut().counted {
            counted.park();
        }
        self.put(live, owner, now, keep);
        self.serve_waiters(pool);
        None
    }

    /// What a call can have now without waiting: a seat, an instance, or room for one.
    pub(super) fn serve(&mut self, pool: &Arc<Pool<I>>, fit: &Fit) -> Option<Acquired<I>> {
        if !fit.version.is_shared() {
            return self.find(pool, fit).map(Acquired::Own);
        }
        let seat = |number, to| Seat {
            pool: Arc::clone(pool),
            fit: fit.clone(),
            number,
            to,
            spoilt: false,
        };
        if let Some((number, to)) = self.seats.join(fit) {
            return Some(Acquired::Seat(seat(number, to)));
        }
        let found = self.find(pool, fit)?;
        let opened = self.seats.open(fit);
        let lead = Lead {
            pool: Arc::clone(pool),
            number: opened.number,
            inbox: opened.inbox,
        };
        self.seat_waiters(pool, fit);
        Some(Acquired::Lead(found, lead, seat(opened.number, opened.to)))
    }

    fn find(&mut self, pool: &Arc<Pool<I>>, fit: &Fit) -> Option<Found<I>> {
        let version = &fit.version;
        if let Some((used, until, live)) = self.shelf.take_newest(fit) {
            let mut live = self.taken(&version.agent, used, live);
            live.slot_mut().kept_until = Some(until);
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
                    kept_until: None,
                };
                return Some(Found::Room(Room::new(None, slot)));
            }
            Admission::EvictAny => self.shelf.oldest(),
            Admission::EvictOwn => {
                let load = self.agents.get(&version.agent);
                load.and_then(|load| load.parked.front().copied())
            }
            Admission::Wait | Admission::Refuse => None,
        };
        let (instance, mut slot) = self.take(oldest?)?.apart();
        // The place changes hands with the instance still in it; whoever gets it drops that first.
        let before = mem::replace(&mut slot.version, Arc::clone(version));
        self.uncount(&before.agent);
        self.count(version);
        let mut counted = slot.counted.take();
        if let Some(counted) = &mut counted {
            counted.end = Ended::Capacity;
        }
        Some(Found::Room(Room::new(Some((instance, counted)), slot)))
    }

    /// Puts a call into the queue.
    pub(super) fn wait(&mut self, pool: &Pool<I>, fit: &Fit, comes: Comes) -> Has<I> {
        let (give, given) = oneshot::channel();
        let waiter = Waiter {
            give,
            _queued: Queued::new(&pool.metrics),
        };
        let ticket = self.waiting.push(fit.clone(), comes, waiter);
        Has::Turn { ticket, given }
    }

    /// Hands out what is free, in turns, until nobody who waits can go. Free seats are not its business: they are looked
    /// for when they become free.
    pub(super) fn serve_waiters(&mut self, pool: &Arc<Pool<I>>) {
        while !self.waiting.is_empty()
            && (self.live < pool.caps.instances || !self.shelf.is_empty())
        {
            let mut waiting = mem::take(&mut self.waiting);
            // There is room, so who cannot go is kept by what its own agent has.
            let next = waiting.next(|agent| admit(pool.caps, self.load(agent)).is_go());
            self.waiting = waiting;
            let Some((fit, waiter)) = next else { break };
            if !self.give(pool, &fit, waiter) {
                break;
            }
        }
    }

    /// Hands out seats that have become free: they need no room, so they go to whoever waits for just these.
    pub(super) fn seat_waiters(&mut self, pool: &Arc<Pool<I>>, fit: &Fit) {
        while !self.waiting.is_empty() && self.seats.has_free(fit) {
            let Some((fit, waiter)) = self.waiting.next_for(fit) else {
                break;
            };
            self.give(pool, &fit, waiter);
        }
    }

    fn give(&mut self, pool: &Arc<Pool<I>>, fit: &Fit, waiter: Waiter<I>) -> bool {
        let Some(acquired) = self.serve(pool, fit) else {
            return false;
        };
        // It listens: a place leaves the queue, under the lock, before its receiver is dropped.
        let _listens = waiter.give.send(acquired);
        true
    }

    fn put(&mut self, live: Live<I>, owner: Owner, now: Instant, keep: Duration) {
        let version = Arc::clone(&live.slot().version);
        let fit = Fit {
            version: Arc::clone(&version),
            owner,
        };
        let used = self.shelf.put(fit, live, now, keep);
        if let Some(load) = self.agents.get_mut(&version.agent) {
            let place = place_of(&load.parked, used, |other| *other);
            load.parked.insert(place, used);
        }
        self.waiting.release(&version.agent);
    }

    /// The parked instance that was used then.
    pub(super) fn take(&mut self, used: Stamp) -> Option<Live<I>> {
        let (fit, live) = self.shelf.take(used)?;
        Some(self.taken(&fit.version.agent, used, live))
    }

    /// An instance is parked no longer.
    fn taken(&mut self, agent: &str, used: Stamp, mut live: Live<I>) -> Live<I> {
        if let Some(load) = self.agents.get_mut(agent)
            && let Ok(place) = load.parked.binary_search(&used)
        {
            load.parked.remove(place);
        }
        if let Some(counted) = &mut live.slot_mut().counted {
            counted.unpark();
        }
        live
    }

    /// The parked instances of those versions of an agent.
    pub(super) fn parked_of(&self, agent: &str, which: impl Fn(u32) -> bool) -> Vec<Stamp> {
        let load = self.agents.get(agent).into_iter();
        let parked = load.flat_map(|load| &load.parked).copied();
        let fits = |used: &Stamp| {
            let fit = self.shelf.fit_of(*used);
            fit.is_some_and(|fit| which(fit.version.number))
        };
        parked.filter(fits).collect()
    }

    fn count(&mut self, version: &VersionRef) {
        if let Some(load) = self.agents.get_mut(&version.agent) {
            load.live += 1;
        } else {
            let load = AgentLoad {
                live: 1,
                parked: VecDeque::new(),
                most: version.limits.max_instances,
            };
            self.agents.insert(version.agent.clone(), load);
        }
    }

    /// Holds an agent to what its newest call says, and returns whether that is new. One without an instance may
    /// have one in any case.
    pub(super) fn allow(&mut self, version: &VersionRef) -> bool {
        let most = version.limits.max_instances;
        let load = self.agents.get_mut(&version.agent);
        let is_new = load.is_some_and(|load| mem::replace(&mut load.most, most) != most);
        if is_new {
            self.waiting.release(&version.agent);
        }
        is_new
    }

    pub(super) fn uncount(&mut self, agent: &str) {
        if let Some(load) = self.agents.get_mut(agent) {
            load.live -= 1;
            if load.live == 0 {
                self.agents.remove(agent);
            }
        }
        self.waiting.release(agent);
    }

    pub(super) fn load(&self, agent: &str) -> Load {
        let own = self.agents.get(agent);
        Load {
            live: self.live,
            live_of_agent: own.map_or(0, |own| own.live),
            parked: self.shelf.len(),
            parked_of_agent: own.map_or(0, |own| own.parked.len()),
            waiting: self.waiting.len(),
            waiting_of_agent: self.waiting.len_of(agent),
            most_of_agent: own.and_then(|own| own.most),
        }
    }
}
