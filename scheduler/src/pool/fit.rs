//! What decides whether an instance may serve a call.

use crate::call::VersionRef;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Whose memory an instance may hold; `None` is anybody's.
pub(crate) type Owner = Option<Arc<str>>;

/// The version that a call is for, and whose memory it may meet: an instance serves calls that have the same.
#[derive(Debug, Clone)]
pub(crate) struct Fit {
    pub(crate) version: Arc<VersionRef>,
    pub(crate) owner: Owner,
}

impl PartialEq for Fit {
    fn eq(&self, other: &Self) -> bool {
        #[cfg(test)]
        compared::COUNT.set(compared::COUNT.get() + 1);
        self.owner == other.owner && self.version == other.version
    }
}

impl Eq for Fit {}

impl Hash for Fit {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.version.hash(state);
        self.owner.hash(state);
    }
}

/// How often this thread has compared two of them: who looks through all of something shows here.
#[cfg(test)]
pub(super) mod compared {
    use std::cell::Cell;

    thread_local! {
        pub(in crate::pool) static COUNT: Cell<usize> = const { Cell::new(0) };
    }
}
