//! What is learned from the gaps between calls, as properties and by example.

use dormouse_scheduler::keep_alive::{Rhythm, Rhythms};
use proptest::prelude::*;
use std::time::Duration;
use tokio::time::Instant;

const MINUTE: Duration = Duration::from_secs(60);

fn learned(gaps_ms: impl IntoIterator<Item = u64>) -> Rhythm {
    let mut now = Instant::now();
    let mut rhythm = Rhythm::new(now);
    for gap in gaps_ms {
        now += Duration::from_millis(gap);
        rhythm.called(now);
    }
    rhythm
}

#[test]
fn a_steady_agent_is_kept_a_little_longer_than_its_gap() {
    let keep = learned([10_000; 50]).keep_alive(MINUTE);
    assert!(
        keep > Duration::from_secs(10) && keep < Duration::from_secs(16),
        "{keep:?}"
    );
}

#[test]
fn a_busy_agent_is_not_kept_for_long_after_its_storm() {
    assert_eq!(
        learned([3; 1_000]).keep_alive(MINUTE),
        Duration::from_secs(5)
    );
}

#[test]
fn nothing_is_kept_for_an_agent_that_comes_too_rarely() {
    assert_eq!(
        learned([300_000; 50]).keep_alive(MINUTE),
        Duration::from_secs(5)
    );
    // It is called in bursts: its instance is kept for those.
    let bursts = (0..60).map(|n| if n % 6 == 0 { 600_000 } else { 8_000 });
    let keep = learned(bursts).keep_alive(MINUTE);
    assert!(
        keep > Duration::from_secs(8) && keep < Duration::from_secs(14),
        "{keep:?}"
    );
}

#[test]
fn what_is_not_known_or_says_nothing_falls_back() {
    assert_eq!(learned([10_000; 7]).keep_alive(MINUTE), MINUTE);
    let spread = (0..90).map(|n| 10 << (n % 15));
    assert_eq!(learned(spread).keep_alive(MINUTE), MINUTE);
}

#[test]
fn a_changed_rhythm_is_learned() {
    let gaps = [100; 1_000].into_iter().chain([20_000; 600]);
    let keep = learned(gaps).keep_alive(MINUTE);
    assert!(keep >= Duration::from_secs(20), "{keep:?}");
}

proptest! {
    #[test]
    fn never_longer_than_the_bound_nor_too_short(
        gaps in proptest::collection::vec(0u64..10_000_000, 0..300),
        bound in 0u64..600_000,
    ) {
        let bound = Duration::from_millis(bound);
        let keep = learned(gaps).keep_alive(bound);
        prop_assert!(keep <= bound);
        prop_assert!(keep >= bound.min(Duration::from_secs(5)));
    }

    /// What is kept for so long meets nearly all calls that keeping within the bound could meet.
    #[test]
    fn the_tail_is_covered(
        gaps in proptest::collection::vec(0u64..200_000, 1..200),
        bound in 5_000u64..100_000,
    ) {
        let limit = Duration::from_millis(bound);
        let keep = learned(gaps.iter().copied()).keep_alive(limit);
        // What lies in the bin that the bound cuts is not asked for: two bins are a doubling.
        let could = gaps.iter().filter(|gap| **gap <= bound / 2).count();
        let met = gaps.iter().filter(|gap| u128::from(**gap) <= keep.as_millis()).count();
        prop_assert!(met * 100 >= could * 98 || met + 2 >= could, "{met} of {could}: {keep:?}");
    }

    #[test]
    fn memory_is_bounded_and_the_latest_are_known(agents in 1usize..20_000) {
        let mut rhythms = Rhythms::default();
        let mut now = Instant::now();
        for agent in 0..agents {
            now += Duration::from_millis(1);
            rhythms.called(&agent.to_string(), now);
        }
        prop_assert!(rhythms.len() <= 8_192);
        prop_assert!(rhythms.len() >= agents.min(4_096));
    }
}
