//! Calls that wait for an instance, and for which of them a free seat is. Pure bookkeeping, under the pool's lock.

use super::Fit;
use crate::queue::{FairQueue, Ticket};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Who waits. `W` is what a waiting call has left behind.
pub(super) struct Waiting<W> {
    queue: FairQueue<(Fit, W)>,
    /// Those who may take a seat in an instance with others: a seat that becomes free looks up its own.
    seekers: HashMap<Fit, BTreeSet<Ticket>>,
}

/// How a call comes to the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comes {
    Anew,
    /// It had a seat in an instance that was lost before it began.
    Again,
}

impl<W> Default for Waiting<W> {
    fn default() -> Self {
        Self {
            queue: FairQueue::default(),
            seekers: HashMap::new(),
        }
    }
}

impl<W> Waiting<W> {
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn len_of(&self, agent: &str) -> usize {
        self.queue.len_of(agent)
    }

    pub(super) fn push(&mut self, fit: Fit, comes: Comes, waiter: W) -> Ticket {
        let version = Arc::clone(&fit.version);
        let call = (fit.clone(), waiter);
        let ticket = match comes {
            Comes::Anew => self.queue.push(&version.agent, call),
            Comes::Again => self.queue.push_again(&version.agent, call),
        };
        if version.is_shared() {
            self.seekers.entry(fit).or_default().insert(ticket);
        }
        ticket
    }

    /// As of [`FairQueue::next`].
    pub(super) fn next(&mut self, can_go: impl Fn(&str) -> bool) -> Option<(Fit, W)> {
        let (ticket, (fit, waiter)) = self.queue.next(can_go)?;
        self.found(&fit, ticket);
        Some((fit, waiter))
    }

    /// As of [`FairQueue::release`].
    pub(super) fn release(&mut self, agent: &str) {
        self.queue.release(agent);
    }

    /// Takes the first call that a seat is for, out of turn.
    pub(super) fn next_for(&mut self, fit: &Fit) -> Option<(Fit, W)> {
        let ticket = *self.seekers.get(fit)?.first()?;
        self.remove(&fit.version.agent, ticket)
    }

    /// Takes out a call that waits no longer. `None`: it has been served.
    pub(super) fn remove(&mut self, agent: &str, ticket: Ticket) -> Option<(Fit, W)> {
        let (fit, waiter) = self.queue.remove(agent, ticket)?;
        self.found(&fit, ticket);
        Some((fit, waiter))
    }

    fn found(&mut self, fit: &Fit, ticket: Ticket) {
        if let Some(tickets) = self.seekers.get_mut(fit) {
            tickets.remove(&ticket);
            if tickets.is_empty() {
                self.seekers.remove(fit);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn has_for(&self, fit: &Fit) -> bool {
        self.seekers.contains_key(fit)
    }

    #[cfg(test)]
    pub(super) fn seekers(&self) -> usize {
        self.seekers.values().map(BTreeSet::len).sum()
    }
}
