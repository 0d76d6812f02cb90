//! Streams that survive: resumed with the id of the last event, watched by many, cut by kill -9.

use super::{Events, Server, data, data_dir, error_class, guest, state, text};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::Path;

/// A stream's events with their ids, as lines.
struct Numbered(std::io::Lines<BufReader<reqwest::blocking::Response>>);

impl Numbered {
    fn open(
        server: &Server,
        agent: &str,
        method: &str,
        params: &Value,
        seen: Option<&str>,
    ) -> Self {
        let mut request = server.rpc_request(agent, method, params);
        if let Some(seen) = seen {
            request = request.header("Last-Event-ID", seen);
        }
        let response = request.send().unwrap();
        let kind = response.headers()["content-type"]
            .to_str()
            .unwrap()
            .to_owned();
        assert_eq!(kind, "text/event-stream", "{}", response.text().unwrap());
        Self(BufReader::new(response).lines())
    }
}

impl Iterator for Numbered {
    type Item = (String, String);

    fn next(&mut self) -> Option<(String, String)> {
        let mut id = None;
        loop {
            let line = self.0.next()?.ok()?;
            if let Some(given) = line.strip_prefix("id: ") {
                id = Some(given.to_owned());
            } else if let Some(data) = line.strip_prefix("data: ") {
                return Some((id.expect("every event has an id"), data.to_owned()));
            }
        }
    }
}

fn hostile(dir: &Path) -> Server {
    let server = Server::start(dir, &[]);
    server.deploy(&guest("hostile"));
    server
}

/// A task that sends an update, takes its time and completes.
fn slow(server: &Server, ms: u64) -> String {
    let message = data(json!({"ms": ms})).skill("slow").at_once();
    let task = server.send("hostile", message)["task"].clone();
    task["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_broken_stream_goes_on_where_it_broke() {
    let dir = data_dir();
    let server = hostile(dir.path());
    let params = data(json!({"ms": 400})).skill("slow").params();
    let mut whole = Numbered::open(&server, "hostile", "SendStreamingMessage", &params, None);
    let first = whole.next().unwrap();
    let task: Value = serde_json::from_str(&first.1).unwrap();
    let subscribe = json!({"id": task["result"]["task"]["id"]});
    // Another reader leaves after each event and comes back with its id.
    let mut seen = vec![first.clone()];
    loop {
        let last = seen.last().unwrap().0.clone();
        let mut again = Numbered::open(
            &server,
            "hostile",
            "SubscribeToTask",
            &subscribe,
            Some(&last),
        );
        match again.next() {
            Some(event) => seen.push(event),
            None => break,
        }
    }
    let all: Vec<_> = std::iter::once(first).chain(whole).collect();
    assert_eq!(seen, all);
    assert!(
        all.last().unwrap().1.contains("TASK_STATE_COMPLETED"),
        "{all:?}"
    );
}

#[test]
fn an_event_that_never_was_cannot_be_gone_on_from() {
    let dir = data_dir();
    let server = hostile(dir.path());
    let id = slow(&server, 300);
    for seen in ["99999", "yesterday"] {
        let request = server.rpc_request("hostile", "SubscribeToTask", &json!({"id": id}));
        let refused = super::answer(request.header("Last-Event-ID", seen));
        assert_eq!(refused.rpc_error().0, -32602, "{seen}");
    }
}

#[test]
fn a_hundred_subscribers_see_the_same_bytes() {
    let dir = data_dir();
    let server = hostile(dir.path());
    let id = slow(&server, 5_000);
    let subscribe = json!({"id": id});
    server.until("its only update is made", |server| {
        server.task("hostile", &id)["status"]["message"].is_object()
    });
    let streams: Vec<_> = (0..100)
        .map(|_| Numbered::open(&server, "hostile", "SubscribeToTask", &subscribe, None))
        .collect();
    let seen: Vec<Vec<_>> = streams.into_iter().map(Iterator::collect).collect();
    assert!(seen[0].last().unwrap().1.contains("TASK_STATE_COMPLETED"));
    for events in &seen {
        assert_eq!(events, &seen[0]);
    }
}

#[test]
fn after_a_kill_the_log_is_whole() {
    let dir = data_dir();
    let server = hostile(dir.path());
    let params = data(json!({"ms": 60_000})).skill("slow").params();
    let mut cut = Numbered::open(&server, "hostile", "SendStreamingMessage", &params, None);
    let mut seen = vec![cut.next().unwrap(), cut.next().unwrap()];
    server.kill();
    assert_eq!(cut.next(), None);

    let server = Server::start(dir.path(), &[]);
    let task: Value = serde_json::from_str(&seen[0].1).unwrap();
    let id = task["result"]["task"]["id"].as_str().unwrap().to_owned();
    let last = seen.last().unwrap().0.clone();
    let subscribe = json!({"id": id});
    seen.extend(Numbered::open(
        &server,
        "hostile",
        "SubscribeToTask",
        &subscribe,
        Some(&last),
    ));
    assert!(
        seen.last().unwrap().1.contains("TASK_STATE_FAILED"),
        "{seen:?}"
    );
    let from_the_start = Numbered::open(
        &server,
        "hostile",
        "SubscribeToTask",
        &subscribe,
        Some(&seen[0].0),
    );
    assert_eq!(from_the_start.collect::<Vec<_>>(), seen[1..]);
    assert_eq!(error_class(&server.task("hostile", &id)), "interrupted");
}

#[test]
fn reads_start_no_instance() {
    let dir = data_dir();
    let server = hostile(dir.path());
    let asked = server.send("hostile", text("x").skill("ask"))["task"].clone();
    let started = || server.metric("dormouse_starts_total", &[]);
    let before = started();
    let id = json!({"id": asked["id"]});
    server.result("hostile", "GetTask", &id);
    server.result("hostile", "ListTasks", &json!({}));
    let events = server.stream("hostile", "SubscribeToTask", &id);
    assert_eq!(
        state(&events.next().unwrap()["task"]),
        "TASK_STATE_INPUT_REQUIRED"
    );
    server.result("hostile", "CancelTask", &id);
    let ended: Events = events;
    assert!(
        ended
            .rest()
            .last()
            .unwrap()
            .to_string()
            .contains("CANCELED")
    );
    assert_eq!(
        server
            .get("/agents/hostile/.well-known/agent-card.json")
            .status,
        200
    );
    assert_eq!(started(), before);
}

#[test]
fn reads_after_a_restart_start_nothing() {
    let dir = data_dir();
    let server = hostile(dir.path());
    let asked = server.send("hostile", text("x").skill("ask"))["task"].clone();
    let done = server.send("hostile", text("x").skill("echo-task"))["task"].clone();
    server.kill();

    let server = Server::start(dir.path(), &[]);
    let base = "/agents/hostile";
    let id = asked["id"].as_str().unwrap();
    let config = json!({"taskId": id, "id": "one", "url": "https://hooks.example.com/a"});
    server.result("hostile", "CreateTaskPushNotificationConfig", &config);
    for path in [
        format!("{base}/tasks"),
        format!("{base}/tasks/{id}"),
        format!("/hostile/tasks/{id}"),
        format!("{base}/tasks/{id}/pushNotificationConfigs"),
        format!("{base}/tasks/{id}/pushNotificationConfigs/one"),
        format!("{base}/.well-known/agent-card.json"),
        "/.well-known/agent-card.json".to_owned(),
        "/.well-known/ai-catalog.json".to_owned(),
        "/v1/agents?skill=ask".to_owned(),
    ] {
        let answer = server.get(&path);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
    }
    let subscribe = json!({"id": done["id"]});
    let events = Numbered::open(&server, "hostile", "SubscribeToTask", &subscribe, Some("0"));
    assert!(events.last().unwrap().1.contains("TASK_STATE_COMPLETED"));
    let canceled = server.result("hostile", "CancelTask", &json!({"id": id}));
    assert_eq!(state(&canceled), "TASK_STATE_CANCELED");
    for metric in ["dormouse_starts_total", "dormouse_instances"] {
        assert_eq!(server.metric(metric, &[]), 0.0, "{metric}");
    }
}

#[test]
fn a_message_with_a_key_runs_once() {
    let dir = data_dir();
    let server = hostile(dir.path());
    let keyed = |words: &str| {
        let mut message = text(words).skill("echo-task");
        message.message["metadata"]["urn:dormouse:idempotency:v1/key"] = json!("order 7");
        message
    };
    let first = server.send("hostile", keyed("once"))["task"].clone();
    let starts = server.metric("dormouse_starts_total", &[]);
    let again = server.send("hostile", keyed("once"))["task"].clone();
    assert_eq!(again, first);
    let streamed = server.stream("hostile", "SendStreamingMessage", &keyed("once").params());
    assert_eq!(streamed.rest()[0]["task"]["id"], first["id"]);
    assert_eq!(server.metric("dormouse_starts_total", &[]), starts);
    let other = server.rpc("hostile", "SendMessage", &keyed("another").params());
    assert_eq!(other.rpc_error().0, -32602, "{other:?}");
    server.kill();

    let server = Server::start(dir.path(), &[]);
    let again = server.send("hostile", keyed("once"))["task"].clone();
    assert_eq!(again, first);
    assert_eq!(server.metric("dormouse_starts_total", &[]), 0.0);
}
