//! Crowds: what one agent has waiting and parked costs no other agent, nor its own calls, a look at all of it. What is
//! counted is how often two kinds of instances were compared.

use super::*;
use crate::pool::fit::compared::COUNT;
use std::mem;

/// What one step of one call may compare, whatever waits and is parked: a few look-ups by hash.
const FEW: usize = 20;

fn compared<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = COUNT.get();
    let done = work();
    (done, COUNT.get() - before)
}

fn world(instances: usize) -> World {
    World::new(Caps {
        instances,
        instances_per_agent: instances - 1,
        queue: 10_000,
    })
}

impl World {
    fn enter_as(&mut self, version: &Arc<VersionRef>, owner: usize) {
        let place = self.pool.enter(version, Some(owner.to_string().into()));
        self.entered.push(place.unwrap());
    }

    fn begin_all(&mut self) {
        for mut place in mem::take(&mut self.entered) {
            if place.is_given() {
                self.begin(place);
            } else {
                self.entered.push(place);
            }
        }
    }
}

#[test]
fn who_waits_at_shared_instances_costs_others_nothing() {
    const SHARED: usize = 500;
    const WAITING: usize = 2_000;
    let mut world = world(SHARED + 1);
    let (crowd, echo) = (version(1, 1), version(0, 1));
    for owner in 0..SHARED + WAITING {
        world.enter_as(&crowd, owner);
    }
    world.begin_all();
    assert_eq!(world.running.len(), SHARED);
    assert_eq!(world.pool.lock().waiting.seekers(), WAITING);
    // Another agent's calls.
    let ((), steps) = compared(|| {
        for _ in 0..10 {
            world.enter_as(&echo, 0);
            let place = world.entered.pop().unwrap();
            world.begin(place);
            let running = world.running.pop().unwrap();
            world.park(running);
        }
    });
    assert!(steps < 10 * 2 * FEW, "{steps}");
    // Seats that become free and fit nobody who waits, and calls that leave the queue.
    let ((), steps) = compared(|| world.seated.clear());
    assert!(steps < SHARED * FEW, "{steps}");
    let leave: Vec<_> = world.entered.drain(WAITING / 2..).collect();
    let ((), steps) = compared(|| drop(leave));
    assert!(steps < WAITING / 2 * FEW, "{steps}");
    // And the instances, each of which goes to the next who waits.
    let running: Vec<_> = world.running.drain(..).collect();
    let ((), steps) = compared(|| running.into_iter().for_each(|running| world.park(running)));
    assert!(steps < SHARED * 2 * FEW, "{steps}");
    world.check();
    assert_eq!(world.pool.lock().waiting.len(), WAITING / 2 - SHARED);
}

#[test]
fn a_free_seat_is_for_the_first_who_waits_for_just_that() {
    let mut world = World::new(Caps {
        instances: 1,
        instances_per_agent: 1,
        queue: 100,
    });
    let crowd = version(1, 1);
    for _ in 0..3 {
        world.enter_as(&crowd, 7);
    }
    world.begin_all();
    assert_eq!((world.running.len(), world.seated.len()), (1, 3));
    for owner in [8, 7, 7] {
        world.enter_as(&crowd, owner);
    }
    drop(world.seated.pop());
    let given: Vec<_> = world.entered.iter_mut().map(Place::is_given).collect();
    assert_eq!(given, [false, true, false]);
    world.check();
}

#[test]
fn an_instance_makes_way_if_there_can_be_another() {
    let crowd = version(1, 1);
    for (instances, can) in [(1, false), (2, true)] {
        let mut world = World::new(Caps {
            instances,
            instances_per_agent: instances,
            queue: 100,
        });
        world.enter_as(&crowd, 7);
        world.begin_all();
        let lead = world.running[0].lead.as_ref().unwrap();
        assert_eq!(lead.make_way(), can);
        world.enter_as(&crowd, 7);
        world.begin_all();
        assert_eq!((world.running.len(), world.seated.len()), (instances, 2));
        world.check();
    }
}

#[test]
fn a_crowd_of_owners_is_not_looked_through() {
    const PARKED: usize = 1_000;
    let mut world = world(PARKED + 1);
    let (many, other) = (version(0, 1), version(2, 1));
    for owner in 0..PARKED {
        world.enter_as(&many, owner);
    }
    world.begin_all();
    for running in mem::take(&mut world.running) {
        world.park(running);
    }
    // One of them is found, a new owner takes the place of the oldest, another agent has the place that is left.
    let ((), steps) = compared(|| {
        world.enter_as(&many, PARKED / 2);
        world.enter_as(&many, PARKED);
        world.enter_as(&other, 0);
    });
    assert!(steps < 3 * FEW, "{steps}");
    world.begin_all();
    world.check();
    assert_eq!(world.pool.lock().shelf.len(), PARKED - 2);
    let ((), steps) = compared(|| {
        world.pool.evict_oldest(PARKED / 2);
    });
    assert!(steps < PARKED * FEW, "{steps}");
    world.check();
}

#[test]
fn retiring_a_version_asks_once_for_each_instance_of_its_agent() {
    const OF_EACH: usize = 100;
    let mut world = world(4 * OF_EACH + 1);
    let versions = [version(0, 1), version(0, 2), version(2, 1), version(2, 2)];
    for owner in 0..OF_EACH {
        for version in &versions {
            world.enter_as(version, owner);
        }
    }
    world.begin_all();
    for running in mem::take(&mut world.running) {
        world.park(running);
    }
    let asked = std::cell::Cell::new(0);
    let retired = world.pool.retire(&versions[0].agent, |number| {
        asked.set(asked.get() + 1);
        number == 2
    });
    assert_eq!((retired.len(), asked.get()), (OF_EACH, 2 * OF_EACH));
    assert!(
        retired
            .iter()
            .all(|live| live.slot().version == versions[0])
    );
    drop(retired);
    assert_eq!(world.pool.parked(), 3 * OF_EACH);
    world.check();
    // Its own oldest goes when it is at its cap, not the oldest of all.
    let own = Arc::clone(&versions[2]);
    let mut allowed = (*own).clone();
    let limits = crate::config::CallLimits {
        max_instances: Some(2 * OF_EACH),
        ..crate::config::CallLimits::default()
    };
    allowed.limits = Arc::new(limits);
    world.enter_as(&Arc::new(allowed), OF_EACH);
    let of_own = world.pool.lock().parked_of(&own.agent, |_| true).len();
    assert_eq!(of_own, 2 * OF_EACH - 1);
    assert_eq!(world.pool.parked(), 3 * OF_EACH - 1);
    world.check();
}

#[test]
fn who_had_a_seat_in_a_lost_instance_comes_before_all_others_and_is_not_refused() {
    let mut world = World::new(Caps {
        instances: 1,
        instances_per_agent: 1,
        queue: 2,
    });
    let crowd = version(1, 1);
    world.enter_as(&crowd, 7);
    world.begin_all();
    world.enter_as(&crowd, 8);
    assert!(
        world.pool.enter(&crowd, Some("9".into())).is_err(),
        "its share is full"
    );
    for owner in ["again", "again too"] {
        let place = world.pool.enter_again(&crowd, Some(owner.into()));
        world.entered.push(place);
    }
    assert_eq!(world.pool.lock().waiting.len(), 3);
    let mut order = Vec::new();
    while let Some(running) = world.running.pop() {
        world.seated.clear();
        world.park(running);
        let given = (0..world.entered.len()).find(|place| world.entered[*place].is_given());
        let Some(place) = given else { break };
        let place = world.entered.remove(place);
        order.push(place.fit.owner.as_deref().unwrap().to_owned());
        world.begin(place);
    }
    assert_eq!(order, ["again", "again too", "8"]);
    // With nobody before them they have a place at once.
    world.seated.clear();
    let place = world.pool.enter_again(&crowd, Some("8".into()));
    world.entered.push(place);
    assert!(world.entered[0].is_given());
    world.check();
}
