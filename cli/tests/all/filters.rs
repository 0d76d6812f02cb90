//! `dormouse filters`.

use serde_json::{Value, json};

use crate::server::{Answer, FakeServer};
use crate::{run, stderr, stdout};

#[test]
fn filters_are_listed_in_their_order() {
    let filters = json!({"filters": [
        {"name": "guard", "order": 1, "fail": "closed", "breaker": "closed", "agents": null, "component": {"id": "pii"},
         "limits": {"preset": "default"}, "overrides": {}},
        {"name": "list", "order": 2, "fail": "open", "breaker": "open", "agents": ["a", "b"], "component": null,
         "limits": {"preset": "strict", "call_seconds": 0.5, "memory_bytes": 8388608},
         "overrides": {"preset": "strict", "memory_bytes": 8388608, "call_seconds": 0.5}},
    ]});
    let server = FakeServer::start(vec![Answer::json(200, &filters)]);
    let output = run(&["filters", "list", "--server", &server.url]);
    assert_eq!(
        stdout(&output),
        "ORDER  FILTER  COMPONENT  FAILS   BREAKER  LIMITS                                        AGENTS\n\
         1      guard   pii        closed  closed   default                                       all\n\
         2      list               open    open     strict, call-timeout 0.5s, memory-limit 8MiB  a, b\n"
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
        "--limits",
        "minimal",
        "--cpu-limit",
        "20ms",
        "--memory-limit",
        "4MiB",
        "--fuel-limit",
        "7",
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
               "agents": ["a", "b"], "body": "hybrid", "max_body_bytes": 1000,
               "limits": {"preset": "minimal", "processor_seconds": 0.02, "memory_bytes": 4 << 20, "fuel": 7}})
    );
}

/// What `guard` is in the following.
fn guard() -> Value {
    json!({"name": "guard", "digest": "blake3:1", "config": {"x": 1}, "order": 2, "fail": "open", "agents": ["a"],
           "instances": 1, "body": "stream", "max_body_bytes": 1000, "breaker": "closed",
           "limits": {"preset": "strict", "call_seconds": 0.05, "memory_bytes": 4 << 20},
           "overrides": {"preset": "strict", "memory_bytes": 4 << 20},
           "component": {"id": "pii", "version": "0.1.0", "world": "dormouse:filter@1.0.0"}})
}

/// What is sent to change `guard`, with these flags.
fn change(flags: &[&str]) -> Value {
    let server = FakeServer::start(vec![
        Answer::json(200, &guard()),
        Answer::json(200, &guard()),
    ]);
    let mut line = vec!["filters", "put", "guard", "--server", &server.url];
    line.extend(flags);
    let output = run(&line);
    assert!(output.status.success(), "{}", stderr(&output));
    let requests = server.requests();
    assert_eq!(requests[0].line, "GET /v1/filters/guard");
    assert_eq!(requests[1].line, "PUT /v1/filters/guard");
    requests[1].json()
}

#[test]
fn without_a_component_only_what_is_given_changes() {
    let before = json!({"config": {"x": 1}, "order": 2, "fail": "open", "agents": ["a"], "instances": 1, "body": "stream",
                        "max_body_bytes": 1000, "limits": {"preset": "strict", "memory_bytes": 4 << 20}});
    let with = |member: &str, value: Value| {
        let mut after = before.clone();
        after[member] = value;
        after
    };
    assert_eq!(change(&[]), before);
    assert_eq!(change(&["--order", "-1"]), with("order", json!(-1)));
    assert_eq!(change(&["--fail-closed"]), with("fail", json!("closed")));
    assert_eq!(change(&["--instances", "3"]), with("instances", json!(3)));
    assert_eq!(change(&["--agent", "b"]), with("agents", json!(["b"])));
    assert_eq!(
        change(&["--output-limit", "1MiB", "--unset", "memory-limit"]),
        with(
            "limits",
            json!({"preset": "strict", "output_bytes": 1 << 20})
        )
    );
    assert_eq!(
        change(&["--unset", "limits", "--call-timeout", "2s"]),
        with("limits", json!({"call_seconds": 2.0}))
    );
    let mut all = before.clone();
    for member in ["agents", "config", "max_body_bytes"] {
        all.as_object_mut().unwrap().remove(member);
    }
    let flags = [
        "--unset", "agent", "--unset", "config", "--unset", "max-body",
    ];
    assert_eq!(change(&flags), all);
}

#[test]
fn a_filter_is_shown_with_what_its_calls_may_use() {
    let server = FakeServer::start(vec![Answer::json(200, &guard())]);
    let output = run(&["filters", "show", "guard", "--server", &server.url]);
    assert_eq!(
        stdout(&output),
        "SETTING       VALUE                  FROM\n\
         component     pii 0.1.0\n\
         world         dormouse:filter@1.0.0\n\
         digest        blake3:1\n\
         breaker       closed\n\
         config        {\"x\":1}\n\
         order         2\n\
         fail          open\n\
         agent         a\n\
         body          stream\n\
         max-body      1000\n\
         instances     1\n\
         preset        strict                 set for this filter\n\
         call-timeout  0.05s\n\
         memory-limit  4MiB                   set for this filter\n",
        "{}",
        stderr(&output)
    );
    assert_eq!(server.requests()[0].line, "GET /v1/filters/guard");
}

#[test]
fn a_refusal_is_shown() {
    let refusal =
        json!({"error": {"code": "configuration_refused", "message": "the agent refuses it: no"}});
    let server = FakeServer::start(vec![
        Answer::json(200, &guard()),
        Answer::json(422, &refusal),
    ]);
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
