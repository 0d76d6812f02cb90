//! Limits of single agents, fuel, and what calls are said to have used.

use crate::harness::{Platform, answer, data, task, text};
use dormouse_scheduler::Temperature;
use dormouse_services::Settled;
use dormouse_services::model::{Isolation, TaskState};
use futures_util::future::join_all;
use serde_json::json;
use std::time::Duration;

/// The class and sentence of a failed task.
fn failed(settled: Settled) -> (String, String) {
    let failed = task(settled);
    assert_eq!(failed.status.state, TaskState::Failed, "{failed:?}");
    let message = failed.status.message.unwrap();
    let class = message.metadata.as_ref().unwrap()["errorClass"].as_str();
    (
        class.unwrap().to_owned(),
        message.text().unwrap().to_owned(),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_are_those_of_the_agent() {
    let platform = Platform::new(|_| {}).await;
    let hostile = platform.deploy("hostile").await;
    let brief = hostile.limited(|limits| limits.deadline = Duration::from_millis(300));
    let small = hostile.limited(|limits| limits.host_call_bytes = 1 << 20);
    let (class, sentence) = failed(platform.call(&brief, "sleep", text("go")).await.1);
    assert_eq!(class, "deadline", "{sentence}");
    assert!(sentence.contains("0.3 seconds"), "{sentence}");
    let two = || data(json!({"mib": 2}));
    let (class, sentence) = failed(platform.call(&small, "huge-output", two()).await.1);
    assert_eq!(class, "limit", "{sentence}");
    assert!(sentence.contains("1048576 bytes"), "{sentence}");
    let (_, said) = platform.call(&hostile, "huge-output", two()).await;
    assert_eq!(task(said).status.state, TaskState::Completed);
    let busy = hostile.limited(|limits| limits.processor = Duration::from_millis(100));
    let (class, sentence) = failed(platform.call(&busy, "loop", text("go")).await.1);
    assert_eq!(class, "limit", "{sentence}");
    assert!(sentence.contains("0.1 seconds of processor"), "{sentence}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_may_have_more_memory_than_others_up_to_its_slot() {
    let platform = Platform::new(|_| {}).await;
    let hostile = platform.deploy("hostile").await;
    let usual = platform.scheduler.limits().memory_bytes as u64;
    let peak = async |bytes: usize| {
        platform.scheduler.forget_usage("hostile");
        let mut agent = hostile.limited(|limits| limits.memory_bytes = bytes);
        let usage = platform.scheduler.usage("hostile");
        std::sync::Arc::get_mut(&mut agent.version).unwrap().usage = usage;
        failed(platform.call(&agent, "memory-bomb", text("go")).await.1);
        agent.version.usage.read().peak_memory_bytes
    };
    let small = peak(8 << 20).await;
    assert!(small <= 8 << 20 && small > 6 << 20, "{small}");
    let large = peak(2 * usual as usize).await;
    assert!(large <= 2 * usual && large > usual, "{large}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_is_not_reused_under_other_limits() {
    let platform = Platform::new(|_| {}).await;
    let hostile = platform.deploy("hostile").await;
    let count = async |agent| answer(&platform.call(agent, "counter", text("x")).await.1);
    assert_eq!(count(&hostile).await, "1");
    assert_eq!(count(&hostile).await, "2");
    let other = hostile.limited(|limits| limits.memory_bytes /= 2);
    let (report, said) = platform.call(&other, "counter", text("x")).await;
    assert_eq!(
        (answer(&said).as_str(), report.start.unwrap().0),
        ("1", Temperature::Warm)
    );
    let same = hostile.limited(|_| {});
    assert_eq!(count(&same).await, "3", "equal limits are the same limits");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_has_no_more_instances_than_it_may_and_its_calls_wait() {
    let platform = Platform::new(|_| {}).await;
    let hostile = platform.deploy("hostile").await;
    let slow = |agent, ms| platform.call(agent, "slow", data(json!({"ms": ms})));
    let two = hostile.limited(|limits| limits.max_instances = Some(2));
    for (report, said) in join_all((0..6).map(|_| slow(&two, 20))).await {
        assert!(report.start.is_some(), "{said:?}");
    }
    assert_eq!(
        platform.metric("dormouse_instances_started_total", &[]),
        3.0,
        "one to discover"
    );
    // Those that run when the limit is lowered go as they end.
    let four = hostile.limited(|limits| limits.max_instances = Some(4));
    join_all((0..4).map(|_| slow(&four, 50))).await;
    let one = hostile.limited(|limits| limits.max_instances = Some(1));
    join_all((0..3).map(|_| slow(&one, 1))).await;
    let lowered = async {
        let running = join_all((0..4).map(|_| slow(&four, 200)));
        let lowering = async {
            while platform.metric("dormouse_instances", &[("state", "busy")]) < 4.0 {
                tokio::task::yield_now().await;
            }
            slow(&one, 1).await
        };
        tokio::join!(running, lowering)
    };
    let (_, (report, said)) = lowered.await;
    assert!(report.start.is_some(), "{said:?}");
    assert_eq!(platform.metric("dormouse_instances", &[]), 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fuel_is_the_same_for_the_same_call_and_ends_one_that_takes_too_much() {
    let platform = Platform::new(|config| config.limits.fuel = Some(50_000_000)).await;
    let hostile = platform.deploy("hostile").await.isolated(Isolation::Call);
    let mut used = Vec::new();
    for _ in 0..3 {
        let (report, said) = platform.call(&hostile, "echo-task", text("hello")).await;
        assert_eq!(answer(&said), "hello");
        used.push(report.fuel.unwrap());
    }
    assert!(used[0] > 100, "{used:?}");
    assert!(used.iter().all(|fuel| *fuel == used[0]), "{used:?}");
    let (more, _) = platform
        .call(&hostile, "echo-task", text(&"x".repeat(10_000)))
        .await;
    assert!(more.fuel.unwrap() > used[0]);
    let sum = used.iter().sum::<u64>() + more.fuel.unwrap();
    assert_eq!(hostile.version.usage.read().fuel, sum);
    // Of an agent that takes many calls at a time, each is alone.
    let crowd = platform.deploy("crowd").await;
    let meet = || platform.call(&crowd, "meet", text("1"));
    for (report, said) in join_all((0..3).map(|_| meet())).await {
        assert!(report.fuel.is_some(), "{said:?}");
    }
    let (report, said) = platform.call(&hostile, "loop", text("go")).await;
    let (class, sentence) = failed(said);
    assert_eq!(class, "limit", "{sentence}");
    assert!(sentence.contains("50000000 units of fuel"), "{sentence}");
    assert_eq!(report.fuel, Some(50_000_000));
    let (_, said) = platform.call(&hostile, "echo", text("again")).await;
    assert_eq!(answer(&said), "again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn code_that_counts_fuel_is_other_code() {
    let platform = Platform::new(|_| {}).await;
    let echo = platform.deploy("echo").await;
    let (report, _) = platform.call(&echo, "echo", text("x")).await;
    assert_eq!(report.fuel, None);
    let Platform { dir, scheduler, .. } = platform;
    drop(scheduler);
    let counting = Platform::at(dir, |config| config.limits.fuel = Some(1_000_000)).await;
    counting.deploy("echo").await;
    assert_eq!(
        counting.metric("dormouse_compiles_total", &[]),
        1.0,
        "compiled again"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_summed_up_however_they_end() {
    let platform = Platform::new(|_| {}).await;
    let hostile = platform.deploy("hostile").await;
    let usage = platform.scheduler.usage("hostile");
    assert_eq!(
        usage.read(),
        Default::default(),
        "asking for definitions is no call"
    );
    let (one, _) = platform.call(&hostile, "echo", text("x")).await;
    let (two, _) = platform
        .call(&hostile, "slow", data(json!({"ms": 30})))
        .await;
    let (three, _) = platform.call(&hostile, "trap", text("x")).await;
    let brief = hostile.limited(|limits| limits.deadline = Duration::from_millis(50));
    let (four, _) = platform.call(&brief, "sleep", text("x")).await;
    let used = usage.read();
    assert_eq!(used.calls, 4);
    let processor = [&one, &two, &three, &four].map(|report| report.processor);
    assert_eq!(used.processor, processor.iter().sum());
    assert!(used.duration >= Duration::from_millis(80), "{used:?}");
    assert!(used.processor < used.duration, "{used:?}");
    assert!(used.peak_memory_bytes >= 1 << 16, "{used:?}");
    assert_eq!(used.fuel, 0);
    platform.scheduler.forget_usage("hostile");
    assert_eq!(platform.scheduler.usage("hostile").read().calls, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_says_how_much_memory_its_instance_had() {
    let platform = Platform::new(|_| {}).await;
    let hostile = platform.deploy("hostile").await;
    let memory = async |agent, skill| {
        let (report, _) = platform.call(agent, skill, text("2")).await;
        report.memory_bytes
    };
    let small = memory(&hostile, "echo").await;
    assert!(small >= 1 << 16, "{small}");
    let large = memory(&hostile, "memory-bomb").await;
    let peak = || hostile.version.usage.read().peak_memory_bytes;
    assert!(large > 8 * small && large == peak(), "{large}, {}", peak());
    // The next instance begins anew, and the call after it finds what the one before has left.
    assert_eq!(memory(&hostile, "counter").await, small);
    assert_eq!(memory(&hostile, "counter").await, small);
    let crowd = platform.deploy("crowd").await;
    let meet = || memory(&crowd, "meet");
    let (one, other) = tokio::join!(meet(), meet());
    assert!(one >= 1 << 16 && one == other, "{one}, {other}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_may_hold_log_and_keep_as_much_as_it_was_given() {
    let platform = Platform::new(|_| {}).await;
    let hostile = platform.deploy("hostile").await;
    let leak = async |agent| platform.call(agent, "handle-leak", text("go")).await.1;
    let (class, sentence) = failed(leak(&hostile).await);
    assert_eq!(class, "limit", "{sentence}");
    let holds = hostile.limited(|limits| limits.handles = 20_000);
    assert_eq!(answer(&leak(&holds).await), "kept");
    let send = async |agent| {
        let two = data(json!({"mib": 2}));
        platform.call(agent, "huge-artifact", two).await.1
    };
    assert_eq!(
        task(send(&hostile).await).status.state,
        TaskState::Completed
    );
    let keeps = hostile.limited(|limits| limits.task_bytes = 1 << 20);
    let (class, sentence) = failed(send(&keeps).await);
    assert_eq!(class, "agent", "it was told, and gave up: {sentence}");
    assert!(sentence.contains("1048576"), "{sentence}");
    let logged = async |records: u32| {
        let logs = hostile.limited(|limits| limits.log.records = records);
        platform.scheduler.logs().forget("hostile");
        failed(platform.call(&logs, "log-flood", text("go")).await.1);
        let page = platform.scheduler.logs().read("hostile", None, 1_000);
        page.records.len()
    };
    let (few, more) = (logged(5).await, logged(50).await);
    assert!(few < more && few >= 5, "{few}, {more}");
}

/// Nothing runs on the one thread of this runtime while the test holds it.
#[tokio::test]
async fn event_loops_that_stand_still_are_counted() {
    let stall_after = Duration::from_millis(40);
    let platform = Platform::new(|config| config.stall_after = stall_after).await;
    let stalls = || platform.metric("dormouse_stalls_total", &[]);
    let before = stalls();
    let begun = std::time::Instant::now();
    while stalls() == before {
        assert!(begun.elapsed() < Duration::from_secs(20), "nobody noticed");
        std::thread::sleep(Duration::from_millis(1));
    }
    let echo = platform.deploy("echo").await;
    let (report, _) = platform.call(&echo, "echo", text("x")).await;
    assert!(report.start.is_some());
}
