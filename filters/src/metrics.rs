//! Numbers that agents report of themselves (`dormouse:filter/metrics`).

/// One number, and what it does to what was reported under its name before.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reading {
    /// Adds to a counter.
    Count(u64),
    /// Sets a gauge.
    Gauge(f64),
    /// Is one more observation of a histogram.
    Observation(f64),
}

/// Who keeps the numbers. How many names there may be is his to bound; each is well formed.
pub trait MetricSink: Send + Sync {
    fn report(&self, agent: &str, name: &str, reading: Reading);
}

/// Letters of a name.
const MAX_NAME: usize = 40;
/// Numbers that count in one call.
pub(crate) const MAX_READINGS: u32 = 100;

impl Reading {
    /// Whether it is a number under a name that may be kept.
    pub(crate) fn is_sound(&self, name: &str) -> bool {
        let is_number = match self {
            Self::Count(_) => true,
            Self::Gauge(value) | Self::Observation(value) => value.is_finite(),
        };
        let mut letters = name.bytes();
        let first = letters.next();
        let is_word = |letter: u8| matches!(letter, b'a'..=b'z' | b'0'..=b'9' | b'_');
        is_number
            && first.is_some_and(|letter| letter.is_ascii_lowercase())
            && letters.all(is_word)
            && name.len() <= MAX_NAME
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_looked_at() {
        let longest = "a".repeat(MAX_NAME);
        for name in ["blocked", "seen_2", &*longest] {
            assert!(Reading::Count(1).is_sound(name), "{name}");
        }
        let too_long = "a".repeat(MAX_NAME + 1);
        for name in ["", "_a", "2a", "a-b", "A", "a\"", "é", &*too_long] {
            assert!(!Reading::Count(1).is_sound(name), "{name}");
        }
        assert!(Reading::Gauge(-1.5).is_sound("a"));
        assert!(!Reading::Gauge(f64::NAN).is_sound("a"));
        assert!(!Reading::Observation(f64::INFINITY).is_sound("a"));
    }
}
