//! Initialisation at deploy: what instances start with, and what it is refused for.

use crate::harness::{Deployed, Platform, answer, guest_wasm, text};
use dormouse_scheduler::Temperature;
use dormouse_services::model::Isolation;
use std::time::Duration;

/// What the guest `prepared` says of a number: how often its table was built before the call and after it, the calls
/// of its instance, and the entry.
async fn look(platform: &Platform, agent: &Deployed, number: u32) -> (Temperature, String) {
    let (report, said) = platform
        .call(agent, "look", text(&number.to_string()))
        .await;
    (report.start.expect("it was called").0, answer(&said))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_start_finds_what_was_initialised_once() {
    let platform = Platform::new(|config| {
        config.idle_timeout = Duration::ZERO;
        config.code_idle_timeout = Duration::ZERO;
    })
    .await;
    let agent = platform.deploy("prepared").await;
    // 27 takes 111 steps (OEIS A006577), the longest below 100 is 97 with 118.
    for (number, entry) in [(27, 111), (97, 118), (999_999, 258)] {
        let found = look(&platform, &agent, number).await;
        assert_eq!(found, (Temperature::Cold, format!("1 1 1 {entry}")));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_of_one_snapshot_share_nothing_and_calls_do_not_reach_it() {
    let platform = Platform::new(|_| {}).await;
    let agent = platform.deploy("prepared").await;
    let fresh = agent.isolated(Isolation::Call);
    let (_, first) = look(&platform, &agent, 27).await;
    let (_, second) = look(&platform, &agent, 27).await;
    assert_eq!((&*first, &*second), ("1 1 1 111", "1 1 2 111"), "reused");
    let (_, other) = look(&platform, &fresh, 27).await;
    assert_eq!(other, "1 1 1 111", "another instance");
    // Made again from the stored bytes, it is what it was.
    platform.scheduler.retire("prepared", None);
    platform.scheduler.forget(&agent.version.digest);
    let again = look(&platform, &agent, 27).await;
    assert_eq!(again, (Temperature::Stored, "1 1 1 111".into()));
}

async fn refused(wasm: Vec<u8>) -> (&'static str, String) {
    let platform = Platform::new(|config| {
        config.limits.initialisation = Duration::from_millis(50);
    })
    .await;
    let error = platform.prepare(wasm).await.expect_err("it is refused");
    assert!(error.is_caller_fault(), "{error}");
    assert_eq!(platform.metric("dormouse_compiles_total", &[]), 0.0);
    platform.until_empty().await;
    (error.code(), error.to_string())
}

/// A module with this inside. It is looked at before its contract is, so that is empty.
fn module(inside: &str) -> Vec<u8> {
    wat::parse_str(format!(
        r#"(module (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
            (import "dormouse:agent/log@0.1.0" "write" (func $log (param i32 i32 i32 i32 i32)))
            (memory (export "memory") 1) (table 1 funcref)
            {inside} (@custom "component-type:agent" ""))"#
    ))
    .unwrap()
}

fn init(body: &str) -> Vec<u8> {
    module(&format!(r#"(func (export "wizer-initialize") {body})"#))
}

#[tokio::test]
async fn a_trap_and_a_loop_are_refused() {
    let (code, sentence) = refused(init("unreachable")).await;
    assert_eq!(code, "init_trapped");
    assert!(sentence.contains("unreachable"), "{sentence}");
    assert_eq!(refused(init("(loop (br 0))")).await.0, "init_timeout");
    let recursion = module(r#"(func $f (export "wizer-initialize") (call $f))"#);
    assert_eq!(refused(recursion).await.0, "init_trapped");
    // What runs before it is held to the same.
    let start = r#"(func $s (loop (br 0))) (start $s) (func (export "wizer-initialize"))"#;
    assert_eq!(refused(module(start)).await.0, "init_timeout");
    let reactor = r#"(func (export "_initialize") unreachable) (func (export "wizer-initialize"))"#;
    assert_eq!(refused(module(reactor)).await.0, "init_trapped");
    let hog = "(if (i32.eq (memory.grow (i32.const 60000)) (i32.const -1)) (then unreachable))";
    assert_eq!(refused(init(hog)).await.0, "init_trapped");
}

#[tokio::test]
async fn nothing_can_be_asked_for() {
    let random = "(drop (call $random (i32.const 0) (i32.const 8)))";
    let (code, sentence) = refused(init(random)).await;
    assert_eq!(code, "init_import");
    assert!(sentence.contains("`random_get`"), "{sentence}");
    let zero = "(i32.const 0)".repeat(5);
    let (code, sentence) = refused(init(&format!("(call $log {zero})"))).await;
    assert_eq!(code, "init_import");
    assert!(
        sentence.contains("`dormouse:agent/log@0.1.0`"),
        "{sentence}"
    );
    // A HashMap takes its seed from there: frozen, it would be the same in every instance.
    let (code, sentence) = refused(guest_wasm("lying_seed")).await;
    assert_eq!(code, "init_import");
    assert!(
        sentence.contains("random_get") && sentence.contains("BTreeMap"),
        "{sentence}"
    );
}

#[tokio::test]
async fn what_cannot_be_kept_is_refused() {
    let table = "(table.set (i32.const 0) (ref.null func))";
    let (code, sentence) = refused(init(table)).await;
    assert_eq!(code, "snapshot_failed");
    assert!(sentence.contains("table.set"), "{sentence}");
    let argument = r#"(func (export "wizer-initialize") (param i32))"#;
    assert_eq!(refused(module(argument)).await.0, "snapshot_failed");
}
