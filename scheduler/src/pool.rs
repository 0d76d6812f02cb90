//! Live instances: which are parked, who waits for one, and how many there may be.
//!
//! What becomes free is handed to whoever waits for it under the same lock, so nobody waits while there is
//! room for it, and nobody who comes later gets ahead. An instance is only ever dropped outside the lock.

mod fit;
mod place;
mod seats;
mod shelf;
mod state;
mod waiting;

use crate::call::VersionRef;
use crate::instance::Instance;
use crate::metrics::{Ended, Metrics};
use crate::policy::{Admission, Caps, admit};
pub(crate) use fit::{Fit, Owner};
use place::Has;
pub(crate) use place::{Acquired, Found, Lead, Live, Place, Seat, Weighed};
use shelf::Stamp;
use state::State;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use waiting::Comes;

/// The queue is full, or the agent's share of it.
#[derive(Debug)]
pub(crate) struct Refused;

pub(crate) struct Pool<I: Weighed = Box<Instance>> {
    caps: Caps,
    metrics: Arc<Metrics>,
    state: Mutex<State<I>>,
}

impl<I: Weighed> Pool<I> {
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
        let fit = Fit {
            version: Arc::clone(version),
            owner,
        };
        let mut state = self.lock();
        state.rhythms.called(&version.agent, Instant::now());
        if state.allow(version) {
            state.serve_waiters(self);
        }
        let has = if let Some(acquired) = state.serve(self, &fit) {
            Has::Given(acquired)
        } else if admit(self.caps, state.load(&version.agent)) == Admission::Wait {
            state.wait(self, &fit, Comes::Anew)
        } else {
            drop(state);
            let reason = ["queue_full"];
            self.metrics.rejected.with_label_values(&reason).inc();
            return Err(Refused);
        };
        drop(state);
        Ok(Place {
            pool: Arc::clone(self),
            fit,
            has,
        })
    }

    /// A place for a call that had one before, in an instance that was lost before the call began: before all that come
    /// anew, and whether or not the queue is full. Of each lost instance there are no more of them than had seats there.
    pub(crate) fn enter_again(
        self: &Arc<Self>,
        version: &Arc<VersionRef>,
        owner: Owner,
    ) -> Place<I> {
        let fit = Fit {
            version: Arc::clone(version),
            owner,
        };
        let mut state = self.lock();
        let has = match state.serve(self, &fit) {
            Some(acquired) => Has::Given(acquired),
            None => state.wait(self, &fit, Comes::Again),
        };
        drop(state);
        Place {
            pool: Arc::clone(self),
            fit,
            has,
        }
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
        self.evict(Ended::Idle, |state| state.shelf.expired(now));
    }

    /// Evicts every parked instance.
    pub(crate) fn evict_all(&self) {
        self.evict(Ended::Idle, |state| state.shelf.oldest());
    }

    /// Evicts so many parked instances, the least recently used first. Returns how many there were.
    pub(crate) fn evict_oldest(&self, count: usize) -> usize {
        let mut left = count;
        self.evict(Ended::Pressure, |state| {
            left = left.checked_sub(1)?;
            state.shelf.oldest()
        })
    }

    /// Evicts the parked instances of every version of an agent that `keep` refuses, for the caller to end.
    #[must_use]
    pub(crate) fn retire(&self, agent: &str, keep: impl Fn(u32) -> bool) -> Vec<Live<I>> {
        let mut state = self.lock();
        let retired = state.parked_of(agent, |number| !keep(number));
        let retired = retired.into_iter().filter_map(|used| state.take(used));
        let mut retired: Vec<_> = retired.collect();
        for live in &mut retired {
            live.end_as(Ended::Replaced);
        }
        retired
    }

    /// Parked instances.
    pub(crate) fn parked(&self) -> usize {
        self.lock().shelf.len()
    }

    /// Evicts what is named, one after the other, and returns how many there were. They end here, outside the lock: it is
    /// not for event loops. While one ends, calls find the others as before.
    fn evict(&self, end: Ended, mut which: impl FnMut(&State<I>) -> Option<Stamp>) -> usize {
        let mut count = 0;
        loop {
            let mut state = self.lock();
            let Some(mut live) = which(&state).and_then(|used| state.take(used)) else {
                return count;
            };
            drop(state);
            live.end_as(end);
            live.end_here();
            count += 1;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<I>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
