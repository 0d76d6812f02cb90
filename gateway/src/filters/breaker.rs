//! When a filter that fails is not asked any more. Pure: the time is an argument.

use crate::config::FilterRules;
use tokio::time::Instant;

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
    pub(crate) fn admits(&mut self, rules: &FilterRules, now: Instant) -> bool {
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
            } if now < at + rules.open_for => false,
            Self::HalfOpen { successes, .. } => {
                *self = Self::HalfOpen {
                    successes,
                    asked_at: Some(now),
                };
                true
            }
        }
    }

    pub(crate) fn ended(&mut self, rules: &FilterRules, well: bool, now: Instant) {
        *self = match (*self, well) {
            (Self::Closed { .. }, true) => Self::default(),
            (Self::Closed { failures }, false) if failures + 1 < rules.open_after => Self::Closed {
                failures: failures + 1,
            },
            // The end of a call that began before it opened.
            (open @ Self::Open { .. }, _) => open,
            (Self::HalfOpen { successes, .. }, true) if successes + 1 >= rules.close_after => {
                Self::default()
            }
            (Self::HalfOpen { successes, .. }, true) => Self::HalfOpen {
                successes: successes + 1,
                asked_at: None,
            },
            (Self::Closed { .. } | Self::HalfOpen { .. }, false) => Self::Open {
                until: now + rules.open_for,
            },
        };
    }

    /// Of several, the one with the most of it is shown.
    pub(crate) fn badness(&self) -> u8 {
        match self {
            Self::Closed { .. } => 0,
            Self::HalfOpen { .. } => 1,
            Self::Open { .. } => 2,
        }
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
    use std::time::Duration;

    #[test]
    fn five_failures_open_it_and_two_successes_close_it() {
        let (rules, start) = (FilterRules::default(), Instant::now());
        let mut breaker = Breaker::default();
        for _ in 0..4 {
            assert!(breaker.admits(&rules, start));
            breaker.ended(&rules, false, start);
        }
        // Not in a row.
        breaker.ended(&rules, true, start);
        for _ in 0..5 {
            assert!(breaker.admits(&rules, start));
            breaker.ended(&rules, false, start);
        }
        assert!(!breaker.admits(&rules, start + rules.open_for - Duration::from_millis(1)));
        let later = start + rules.open_for;
        assert!(breaker.admits(&rules, later));
        assert!(!breaker.admits(&rules, later), "one at a time");
        breaker.ended(&rules, true, later);
        assert_eq!(breaker.as_str(), "half_open");
        assert!(breaker.admits(&rules, later));
        breaker.ended(&rules, true, later);
        assert_eq!(breaker, Breaker::default());
    }

    #[test]
    fn a_failure_while_half_open_opens_it_anew_and_a_lost_call_does_not_block_it() {
        let (rules, start) = (FilterRules::default(), Instant::now());
        let mut breaker = Breaker::Open { until: start };
        assert!(breaker.admits(&rules, start));
        assert!(!breaker.admits(&rules, start + rules.open_for - Duration::from_millis(1)));
        let later = start + rules.open_for;
        assert!(breaker.admits(&rules, later), "the first call never ended");
        breaker.ended(&rules, false, later);
        assert_eq!(
            breaker,
            Breaker::Open {
                until: later + rules.open_for
            }
        );
    }
}
