//! When a filter that fails is not asked any more. Pure: the time is an argument.

use std::time::Duration;
use tokio::time::Instant;

/// Failures in a row that open it.
const FAILURES: u32 = 5;
/// How long it stays open.
const OPEN: Duration = Duration::from_secs(30);
/// Successes in a row that close it again, asked for one at a time.
const SUCCESSES: u32 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Breaker {
    Closed {
        failures: u32,
    },
    Open {
        until: Instant,
    },
    /// `asked_at`: when the one call that may be in progress began. It may have been dropped in the middle, so it
    /// holds others up for a while only.
    HalfOpen {
        successes: u32,
        asked_at: Option<Instant>,
    },
}

impl Default for Breaker {
    fn default() -> Self {
        Self::Closed { failures: 0 }
    }
}

impl Breaker {
    /// Whether a call may be made now; if so, its end is told to [`ended`](Self::ended).
    pub(crate) fn admits(&mut self, now: Instant) -> bool {
        match *self {
            Self::Closed { .. } => true,
            Self::Open { until } if now < until => false,
            Self::Open { .. } => {
                *self = Self::HalfOpen {
                    successes: 0,
                    asked_at: Some(now),
                };
                true
            }
            Self::HalfOpen {
                asked_at: Some(at), ..
            } if now < at + OPEN => false,
            Self::HalfOpen { successes, .. } => {
                *self = Self::HalfOpen {
                    successes,
                    asked_at: Some(now),
                };
                true
            }
        }
    }

    pub(crate) fn ended(&mut self, well: bool, now: Instant) {
        *self = match (*self, well) {
            (Self::Closed { .. }, true) => Self::default(),
            (Self::Closed { failures }, false) if failures + 1 < FAILURES => Self::Closed {
                failures: failures + 1,
            },
            // The end of a call that began before it opened.
            (open @ Self::Open { .. }, _) => open,
            (Self::HalfOpen { successes, .. }, true) if successes + 1 >= SUCCESSES => {
                Self::default()
            }
            (Self::HalfOpen { successes, .. }, true) => Self::HalfOpen {
                successes: successes + 1,
                asked_at: None,
            },
            (Self::Closed { .. } | Self::HalfOpen { .. }, false) => {
                Self::Open { until: now + OPEN }
            }
        };
    }

    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Closed { .. } => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen { .. } => "half_open",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_failures_open_it_and_two_successes_close_it() {
        let start = Instant::now();
        let mut breaker = Breaker::default();
        for _ in 0..4 {
            assert!(breaker.admits(start));
            breaker.ended(false, start);
        }
        // Not in a row.
        breaker.ended(true, start);
        for _ in 0..5 {
            assert!(breaker.admits(start));
            breaker.ended(false, start);
        }
        assert!(!breaker.admits(start + OPEN - Duration::from_millis(1)));
        let later = start + OPEN;
        assert!(breaker.admits(later));
        assert!(!breaker.admits(later), "one at a time");
        breaker.ended(true, later);
        assert_eq!(breaker.as_str(), "half_open");
        assert!(breaker.admits(later));
        breaker.ended(true, later);
        assert_eq!(breaker, Breaker::default());
    }

    #[test]
    fn a_failure_while_half_open_opens_it_anew_and_a_lost_call_does_not_block_it() {
        let start = Instant::now();
        let mut breaker = Breaker::Open { until: start };
        assert!(breaker.admits(start));
        assert!(!breaker.admits(start + OPEN - Duration::from_millis(1)));
        let later = start + OPEN;
        assert!(breaker.admits(later), "the first call never ended");
        breaker.ended(false, later);
        assert_eq!(
            breaker,
            Breaker::Open {
                until: later + OPEN
            }
        );
    }
}
