//! Parked instances: found by what fits a call, by their last use and by the end of their keep-alive, without
//! looking at any other. Pure bookkeeping, under the pool's lock.

use super::fit::Fit;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;
use tokio::time::Instant;

/// A time, and a counter that tells apart equal times.
pub(super) type Stamp = (Instant, u64);

pub(super) struct Shelf<L> {
    /// Of each kind in the order of their last use.
    parked: HashMap<Fit, VecDeque<Parked<L>>>,
    by_use: BTreeMap<Stamp, Fit>,
    by_end: BTreeMap<Stamp, Stamp>,
    stamps: u64,
}

struct Parked<L> {
    used: Stamp,
    end: Stamp,
    live: L,
}

impl<L> Default for Shelf<L> {
    fn default() -> Self {
        Self {
            parked: HashMap::new(),
            by_use: BTreeMap::new(),
            by_end: BTreeMap::new(),
            stamps: 0,
        }
    }
}

impl<L> Shelf<L> {
    pub(super) fn len(&self) -> usize {
        self.by_use.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_use.is_empty()
    }

    /// Keeps an instance that was used now, for so long. Its stamp finds it again.
    pub(super) fn put(&mut self, fit: Fit, live: L, now: Instant, keep: Duration) -> Stamp {
        self.stamps += 1;
        let (used, end) = ((now, self.stamps), (now + keep, self.stamps));
        self.by_use.insert(used, fit.clone());
        self.by_end.insert(end, used);
        let same = self.parked.entry(fit).or_default();
        let place = place_of(same, used, |parked| parked.used);
        same.insert(place, Parked { used, end, live });
        used
    }

    /// The newest that fits, when it was used, and until when it was to be kept: its memory is the likeliest to be in the
    /// processor's cache.
    pub(super) fn take_newest(&mut self, fit: &Fit) -> Option<(Stamp, Instant, L)> {
        let same = self.parked.get_mut(fit)?;
        let newest = same.pop_back()?;
        if same.is_empty() {
            self.parked.remove(fit);
        }
        self.by_use.remove(&newest.used);
        self.by_end.remove(&newest.end);
        Some((newest.used, newest.end.0, newest.live))
    }

    /// The one that was not used for the longest time.
    pub(super) fn oldest(&self) -> Option<Stamp> {
        self.by_use.first_key_value().map(|(used, _)| *used)
    }

    /// One whose keep-alive is over.
    pub(super) fn expired(&self, now: Instant) -> Option<Stamp> {
        let (end, used) = self.by_end.first_key_value()?;
        (end.0 <= now).then_some(*used)
    }

    pub(super) fn fit_of(&self, used: Stamp) -> Option<&Fit> {
        self.by_use.get(&used)
    }

    pub(super) fn take(&mut self, used: Stamp) -> Option<(Fit, L)> {
        let fit = self.by_use.remove(&used)?;
        let same = self.parked.get_mut(&fit)?;
        let place = same
            .binary_search_by_key(&used, |parked| parked.used)
            .ok()?;
        let found = same.remove(place)?;
        if same.is_empty() {
            self.parked.remove(&fit);
        }
        self.by_end.remove(&found.end);
        Some((fit, found.live))
    }

    #[cfg(test)]
    pub(super) fn check(&self) {
        let parked: usize = self.parked.values().map(VecDeque::len).sum();
        assert_eq!((self.by_use.len(), self.by_end.len()), (parked, parked));
        assert!(self.parked.values().all(|same| !same.is_empty()));
    }
}

/// Where something with this stamp belongs: nearly always at the end.
pub(super) fn place_of<T>(
    sorted: &VecDeque<T>,
    stamp: Stamp,
    stamp_of: impl Fn(&T) -> Stamp,
) -> usize {
    match sorted.back() {
        Some(last) if stamp_of(last) > stamp => sorted.partition_point(|one| stamp_of(one) < stamp),
        _ => sorted.len(),
    }
}
