//! Several calls in one instance: they wait side by side, and a trap takes along those that are in it only.

use crate::harness::{Deployed, Platform, answer, task, text};
use dormouse_services::model::{Isolation, TaskState};
use dormouse_store::Digest;
use futures_util::future::join_all;
use futures_util::poll;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

async fn crowd() -> (Platform, Deployed) {
    crowd_with(Duration::from_secs(30)).await
}

async fn crowd_with(processor: Duration) -> (Platform, Deployed) {
    let platform = Platform::new(|config| config.limits.processor = processor).await;
    let agent = platform.deploy("crowd").await;
    (platform, agent)
}

fn started(platform: &Platform) -> f64 {
    platform.metric("dormouse_instances_started_total", &[]) - 1.0 // discovery
}

/// Calls of a skill, each of which goes on when so many have entered.
async fn meet(platform: &Platform, agent: &Deployed, calls: usize, all: usize) -> Vec<u64> {
    let all = all.to_string();
    let calls = (0..calls).map(|_| platform.call(agent, "meet", text(&all)));
    let answers = join_all(calls).await;
    let mut numbers: Vec<u64> = answers
        .iter()
        .map(|(_, settled)| answer(settled).parse().unwrap())
        .collect();
    numbers.sort_unstable();
    numbers
}

/// How a failed call failed: its class and its sentence.
async fn failing(
    platform: &Platform,
    agent: &Deployed,
    skill: &str,
    all: &str,
) -> (String, String) {
    let (_, settled) = platform.call(agent, skill, text(all)).await;
    let failed = task(settled);
    assert_eq!(failed.status.state, TaskState::Failed, "{failed:?}");
    let message = failed.status.message.unwrap();
    let class = &message.metadata.as_ref().unwrap()["errorClass"];
    let class = class.as_str().unwrap().to_owned();
    (class, message.text().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_calls_wait_in_one_instance() {
    let (platform, agent) = crowd().await;
    let numbers = meet(&platform, &agent, 100, 100).await;
    assert_eq!(numbers, (1..=100).collect::<Vec<u64>>());
    assert_eq!(started(&platform), 1.0);
    // The instance is parked and used again.
    let numbers = meet(&platform, &agent, 3, 103).await;
    assert_eq!(numbers, [101, 102, 103]);
    assert_eq!(started(&platform), 1.0);
    assert_eq!(platform.starts("cold"), 1.0);
    assert_eq!(platform.starts("hot"), 102.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_has_as_many_seats_as_the_agent_declares() {
    let (platform, agent) = crowd().await;
    let agent = agent.with_concurrency(2);
    // Two that wait for ever have the seats of one instance, so the third needs another.
    let both = join_all((0..2).map(|_| platform.call(&agent, "meet", text("1000"))));
    tokio::select! {
        biased;
        _ended = both => panic!("nobody else comes"),
        numbers = meet(&platform, &agent, 1, 1) => assert_eq!(numbers, [1]),
    }
    // The one that was opened first may be the last to have started.
    let both_started = async {
        while started(&platform) < 2.0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), both_started)
        .await
        .expect("two instances");
    assert_eq!(started(&platform), 2.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_gets_a_seat_that_becomes_free() {
    let platform = Platform::new(|config| config.max_instances = 1).await;
    let agent = platform.deploy("crowd").await.with_concurrency(2);
    let first = meet(&platform, &agent, 2, 2);
    let second = async {
        tokio::task::yield_now().await;
        meet(&platform, &agent, 4, 4).await
    };
    let (first, second) = tokio::join!(first, second);
    assert_eq!((first.len(), second.len()), (2, 4));
    assert_eq!(started(&platform), 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn principals_do_not_meet() {
    let (platform, agent) = crowd().await;
    let agent = agent.isolated(Isolation::Principal);
    let calls = ["ada", "bob", "ada", "bob"]
        .map(|principal| platform.call_as(&agent, "meet", text("2"), principal));
    for (_, settled) in join_all(calls).await {
        assert!(["1", "2"].contains(&answer(&settled).as_str()));
    }
    assert_eq!(started(&platform), 2.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn isolation_by_call_shares_nothing() {
    let (platform, agent) = crowd().await;
    let agent = agent.isolated(Isolation::Call);
    assert_eq!(meet(&platform, &agent, 5, 1).await, [1; 5]);
    assert_eq!(started(&platform), 5.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trap_takes_along_the_calls_that_are_with_it() {
    let (platform, agent) = crowd().await;
    let elsewhere = agent.isolated(Isolation::Principal);
    let victims = join_all((0..3).map(|_| failing(&platform, &agent, "meet", "1000")));
    let trap = failing(&platform, &agent, "trap", "4");
    // In an instance of its own the same skill of the same module goes on.
    let other = platform.call(&elsewhere, "meet", text("1"));
    let (victims, (class, sentence), (_, other)) = tokio::join!(victims, trap, other);
    assert_eq!(answer(&other), "1");
    assert_eq!(class, "trap", "{sentence}");
    assert!(sentence.contains("unreachable"), "{sentence}");
    for (class, sentence) in victims {
        assert_eq!(class, "trap", "{sentence}");
        assert!(sentence.contains("another call there"), "{sentence}");
    }
    assert_eq!(meet(&platform, &agent, 2, 2).await, [1, 2], "a fresh one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whose_limit_it_was_is_told_apart() {
    let (short, long) = (Duration::from_millis(200), Duration::from_secs(30));
    for (skill, processor, word) in [("spin", short, "processor"), ("flood", long, "log")] {
        let (platform, agent) = crowd_with(processor).await;
        let victim = failing(&platform, &agent, "meet", "1000");
        let guilty = failing(&platform, &agent, skill, "2");
        let (victim, guilty) = tokio::join!(victim, guilty);
        assert_eq!(guilty.0, "limit", "{guilty:?}");
        assert!(guilty.1.contains(word), "{guilty:?}");
        assert!(victim.1.contains("another call there"), "{victim:?}");
    }
}

/// A guest that rests before each tick is over is stopped like one that does not, and it is the one to blame.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_computes_in_small_bites_has_no_more_processor_time() {
    let limit = Duration::from_millis(300);
    let (platform, agent) = crowd_with(limit).await;
    let (report, settled) = platform.call(&agent, "nibble", text("1")).await;
    assert_eq!(task(settled).status.state, TaskState::Failed);
    assert!(report.processor >= limit, "{:?}", report.processor);
    assert!(report.processor < 2 * limit, "{:?}", report.processor);
    let victim = failing(&platform, &agent, "meet", "1000");
    let guilty = failing(&platform, &agent, "nibble", "2");
    let (victim, guilty) = tokio::join!(victim, guilty);
    assert_eq!(guilty.0, "limit", "{guilty:?}");
    assert!(guilty.1.contains("processor"), "{guilty:?}");
    assert!(victim.1.contains("another call there"), "{victim:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_printed_without_an_end_ends_the_instance() {
    let (platform, agent) = crowd().await;
    let (class, sentence) = failing(&platform, &agent, "prints", "1").await;
    assert_eq!(class, "limit", "{sentence}");
    assert_eq!(meet(&platform, &agent, 1, 1).await, [1]);
}

/// Of a call that is over its deadline only its instance knows later what it used.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_call_used_is_counted_however_it_ends() {
    let (platform, agent) = crowd().await;
    let limit = Duration::from_millis(200);
    let stopped = agent.limited(|limits| limits.processor = limit);
    let (report, settled) = platform.call(&stopped, "spin", text("1")).await;
    assert_eq!(task(settled).status.state, TaskState::Failed);
    assert!(report.processor >= limit, "{:?}", report.processor);
    let usage = &agent.version.usage;
    assert_eq!(usage.read().processor, report.processor);
    assert_eq!(usage.take_late(), Duration::ZERO);
    let late = agent.limited(|limits| limits.deadline = Duration::from_secs(2));
    let (reported, settled) = platform.call(&late, "spin", text("1")).await;
    assert_eq!(task(settled).status.state, TaskState::Failed);
    platform.until_empty().await;
    let all = usage.read().processor;
    // The guest has computed for so long since nobody waited for it.
    let grace = Duration::from_millis(100);
    let come_late = all - report.processor - reported.processor;
    assert!(come_late >= grace, "{come_late:?}");
    assert_eq!(usage.take_late(), come_late);
    assert_eq!(usage.take_late(), Duration::ZERO);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_given_up_disturbs_nobody() {
    let (platform, agent) = crowd().await;
    let (left, right) = (Arc::new(platform), Arc::new(agent));
    let forever = tokio::spawn({
        let (platform, agent) = (Arc::clone(&left), Arc::clone(&right));
        async move { platform.call(&agent, "meet", text("1000")).await }
    });
    // The fourth is the one that goes on waiting.
    assert_eq!(meet(&left, &right, 3, 4).await.len(), 3);
    assert_eq!(started(&left), 1.0);
    forever.abort();
    assert!(forever.await.unwrap_err().is_cancelled());
    left.until_empty().await;
    assert_eq!(
        meet(&left, &right, 1, 1).await,
        [1],
        "not the same instance"
    );
}

/// The one that waits would be in the instance that the given-up call has left in the middle of something.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_seat_of_a_call_that_is_given_up_is_nobodys() {
    let platform = Platform::new(|config| config.max_instances = 1).await;
    let agent = platform.deploy("crowd").await.with_concurrency(2);
    let queued = || platform.metric("dormouse_queue_depth", &[]);
    let mut given_up = Box::pin(platform.call(&agent, "meet", text("1000")));
    assert!(poll!(&mut given_up).is_pending());
    // Its answer says that the first one has entered.
    assert_eq!(meet(&platform, &agent, 1, 2).await.len(), 1);
    let mut other = Box::pin(platform.call(&agent, "meet", text("1000")));
    assert!(poll!(&mut other).is_pending());
    let mut waits = pin!(platform.call(&agent, "meet", text("1")));
    assert!(poll!(&mut waits).is_pending());
    assert_eq!(queued(), 1.0);
    drop(given_up);
    assert_eq!(queued(), 1.0, "no call joins them any more");
    drop(other);
    assert_eq!(answer(&waits.await.1), "1", "a fresh instance");
}

/// On one thread: the instance starts when the test waits for something.
#[tokio::test]
async fn a_call_whose_caller_leaves_before_it_begins_never_does() {
    let (platform, agent) = crowd().await;
    let mut first = pin!(platform.call(&agent, "meet", text("2")));
    let mut leaves = Box::pin(platform.call(&agent, "meet", text("2")));
    assert!(poll!(&mut first).is_pending() && poll!(&mut leaves).is_pending());
    drop(leaves);
    let second = meet(&platform, &agent, 1, 2);
    let ((_, first), second) = tokio::join!(first, second);
    assert_eq!((answer(&first).as_str(), second), ("1", vec![2]));
    assert_eq!(meet(&platform, &agent, 1, 3).await, [3], "it was parked");
    assert_eq!(started(&platform), 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loop_that_nobody_waits_for_is_stopped() {
    let (platform, agent) = crowd().await;
    assert_eq!(meet(&platform, &agent, 1, 1).await, [1]);
    let victim = failing(&platform, &agent, "meet", "1000");
    // Again, if the machine was so busy that it had not begun.
    let spinner = async {
        loop {
            let spin = platform.call(&agent, "spin", text("2"));
            let _elapsed = tokio::time::timeout(Duration::from_millis(300), spin).await;
        }
    };
    let (class, sentence) = tokio::select! {
        biased;
        failed = victim => failed,
        () = spinner => unreachable!("it has no end"),
    };
    assert_eq!(class, "trap");
    assert!(sentence.contains("given up"), "{sentence}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_fails_its_own_call_and_ends_the_instance_later() {
    let (platform, agent) = crowd().await;
    let nonsense = failing(&platform, &agent, "nonsense", "2");
    let other = platform.call(&agent, "meet", text("2"));
    let ((class, sentence), (_, other)) = tokio::join!(nonsense, other);
    assert_eq!(class, "invalid_response", "{sentence}");
    assert!(["1", "2"].contains(&answer(&other).as_str()));
    platform.until_empty().await;
    assert_eq!(meet(&platform, &agent, 1, 1).await, [1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_does_not_start_fails_all_that_wait_for_it() {
    let (platform, agent) = crowd().await;
    let mut version = (*agent.version).clone();
    version.digest = Digest::of(b"nothing");
    let missing = Deployed {
        definition: agent.definition.clone(),
        version: Arc::new(version),
    };
    let calls = (0..5).map(|_| failing(&platform, &missing, "meet", "1"));
    for (class, sentence) in join_all(calls).await {
        assert_eq!(class, "platform", "{sentence}");
    }
    platform.until_empty().await;
}
