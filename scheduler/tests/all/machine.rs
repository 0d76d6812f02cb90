//! What instances take of the machine, and what happens when it has no more.

use crate::harness::{Platform, answer, data, task, text};
use dormouse_scheduler::machine::maps_needed;
use dormouse_services::model::FailureClass;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use std::process::Command;

/// Mappings of this process, without the stacks of its threads and their guard pages: how many threads load code
/// at a time depends on what else the machine does.
fn maps() -> u64 {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let threads = std::fs::read_dir("/proc/self/task").unwrap().count();
    (maps.lines().count() - 2 * threads) as u64
}

/// Runs a test of this file in a process of its own: what it looks at, or changes, belongs to the process.
fn alone(test: &str) {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
fn instances_take_the_mappings_that_are_reckoned_with() {
    alone("machine::mappings_alone");
}

/// All places are taken, by calls that wait in the host: that is also what `stacks` promises room for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "counts the mappings of its process"]
async fn mappings_alone() {
    const FEW: usize = 40;
    const MANY: usize = 400;
    let mut taken = Vec::new();
    for places in [FEW, MANY] {
        let before = maps();
        let platform = Platform::new(|config| {
            config.max_instances = places;
            config.max_instances_per_agent = places;
        })
        .await;
        let hostile = platform.deploy("hostile").await;
        let calls = (0..places).map(|_| platform.call(&hostile, "slow", data(json!({"ms": 3000}))));
        for (report, said) in futures_util::future::join_all(calls).await {
            assert!(report.start.is_some(), "{said:?}");
        }
        assert_eq!(platform.metric("dormouse_instances", &[]), places as f64);
        taken.push(maps() - before);
        drop(platform);
    }
    let reckoned = |n: usize| maps_needed(n as u64, 1) - (n.max(1) * 4) as u64;
    assert!(taken[1] <= reckoned(MANY), "{taken:?}");
    // Without the reserve of the process, it is about the truth and not far above it.
    let grown = taken[1] - taken[0];
    let expected = reckoned(MANY) - reckoned(FEW);
    assert!(grown <= expected + expected / 20, "{grown} of {expected}");
    assert!(grown >= expected / 2, "{grown} of {expected}");
}

#[test]
fn compiled_code_outlives_a_machine_that_has_no_room_for_it() {
    alone("machine::no_files_alone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes its process all open files"]
async fn no_files_alone() {
    let platform = Platform::new(|_| {}).await;
    let echo = platform.deploy("echo").await;
    let usual = getrlimit(Resource::Nofile);
    let none = Rlimit {
        current: Some(3),
        maximum: usual.maximum,
    };
    setrlimit(Resource::Nofile, none).unwrap();
    let (report, said) = platform.call(&echo, "echo", text("x")).await;
    setrlimit(Resource::Nofile, usual).unwrap();
    assert!(report.start.is_none());
    assert!(answer(&said).contains("limit of its machine"), "{said:?}");
    let status = task(said).status.message.unwrap();
    let class = &status.metadata.unwrap()["errorClass"];
    assert_eq!(class, FailureClass::Unavailable.as_str());
    let rejected = [("reason", "machine_limit")];
    assert_eq!(platform.metric("dormouse_rejected_total", &rejected), 1.0);
    let (report, _) = platform.call(&echo, "echo", text("x")).await;
    assert_eq!(report.start.unwrap().0.as_str(), "cold");
    assert_eq!(platform.metric("dormouse_compiles_total", &[]), 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compiled_code_that_is_damaged_is_made_again() {
    let platform =
        Platform::new(|config| config.code_idle_timeout = std::time::Duration::ZERO).await;
    let echo = platform.deploy("echo").await;
    let name = format!("{}.cwasm", echo.version.digest.hex());
    for engine in std::fs::read_dir(platform.dir.path().join("code")).unwrap() {
        let file = engine.unwrap().path().join(&name[..2]).join(&name);
        std::fs::write(file, b"").unwrap();
    }
    let (report, _) = platform.call(&echo, "echo", text("x")).await;
    assert_eq!(report.start.unwrap().0.as_str(), "stored");
    assert_eq!(platform.metric("dormouse_compiles_total", &[]), 2.0);
}
