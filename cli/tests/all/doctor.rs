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
fn a_port_that_a_stranger_uses_is_a_failure() {
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = stranger.local_addr().unwrap().to_string();
    let (checks, code) = checks(&["--listen", &address, "--server", "http://127.0.0.1:9"]);
    assert_eq!(check(&checks, "port")["level"], "fail");
    assert_eq!(check(&checks, "server")["level"], "warn");
    assert_eq!(code, Some(1));
}
