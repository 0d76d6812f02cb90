//! Temperatures, reuse, eviction, isolation.

use crate::harness::{Platform, answer, text};
use dormouse_scheduler::Temperature;
use dormouse_services::Settled;
use dormouse_services::model::Isolation;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cold_then_hot_then_warm() {
    let platform = Platform::new(|_| {}).await;
    let echo = platform.deploy("echo").await;
    let (first, said) = platform.call(&echo, "echo", text("hello")).await;
    assert_eq!(first.start.unwrap().0, Temperature::Cold);
    assert!(answer(&said).contains("hello"), "{said:?}");
    assert!(
        matches!(said, Settled::Message(_)),
        "a plain answer leaves no task"
    );
    let (second, _) = platform.call(&echo, "echo", text("hello")).await;
    assert_eq!(second.start.unwrap().0, Temperature::Hot);
    platform.scheduler.retire("echo", None);
    platform.until_empty().await;
    let (third, _) = platform.call(&echo, "echo", text("hello")).await;
    assert_eq!(third.start.unwrap().0, Temperature::Warm);
    assert_eq!(platform.metric("dormouse_compiles_total", &[]), 1.0);
    assert_eq!(platform.starts("hot"), 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn code_that_is_not_kept_is_loaded_from_disk() {
    let platform = Platform::new(|config| {
        config.idle_timeout = Duration::ZERO;
        config.code_idle_timeout = Duration::ZERO;
    })
    .await;
    let echo = platform.deploy("echo").await;
    for _ in 0..3 {
        let (report, _) = platform.call(&echo, "echo", text("x")).await;
        assert_eq!(report.start.unwrap().0, Temperature::Cold);
    }
    assert_eq!(platform.metric("dormouse_compiles_total", &[]), 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn code_that_is_let_go_is_counted_by_its_reason() {
    let platform = Platform::new(|config| {
        config.idle_timeout = Duration::from_millis(20);
        config.code_idle_timeout = Duration::from_secs(1);
        config.max_loaded_code = 1;
    })
    .await;
    let counted = |reason| platform.metric("dormouse_code_unloads_total", &[("reason", reason)]);
    let until = async |reason, count| {
        let waiting = async {
            while counted(reason) < count {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(20), waiting).await;
        waited.unwrap_or_else(|_| panic!("none was {reason}"));
    };
    // Compiling takes longer than code is kept.
    let agents = [
        platform.deploy("echo").await,
        platform.deploy("counter").await,
    ];
    for agent in agents {
        platform
            .call(&agent, &agent.definition.skills[0].id, text("x"))
            .await;
    }
    assert_eq!(platform.metric("dormouse_code_load_seconds", &[]), 4.0);
    until("capacity", 1.0).await;
    until("idle", 1.0).await;
    let echo = platform.deploy("echo").await;
    platform.call(&echo, "echo", text("x")).await;
    platform.scheduler.forget(&echo.version.digest);
    until("dropped", 1.0).await;
    assert_eq!(platform.metric("dormouse_code_loaded", &[]), 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_compiles_nothing_and_lost_code_is_compiled_again() {
    let platform = Platform::new(|_| {}).await;
    let echo = platform.deploy("echo").await;
    let Platform { dir, scheduler, .. } = platform;
    drop(scheduler);
    let again = Platform::at(dir, |_| {}).await;
    again
        .store
        .modules
        .put(&crate::harness::guest_wasm("echo"))
        .unwrap();
    let (report, _) = again.call(&echo, "echo", text("x")).await;
    assert_eq!(report.start.unwrap().0, Temperature::Cold);
    assert_eq!(again.metric("dormouse_compiles_total", &[]), 0.0);
    again.scheduler.retire("echo", None);
    again.scheduler.forget(&echo.version.digest);
    let (report, _) = again.call(&echo, "echo", text("x")).await;
    assert_eq!(report.start.unwrap().0, Temperature::Stored);
    assert_eq!(again.metric("dormouse_compiles_total", &[]), 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reuse_keeps_memory_and_isolation_does_not() {
    let platform = Platform::new(|_| {}).await;
    let hostile = platform.deploy("hostile").await;
    let counts = async |isolation, principals: [&str; 3]| {
        let agent = hostile.isolated(isolation);
        let mut seen = Vec::new();
        for principal in principals {
            let (_, said) = platform
                .call_as(&agent, "counter", text("count"), principal)
                .await;
            seen.push(answer(&said));
        }
        seen
    };
    assert_eq!(
        counts(Isolation::Shared, ["a", "b", "a"]).await,
        ["1", "2", "3"]
    );
    assert_eq!(
        counts(Isolation::Call, ["a", "a", "a"]).await,
        ["1", "1", "1"]
    );
    assert_eq!(
        counts(Isolation::Principal, ["a", "b", "a"]).await,
        ["1", "1", "2"]
    );
    // Each call here is a context of its own.
    assert_eq!(
        counts(Isolation::Context, ["a", "a", "a"]).await,
        ["1", "1", "1"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_calls_than_places_are_all_answered() {
    let platform = Platform::new(|config| config.max_instances = 2).await;
    let (echo, counter) = (
        platform.deploy("echo").await,
        platform.deploy("hostile").await,
    );
    let calls = (0..40).map(|n| {
        let (agent, skill) = if n % 2 == 0 {
            (&echo, "echo")
        } else {
            (&counter, "counter")
        };
        platform.call(agent, skill, text("x"))
    });
    for (report, settled) in futures_util::future::join_all(calls).await {
        assert!(report.start.is_some(), "{settled:?}");
    }
    assert!(platform.metric("dormouse_instances", &[]) <= 2.0);
    assert_eq!(platform.metric("dormouse_queue_depth", &[]), 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_refuses() {
    let platform = Platform::new(|config| {
        config.max_instances = 1;
        config.max_queue = 0;
    })
    .await;
    let hostile = platform.deploy("hostile").await;
    let slow = platform.call(
        &hostile,
        "slow",
        crate::harness::data(serde_json::json!({"ms": 300})),
    );
    let quick = async {
        while platform.metric("dormouse_instances", &[("state", "busy")]) == 0.0 {
            tokio::task::yield_now().await;
        }
        platform.call(&hostile, "echo", text("x")).await
    };
    let ((slow, _), (quick, refused)) = tokio::join!(slow, quick);
    assert!(slow.start.is_some());
    assert!(quick.start.is_none());
    assert!(answer(&refused).contains("limit of running calls"));
    assert_eq!(
        platform.metric("dormouse_rejected_total", &[("reason", "queue_full")]),
        1.0
    );
}

#[tokio::test]
async fn an_agent_needs_the_contract_and_no_sdk() {
    let platform = Platform::new(|_| {}).await;
    let small = platform.deploy("small").await;
    let (_, settled) = platform.call(&small, "echo", text("hello")).await;
    assert_eq!(answer(&settled), "hello");
}
