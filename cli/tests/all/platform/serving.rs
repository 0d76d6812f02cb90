//! Serving: ready, metrics, drain, one server per folder.

use super::{Server, data, data_dir, guest, said, state, text};
use serde_json::json;
use std::process::Stdio;
use std::thread;

#[test]
fn a_running_call_ends_before_the_server_does() {
    let dir = data_dir();
    let server = Server::start(dir.path(), &[]);
    server.deploy(&guest("hostile"));
    thread::scope(|scope| {
        let call = scope.spawn(|| {
            let message = data(json!({"ms": 1_500})).skill("slow");
            server.send("hostile", message)["task"].clone()
        });
        server.until("the call runs", |server| {
            server.metric("dormouse_instances", &["state=\"busy\""]) == 1.0
        });
        server.terminate();
        let task = call.join().unwrap();
        assert_eq!(state(&task), "TASK_STATE_COMPLETED", "{task}");
        assert_eq!(said(&task), "awake");
    });
    assert!(server.ended().success());
}

#[test]
fn a_call_that_outlives_the_drain_is_interrupted() {
    let dir = data_dir();
    let server = Server::start(dir.path(), &["--drain-timeout", "500ms"]);
    server.deploy(&guest("hostile"));
    let task = server.send("hostile", text("x").skill("sleep").at_once())["task"].clone();
    assert!(server.stop().success());

    let server = Server::start(dir.path(), &[]);
    let task = server.task("hostile", task["id"].as_str().unwrap());
    assert_eq!(state(&task), "TASK_STATE_FAILED", "{task}");
    assert_eq!(super::error_class(&task), "interrupted");
}

#[test]
fn a_second_server_on_the_same_folder_is_refused() {
    let dir = data_dir();
    let _first = Server::start(dir.path(), &[]);
    let second = crate::dormouse(dir.path())
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(dir.path().join("data"))
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(
        crate::stderr(&second).contains("data"),
        "{}",
        crate::stderr(&second)
    );
}

#[test]
fn every_promised_metric_of_this_version_is_there() {
    let dir = data_dir();
    let server = Server::start(dir.path(), &[]);
    server.deploy(&guest("echo"));
    server.send("echo", text("x"));
    let text = String::from_utf8(server.get("/metrics").body).unwrap();
    for name in [
        "dormouse_requests_total",
        "dormouse_request_seconds",
        "dormouse_starts_total",
        "dormouse_start_seconds",
        "dormouse_call_seconds",
        "dormouse_instances",
        "dormouse_evictions_total",
        "dormouse_queue_depth",
        "dormouse_rejected_total",
        "dormouse_modules",
        "dormouse_module_bytes",
        "dormouse_compile_seconds",
        "dormouse_compiles_total",
        "dormouse_tasks",
        "dormouse_store_commit_seconds",
        "dormouse_store_corrupt_total",
        "process_resident_memory_bytes",
    ] {
        assert!(
            text.contains(&format!("# TYPE {name} ")),
            "{name} is missing"
        );
    }
}
