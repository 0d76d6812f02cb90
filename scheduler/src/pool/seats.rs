//! Busy instances that take more than one call at a time, and who may join them. Pure bookkeeping, under the
//! pool's lock.

use super::Owner;
use crate::call::VersionRef;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// The busy instances of all agents that let calls join. `M` is what goes to whoever runs an instance.
pub(crate) struct Seats<M> {
    shared: HashMap<Arc<VersionRef>, Vec<Shared<M>>>,
    numbers: u64,
}

struct Shared<M> {
    number: u64,
    owner: Owner,
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
            numbers: 0,
        }
    }
}

impl<M> Seats<M> {
    /// Takes a seat in an instance of this version and owner that has a free one.
    pub(crate) fn join(
        &mut self,
        version: &Arc<VersionRef>,
        owner: &Owner,
    ) -> Option<(u64, UnboundedSender<M>)> {
        let all = self.shared.get_mut(version)?.iter_mut();
        // The fullest: so the others come to an end and are parked.
        let shared = all
            .filter(|shared| shared.fits(version, owner))
            .max_by_key(|shared| shared.taken)?;
        shared.taken += 1;
        Some((shared.number, shared.inbox.clone()))
    }

    /// Lets others join an instance that has just been given to its first call.
    pub(crate) fn open(&mut self, version: &Arc<VersionRef>, owner: &Owner) -> Opened<M> {
        self.numbers += 1;
        let number = self.numbers;
        let (to, inbox) = unbounded_channel();
        let all = self.shared.entry(Arc::clone(version)).or_default();
        all.push(Shared {
            number,
            owner: owner.clone(),
            taken: 1,
            joinable: true,
            inbox: to.clone(),
        });
        Opened { number, to, inbox }
    }

    /// Gives a seat back. `true`: it was the last one taken.
    pub(crate) fn leave(&mut self, version: &Arc<VersionRef>, number: u64) -> bool {
        let Some(shared) = self.find(version, number) else {
            return false;
        };
        shared.taken -= 1;
        shared.taken == 0
    }

    /// Lets nobody join any more.
    pub(crate) fn close(&mut self, version: &Arc<VersionRef>, number: u64) {
        if let Some(shared) = self.find(version, number) {
            shared.joinable = false;
        }
    }

    /// Whether somebody has a seat.
    pub(crate) fn is_taken(&mut self, version: &Arc<VersionRef>, number: u64) -> bool {
        self.find(version, number)
            .is_some_and(|shared| shared.taken > 0)
    }

    /// Forgets an instance. What its calls do with their seats has no meaning from now on.
    pub(crate) fn remove(&mut self, version: &Arc<VersionRef>, number: u64) {
        if let Some(all) = self.shared.get_mut(version) {
            all.retain(|shared| shared.number != number);
            if all.is_empty() {
                self.shared.remove(version);
            }
        }
    }

    /// Free seats, by version and owner.
    pub(crate) fn free(&self) -> Vec<(Arc<VersionRef>, Owner, usize)> {
        let all = self.shared.iter().flat_map(|(version, all)| {
            let free = all
                .iter()
                .filter(|shared| shared.fits(version, &shared.owner));
            free.map(|shared| {
                let free = version.concurrency as usize - shared.taken;
                (Arc::clone(version), shared.owner.clone(), free)
            })
        });
        all.collect()
    }

    fn find(&mut self, version: &Arc<VersionRef>, number: u64) -> Option<&mut Shared<M>> {
        let mut all = self.shared.get_mut(version)?.iter_mut();
        all.find(|shared| shared.number == number)
    }
}

impl<M> Shared<M> {
    fn fits(&self, version: &VersionRef, owner: &Owner) -> bool {
        self.joinable && self.owner == *owner && self.taken < version.concurrency as usize
    }
}
