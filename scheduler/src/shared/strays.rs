//! Guest tasks that have answered their call and go on computing, in an instance that others are in. Each has as much
//! processor time for that as a call has, however many calls come meanwhile.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Tasks that go on at a time. Nobody's agent has so many, and each was found computing within the last minute.
const MOST: usize = 1_000;
/// A task that was not found computing for so long has ended, as far as anybody can tell.
const ENDED_AFTER: Duration = Duration::from_secs(60);

pub(super) struct Strays<T>(HashMap<T, Stray>);

struct Stray {
    used: Duration,
    found: Instant,
}

impl<T> Default for Strays<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T: Eq + Hash> Strays<T> {
    /// The clock has found a task that used so much. Whether its instance may go on.
    pub(super) fn charge(
        &mut self,
        task: T,
        time: Duration,
        limit: Duration,
        now: Instant,
    ) -> bool {
        if self.0.len() >= MOST && !self.0.contains_key(&task) {
            self.0
                .retain(|_, stray| now.saturating_duration_since(stray.found) < ENDED_AFTER);
            if self.0.len() >= MOST {
                return false;
            }
        }
        let fresh = Stray {
            used: Duration::ZERO,
            found: now,
        };
        let stray = self.0.entry(task).or_insert(fresh);
        stray.used += time;
        stray.found = now;
        stray.used < limit
    }

    /// The id is another's now: the task that had it has ended.
    pub(super) fn forget(&mut self, task: &T) {
        self.0.remove(task);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(1);
    const LIMIT: Duration = Duration::from_millis(100);

    #[test]
    fn each_has_its_own_time_and_no_more() {
        let (mut strays, now) = (Strays::default(), Instant::now());
        // Taking turns does not give them more.
        for _ in 0..99 {
            assert!(strays.charge(1, TICK, LIMIT, now));
            assert!(strays.charge(2, TICK, LIMIT, now));
        }
        assert!(!strays.charge(1, TICK, LIMIT, now));
        // Short ends of many calls add up to nobody's limit.
        let mut strays = Strays::default();
        for task in 0..10_000 {
            let now = now + TICK * 1_000 * task;
            assert!(strays.charge(task, TICK * 50, LIMIT, now));
        }
        assert!(strays.0.len() <= MOST);
    }

    #[test]
    fn more_than_anybody_needs_end_the_instance() {
        let (mut strays, now) = (Strays::default(), Instant::now());
        for task in 0..MOST {
            assert!(strays.charge(task, TICK, LIMIT, now));
        }
        assert!(!strays.charge(MOST, TICK, LIMIT, now));
        assert!(
            strays.charge(0, TICK, LIMIT, now),
            "those that are known go on"
        );
        let later = now + ENDED_AFTER;
        assert!(
            strays.charge(MOST, TICK, LIMIT, later),
            "the others have ended"
        );
        assert_eq!(strays.0.len(), 1);
    }
}
