//! Histograms, medians and ratios.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Latencies from 1 µs to 60 s with three significant digits.
#[derive(Debug, Clone)]
pub struct Latencies(Histogram<u64>);

/// The quantiles that are reported, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Quantiles {
    pub p50_us: f64,
    pub p90_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub max_us: f64,
}

impl Latencies {
    pub fn new() -> Self {
        Latencies(
            Histogram::new_with_bounds(1, 60_000_000, 3)
                .expect("the bounds are constants that fit"),
        )
    }

    /// Counts one latency; beyond 60 s it counts as 60 s.
    pub fn record(&mut self, latency: Duration) {
        let micros = latency.as_nanos().div_ceil(1000);
        self.0
            .saturating_record(u64::try_from(micros).unwrap_or(u64::MAX));
    }

    pub fn merge(&mut self, other: &Latencies) {
        self.0
            .add(&other.0)
            .expect("all histograms have the same bounds");
    }

    /// Latency in microseconds over the "nines" of its quantile: 1 is the 90th percentile, 2 the 99th, and so on,
    /// as far as there are values beyond it.
    pub fn by_nines(&self) -> Vec<(f64, f64)> {
        /// Steps for one nine.
        const FINENESS: u32 = 20;
        let end = (self.0.len() as f64).log10();
        let nines = (0..).map(|step| f64::from(step) / f64::from(FINENESS));
        let at = |nines: f64| self.0.value_at_quantile(1.0 - 0.1_f64.powf(nines)) as f64;
        nines
            .take_while(|nines| *nines <= end)
            .map(|nines| (nines, at(nines)))
            .collect()
    }

    /// `None` when nothing was recorded: the quantiles of nothing are not zero.
    pub fn quantiles(&self) -> Option<Quantiles> {
        let at = |quantile| self.0.value_at_quantile(quantile) as f64;
        (!self.0.is_empty()).then(|| Quantiles {
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: self.0.max() as f64,
        })
    }
}

impl Default for Latencies {
    fn default() -> Self {
        Self::new()
    }
}

impl Quantiles {
    /// Each quantile's median over the rounds, but the largest maximum: a single bad round must not move what
    /// is usual, nor may it hide the worst.
    pub fn of_rounds<'a>(rounds: impl Iterator<Item = &'a Quantiles> + Clone) -> Option<Quantiles> {
        let middle = |field: fn(&Quantiles) -> f64| median(rounds.clone().map(field));
        Some(Quantiles {
            p50_us: middle(|q| q.p50_us)?,
            p90_us: middle(|q| q.p90_us)?,
            p99_us: middle(|q| q.p99_us)?,
            p999_us: middle(|q| q.p999_us)?,
            max_us: rounds.clone().map(|q| q.max_us).fold(0.0, f64::max),
        })
    }
}

/// The middle value, or the mean of the two in the middle; `None` of nothing.
pub fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = sorted[(sorted.len() - 1) / 2];
    Some(f64::midpoint(lower, upper))
}

/// `part / whole`, or `None` where that says nothing.
pub fn ratio(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| part / whole)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn quantiles_keep_three_digits() {
        let mut latencies = Latencies::new();
        (1..=1000).for_each(|n| latencies.record(Duration::from_micros(n * 10)));
        let q = latencies.quantiles().unwrap();
        for (found, wanted) in [
            (q.p50_us, 5000.0),
            (q.p90_us, 9000.0),
            (q.p99_us, 9900.0),
            (q.max_us, 10_000.0),
        ] {
            let found: f64 = found;
            assert!(
                (found - wanted).abs() <= wanted / 1000.0,
                "{found} is not {wanted}"
            );
        }
    }

    #[test]
    fn latencies_outside_the_bounds_are_counted_at_them() {
        let mut latencies = Latencies::new();
        latencies.record(Duration::ZERO);
        latencies.record(Duration::from_secs(3600));
        let q = latencies.quantiles().unwrap();
        assert!(q.p50_us <= 1.0);
        assert!((59e6..61e6).contains(&q.max_us), "{}", q.max_us);
        assert_eq!(Latencies::new().quantiles(), None);
    }

    #[test]
    fn merging_is_recording_in_one() {
        let (mut a, mut b, mut both) = (Latencies::new(), Latencies::new(), Latencies::new());
        for n in 1..500 {
            let latency = Duration::from_micros(n * n);
            if n % 3 == 0 { &mut a } else { &mut b }.record(latency);
            both.record(latency);
        }
        a.merge(&b);
        assert_eq!(a.quantiles(), both.quantiles());
    }

    #[test]
    fn medians_and_ratios() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), Some(2.5));
        assert_eq!(median([].into_iter()), None);
        assert_eq!(ratio(30.0, 60.0), Some(0.5));
        assert_eq!(ratio(30.0, 0.0), None);
    }

    #[test]
    fn over_rounds_the_maximum_is_the_worst_and_the_rest_is_usual() {
        let round = |p50_us, max_us| Quantiles {
            p50_us,
            p90_us: 1.0,
            p99_us: 1.0,
            p999_us: 1.0,
            max_us,
        };
        let rounds = [round(10.0, 50.0), round(90.0, 900.0), round(12.0, 40.0)];
        let over = Quantiles::of_rounds(rounds.iter()).unwrap();
        assert_eq!((over.p50_us, over.max_us), (12.0, 900.0));
    }
}
