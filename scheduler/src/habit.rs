//! Which skills of an agent compute for long, or cost it an instance, as far as their latest calls tell. The next call of
//! such a skill begins where a long one is soon moved to: in the slow lane. Else every call has its first tick on the event loop, and agents
//! that are called often hold up all others with those ticks alone.

use std::sync::atomic::{AtomicU8, Ordering};

/// Skills are told apart by a small hash: those that share a place share a habit.
const PLACES: usize = 16;

/// Calls after a long one that begin in the slow lane, unless another is long, too.
pub(crate) const REMEMBERED: u8 = 8;

/// The habits of one agent's skills.
#[derive(Debug, Default)]
pub(crate) struct Habits([AtomicU8; PLACES]);

/// What is known of one skill: how many calls are still to begin in the slow lane.
#[derive(Clone, Copy)]
pub(crate) struct Habit<'a>(&'a AtomicU8);

impl Habits {
    pub(crate) fn of(&self, skill: &str) -> Habit<'_> {
        let mix = |hash: usize, byte: u8| hash.wrapping_mul(31).wrapping_add(usize::from(byte));
        let place = skill.bytes().fold(0, mix) % PLACES;
        Habit(&self.0[place])
    }
}

impl Habit<'_> {
    pub(crate) fn is_long(self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }

    /// A call has ended. That of several at a time some are forgotten does no harm.
    pub(crate) fn ended(self, was_long: bool) {
        let calls = self.0.load(Ordering::Relaxed);
        let next = if was_long {
            REMEMBERED
        } else {
            calls.saturating_sub(1)
        };
        if next != calls {
            self.0.store(next, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_long_call_is_remembered_for_a_while() {
        let habits = Habits::default();
        let (long, other) = (habits.of("report"), habits.of("echo"));
        assert!(!long.is_long());
        long.ended(true);
        for _ in 0..REMEMBERED {
            assert!(long.is_long() && !other.is_long());
            long.ended(false);
        }
        assert!(!long.is_long());
    }

    #[test]
    fn a_skill_that_is_always_long_stays_so() {
        let habits = Habits::default();
        for _ in 0..100 {
            habits.of("report").ended(true);
            assert!(habits.of("report").is_long());
        }
    }
}
