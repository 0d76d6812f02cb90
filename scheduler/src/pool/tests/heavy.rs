//! Instances of much memory end on threads that nobody waits for, and their places are free when they have ended.

use super::*;
use crate::pool::place::Room;
use std::sync::Weak;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, ThreadId};

/// Says on which thread it was dropped.
struct Weight {
    is_heavy: bool,
    tell: Sender<ThreadId>,
}

/// Says how many are parked while it ends.
struct Watching {
    pool: Weak<Pool<Watching>>,
    tell: Sender<usize>,
}

impl Weighed for Watching {
    fn is_heavy(&self) -> bool {
        false
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let parked = self.pool.upgrade().map(|pool| pool.parked());
        self.tell.send(parked.unwrap_or_default()).unwrap();
    }
}

impl Weighed for Weight {
    fn is_heavy(&self) -> bool {
        self.is_heavy
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        self.tell.send(thread::current().id()).unwrap();
    }
}

struct OnePlace {
    pool: Arc<Pool<Weight>>,
    tell: Sender<ThreadId>,
    told: Receiver<ThreadId>,
}

impl OnePlace {
    fn new() -> Self {
        let caps = Caps {
            instances: 1,
            instances_per_agent: 1,
            queue: 10,
        };
        let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
        let (tell, told) = mpsc::channel();
        let pool = Pool::new(caps, Arc::new(metrics));
        Self { pool, tell, told }
    }

    async fn room(&self, agent: u8) -> Room<Weight> {
        let place = self.pool.enter(&version(agent, 1), None).unwrap();
        match place.take().await {
            Acquired::Own(Found::Room(room)) => room,
            _ => panic!("nothing that fits is parked"),
        }
    }

    async fn live(&self, is_heavy: bool) -> Live<Weight> {
        let tell = self.tell.clone();
        let slot = self.room(0).await.make().await;
        slot.hold(Weight { is_heavy, tell })
    }

    async fn park(&self, is_heavy: bool) {
        let live = self.live(is_heavy).await;
        self.pool.park(live, None, Instant::now(), KEEP);
    }

    /// Whether the instance ends, or has ended, on the thread of the test.
    fn ends_here(&self) -> bool {
        self.told.recv().unwrap() == thread::current().id()
    }
}

#[tokio::test]
async fn who_takes_the_place_of_a_heavy_instance_waits_elsewhere_for_its_end() {
    for is_heavy in [false, true] {
        let place = OnePlace::new();
        place.park(is_heavy).await;
        let slot = place.room(2).await.make().await;
        // It has ended before there was a place.
        let ended = place.told.try_recv().unwrap();
        assert_eq!(ended == thread::current().id(), !is_heavy);
        drop(slot);
        assert_eq!(place.pool.lock().live, 0);
    }
}

#[tokio::test]
async fn a_heavy_instance_that_failed_and_one_whose_successor_left_end_elsewhere() {
    for is_heavy in [false, true] {
        let place = OnePlace::new();
        drop(place.live(is_heavy).await);
        assert_eq!(place.ends_here(), !is_heavy);
        // As soon as it has ended there is room again: this waits for it.
        place.park(is_heavy).await;
        drop(place.room(2).await);
        assert_eq!(place.ends_here(), !is_heavy);
        place.live(is_heavy).await.spend();
        assert_eq!(place.ends_here(), !is_heavy);
        drop(place.room(2).await);
    }
}

#[tokio::test]
async fn evictions_end_heavy_instances_where_they_are() {
    let place = OnePlace::new();
    place.park(true).await;
    place.pool.evict_all();
    assert!(place.ends_here());
    place.park(true).await;
    let retired = place.pool.retire(&version(0, 1).agent, |_| false);
    retired.into_iter().for_each(Live::end_here);
    assert!(place.ends_here());
}

#[tokio::test]
async fn a_call_that_goes_away_before_it_begins_changes_nothing_about_the_instance() {
    let place = OnePlace::new();
    let (live, now) = (place.live(false).await, Instant::now());
    place.pool.park(live, None, now, KEEP);
    for _ in 0..3 {
        drop(place.pool.enter(&version(0, 1), None).unwrap());
    }
    place.pool.evict_idle(now + KEEP - Duration::from_nanos(1));
    assert_eq!(place.pool.parked(), 1);
    place.pool.evict_idle(now + KEEP);
    assert_eq!(place.pool.parked(), 0);
}

#[tokio::test]
async fn what_is_evicted_can_be_had_until_its_turn_comes() {
    let caps = Caps {
        instances: 3,
        instances_per_agent: 3,
        queue: 10,
    };
    let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
    let pool = Pool::new(caps, Arc::new(metrics));
    let (tell, told) = mpsc::channel();
    let mut live = Vec::new();
    for _ in 0..3 {
        let place = pool.enter(&version(0, 1), None).unwrap();
        let Acquired::Own(Found::Room(room)) = place.take().await else {
            panic!("nothing is parked");
        };
        let (pool, tell) = (Arc::downgrade(&pool), tell.clone());
        live.push(room.make().await.hold(Watching { pool, tell }));
    }
    for live in live {
        pool.park(live, None, Instant::now(), KEEP);
    }
    pool.evict_idle(Instant::now() + KEEP);
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [2, 1, 0]);
}
