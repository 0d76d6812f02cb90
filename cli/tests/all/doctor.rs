//! `dormouse doctor`.

use std::net::TcpListener;

use serde_json::{Value, json};

use crate::server::{Answer, FakeServer};
use crate::{dormouse, stderr, stdout};

fn checks(arguments: &[&str]) -> (Value, Option<i32>) {
    let folder = tempfile::tempdir().unwrap();
    let output = dormouse(folder.path())
        .args(["doctor", "--json"])
        .args(arguments)
        .output()
        .unwrap();
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        0,
        "the doctor leaves nothing behind"
    );
    (
        serde_json::from_str(&stdout(&output)).unwrap_or_else(|_| panic!("{}", stderr(&output))),
        output.status.code(),
    )
}

fn check<'a>(checks: &'a Value, name: &str) -> &'a Value {
    checks
        .as_array()
        .unwrap()
        .iter()
        .find(|check| check["name"] == name)
        .unwrap()
}

#[test]
fn checks_the_machine() {
    let server = FakeServer::start(vec![Answer::json(200, &json!({}))]);
    let (checks, _) = checks(&["--listen", "127.0.0.1:0", "--server", &server.url]);
    for name in ["cargo", "wasm target", "data folder", "port", "server"] {
        assert_eq!(check(&checks, name)["level"], "ok", "{checks:#}");
    }
    for check in checks.as_array().unwrap() {
        assert!(
            check["level"] == "ok" || check["mend"].is_string(),
            "{check}"
        );
    }
}

#[test]
fn limits_of_the_machine_are_explained_with_what_raises_them() {
    let binary = env!("CARGO_BIN_EXE_dormouse");
    let folder = tempfile::tempdir().unwrap();
    let script = format!("ulimit -n 1024; ulimit -v 134217728; exec {binary} doctor --json");
    let output = std::process::Command::new("sh")
        .current_dir(folder.path())
        .args(["-c", &script])
        .output()
        .unwrap();
    let checks: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let files = check(&checks, "open files");
    assert_eq!(files["level"], "warn", "{files}");
    assert_eq!(files["found"], "1024: enough for 512 connections");
    assert!(files["mend"].as_str().unwrap().contains("ulimit -n"));
    // 128 GiB, at a little over 8 for the two memories of each place, eight of them for deploys.
    let space = check(&checks, "address space");
    assert_eq!(space["level"], "warn", "{space}");
    assert_eq!(space["found"], "128.00 GiB: enough for 7 live instances");
    assert!(space["mend"].as_str().unwrap().contains("ulimit -v"));
    let maps = check(&checks, "map count");
    assert!(
        maps["found"].as_str().unwrap().contains("live instances"),
        "{maps}"
    );
}

#[test]
fn a_port_that_a_stranger_uses_is_a_failure() {
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = stranger.local_addr().unwrap().to_string();
    let (checks, code) = checks(&["--listen", &address, "--server", "http://127.0.0.1:9"]);
    assert_eq!(check(&checks, "port")["level"], "fail");
    assert_eq!(check(&checks, "server")["level"], "warn");
    assert_eq!(code, Some(1));
}
