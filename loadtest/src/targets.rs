//! Whom the calls of a workload go to, when it has many agents.

use hyper::Uri;

use crate::schedule::uniform;

/// Agents by path, and who is called next.
#[derive(Debug, Clone)]
pub struct Targets {
    paths: Vec<Uri>,
    order: Order,
}

#[derive(Debug, Clone)]
enum Order {
    InTurn,
    Evenly,
    /// The share of calls that go to an agent or to one before it.
    ByPopularity(Vec<f64>),
}

impl Targets {
    /// One after the other: that many calls go to that many agents.
    pub fn in_turn(paths: Vec<Uri>) -> Self {
        Targets {
            paths,
            order: Order::InTurn,
        }
    }

    /// At random, each as likely as any other.
    pub fn evenly(paths: Vec<Uri>) -> Self {
        Targets {
            paths,
            order: Order::Evenly,
        }
    }

    /// At random, the n-th agent with a weight of 1/n: Zipf's law with exponent 1, as popularity on the web
    /// roughly is.
    pub fn by_popularity(paths: Vec<Uri>) -> Self {
        let whole: f64 = (1..=paths.len()).map(|n| 1.0 / n as f64).sum();
        let shares = (1..=paths.len()).scan(0.0, |sum, n| {
            *sum += 1.0 / n as f64 / whole;
            Some(*sum)
        });
        Targets {
            order: Order::ByPopularity(shares.collect()),
            paths,
        }
    }

    pub fn len(&self) -> usize {
        self.paths.len()
    }

    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// Who gets the call with this number; the same at every asking. There must be an agent.
    pub fn of(&self, call: u64) -> &Uri {
        let count = self.paths.len();
        let place = match &self.order {
            Order::InTurn => (call % count as u64) as usize,
            Order::Evenly => (uniform(call + 1) * count as f64) as usize,
            Order::ByPopularity(shares) => {
                let drawn = uniform(call + 1);
                shares.partition_point(|share| *share < drawn)
            }
        };
        // A draw of exactly 1, and shares whose sum is a little less, lie behind the last.
        &self.paths[place.min(count - 1)]
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const CALLS: u64 = 100_000;

    fn counts(targets: &Targets) -> Vec<u64> {
        let mut counts = vec![0; targets.len()];
        for call in 0..CALLS {
            let place: usize = targets.of(call).path()[1..].parse().unwrap();
            counts[place] += 1;
        }
        counts
    }

    fn paths() -> Vec<Uri> {
        (0..100).map(|n| format!("/{n}").parse().unwrap()).collect()
    }

    #[test]
    fn in_turn_reaches_everybody_once_before_anybody_twice() {
        assert!(
            counts(&Targets::in_turn(paths()))
                .iter()
                .all(|count| *count == CALLS / 100)
        );
    }

    #[test]
    fn evenly_is_even() {
        // 1,000 expected, standard deviation 31.
        let counts = counts(&Targets::evenly(paths()));
        assert!(
            counts.iter().all(|count| (850..1150).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn popularity_falls_with_the_rank() {
        // The weights 1, 1/2 … 1/100 sum up to 5.187.
        let counts = counts(&Targets::by_popularity(paths()));
        for rank in [1, 2, 10, 100] {
            let expected = CALLS as f64 / 5.187 / f64::from(rank);
            let found = counts[rank as usize - 1] as f64;
            assert!(
                (found - expected).abs() < 5.0 * expected.sqrt(),
                "rank {rank}: {found}, not {expected}"
            );
        }
    }
}
