//! Who waits for a filter. Whoever is asked about at once has no place here.

use crate::auth::Client;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One client may have this part of a filter's queue, so that it does not shut others out.
const SHARE: usize = 4;

/// Requests that wait, by client.
#[derive(Default)]
pub(super) struct Waiting(Mutex<HashMap<String, usize>>);

/// A place, until it is dropped.
pub(super) struct Place<'a> {
    waiting: &'a Waiting,
    key: String,
}

impl Waiting {
    /// `None` if the client has its share of a queue of this length.
    pub(super) fn join(&self, client: Client<'_>, queue: usize) -> Option<Place<'_>> {
        let key = client.key();
        let mut waiting = self.lock();
        let count = waiting.get(&key).copied().unwrap_or_default();
        if count >= (queue / SHARE).max(1) {
            return None;
        }
        waiting.insert(key.clone(), count + 1);
        drop(waiting);
        Some(Place { waiting: self, key })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut waiting = self.waiting.lock();
        match waiting.get_mut(&self.key) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(waiting.remove(&self.key)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::net::IpAddr;

    #[test]
    fn one_client_has_a_quarter_and_leaves_nothing_behind() {
        let waiting = Waiting::default();
        let client = |principal, address: &str| Client {
            principal,
            address: address.parse::<IpAddr>().ok(),
        };
        let ann = client("ann", "192.0.2.1");
        let mut held: Vec<_> = (0..2).map(|_| waiting.join(ann, 8).unwrap()).collect();
        assert!(waiting.join(ann, 8).is_none());
        // Wherever it comes from.
        assert!(waiting.join(client("ann", "192.0.2.2"), 8).is_none());
        held.extend(waiting.join(client("bob", "192.0.2.1"), 8));
        // Those without a token are told apart by where they are.
        for (address, expected) in [
            ("192.0.2.1", true),
            ("::ffff:192.0.2.1", true),
            ("192.0.2.1", false),
            ("192.0.2.2", true),
            ("2001:db8::1", true),
            ("2001:db8::2", true),
            ("2001:db8::3", false),
            ("2001:db8:0:1::1", true),
        ] {
            let place = waiting.join(client("anonymous", address), 8);
            assert_eq!(place.is_some(), expected, "{address}");
            held.extend(place);
        }
        held.remove(0);
        held.extend(Some(waiting.join(ann, 8).unwrap()));
        drop(held);
        assert!(waiting.lock().is_empty());
        assert!(waiting.join(ann, 0).is_some(), "one at least");
    }
}
