//! The policy as properties: no counts and no times may break these.

use dormouse_scheduler::policy::{Admission, Caps, Load, admit, may_wait, share_of_one};
use dormouse_scheduler::queue::{FairQueue, Ticket};
use proptest::prelude::*;

fn caps() -> impl Strategy<Value = Caps> {
    (1..50usize, 1..50usize, 0..10usize).prop_map(|(instances, instances_per_agent, queue)| Caps {
        instances,
        instances_per_agent,
        queue,
    })
}

/// Loads that can exist: an agent's share is part of the whole, parked ones live.
fn load() -> impl Strategy<Value = Load> {
    (
        0..60usize,
        0..60usize,
        0..60usize,
        0..60usize,
        0..15usize,
        0..15usize,
        proptest::option::of(1..50usize),
    )
        .prop_map(|(a, b, c, d, waiting, own, most_of_agent)| {
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
                waiting_of_agent: own.min(waiting),
                most_of_agent,
            }
        })
}

proptest! {
    #[test]
    fn never_over_a_cap(caps in caps(), load in load()) {
        let most = load.most_of_agent.unwrap_or(caps.instances_per_agent);
        match admit(caps, load) {
            Admission::Start => {
                prop_assert!(load.live < caps.instances);
                prop_assert!(load.live_of_agent < most);
            }
            // One goes, one comes: the count does not grow.
            Admission::EvictAny => {
                prop_assert!(load.parked > 0);
                prop_assert!(load.live_of_agent < most);
            }
            Admission::EvictOwn => prop_assert!(load.parked_of_agent > 0),
            Admission::Wait => prop_assert!(load.waiting < caps.queue),
            Admission::Refuse => {
                prop_assert!(load.waiting + load.waiting_of_agent >= caps.queue);
            }
        }
    }

    #[test]
    fn nobody_waits_while_there_is_room(caps in caps(), load in load()) {
        let room = load.live < caps.instances || load.parked > 0;
        let most = load.most_of_agent.unwrap_or(caps.instances_per_agent);
        let room_for_agent = load.live_of_agent < most || load.parked_of_agent > 0;
        if room && room_for_agent {
            prop_assert!(!matches!(admit(caps, load), Admission::Wait | Admission::Refuse));
        }
    }

    /// Whoever has nothing in the queue finds a place, whatever others do.
    #[test]
    fn a_storm_leaves_room_for_others(queue in 1usize..200, storms in 1usize..5) {
        let mut waiting = vec![0; storms];
        for turn in 0..storms * queue {
            let agent = turn % storms;
            let all: usize = waiting.iter().sum();
            if may_wait(queue, all, waiting[agent]) {
                waiting[agent] += 1;
            }
        }
        let all: usize = waiting.iter().sum();
        prop_assert!(all <= queue);
        prop_assert!(queue < storms + 1 || may_wait(queue, all, 0), "{waiting:?} of {queue}");
        let share = queue.div_ceil(storms + 1);
        prop_assert!(waiting.iter().all(|n| *n <= share), "{waiting:?} of {queue}");
    }

    #[test]
    fn turns_go_round_and_nobody_is_lost(
        calls in proptest::collection::vec(0u8..5, 0..80),
        stuck in 0u8..5,
        leaving in proptest::collection::vec(any::<proptest::sample::Index>(), 0..10),
    ) {
        let mut queue = FairQueue::default();
        let mut waiting: Vec<(u8, Ticket)> = Vec::new();
        for agent in &calls {
            let number = queue.push(&agent.to_string(), *agent);
            waiting.push((*agent, number));
        }
        for index in leaving {
            if !waiting.is_empty() {
                let (agent, number) = waiting.remove(index.index(waiting.len()));
                prop_assert_eq!(queue.remove(&agent.to_string(), number), Some(agent));
                prop_assert_eq!(queue.remove(&agent.to_string(), number), None);
            }
        }
        prop_assert_eq!(queue.len(), waiting.len());
        let stuck_name = stuck.to_string();
        let mut served = [0usize; 5];
        let total = |agent: u8| waiting.iter().filter(|(a, _)| *a == agent).count();
        while let Some((_, agent)) = queue.next(|agent| agent != stuck_name) {
            served[usize::from(agent)] += 1;
            // While both still wait, no agent is served twice more than another.
            for other in (0..5).filter(|other| *other != stuck) {
                let other_waits = served[usize::from(other)] < total(other);
                let ahead = served[usize::from(agent)].saturating_sub(served[usize::from(other)]);
                prop_assert!(!other_waits || ahead <= 1, "{served:?}");
            }
        }
        for agent in (0..5).filter(|agent| *agent != stuck) {
            prop_assert_eq!(served[usize::from(agent)], total(agent));
        }
        prop_assert_eq!(queue.len(), total(stuck));
        prop_assert_eq!(queue.len_of(&stuck_name), total(stuck));
        // Released, it is served, too.
        queue.release(&stuck_name);
        while queue.next(|_| true).is_some() {}
        prop_assert!(queue.is_empty());
    }
}

#[test]
fn one_agent_does_not_have_all_places() {
    for (instances, share) in [(1, 1), (3, 3), (4, 3), (200, 150), (1_000, 750)] {
        assert_eq!(share_of_one(instances), share);
    }
}

/// Of agents that cannot go none is asked again before something about it has changed.
#[test]
fn a_crowd_of_agents_that_cannot_go_is_asked_once() {
    let mut queue = FairQueue::default();
    for agent in 0..1_000 {
        queue.push(&agent.to_string(), agent);
    }
    let asked = std::cell::Cell::new(0);
    let ask = |queue: &mut FairQueue<i32>, goes: &str| {
        asked.set(0);
        let next = queue.next(|agent| {
            asked.set(asked.get() + 1);
            agent == goes
        });
        (next.map(|(_, agent)| agent), asked.get())
    };
    assert_eq!(ask(&mut queue, "nobody"), (None, 1_000));
    assert_eq!(ask(&mut queue, "nobody"), (None, 0));
    queue.release("7");
    queue.release("500");
    queue.release("500");
    assert_eq!(ask(&mut queue, "500"), (Some(500), 2));
    // One that comes anew, and one whose line has ended meanwhile.
    queue.release("500");
    queue.push("500", -500);
    assert_eq!(ask(&mut queue, "500"), (Some(-500), 1));
    queue.release("7");
    assert_eq!(ask(&mut queue, "7"), (Some(7), 1));
    assert_eq!(queue.len(), 998);
}
