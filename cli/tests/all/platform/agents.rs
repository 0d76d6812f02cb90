//! Agents that call agents, with the real binary.

use super::{Message, Server, answer, data, data_dir, example, guest, reply, said, state, text};
use serde_json::{Value, json};

/// The relays may call each other, `relay-c` and `needless`.
const GRANTS: [&str; 8] = [
    "--grant",
    "agent:relay-a",
    "--grant",
    "agent:relay-b",
    "--grant",
    "agent:relay-c",
    "--grant",
    "agent:needless",
];

fn server(dir: &std::path::Path, flags: &[&str]) -> Server {
    let server = Server::start(dir, flags);
    server.deploy(&guest("services"));
    server
}

fn relay(order: Value) -> Message {
    data(order).skill("relay")
}

/// What a relay says.
fn told(server: &Server, agent: &str, order: Value) -> Value {
    serde_json::from_str(reply(&server.send(agent, relay(order)))).unwrap()
}

#[test]
fn an_agent_calls_another_for_its_caller_and_in_its_context() {
    let dir = data_dir();
    let server = server(dir.path(), &GRANTS);
    let outer = told(&server, "relay-a", json!({"path": ["relay-b"]}));
    let inner = &outer["heard"];
    assert_eq!(
        (&outer["agent"], &inner["agent"]),
        (&json!("relay-a"), &json!("relay-b"))
    );
    assert_eq!(outer["principal"], inner["principal"]);
    assert_eq!(outer["context"], inner["context"]);
    assert_ne!(outer["task"], inner["task"]);
    assert_eq!(inner["for"], json!([outer["task"]]));
    assert_eq!(inner["trace"], outer["task"]);
    assert_eq!(
        server.metric("dormouse_agent_calls_total", &["outcome=\"ok\""]),
        1.0
    );
}

#[test]
fn a_guest_sees_what_its_client_refers_to_and_accepts() {
    let dir = data_dir();
    let server = server(dir.path(), &[]);
    let mut params = relay(json!({})).params();
    params["message"]["referenceTaskIds"] = json!(["t1", "t2"]);
    params["configuration"] = json!({"acceptedOutputModes": ["text/csv", "text/plain"]});
    let answer = server.result("relay-a", "SendMessage", &params);
    let told: Value = serde_json::from_str(reply(&answer)).unwrap();
    assert_eq!(told["for"], json!(["t1", "t2"]));
    assert_eq!(told["accepts"], json!(["text/csv", "text/plain"]));
}

#[test]
fn a_principal_is_carried_on() {
    let dir = data_dir();
    let server = server(dir.path(), &GRANTS);
    let create = |name: &str, scope: &str, token: &str| {
        let request = server.request("POST", "/v1/tokens").bearer_auth(token);
        let body = json!({"name": name, "scopes": [scope]}).to_string();
        let made = answer(
            request
                .header("content-type", "application/json")
                .body(body),
        );
        made.json()["token"].as_str().unwrap().to_owned()
    };
    let root = create("root", "admin", "");
    let ann = create("ann", "invoke", &root);
    let params = relay(json!({"path": ["relay-b"]})).params();
    let sent = answer(
        server
            .rpc_request("relay-a", "SendMessage", &params)
            .bearer_auth(ann),
    );
    let outer: Value = serde_json::from_str(reply(&sent.json()["result"])).unwrap();
    assert_eq!(
        (&outer["principal"], &outer["heard"]["principal"]),
        (&json!("ann"), &json!("ann"))
    );
}

#[test]
fn without_a_grant_nobody_is_called() {
    let dir = data_dir();
    let server = server(dir.path(), &["--grant", "agent:needless"]);
    let outer = told(
        &server,
        "relay-a",
        json!({"each": [["relay-b", {}], ["services", {}], ["hm/versions/1", {}]]}),
    );
    for error in outer["each"].as_array().unwrap() {
        assert!(
            error["error"]
                .as_str()
                .unwrap()
                .contains("no grant for agent:"),
            "{outer}"
        );
    }
    assert_eq!(
        server.metric("dormouse_denied_total", &["service=\"agents\""]),
        3.0
    );
    let calls = server.metric("dormouse_call_seconds_count", &["agent=\"relay-b\""]);
    assert_eq!(calls, 0.0);
}

#[test]
fn a_circle_and_an_agent_that_is_not_there_are_errors() {
    let dir = data_dir();
    let server = server(dir.path(), &GRANTS);
    let outer = told(&server, "relay-a", json!({"path": ["relay-b", "relay-a"]}));
    let error = &outer["heard"]["heard"]["error"];
    assert!(error.as_str().unwrap().contains("in a circle"), "{outer}");
    let outer = told(&server, "relay-a", json!({"path": ["relay-a"]}));
    assert!(
        outer["heard"]["error"]
            .as_str()
            .unwrap()
            .contains("in a circle"),
        "{outer}"
    );
    let outer = told(&server, "relay-a", json!({"path": ["relay-c"]}));
    let error = &outer["heard"]["error"];
    assert!(
        error
            .as_str()
            .unwrap()
            .contains("there is no agent \"relay-c\""),
        "{outer}"
    );
    let refused = server.metric("dormouse_agent_calls_total", &["outcome=\"refused\""]);
    assert_eq!(refused, 3.0);
}

#[test]
fn a_task_that_waits_is_gone_on_with() {
    let dir = data_dir();
    let server = server(dir.path(), &GRANTS);
    // Without data a relay asks.
    let outer = told(&server, "relay-a", json!({"each": [["relay-b", null]]}));
    let asked = &outer["each"][0];
    assert_eq!(
        (&asked["state"], &asked["said"]),
        (&json!("InputRequired"), &json!("What?"))
    );
    let outer = told(
        &server,
        "relay-a",
        json!({"path": ["relay-b"], "task": asked["id"]}),
    );
    assert_eq!(outer["heard"]["state"], "Completed", "{outer}");
    assert_eq!(outer["heard"]["id"], asked["id"]);
    let task = server
        .get(&format!("/v1/tasks/{}", asked["id"].as_str().unwrap()))
        .json();
    assert_eq!(task["agent"], "relay-b");
}

/// The one instance there may be is held by the agent that waits.
#[test]
fn an_agent_that_waits_for_another_does_not_hold_up_the_pool() {
    let dir = data_dir();
    let server = server(
        dir.path(),
        &[&GRANTS[..], &["--max-instances", "1"]].concat(),
    );
    let outer = told(&server, "relay-a", json!({"path": ["relay-b"]}));
    let error = &outer["heard"]["error"];
    assert!(
        error
            .as_str()
            .unwrap()
            .contains("No instance of relay-b was free"),
        "{outer}"
    );
    // Its place was given back, and so was its turn.
    assert_eq!(told(&server, "relay-b", json!({}))["agent"], "relay-b");
}

/// No chain of calls is a circle here, and yet each waits for the other's only instance.
#[test]
fn two_agents_that_call_each_other_at_once_come_back() {
    let dir = data_dir();
    let server = server(
        dir.path(),
        &[&GRANTS[..], &["--max-instances", "2"]].concat(),
    );
    let one = |from: &str, to: &str| told(&server, from, json!({"each": [[to, {}], [to, {}]]}));
    let (left, right) = std::thread::scope(|scope| {
        let left = scope.spawn(|| one("relay-a", "relay-b"));
        let right = scope.spawn(|| one("relay-b", "relay-a"));
        (left.join().unwrap(), right.join().unwrap())
    });
    for (outer, inner) in [(left, "relay-b"), (right, "relay-a")] {
        for reply in outer["each"].as_array().unwrap() {
            let fine = reply["agent"] == inner;
            let refused = reply["error"]
                .as_str()
                .is_some_and(|error| error.contains("was free"));
            assert!(fine || refused, "{outer}");
        }
    }
    assert_eq!(told(&server, "relay-a", json!({}))["agent"], "relay-a");
}

#[test]
fn the_coordinator_merges_what_two_agents_make() {
    let dir = data_dir();
    let grants = [
        "--grant",
        "agent:csv-stats",
        "--grant",
        "agent:report-writer",
    ];
    let server = Server::start(dir.path(), &grants);
    server.deploy(&example("csv-stats"));
    server.deploy(&example("report-writer"));
    server.deploy(&example("coordinator"));
    let notes =
        "Costs: rent went up\nPeople: two joined\n\ncity,people\nOslo,709000\nBergen,291000\n";
    let sent = server.send("coordinator", text(notes));
    let task = &sent["task"];
    assert_eq!(state(task), "TASK_STATE_COMPLETED", "{task}");
    assert_eq!(said(task), "The report has 2 sections");
    let artifacts = task["artifacts"].as_array().unwrap();
    let report = artifacts[0]["parts"][0]["text"].as_str().unwrap();
    assert!(report.contains("## Costs\n\n- rent went up\n"), "{report}");
    assert!(
        report.contains("## Figures\n\n2 rows, 2 columns"),
        "{report}"
    );
    assert_eq!(artifacts[1]["name"], "column-statistics.json");
    // Without one of them there is a gap.
    let gone = answer(server.request("DELETE", "/v1/agents/csv-stats"));
    assert_eq!(gone.status, 200);
    let sent = server.send("coordinator", text(notes));
    let report = sent["task"]["artifacts"][0]["parts"][0]["text"]
        .as_str()
        .unwrap();
    assert!(
        report.contains("## Costs") && report.contains("could not be described"),
        "{report}"
    );
}

/// A share of new work is also one of what other agents send.
#[test]
fn a_share_goes_to_another_version_of_the_called_agent() {
    let dir = data_dir();
    let server = server(dir.path(), &GRANTS);
    let echo = std::fs::read(guest("echo")).unwrap();
    let uploaded = answer(
        server
            .request("POST", "/v1/modules?name=needless")
            .body(echo),
    );
    assert_eq!(uploaded.status, 201, "{uploaded:?}");
    let split = json!({"version": 1, "percent": 50});
    let split = server
        .request("POST", "/v1/agents/needless/active")
        .body(split.to_string());
    assert_eq!(answer(split).status, 200);
    // Version 2 is the echo; version 1 does not know what is meant.
    let echoes = |context: &str| {
        let mut message = relay(json!({"each": [["needless", "hm"]]}));
        message.message["contextId"] = context.into();
        let sent = server.send("relay-a", message);
        let said: Value = serde_json::from_str(reply(&sent)).unwrap();
        let heard = &said["each"][0];
        let is_echo = heard == "hm";
        assert!(
            is_echo || heard["error"].to_string().contains("skill"),
            "{said}"
        );
        is_echo
    };
    let contexts: Vec<String> = (0..30).map(|n| format!("context-{n}")).collect();
    let ways = || {
        contexts
            .iter()
            .map(|context| echoes(context))
            .collect::<Vec<_>>()
    };
    let first = ways();
    let count = first.iter().filter(|echo| **echo).count();
    assert!((5..=25).contains(&count), "{count} of 30");
    assert_eq!(ways(), first, "all of a context goes one way");
}
