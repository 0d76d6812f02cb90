//! The policy as properties: no counts and no times may break these.

use dormouse_scheduler::policy::{Admission, Caps, Load, admit, idle};
use proptest::prelude::*;
use std::time::Duration;
use tokio::time::Instant;

fn caps() -> impl Strategy<Value = Caps> {
    (1..50usize, 1..50usize, 0..10usize).prop_map(|(instances, instances_per_agent, queue)| Caps {
        instances,
        instances_per_agent,
        queue,
    })
}

/// Loads that can exist: an agent's share is part of the whole, parked ones live.
fn load() -> impl Strategy<Value = Load> {
    (0..60usize, 0..60usize, 0..60usize, 0..60usize, 0..15usize).prop_map(
        |(a, b, c, d, waiting)| {
            let live_of_agent = a;
            let parked_of_agent = b.min(live_of_agent);
            let others = c;
            let parked = parked_of_agent + d.min(others);
            Load {
                live: live_of_agent + others,
                live_of_agent,
                parked,
                parked_of_agent,
                waiting,
            }
        },
    )
}

proptest! {
    #[test]
    fn never_over_a_cap(caps in caps(), load in load()) {
        match admit(caps, load) {
            Admission::Start => {
                prop_assert!(load.live < caps.instances);
                prop_assert!(load.live_of_agent < caps.instances_per_agent);
            }
            // One goes, one comes: the count does not grow.
            Admission::EvictAny => {
                prop_assert!(load.parked > 0);
                prop_assert!(load.live_of_agent < caps.instances_per_agent);
            }
            Admission::EvictOwn => prop_assert!(load.parked_of_agent > 0),
            Admission::Wait => prop_assert!(load.waiting < caps.queue),
            Admission::Refuse => prop_assert!(load.waiting >= caps.queue),
        }
    }

    #[test]
    fn nobody_waits_while_there_is_room(caps in caps(), load in load()) {
        let room = load.live < caps.instances || load.parked > 0;
        let room_for_agent =
            load.live_of_agent < caps.instances_per_agent || load.parked_of_agent > 0;
        if room && room_for_agent {
            prop_assert!(!matches!(admit(caps, load), Admission::Wait | Admission::Refuse));
        }
    }

    #[test]
    fn idle_takes_exactly_those_past_the_timeout(
        mut ages in proptest::collection::vec(0u64..10_000, 0..50),
        timeout in 0u64..10_000,
    ) {
        ages.sort_unstable_by(|a, b| b.cmp(a));
        let now = Instant::now() + Duration::from_secs(60);
        let used = ages.iter().map(|age| now - Duration::from_millis(*age));
        let expected = ages.iter().filter(|age| **age >= timeout).count();
        prop_assert_eq!(idle(used, now, Duration::from_millis(timeout)), expected);
    }
}
