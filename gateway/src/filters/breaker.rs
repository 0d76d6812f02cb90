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
    /// `asked_at`: when the one call that may be in progress began.
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

/// A call that may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Usual,
    /// The one that others are held up by while the breaker is half open.
    Probe,
}

impl Breaker {
    /// Whether it is clear already that no call may be made.
    pub(crate) fn is_open(&self, now: Instant) -> bool {
        matches!(*self, Self::Open { until } if now < until)
    }

    /// Whether a call may be made now; if so, its end is told to [`ended`](Self::ended), or if it has none to
    /// [`given_up`](Self::given_up).
    pub(crate) fn admits(&mut self, rules: &FilterRules, now: Instant) -> Option<Call> {
        let successes = match *self {
            Self::Closed { .. } => return Some(Call::Usual),
            Self::Open { until } if now < until => return None,
            Self::HalfOpen {
                asked_at: Some(at), ..
            } if now < at + rules.open_for => return None,
            Self::Open { .. } => 0,
            Self::HalfOpen { successes, .. } => successes,
        };
        *self = Self::HalfOpen {
            successes,
            asked_at: Some(now),
        };
        Some(Call::Probe)
    }

    /// The probe was dropped in the middle: that says nothing about the filter, and the next may be one.
    pub(crate) fn given_up(&mut self) {
        if let Self::HalfOpen { asked_at, .. } = self {
            *asked_at = None;
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
            assert_eq!(breaker.admits(&rules, start), Some(Call::Usual));
            breaker.ended(&rules, false, start);
        }
        // Not in a row.
        breaker.ended(&rules, true, start);
        for _ in 0..5 {
            assert_eq!(breaker.admits(&rules, start), Some(Call::Usual));
            breaker.ended(&rules, false, start);
        }
        let soon = start + rules.open_for - Duration::from_millis(1);
        assert_eq!(breaker.admits(&rules, soon), None);
        assert!(breaker.is_open(soon));
        let later = start + rules.open_for;
        assert!(!breaker.is_open(later));
        assert_eq!(breaker.admits(&rules, later), Some(Call::Probe));
        assert_eq!(breaker.admits(&rules, later), None, "one at a time");
        breaker.ended(&rules, true, later);
        assert_eq!(breaker.as_str(), "half_open");
        assert_eq!(breaker.admits(&rules, later), Some(Call::Probe));
        breaker.ended(&rules, true, later);
        assert_eq!(breaker, Breaker::default());
    }

    #[test]
    fn a_failure_while_half_open_opens_it_anew_and_a_lost_call_does_not_block_it() {
        let (rules, start) = (FilterRules::default(), Instant::now());
        let mut breaker = Breaker::Open { until: start };
        assert_eq!(breaker.admits(&rules, start), Some(Call::Probe));
        let soon = start + Duration::from_millis(1);
        assert_eq!(breaker.admits(&rules, soon), None);
        breaker.given_up();
        assert_eq!(breaker.admits(&rules, soon), Some(Call::Probe));
        breaker.ended(&rules, false, soon);
        assert_eq!(
            breaker,
            Breaker::Open {
                until: soon + rules.open_for
            }
        );
        // Of one that is not half open it says nothing.
        breaker.given_up();
        assert!(breaker.is_open(soon));
        let mut closed = Breaker::Closed { failures: 3 };
        closed.given_up();
        assert_eq!(closed, Breaker::Closed { failures: 3 });
    }
}
