//! Guest tasks that go on computing after their call, in an instance that others are in. Each has as much processor time
//! for that as a call has, or less if its call was given up, however many calls come meanwhile.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};
use thiserror::Error;

/// Tasks that go on at a time. Nobody's agent has so many, and each was found computing within the last minute.
const MOST: usize = 1_000;
/// A task that was not found computing for so long has ended, as far as anybody can tell.
const ENDED_AFTER: Duration = Duration::from_secs(60);

/// What a guest is stopped with that computes for no call. None that is in the instance is to blame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum Abandoned {
    #[error("a call that was given up went on computing")]
    GivenUp,
    #[error("what went on after its call was answered used up the processor time of a call")]
    Answered,
    #[error("more than {MOST} tasks went on after their calls")]
    TooMany,
}

pub(super) struct Strays<T>(HashMap<T, Stray>);

struct Stray {
    used: Duration,
    limit: Duration,
    found: Instant,
    after: Abandoned,
}

impl<T> Default for Strays<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T: Eq + Hash> Strays<T> {
    /// A task whose call was given up has so much time from now on.
    pub(super) fn give_up(&mut self, task: T, limit: Duration, now: Instant) {
        let stray = Stray {
            used: Duration::ZERO,
            limit,
            found: now,
            after: Abandoned::GivenUp,
        };
        self.0.insert(task, stray);
    }

    /// The clock has found a task that used so much; one that was not given up has the limit.
    ///
    /// # Errors
    /// When its instance must not go on.
    pub(super) fn charge(
        &mut self,
        task: T,
        time: Duration,
        limit: Duration,
        now: Instant,
    ) -> Result<(), Abandoned> {
        if self.0.len() >= MOST && !self.0.contains_key(&task) {
            self.0
                .retain(|_, stray| now.saturating_duration_since(stray.found) < ENDED_AFTER);
            if self.0.len() >= MOST {
                return Err(Abandoned::TooMany);
            }
        }
        let fresh = Stray {
            used: Duration::ZERO,
            limit,
            found: now,
            after: Abandoned::Answered,
        };
        let stray = self.0.entry(task).or_insert(fresh);
        stray.used += time;
        stray.found = now;
        if stray.used < stray.limit {
            return Ok(());
        }
        Err(stray.after)
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
            assert_eq!(strays.charge(1, TICK, LIMIT, now), Ok(()));
            assert_eq!(strays.charge(2, TICK, LIMIT, now), Ok(()));
        }
        let over = strays.charge(1, TICK, LIMIT, now);
        assert_eq!(over, Err(Abandoned::Answered));
        // Short ends of many calls add up to nobody's limit.
        let mut strays = Strays::default();
        for task in 0..10_000 {
            let now = now + TICK * 1_000 * task;
            assert_eq!(strays.charge(task, TICK * 50, LIMIT, now), Ok(()));
        }
        assert!(strays.0.len() <= MOST);
    }

    #[test]
    fn who_was_given_up_has_less() {
        let (mut strays, now) = (Strays::default(), Instant::now());
        strays.give_up(1, TICK * 2, now);
        assert_eq!(strays.charge(1, TICK, LIMIT, now), Ok(()));
        let over = strays.charge(1, TICK, LIMIT, now);
        assert_eq!(over, Err(Abandoned::GivenUp));
        strays.forget(&1);
        assert_eq!(strays.charge(1, TICK * 2, LIMIT, now), Ok(()));
    }

    #[test]
    fn more_than_anybody_needs_end_the_instance() {
        let (mut strays, now) = (Strays::default(), Instant::now());
        for task in 0..MOST {
            assert_eq!(strays.charge(task, TICK, LIMIT, now), Ok(()));
        }
        let over = strays.charge(MOST, TICK, LIMIT, now);
        assert_eq!(over, Err(Abandoned::TooMany));
        let known = strays.charge(0, TICK, LIMIT, now);
        assert_eq!(known, Ok(()), "those that are known go on");
        let later = now + ENDED_AFTER;
        let ended = strays.charge(MOST, TICK, LIMIT, later);
        assert_eq!(ended, Ok(()), "the others have ended");
        assert_eq!(strays.0.len(), 1);
    }
}
