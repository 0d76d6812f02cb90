//! `dormouse filters`.

use serde_json::json;

use crate::server::{Answer, FakeServer};
use crate::{run, stderr, stdout};

#[test]
fn filters_are_listed_in_their_order() {
    let filters = json!({"filters": [
        {"name": "guard", "order": 1, "fail": "closed", "breaker": "closed", "agents": null, "component": {"id": "pii"}},
        {"name": "list", "order": 2, "fail": "open", "breaker": "open", "agents": ["a", "b"], "component": null},
    ]});
    let server = FakeServer::start(vec![Answer::json(200, &filters)]);
    let output = run(&["filters", "list", "--server", &server.url]);
    assert_eq!(
        stdout(&output),
        "ORDER  FILTER  COMPONENT  FAILS   BREAKER  AGENTS\n\
         1      guard   pii        closed  closed   all\n\
         2      list               open    open     a, b\n"
    );
}

#[test]
fn a_filter_is_sent_with_its_settings() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (wasm, config) = (file("a.wasm", b"wasm"), file("a.json", br#"{"x": 1}"#));
    let said = json!({"name": "guard", "component": {"id": "pii", "version": "0.1.0"}});
    let server = FakeServer::start(vec![Answer::json(201, &said)]);
    let output = run(&[
        "filters",
        "put",
        "guard",
        &wasm,
        "--config",
        &config,
        "--order",
        "-3",
        "--fail-open",
        "--body",
        "hybrid",
        "--max-body",
        "1000",
        "--agent",
        "a",
        "--agent",
        "b",
        "--server",
        &server.url,
    ]);
    assert_eq!(
        stdout(&output),
        "guard is pii 0.1.0\n",
        "{}",
        stderr(&output)
    );
    let request = &server.requests()[0];
    assert_eq!(request.line, "PUT /v1/filters/guard");
    assert_eq!(
        request.json(),
        json!({"wasm": "d2FzbQ==", "config": {"x": 1}, "order": -3, "fail": "open",
               "agents": ["a", "b"], "instances": 2, "body": "hybrid", "max_body_bytes": 1000})
    );
}

#[test]
fn a_refusal_is_shown() {
    let refusal =
        json!({"error": {"code": "configuration_refused", "message": "the agent refuses it: no"}});
    let server = FakeServer::start(vec![Answer::json(422, &refusal)]);
    let output = run(&["filters", "put", "guard", "--server", &server.url]);
    assert!(stderr(&output).contains("refuses it: no"));
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn health_is_asked_for_and_told() {
    let well = json!({"instance": "guard#0.0", "healthy": true, "said": "ok"});
    let ill = json!({"instance": "guard#0.1", "healthy": false, "said": "thirteen is too many"});
    let answer = |instances: &[&serde_json::Value], healthy: bool| {
        Answer::json(
            200,
            &json!({"name": "guard", "healthy": healthy, "instances": instances}),
        )
    };
    let server = FakeServer::start(vec![answer(&[&well], true), answer(&[&well, &ill], false)]);
    let asked = || run(&["filters", "health", "guard", "--server", &server.url]);
    let output = asked();
    assert_eq!(
        stdout(&output),
        "INSTANCE   HEALTH   SAID\nguard#0.0  healthy  ok\n"
    );
    assert!(output.status.success());
    let output = asked();
    assert!(stdout(&output).contains("guard#0.1  replaced  thirteen is too many"));
    assert!(!output.status.success());
    assert!(stderr(&output).contains("guard was not well"));
}
