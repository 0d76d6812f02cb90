//! Tasks: several turns on any instance, streams, returning at once, cancel, subscribe.

use super::{Server, data, data_dir, example, guest, said, state, text};
use serde_json::{Value, json};
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;

/// Asks the hostile guest's `ask` skill, which keeps state, and returns the waiting task.
fn ask(server: &Server) -> Value {
    let answer = server.send("hostile", text("first").skill("ask"));
    let task = answer["task"].clone();
    assert_eq!(state(&task), "TASK_STATE_INPUT_REQUIRED", "{task}");
    assert_eq!(said(&task), "And the second?");
    task
}

fn tell(server: &Server, task: &Value) {
    let answer = server.send("hostile", text("second").on(task));
    let task = &answer["task"];
    assert_eq!(state(task), "TASK_STATE_COMPLETED", "{task}");
    assert_eq!(said(task), "first, second (task: first, session: 1)");
}

fn hostile(dir: &Path, flags: &[&str]) -> Server {
    let server = Server::start(dir, flags);
    server.deploy(&guest("hostile"));
    server
}

#[test]
fn a_second_turn_runs_on_another_instance() {
    let dir = data_dir();
    // Nothing is parked: every call has an instance of its own.
    let server = hostile(dir.path(), &["--idle-timeout", "0s"]);
    let task = ask(&server);
    tell(&server, &task);
    assert_eq!(server.started("hot"), 0.0);
}

#[test]
fn a_second_turn_follows_an_eviction() {
    let dir = data_dir();
    let server = hostile(dir.path(), &["--idle-timeout", "500ms"]);
    let task = ask(&server);
    server.until("the instance is evicted", |server| {
        server.metric("dormouse_instances", &[]) == 0.0
    });
    tell(&server, &task);
}

#[test]
fn a_second_turn_follows_a_restart() {
    let dir = data_dir();
    let server = hostile(dir.path(), &[]);
    let task = ask(&server);
    assert!(server.stop().success());
    let server = Server::start(dir.path(), &[]);
    tell(&server, &task);
}

#[test]
fn an_ended_task_takes_no_more() {
    let dir = data_dir();
    let server = hostile(dir.path(), &[]);
    let task = server.send("hostile", text("x").skill("echo-task"))["task"].clone();
    let again = server.rpc("hostile", "SendMessage", &text("more").on(&task).params());
    assert_eq!(again.rpc_error().0, -32004, "{again:?}");
    let cancel = server.rpc("hostile", "CancelTask", &json!({"id": task["id"]}));
    assert_eq!(cancel.rpc_error().0, -32002, "{cancel:?}");
}

#[test]
fn the_csv_example_answers_with_statistics() {
    let dir = data_dir();
    let server = Server::start(dir.path(), &[]);
    server.deploy(&example("csv-stats"));
    let answer = server.send(
        "csv-stats",
        text("city,people\nOslo,709000\nBergen,291000\n"),
    );
    let task = &answer["task"];
    assert_eq!(state(task), "TASK_STATE_COMPLETED", "{task}");
    let statistics = &task["artifacts"][0]["parts"][0]["data"];
    assert_eq!(statistics["rows"], 2, "{statistics}");
}

#[test]
fn the_planner_asks_until_it_knows_enough() {
    let dir = data_dir();
    let server = Server::start(dir.path(), &[]);
    server.deploy(&example("trip-planner"));
    let mut task = server.send("trip-planner", text("I want to go to Oslo"))["task"].clone();
    for answer in ["5 days", "900 EUR"] {
        assert_eq!(state(&task), "TASK_STATE_INPUT_REQUIRED", "{task}");
        task = server.send("trip-planner", text(answer).on(&task))["task"].clone();
    }
    assert_eq!(state(&task), "TASK_STATE_COMPLETED", "{task}");
    assert!(task["artifacts"][0].to_string().contains("Oslo"), "{task}");
}

#[test]
fn the_writer_streams_progress_and_one_artifact_in_chunks() {
    let dir = data_dir();
    let server = Server::start(dir.path(), &[]);
    server.deploy(&example("report-writer"));
    let params = text("A report on dormice").params();
    let events = server
        .stream("report-writer", "SendStreamingMessage", &params)
        .rest();
    assert!(
        events[0].get("task").is_some(),
        "the task comes first: {events:?}"
    );
    let updates: Vec<_> = events
        .iter()
        .filter(|event| event.get("statusUpdate").is_some())
        .collect();
    let chunks: Vec<_> = events
        .iter()
        .filter_map(|event| event.get("artifactUpdate"))
        .collect();
    assert!(updates.len() > 1 && chunks.len() > 1, "{events:?}");
    assert_eq!(chunks.last().unwrap()["lastChunk"], true);
    let last = &events.last().unwrap()["statusUpdate"];
    assert_eq!(last["status"]["state"], "TASK_STATE_COMPLETED");
    // What was streamed is what is kept.
    let streamed: String = chunks
        .iter()
        .map(|chunk| chunk["artifact"]["parts"][0]["text"].as_str().unwrap())
        .collect();
    let kept = server.task("report-writer", last["taskId"].as_str().unwrap());
    let parts = kept["artifacts"][0]["parts"].as_array().unwrap();
    let whole: String = parts
        .iter()
        .map(|part| part["text"].as_str().unwrap())
        .collect();
    assert_eq!(whole, streamed);
}

#[test]
fn returning_at_once_leaves_the_call_running() {
    let dir = data_dir();
    let server = hostile(dir.path(), &[]);
    let message = data(json!({"ms": 300})).skill("slow").at_once();
    let task = server.send("hostile", message)["task"].clone();
    let id = task["id"].as_str().unwrap();
    assert!(
        ["TASK_STATE_SUBMITTED", "TASK_STATE_WORKING"].contains(&state(&task)),
        "{task}"
    );
    let events = server
        .stream("hostile", "SubscribeToTask", &json!({"id": id}))
        .rest();
    let last = &events.last().unwrap()["statusUpdate"]["status"];
    assert_eq!(last["state"], "TASK_STATE_COMPLETED", "{events:?}");
    assert_eq!(said(&server.task("hostile", id)), "awake");
}

#[test]
fn cancel_ends_a_running_guest() {
    let dir = data_dir();
    let server = hostile(dir.path(), &[]);
    for skill in ["loop", "pending", "sleep"] {
        let task = server.send("hostile", text("x").skill(skill).at_once())["task"].clone();
        let id = task["id"].as_str().unwrap();
        let canceled = server.result("hostile", "CancelTask", &json!({"id": id}));
        assert_eq!(
            state(&canceled),
            "TASK_STATE_CANCELED",
            "{skill}: {canceled}"
        );
        server.until("the guest is stopped", |server| {
            server.metric("dormouse_instances", &["state=\"busy\""]) == 0.0
        });
        assert_eq!(state(&server.task("hostile", id)), "TASK_STATE_CANCELED");
    }
}

#[test]
fn a_call_goes_on_when_its_client_leaves() {
    let dir = data_dir();
    let server = hostile(dir.path(), &[]);
    let message = data(json!({"ms": 2_000})).skill("slow");
    let request = server.rpc_request("hostile", "SendMessage", &message.params());
    let request = request.build().unwrap();
    let body = request.body().unwrap().as_bytes().unwrap();
    let authority = server.url.strip_prefix("http://").unwrap();
    let mut client = TcpStream::connect(authority).unwrap();
    let head = format!(
        "POST /agents/hostile HTTP/1.1\r\nhost: {authority}\r\na2a-version: 1.0\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    client.write_all(&[head.as_bytes(), body].concat()).unwrap();
    let until = |state: &str| {
        server.until("the task is in this state", |server| {
            let tasks = server.result("hostile", "ListTasks", &json!({}));
            tasks["tasks"][0]["status"]["state"] == state
        });
    };
    until("TASK_STATE_WORKING");
    drop(client);
    until("TASK_STATE_COMPLETED");
}
