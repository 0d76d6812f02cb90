#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use std::sync::atomic::AtomicUsize;
use std::task::Wake;

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Wakes itself at every poll and is ready at the last of them.
fn restless(polls: usize) -> impl Future<Output = usize> + Send {
    let mut count = 0;
    std::future::poll_fn(move |cx| {
        count += 1;
        cx.waker().wake_by_ref();
        if count == polls {
            Poll::Ready(count)
        } else {
            Poll::Pending
        }
    })
}

#[test]
fn a_call_that_ends_at_its_first_poll_wakes_nobody() {
    let lane = SlowLane::start().unwrap();
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    let mut call = Lane::new(&lane, Owner::Deploys, Pace::new(), Box::pin(restless(1)));
    let poll = Pin::new(&mut call).poll(&mut Context::from_waker(&waker));
    assert_eq!(poll, Poll::Ready(1));
    assert_eq!(wakes.0.load(Ordering::SeqCst), 0);
}

#[test]
fn a_wake_up_during_a_poll_is_not_lost() {
    let lane = SlowLane::start().unwrap();
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    let mut call = Lane::new(&lane, Owner::Deploys, Pace::new(), Box::pin(restless(3)));
    let mut poll = || Pin::new(&mut call).poll(&mut Context::from_waker(&waker));
    assert_eq!((poll(), wakes.0.load(Ordering::SeqCst)), (Poll::Pending, 1));
    assert_eq!((poll(), wakes.0.load(Ordering::SeqCst)), (Poll::Pending, 2));
    assert_eq!(poll(), Poll::Ready(3));
}

/// What has no guest's clock moves by the length of its polls.
#[tokio::test]
async fn work_whose_poll_takes_a_tick_goes_on_in_the_lane_of_filters() {
    let lane = SlowLane::of_filters().unwrap();
    let name = || std::thread::current().name().map(str::to_owned);
    let names = Lane::new(
        &lane,
        Owner::Deploys,
        Pace::of_polls(),
        Box::pin(async move {
            tokio::task::yield_now().await;
            let begun = name();
            std::thread::sleep(TICK);
            tokio::task::yield_now().await;
            (begun, name())
        }),
    );
    let (begun, moved) = names.await;
    assert_eq!(begun, name());
    assert_eq!(moved.as_deref(), Some("filter-lane"));
}

/// One that has much to do there makes only its own wait longer.
#[tokio::test]
async fn filters_take_turns_with_each_other() {
    let lane = SlowLane(Turns::start("one-thread", 1, || {}).unwrap());
    let (open, gate) = std::sync::mpsc::channel::<()>();
    let hold = Box::pin(async move { gate.recv().unwrap() });
    let held = Lane::new(&lane, Owner::Deploys, Pace::of_polls(), hold).moved();
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let asked = ["a", "a", "a", "b"].map(|name| {
        let order = Arc::clone(&order);
        let work = Box::pin(async move { order.lock().unwrap().push(name) });
        Lane::new(&lane, Owner::Filter(name.into()), Pace::of_polls(), work).moved()
    });
    open.send(()).unwrap();
    held.await;
    futures_util::future::join_all(asked).await;
    assert_eq!(*order.lock().unwrap(), ["a", "b", "a", "a"]);
}

#[tokio::test]
async fn a_call_that_has_spent_its_tick_goes_on_in_the_slow_lane() {
    let lane = SlowLane::start().unwrap();
    let pace = Pace::new();
    let asked = Arc::clone(&pace);
    let names = Lane::new(
        &lane,
        Owner::Deploys,
        pace,
        Box::pin(async move {
            let name = || std::thread::current().name().map(str::to_owned);
            let begun = name();
            std::thread::sleep(TICK);
            assert!(asked.must_yield());
            tokio::task::yield_now().await;
            let moved = name();
            // Time and tasks are those of the runtime that the call came from.
            tokio::time::sleep(TICK).await;
            let spawned = tokio::spawn(async { std::thread::current().name().map(str::to_owned) });
            assert_eq!(spawned.await.unwrap(), begun);
            (begun, moved, name())
        }),
    );
    let (begun, moved, stayed) = names.await;
    assert_ne!(begun, moved);
    assert_eq!(moved.as_deref(), Some("slow-lane"));
    assert_eq!(stayed, moved);
}

#[tokio::test]
async fn a_call_of_a_long_skill_begins_in_the_slow_lane() {
    let lane = SlowLane::start().unwrap();
    let name = || std::thread::current().name().map(str::to_owned);
    let (short, long) = (Pace::new(), Pace::new());
    let call = Lane::new(
        &lane,
        Owner::Deploys,
        Arc::clone(&short),
        Box::pin(async move { name() }),
    );
    assert_eq!(call.moved().await.as_deref(), Some("slow-lane"));
    assert!(!short.was_long());
    let call = Lane::new(
        &lane,
        Owner::Deploys,
        Arc::clone(&long),
        Box::pin(async {
            let begun = processor_time();
            while processor_time() - begun < TICK * 2 {}
        }),
    );
    call.moved().await;
    assert!(long.was_long());
}

/// What many short calls in one instance use together makes none of them long.
#[tokio::test]
async fn an_instance_is_as_long_as_its_calls_are() {
    let lane = SlowLane::start().unwrap();
    let busy = |pace: Arc<Pace>, calls: u32| {
        let work = Box::pin(async move {
            let begun = processor_time();
            while processor_time() - begun < TICK * 2 {}
            (0..calls).for_each(|_| pace.count_call());
        });
        work as Work<()>
    };
    for (calls, is_long) in [(1, true), (2, true), (1_000_000, false)] {
        let pace = Pace::new();
        let work = busy(Arc::clone(&pace), calls);
        let run = Lane::new(&lane, Owner::Deploys, Arc::clone(&pace), work);
        run.moved().await;
        assert_eq!(pace.was_long(), is_long, "{calls}");
    }
}

#[tokio::test]
async fn processor_time_is_counted_on_both_lanes() {
    let lane = SlowLane::start().unwrap();
    let pace = Pace::new();
    let asked = Arc::clone(&pace);
    Lane::new(
        &lane,
        Owner::Deploys,
        Arc::clone(&pace),
        Box::pin(async move {
            // The system may give the thread less of a core than there is time.
            let busy = |time: Duration| {
                let begun = processor_time();
                while processor_time() - begun < time {}
            };
            busy(TICK * 3);
            assert!(asked.must_yield());
            tokio::task::yield_now().await;
            tokio::time::sleep(Duration::from_secs(2)).await;
            busy(TICK * 5);
        }),
    )
    .await;
    let used = pace.used_in_polls();
    assert!(used >= TICK * 8, "{used:?}");
    assert!(used < Duration::from_secs(2), "{used:?}");
}

#[tokio::test]
async fn a_call_that_is_dropped_in_the_slow_lane_ends() {
    struct Ended(Option<tokio::sync::oneshot::Sender<()>>);
    impl Drop for Ended {
        fn drop(&mut self) {
            let _ = self.0.take().unwrap().send(());
        }
    }
    let lane = SlowLane::start().unwrap();
    let pace = Pace::new();
    let asked = Arc::clone(&pace);
    let (sender, ended) = tokio::sync::oneshot::channel();
    let held = Ended(Some(sender));
    let mut call = Lane::new(
        &lane,
        Owner::Deploys,
        pace,
        Box::pin(async move {
            let _held = held;
            std::thread::sleep(TICK);
            asked.must_yield();
            std::future::pending::<()>().await;
        }),
    );
    assert!(futures_util::poll!(&mut call).is_pending());
    drop(call);
    ended.await.unwrap();
}

#[tokio::test]
#[should_panic(expected = "in the slow lane")]
async fn a_panic_is_the_callers() {
    let lane = SlowLane::start().unwrap();
    let pace = Pace::new();
    let asked = Arc::clone(&pace);
    Lane::new(
        &lane,
        Owner::Deploys,
        pace,
        Box::pin(async move {
            std::thread::sleep(TICK);
            asked.must_yield();
            tokio::task::yield_now().await;
            panic!("in the slow lane");
        }),
    )
    .await;
}

/// As whoever counts them does: calls, and the time that they take.
#[test]
fn an_instance_is_misplaced_in_the_slow_lane_when_its_calls_are_short() {
    let pace = Pace::new();
    let calls = |count: u32| (0..count).for_each(|_| pace.count_call());
    calls(8);
    assert!(!pace.is_misplaced(), "it is not there");
    pace.slow.store(true, Ordering::Relaxed);
    pace.charge(TICK * 8);
    assert!(!pace.is_misplaced(), "each takes a tick");
    calls(100);
    assert!(pace.is_misplaced());
}
