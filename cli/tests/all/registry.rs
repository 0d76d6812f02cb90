//! `dormouse agents`, `versions`, `rollback` and `delete`.

use serde_json::{Value, json};

use crate::server::{Answer, FakeServer};
use crate::{run, stderr, stdout};

fn versions() -> Value {
    let version = |number, active| json!({"version": number, "digest": "blake3:00", "active": active, "created": "2026-01-01T00:00:00Z"});
    json!({"name": "greeter", "versions": [version(1, false), version(3, false), version(4, true), version(5, false)]})
}

#[test]
fn agents_are_listed() {
    let agents = json!({"agents": [{"name": "greeter", "version": 4, "skills": ["hello"], "url": "http://h/agents/greeter"}]});
    let server = FakeServer::start(vec![Answer::json(200, &agents), Answer::json(200, &agents)]);
    let output = run(&["agents", "--server", &server.url]);
    assert_eq!(
        stdout(&output),
        "AGENT    VERSION  SKILLS  URL\ngreeter  v4       hello   http://h/agents/greeter\n"
    );
    let output = run(&["agents", "--json", "--server", &server.url]);
    assert_eq!(
        serde_json::from_str::<Value>(&stdout(&output)).unwrap(),
        agents
    );
}

#[test]
fn versions_show_the_active_one() {
    let server = FakeServer::start(vec![Answer::json(200, &versions())]);
    let output = run(&["versions", "greeter", "--server", &server.url]);
    let active: Vec<String> = stdout(&output)
        .lines()
        .filter(|line| line.contains("active"))
        .map(str::to_owned)
        .collect();
    assert_eq!(active, ["v4       active  2026-01-01T00:00:00Z  blake3:00"]);
}

#[test]
fn rollback_goes_to_the_version_before_the_active_one() {
    let server = FakeServer::start(vec![
        Answer::json(200, &versions()),
        Answer::json(200, &json!({})),
    ]);
    let output = run(&["rollback", "greeter", "--server", &server.url]);
    assert_eq!(
        stdout(&output),
        "greeter is now at v3\n",
        "{}",
        stderr(&output)
    );
    let switch = &server.requests()[1];
    assert_eq!(switch.line, "POST /v1/agents/greeter/active");
    assert_eq!(switch.json(), json!({"version": 3}));
}

#[test]
fn rollback_without_a_version_before_says_so() {
    let only = json!({"versions": [{"version": 1, "active": true}]});
    let server = FakeServer::start(vec![Answer::json(200, &only)]);
    let output = run(&["rollback", "greeter", "--server", &server.url]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("no version before"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn delete_asks_the_server_only_when_confirmed() {
    let server = FakeServer::start(vec![Answer::json(200, &json!({"deleted": "greeter"}))]);
    let output = run(&["delete", "greeter", "--yes", "--server", &server.url]);
    assert_eq!(
        stdout(&output),
        "greeter is deleted\n",
        "{}",
        stderr(&output)
    );
    assert_eq!(server.requests()[0].line, "DELETE /v1/agents/greeter");
}

#[test]
fn names_cannot_leave_their_place_in_the_path() {
    let server = FakeServer::start(vec![Answer::json(200, &json!({"versions": []}))]);
    let output = run(&["versions", "../modules?x", "--server", &server.url]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(
        server.requests()[0].line,
        "GET /v1/agents/..%2Fmodules%3Fx/versions"
    );
}
