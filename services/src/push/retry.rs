//! When to try again, and when to stop. Pure.

use std::time::Duration;

/// How patient a delivery is.
#[derive(Debug, Clone)]
pub struct RetryPolicy {
    /// Posts of one event, the first included.
    pub attempts: u32,
    /// No attempt begins later than this after the first one of its event.
    pub total: Duration,
    /// Before the second attempt; doubled for each further one.
    pub first_wait: Duration,
    pub longest_wait: Duration,
    /// After this many events in a row were given up, the configuration is: nothing more is sent until
    /// it is created again.
    pub given_up_events: u8,
}

impl Default for RetryPolicy {
    /// About half an hour for one event: longer than a receiver's restart, shorter than a client's
    /// patience. A receiver that is gone costs at most 36 attempts.
    fn default() -> Self {
        Self {
            attempts: 12,
            total: Duration::from_secs(30 * 60),
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(10 * 60),
            given_up_events: 3,
        }
    }
}

impl RetryPolicy {
    /// How long to wait after `failed` attempts, the first of which began `elapsed` ago; `None` to give
    /// the event up. `noise` is random: receivers that came back must not meet all senders at once.
    pub fn wait(&self, failed: u32, elapsed: Duration, noise: u32) -> Option<Duration> {
        if failed >= self.attempts {
            return None;
        }
        let doubled = 1_u32
            .checked_shl(failed.saturating_sub(1))
            .unwrap_or(u32::MAX);
        let longest = self
            .first_wait
            .saturating_mul(doubled)
            .min(self.longest_wait);
        // Between half of it and all of it.
        let wait = longest / 2 + (longest / 2).mul_f64(f64::from(noise) / f64::from(u32::MAX));
        (elapsed + wait <= self.total).then_some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let policy = RetryPolicy::default();
        let waits: Vec<u64> = (1..)
            .map_while(|failed| policy.wait(failed, Duration::ZERO, u32::MAX))
            .map(|wait| wait.as_secs())
            .collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600]);
        assert!(waits.iter().sum::<u64>() < policy.total.as_secs());
    }

    proptest! {
        #[test]
        fn no_policy_goes_past_its_limits(
            attempts in 1..200_u32,
            total in 0..10_000_u64,
            first in 1..100_u64,
            longest in 1..1_000_u64,
            noise in any::<u32>(),
        ) {
            let policy = RetryPolicy {
                attempts,
                total: Duration::from_secs(total),
                first_wait: Duration::from_secs(first),
                longest_wait: Duration::from_secs(longest),
                given_up_events: 1,
            };
            let (mut elapsed, mut failed) = (Duration::ZERO, 1);
            while let Some(wait) = policy.wait(failed, elapsed, noise) {
                prop_assert!(wait <= policy.longest_wait);
                elapsed += wait;
                failed += 1;
            }
            prop_assert!(failed <= attempts);
            prop_assert!(elapsed <= policy.total);
        }
    }
}
