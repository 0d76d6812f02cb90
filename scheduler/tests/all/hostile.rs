//! Every way in which a guest can go wrong: its own call fails with a class, the same agent
//! answers its next call, and a neighbour answers all the while.

use crate::harness::{Platform, answer, data, guest_wasm, task, text};
use dormouse_services::model::TaskState;
use serde_json::json;
use std::time::Duration;

/// Longer than any machine takes for what must be answered.
const PATIENT: Duration = Duration::from_secs(60);

/// Runs a skill that must fail, at a deadline of 2 seconds or before that matters, and returns its class and sentence.
async fn failing(skill: &str, at_deadline: bool) -> (String, String) {
    let platform = Platform::new(|config| config.limits.deadline = PATIENT).await;
    let hostile = platform.deploy("armed").await;
    let neighbour = platform.deploy("echo").await;
    let limited = hostile.limited(|limits| {
        if at_deadline {
            limits.deadline = Duration::from_secs(2);
        }
    });
    let bad = platform.call(&limited, skill, text("go"));
    let good = async {
        let (report, said) = platform.call(&neighbour, "echo", text("still here")).await;
        assert!(report.start.is_some());
        assert!(answer(&said).contains("still here"));
    };
    let ((_, settled), ()) = tokio::join!(bad, good);
    let failed = task(settled);
    assert_eq!(failed.status.state, TaskState::Failed, "{failed:?}");
    let message = failed.status.message.unwrap();
    let class = message.metadata.as_ref().unwrap()["errorClass"]
        .as_str()
        .unwrap()
        .to_owned();
    let sentence = message.text().unwrap().to_owned();
    let (report, said) = platform.call(&hostile, "echo", text("again")).await;
    assert!(report.start.is_some());
    assert!(answer(&said).contains("again"));
    (class, sentence)
}

macro_rules! fails {
    ($($name:ident: $skill:literal => $class:literal, $word:literal;)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let (class, sentence) = failing($skill, $class == "deadline").await;
            assert_eq!(class, $class, "{sentence}");
            assert!(sentence.contains($word), "{sentence}");
        })*
    };
}

fails! {
    a_panic_is_a_trap: "trap" => "trap", "unreachable";
    an_unreachable_is_a_trap: "unreachable" => "trap", "unreachable";
    a_deep_recursion_is_a_trap: "recurse" => "trap", "trapped";
    a_memory_bomb_is_a_trap: "memory-bomb" => "trap", "trapped";
    a_table_bomb_is_refused_at_its_limit: "table-bomb" => "agent", "refused after 19";
    a_recursion_inside_a_host_call_is_a_trap: "recurse-in-host" => "trap", "trapped";
    a_hoard_of_handles_is_a_limit: "handle-leak" => "limit", "more handles";
    ten_thousand_waits_at_once_are_a_limit: "many-waits" => "limit", "more handles";
    a_loop_ends_at_the_deadline: "loop" => "deadline", "2 seconds";
    an_endless_wait_ends_at_the_deadline: "pending" => "deadline", "2 seconds";
    an_endless_sleep_ends_at_the_deadline: "sleep" => "deadline", "2 seconds";
    too_much_output_is_a_limit: "huge-output" => "limit", "bytes";
    too_much_of_an_artifact_is_a_limit: "huge-artifact" => "limit", "bytes";
    too_much_of_an_update_is_a_limit: "huge-update" => "limit", "bytes";
    too_much_of_a_value_is_a_limit: "huge-state" => "limit", "bytes";
    too_much_of_a_log_record_is_a_limit: "huge-log" => "limit", "bytes";
    a_log_flood_is_a_limit: "log-flood" => "limit", "log";
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loops_on_every_core_let_a_neighbour_answer() {
    let platform = Platform::new(|config| config.limits.deadline = Duration::from_secs(3)).await;
    let hostile = platform.deploy("hostile").await;
    let echo = platform.deploy("echo").await;
    let loops =
        futures_util::future::join_all((0..4).map(|_| platform.call(&hostile, "loop", text("go"))));
    let answers = async {
        let mut count = 0;
        for _ in 0..20 {
            let (report, _) = platform.call(&echo, "echo", text("x")).await;
            count += usize::from(report.start.is_some());
        }
        count
    };
    let (loops, answered) = tokio::join!(loops, answers);
    assert_eq!(answered, 20);
    for (_, settled) in loops {
        assert_eq!(task(settled).status.state, TaskState::Failed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loop_ends_when_its_processor_time_is_used_up() {
    // Of the first tick the time by the clock counts, however busy the machine is.
    let limit = Duration::from_secs(1);
    let platform = Platform::new(|config| config.limits.processor = limit).await;
    let load = platform.deploy("load").await;
    let (report, settled) = platform.call(&load, "spin", text("go")).await;
    assert!(report.processor >= limit, "{:?}", report.processor);
    let failed = task(settled).status.message.unwrap();
    assert_eq!(failed.metadata.as_ref().unwrap()["errorClass"], "limit");
    let sentence = failed.text().unwrap();
    assert!(sentence.contains("1 seconds of processor"), "{sentence}");
    // A wait takes no processor time.
    let (report, settled) = platform.call(&load, "wait", text("go")).await;
    assert_eq!(task(settled).status.state, TaskState::Completed);
    assert!(report.processor < limit, "{:?}", report.processor);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_call_stops_at_once() {
    let platform = Platform::new(|_| {}).await;
    let hostile = platform.deploy("hostile").await;
    let call = platform.call(&hostile, "slow", data(json!({"ms": 15_000})));
    let cancel = async {
        while platform.metric("dormouse_instances", &[("state", "busy")]) == 0.0 {
            tokio::task::yield_now().await;
        }
        platform.tasks.interrupt_all();
    };
    let both = async { tokio::join!(call, cancel) };
    let ((_, settled), ()) = tokio::time::timeout(Duration::from_secs(10), both)
        .await
        .expect("the call is interrupted");
    let failed = task(settled);
    assert_eq!(failed.status.state, TaskState::Failed);
}

/// Calls of another agent, until the work is done: every one is answered.
async fn beside<T>(platform: &Platform, work: impl Future<Output = T>) -> (T, usize) {
    let echo = platform.deploy("echo").await;
    let echo = echo.limited(|limits| limits.deadline = PATIENT);
    let mut work = std::pin::pin!(work);
    let mut answers = 0;
    loop {
        let asking = platform.call(&echo, "echo", text("still here"));
        tokio::select! {
            biased;
            done = &mut work => return (done, answers),
            (report, said) = asking => {
                assert!(report.start.is_some(), "{said:?}");
                answers += 1;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entrypoint_that_never_yields_holds_up_nobody() {
    let platform = Platform::new(|_| {}).await;
    let (refused, answers) = beside(&platform, platform.prepare(guest_wasm("lying_loop"))).await;
    assert_eq!(refused.unwrap_err().code(), "entrypoint_timeout");
    assert!(answers > 5, "{answers}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_calls_that_wait_leave_room_for_others() {
    let platform = Platform::new(|config| {
        config.limits.deadline = Duration::from_secs(2);
        config.max_instances_per_agent = config.max_instances / 2;
    })
    .await;
    let hostile = platform.deploy("hostile").await;
    let waits = (0..1_000).map(|_| platform.call(&hostile, "sleep", text("go")));
    let waits = futures_util::future::join_all(waits);
    let (waits, answers) = beside(&platform, waits).await;
    for (_, settled) in waits {
        let failed = task(settled).status.message.unwrap();
        assert_eq!(failed.metadata.as_ref().unwrap()["errorClass"], "deadline");
    }
    assert!(answers > 20, "{answers}");
    let (_, said) = platform.call(&hostile, "echo", text("again")).await;
    assert_eq!(answer(&said), "again");
}
