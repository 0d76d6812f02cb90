//! `dormouse send`.

use std::fs;

use serde_json::{Value, json};

use crate::server::{Answer, FakeServer};
use crate::{dormouse, run, stderr, stdout};

fn result(result: &Value) -> Answer {
    Answer::json(200, &json!({"jsonrpc": "2.0", "id": 1, "result": result}))
}

fn task(state: &str, text: &str) -> Value {
    json!({"id": "t1", "contextId": "c1", "status": {"state": state, "message":
        {"messageId": "m", "role": "ROLE_AGENT", "parts": [{"text": text}]}}})
}

fn status(state: &str, text: &str) -> Value {
    json!({"statusUpdate": {"taskId": "t1", "contextId": "c1", "status": task(state, text)["status"]}})
}

fn chunk(text: &str, append: bool) -> Value {
    json!({"artifactUpdate": {"taskId": "t1", "contextId": "c1", "append": append,
        "artifact": {"artifactId": "a", "name": "report.md", "parts": [{"text": text}]}}})
}

#[test]
fn sends_one_message_with_everything_in_it() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("t.csv"), "a,b\n").unwrap();
    let server = FakeServer::start(vec![result(
        &json!({"message": {"parts": [{"text": "Hello, Ada!"}]}}),
    )]);
    let output = dormouse(folder.path())
        .args([
            "send",
            "greeter",
            "Ada",
            "--skill",
            "greet",
            "--task",
            "t1",
            "--context",
            "c1",
        ])
        .args([
            "--data",
            "{\"n\":1}",
            "--file",
            "t.csv",
            "--server",
            &server.url,
        ])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stdout(&output), "Hello, Ada!\n");
    let request = &server.requests()[0];
    assert_eq!(request.line, "POST /agents/greeter");
    assert_eq!(request.header("a2a-version"), Some("1.0"));
    let body = request.json();
    assert_eq!(body["method"], "SendMessage");
    let mut message = body["params"]["message"].clone();
    assert!(message["messageId"].take().is_string());
    assert_eq!(
        message,
        json!({"messageId": null, "role": "ROLE_USER", "taskId": "t1", "contextId": "c1",
            "metadata": {"skillId": "greet"},
            "parts": [{"text": "Ada"}, {"data": {"n": 1}, "mediaType": "application/json"},
                {"raw": "YSxiCg==", "filename": "t.csv", "mediaType": "text/csv"}]})
    );
}

#[test]
fn shows_a_task_with_its_artifacts() {
    let mut task = task("TASK_STATE_COMPLETED", "Two columns");
    task["artifacts"] =
        json!([{"artifactId": "a", "name": "stats.json", "parts": [{"data": {"rows": 2}}]}]);
    let server = FakeServer::start(vec![result(&json!({"task": task}))]);
    let output = run(&["send", "csv-stats", "a,b", "--server", &server.url]);
    assert!(output.status.success());
    assert_eq!(
        stdout(&output),
        "task t1 completed\n\nartifact stats.json\n{\n  \"rows\": 2\n}\n\nTwo columns\n"
    );
}

#[test]
fn a_question_is_no_failure_and_shows_how_to_go_on() {
    let server = FakeServer::start(vec![result(
        &json!({"task": task("TASK_STATE_INPUT_REQUIRED", "How many days?")}),
    )]);
    let output = run(&["send", "trip-planner", "Oslo", "--server", &server.url]);
    assert!(output.status.success());
    let how = format!(
        "dormouse send trip-planner \"…\" --task t1 --server {}",
        server.url
    );
    assert!(
        stdout(&output).contains("How many days?") && stdout(&output).contains(&how),
        "{}",
        stdout(&output)
    );
}

#[test]
fn a_failed_task_exits_1_in_every_form() {
    let failed = json!({"task": task("TASK_STATE_FAILED", "It trapped.")});
    let server = FakeServer::start(vec![
        result(&failed),
        result(&failed),
        Answer::stream(std::slice::from_ref(&failed)),
    ]);
    for form in [&[][..], &["--json"], &["--stream"]] {
        let output = run(&[&["send", "hostile", "x", "--server", &server.url], form].concat());
        assert_eq!(output.status.code(), Some(1), "{form:?}");
        assert!(stdout(&output).contains("It trapped."), "{form:?}");
    }
}

#[test]
fn an_a2a_error_is_told_with_its_code() {
    let error =
        json!({"jsonrpc": "2.0", "id": 1, "error": {"code": -32001, "message": "no such task"}});
    let server = FakeServer::start(vec![Answer::json(200, &error), Answer::json(200, &error)]);
    for form in [&[][..], &["--stream"]] {
        let output = run(&[
            &[
                "send",
                "greeter",
                "x",
                "--task",
                "t9",
                "--server",
                &server.url,
            ],
            form,
        ]
        .concat());
        assert_eq!(output.status.code(), Some(1));
        assert!(
            stderr(&output).contains("-32001: no such task"),
            "{}",
            stderr(&output)
        );
    }
}

#[test]
fn a_stream_is_shown_event_by_event() {
    let events = [
        json!({"task": {"id": "t1", "contextId": "c1", "status": {"state": "TASK_STATE_SUBMITTED"}}}),
        status("TASK_STATE_WORKING", "Found 2 topics"),
        chunk("# Report\n\nCo", false),
        chunk("sts", true),
        status("TASK_STATE_COMPLETED", "Done"),
        status("TASK_STATE_WORKING", "never shown"),
    ];
    let server = FakeServer::start(vec![Answer::stream(&events)]);
    let output = run(&[
        "send",
        "report-writer",
        "x",
        "--stream",
        "--server",
        &server.url,
    ]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(
        stdout(&output),
        "task t1 submitted\nworking: Found 2 topics\n\nartifact report.md\n# Report\n\nCosts\n\ncompleted: Done\n"
    );
    assert_eq!(
        server.requests()[0].json()["method"],
        "SendStreamingMessage"
    );
}

#[test]
fn a_stream_as_json_has_one_event_a_line() {
    let events = [
        status("TASK_STATE_WORKING", "a"),
        status("TASK_STATE_INPUT_REQUIRED", "b"),
    ];
    let server = FakeServer::start(vec![Answer::stream(&events)]);
    let output = run(&[
        "send",
        "trip-planner",
        "x",
        "--stream",
        "--json",
        "--server",
        &server.url,
    ]);
    assert!(output.status.success(), "{}", stderr(&output));
    let lines: Vec<Value> = stdout(&output)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines, events);
}

#[test]
fn a_stream_that_is_cut_off_is_a_failure() {
    let server = FakeServer::start(vec![Answer::stream(&[status("TASK_STATE_WORKING", "a")])]);
    let output = run(&[
        "send",
        "report-writer",
        "x",
        "--stream",
        "--server",
        &server.url,
    ]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("ended before the task"),
        "{}",
        stderr(&output)
    );
}
