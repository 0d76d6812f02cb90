#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use std::sync::mpsc;

/// Wakes itself at every poll, says so, and is ready at the last of them.
fn restless(name: u32, polls: usize, said: &mpsc::Sender<u32>) -> impl Future<Output = ()> + use<> {
    let (mut left, said) = (polls, said.clone());
    std::future::poll_fn(move |cx| {
        said.send(name).unwrap();
        left -= 1;
        if left == 0 {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
}

/// One thread, which begins with the rest only when everything is in its queue.
fn held() -> (Turns, mpsc::Sender<()>) {
    let turns = Turns::start("turns", 1, || {}).unwrap();
    let (go, gate) = mpsc::channel::<()>();
    let gate = async move { gate.recv().unwrap() };
    drop(turns.handle().spawn("gate", gate));
    (turns, go)
}

#[tokio::test]
async fn a_storm_of_one_does_not_keep_another_from_its_turns() {
    const TURNS: usize = 20;
    let (turns, go) = held();
    let (said, order) = mpsc::channel();
    let spawn = |owner: &str, name: u32| {
        let work = restless(name, TURNS, &said);
        turns.handle().spawn(owner, work)
    };
    let storm: Vec<_> = (1..=200).map(|name| spawn("storm", name)).collect();
    let other = spawn("other", 0);
    go.send(()).unwrap();
    other.await.unwrap();
    for call in storm {
        call.await.unwrap();
    }
    drop((turns, said));
    let order: Vec<u32> = order.try_iter().collect();
    assert_eq!(order.len(), 201 * TURNS);
    // One turn of the storm for each of the other's.
    let last = order.iter().rposition(|name| *name == 0).unwrap();
    assert!(last < 2 * TURNS, "{last}");
    // And within the storm nobody has a second turn before all have had one.
    let storm: Vec<u32> = order.into_iter().filter(|name| *name != 0).collect();
    let expected = (0..TURNS).flat_map(|_| 1..=200);
    assert_eq!(storm, expected.collect::<Vec<u32>>());
}

#[tokio::test]
async fn a_wake_up_from_elsewhere_and_during_a_poll_is_not_lost() {
    let turns = Turns::start("turns", 2, || {}).unwrap();
    let (wakers, woken) = mpsc::channel::<Waker>();
    std::thread::spawn(move || woken.into_iter().for_each(Waker::wake));
    for _ in 0..100 {
        let (mut polls, wakers) = (0, wakers.clone());
        let work = std::future::poll_fn(move |cx| {
            polls += 1;
            if polls == 50 {
                return Poll::Ready(polls);
            }
            wakers.send(cx.waker().clone()).unwrap();
            Poll::Pending
        });
        let polls = turns.handle().spawn("one", work).await;
        assert_eq!(polls.unwrap(), 50);
    }
}

#[tokio::test]
async fn what_is_aborted_is_dropped_on_the_threads_and_they_go_on() {
    struct Ended(mpsc::Sender<Option<String>>);
    impl Drop for Ended {
        fn drop(&mut self) {
            let name = std::thread::current().name().map(str::to_owned);
            self.0.send(name).unwrap();
        }
    }
    let turns = Turns::start("turns", 1, || {}).unwrap();
    let (tell, told) = mpsc::channel();
    let held = Ended(tell);
    let rests = turns.handle().spawn("one", async move {
        let _held = held;
        std::future::pending::<()>().await;
    });
    rests.abort();
    assert_eq!(told.recv().unwrap().as_deref(), Some("turns"));
    let panics = turns.handle().spawn("one", async { panic!("here") });
    let panic: Outcome<()> = panics.await;
    assert_eq!(panic.unwrap_err().downcast_ref(), Some(&"here"));
    let goes_on = turns.handle().spawn("one", async { 7 });
    assert_eq!(goes_on.await.unwrap(), 7);
}

#[tokio::test]
async fn what_is_left_when_the_threads_end_is_dropped() {
    struct Ended(Arc<AtomicBool>);
    impl Drop for Ended {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let (turns, go) = held();
    let ended = Arc::new(AtomicBool::new(false));
    let held = Ended(Arc::clone(&ended));
    let handle = turns.handle().clone();
    let left = handle.spawn("one", async move { drop(held) });
    drop(turns);
    assert!(ended.load(Ordering::SeqCst));
    assert!(futures_util::poll!(left).is_pending());
    // What comes later is dropped, too.
    let late = Arc::new(AtomicBool::new(false));
    let held = Ended(Arc::clone(&late));
    drop(handle.spawn("one", async move { drop(held) }));
    assert!(late.load(Ordering::SeqCst));
    drop(go);
}
