//! Busy instances that take more than one call at a time, and who may join them. Pure bookkeeping, under the
//! pool's lock.

use super::Fit;
use std::collections::HashMap;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// The busy instances of all agents that let calls join. `M` is what goes to whoever runs an instance.
pub(crate) struct Seats<M> {
    shared: HashMap<u64, Shared<M>>,
    /// Instances with a free seat: how many seats are taken, and the instance's number, ascending.
    free: HashMap<Fit, Vec<(usize, u64)>>,
    numbers: u64,
}

struct Shared<M> {
    fit: Fit,
    taken: usize,
    joinable: bool,
    inbox: UnboundedSender<M>,
}

/// What a newly shared instance begins with: its number, and both ends of its inbox. One seat is taken.
pub(crate) struct Opened<M> {
    pub(crate) number: u64,
    pub(crate) to: UnboundedSender<M>,
    pub(crate) inbox: UnboundedReceiver<M>,
}

impl<M> Default for Seats<M> {
    fn default() -> Self {
        Self {
            shared: HashMap::new(),
            free: HashMap::new(),
            numbers: 0,
        }
    }
}

impl<M> Seats<M> {
    /// Takes a seat in an instance that fits and has a free one.
    pub(crate) fn join(&mut self, fit: &Fit) -> Option<(u64, UnboundedSender<M>)> {
        // The fullest: so the others come to an end and are parked.
        let (_, number) = *self.free.get(fit)?.last()?;
        self.change(number, |shared| shared.taken += 1);
        let shared = self.shared.get(&number)?;
        Some((number, shared.inbox.clone()))
    }

    /// Lets others join an instance that has just been given to its first call.
    pub(crate) fn open(&mut self, fit: &Fit) -> Opened<M> {
        self.numbers += 1;
        let number = self.numbers;
        let (to, inbox) = unbounded_channel();
        let shared = Shared {
            fit: fit.clone(),
            taken: 0,
            joinable: false,
            inbox: to.clone(),
        };
        self.shared.insert(number, shared);
        self.change(number, |shared| {
            shared.taken = 1;
            shared.joinable = true;
        });
        Opened { number, to, inbox }
    }

    /// Gives a seat back. `true`: it was the last one taken.
    pub(crate) fn leave(&mut self, number: u64) -> bool {
        self.change(number, |shared| shared.taken -= 1);
        let shared = self.shared.get(&number);
        shared.is_some_and(|shared| shared.taken == 0)
    }

    /// Lets nobody join any more.
    pub(crate) fn close(&mut self, number: u64) {
        self.change(number, |shared| shared.joinable = false);
    }

    /// What an instance is for.
    pub(crate) fn fit_of(&self, number: u64) -> Option<&Fit> {
        self.shared.get(&number).map(|shared| &shared.fit)
    }

    /// Whether somebody has a seat.
    pub(crate) fn is_taken(&self, number: u64) -> bool {
        let shared = self.shared.get(&number);
        shared.is_some_and(|shared| shared.taken > 0)
    }

    /// Forgets an instance. What its calls do with their seats has no meaning from now on.
    pub(crate) fn remove(&mut self, number: u64) {
        self.close(number);
        self.shared.remove(&number);
    }

    /// Whether an instance that fits has a free seat.
    pub(crate) fn has_free(&self, fit: &Fit) -> bool {
        self.free.contains_key(fit)
    }

    #[cfg(test)]
    pub(crate) fn free(&self) -> impl Iterator<Item = &Fit> {
        self.free.keys()
    }

    /// Changes an instance, and what is known of its free seats with it.
    fn change(&mut self, number: u64, change: impl FnOnce(&mut Shared<M>)) {
        let Some(shared) = self.shared.get_mut(&number) else {
            return;
        };
        let before = shared.has_free().then_some((shared.taken, number));
        change(shared);
        let after = shared.has_free().then_some((shared.taken, number));
        if before == after {
            return;
        }
        let fit = &shared.fit;
        if let Some(after) = after {
            let free = self.free.entry(fit.clone()).or_default();
            let (Ok(place) | Err(place)) = free.binary_search(&after);
            free.insert(place, after);
        }
        let (Some(before), Some(free)) = (before, self.free.get_mut(fit)) else {
            return;
        };
        if let Ok(place) = free.binary_search(&before) {
            free.remove(place);
        }
        if free.is_empty() {
            self.free.remove(fit);
        }
    }
}

impl<M> Shared<M> {
    fn has_free(&self) -> bool {
        self.joinable && self.taken < self.fit.version.concurrency as usize
    }
}
