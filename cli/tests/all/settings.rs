//! `dormouse config` and `dormouse limits`.

use serde_json::{Value, json};

use crate::server::{Answer, FakeServer};
use crate::{run, stderr, stdout};

fn answers(all: &[Value]) -> FakeServer {
    FakeServer::start(all.iter().map(|one| Answer::json(200, one)).collect())
}

#[test]
fn a_configuration_is_shown_with_where_it_comes_from() {
    let config =
        json!({"name": "a", "config": {"city": "Oslo", "unit": "C"}, "set": {"city": "Oslo"}});
    let server = answers(&[
        config.clone(),
        config.clone(),
        json!({"config": {}, "set": {}}),
    ]);
    let output = run(&["config", "a", "--server", &server.url]);
    assert_eq!(
        stdout(&output),
        "NAME  VALUE  FROM\ncity  Oslo   set here\nunit  C      configuration file\n",
        "{}",
        stderr(&output)
    );
    let output = run(&["config", "a", "--json", "--server", &server.url]);
    assert_eq!(
        serde_json::from_str::<Value>(&stdout(&output)).unwrap(),
        config
    );
    let output = run(&["config", "a", "--server", &server.url]);
    assert!(stdout(&output).contains("dormouse config a NAME=VALUE"));
}

#[test]
fn single_values_are_set_and_unset() {
    let before =
        json!({"config": {"city": "Oslo", "unit": "C"}, "set": {"city": "Oslo", "unit": "C"}});
    let server = answers(&[
        before,
        json!({"config": {"unit": "F=x"}, "set": {"unit": "F=x"}}),
    ]);
    let flags = [
        "config",
        "a",
        "unit=F=x",
        "--unset",
        "city",
        "--server",
        &server.url,
    ];
    let output = run(&flags);
    assert_eq!(
        stdout(&output),
        "NAME  VALUE  FROM\nunit  F=x    set here\n",
        "{}",
        stderr(&output)
    );
    let put = &server.requests()[1];
    assert_eq!(put.line, "PUT /v1/agents/a/config");
    assert_eq!(put.json(), json!({"unit": "F=x"}));
}

#[test]
fn single_limits_are_changed_and_the_others_stay() {
    let limits = json!({"preset": "default", "call_seconds": 60.0, "memory_bytes": 67108864, "isolation": "shared"});
    let before = json!({"limits": limits, "overrides": {"memory_bytes": 67108864, "grants": ["llm"], "concurrency": 4}});
    let after =
        json!({"limits": limits, "overrides": {"memory_bytes": 67108864, "grants": ["llm"]}});
    let server = answers(&[before, after]);
    let output = run(&[
        "limits",
        "a",
        "--preset",
        "strict",
        "--cpu-limit",
        "2s",
        "--grant",
        "agent:b",
        "--grant",
        "llm",
        "--unset",
        "concurrency",
        "--server",
        &server.url,
    ]);
    assert_eq!(
        stdout(&output),
        "LIMIT         VALUE    FROM\npreset        default\ncall-timeout  60s\n\
         memory-limit  64MiB    set for this agent\nisolation     shared\ngrant         llm      set for this agent\n",
        "{}",
        stderr(&output)
    );
    let put = &server.requests()[1];
    assert_eq!(put.line, "PUT /v1/agents/a/limits");
    let expected = json!({
        "memory_bytes": 67108864, "grants": ["llm", "agent:b"], "preset": "strict", "processor_seconds": 2.0,
    });
    assert_eq!(put.json(), expected);
}

#[test]
fn limits_go_back_to_what_they_were_for_all() {
    let entry = json!({"limits": {"preset": "default"}, "overrides": {"preset": "strict"}});
    let server = answers(&[entry.clone(), entry.clone(), entry]);
    let output = run(&["limits", "a", "--server", &server.url]);
    assert!(stdout(&output).contains("set for this agent"));
    let output = run(&["limits", "a", "--reset", "--json", "--server", &server.url]);
    assert!(output.status.success(), "{}", stderr(&output));
    let requests = server.requests();
    assert_eq!(requests[0].line, "GET /v1/agents/a/limits");
    assert_eq!(requests[2].json(), json!({}));
}

#[test]
fn what_is_no_setting_is_wrong_usage() {
    for wrong in [
        &["config", "a", "city"][..],
        &["config", "a", "=x"],
        &["config"],
        &["limits", "a", "--unset", "colour"],
        &["limits", "a", "--memory-limit", "much"],
    ] {
        assert_eq!(run(wrong).status.code(), Some(2), "{wrong:?}");
    }
}
