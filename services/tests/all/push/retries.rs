//! Receivers that fail: in order, at least once, and not for ever.

use super::receiver::{Receiver, Reply, said};
use super::{Pusher, config, followed, quick, to};
use crate::support::{World, ann, done, finish, says};
use dormouse_services::net::{HttpClient, Trust};
use dormouse_services::push::{PushConfig, RetryPolicy};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

#[tokio::test]
async fn what_is_not_taken_is_sent_again_before_the_next() {
    let world = World::new().await;
    let receiver = Receiver::start().await;
    receiver.script([
        Reply::Status(500),
        Reply::Status(404),
        Reply::Close,
        Reply::Status(202),
        Reply::Status(301),
        Reply::Status(204),
        Reply::Body(1 << 20),
        Reply::Status(503),
    ]);
    let pusher = Pusher::start(&world.engine, to(&receiver), quick(10));
    let call = followed(&world.engine, config("one", &receiver));
    for step in 0..3 {
        call.update(says(&step.to_string())).await.unwrap();
    }
    finish(&call, done()).await;
    pusher.until_counted("delivered", 4).await;
    let posts = said(&receiver.posts(9).await);
    let mut events = posts.clone();
    events.dedup();
    let all = ["working: 0", "working: 1", "working: 2", "completed: done"];
    assert_eq!(events, all);
    assert_eq!(posts.iter().filter(|post| *post == "working: 0").count(), 4);
    // Not of the closed connection: that was only an old one.
    assert_eq!(pusher.count("retried"), 4);
    pusher.until_idle().await;
    pusher.stop().await;
}

#[tokio::test]
async fn a_receiver_that_comes_back_misses_nothing() {
    let world = World::new().await;
    let receiver = Receiver::start().await;
    let (address, first) = (receiver.address, config("one", &receiver));
    let client = to(&receiver);
    drop(receiver);
    let pusher = Pusher::start(&world.engine, client, quick(100_000));
    let call = followed(&world.engine, first);
    call.update(says("one")).await.unwrap();
    finish(&call, done()).await;
    pusher.until_counted("retried", 2).await;
    let receiver = Receiver::at(address).await;
    let posts = receiver.posts(2).await;
    assert_eq!(said(&posts), ["working: one", "completed: done"]);
    pusher.stop().await;
}

#[tokio::test]
async fn an_event_that_is_given_up_makes_way_for_the_next() {
    let world = World::new().await;
    let receiver = Receiver::start().await;
    receiver.script([Reply::Status(500), Reply::Status(500)]);
    let pusher = Pusher::start(&world.engine, to(&receiver), quick(2));
    let call = followed(&world.engine, config("one", &receiver));
    call.update(says("lost")).await.unwrap();
    finish(&call, done()).await;
    let posts = said(&receiver.posts(3).await);
    assert_eq!(posts, ["working: lost", "working: lost", "completed: done"]);
    pusher.until_counted("delivered", 1).await;
    assert_eq!((pusher.count("given_up"), pusher.count("disabled")), (1, 0));
    pusher.stop().await;
}

/// Names that lead nowhere, so that no time passes but that of the clock.
fn lost() -> (HttpClient, Arc<AtomicU64>) {
    let lookups = Arc::<AtomicU64>::default();
    let counter = Arc::clone(&lookups);
    let lookup = Arc::new(move |_, _| {
        counter.fetch_add(1, Ordering::SeqCst);
        let answer = async { Err(io::Error::other("no such name")) };
        Box::pin(answer) as std::pin::Pin<Box<_>>
    });
    let client = HttpClient::with([].into_iter().collect(), lookup, Trust::only([]));
    (client, lookups)
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_is_gone_is_given_up_and_may_be_named_again() {
    let world = World::new().await;
    let (client, lookups) = lost();
    let pusher = Pusher::start(&world.engine, client, RetryPolicy::default());
    let begun = tokio::time::Instant::now();
    let gone = || PushConfig::new(Some("one".into()), "http://gone.test/".into(), None, None);
    let call = followed(&world.engine, gone().unwrap());
    for step in 0..5 {
        call.update(says(&step.to_string())).await.unwrap();
    }
    let counted = |outcome: &'static str| pusher.count(outcome);
    // Not `until`: its patience is shorter than this, on the same clock.
    while counted("disabled") == 0 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!((counted("given_up"), counted("retried")), (3, 33));
    assert_eq!(lookups.load(Ordering::SeqCst), 36);
    // At least: the clock goes on while the store's thread has something to do.
    let took = begun.elapsed();
    assert!(took > Duration::from_secs(3 * 800), "{took:?}");

    let id = call.task_id();
    call.update(says("nobody hears")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(lookups.load(Ordering::SeqCst), 36);
    let known = world.engine.get_push(&ann(), &id, "one").await.unwrap();
    let again = world.engine.create_push(&ann(), &id, known).await;
    again.unwrap();
    call.update(says("somebody listens")).await.unwrap();
    while lookups.load(Ordering::SeqCst) == 36 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    pusher.stop().await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_receivers() {
    let world = World::new().await;
    let receiver = Receiver::start().await;
    receiver.script([Reply::Hang]);
    let pusher = Pusher::start(&world.engine, to(&receiver), quick(1));
    let call = followed(&world.engine, config("one", &receiver));
    finish(&call, done()).await;
    receiver.posts(1).await;
    pusher.stop().await;

    let pusher = Pusher::start(&world.engine, to(&receiver), quick(1));
    let posts = receiver.posts(2).await;
    assert_eq!(said(&posts), ["completed: done", "completed: done"]);
    pusher.stop().await;
}
