//! Heads of requests and responses on their way past filters: what these are told, and what they make of them.

use crate::filters::{policy, with_rules};
use crate::support::{Answer, Server, call, message, start};
use dormouse_gateway::FilterRules;
use serde_json::json;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Sends a message with these header lines besides.
async fn send(server: &Server, headers: &str) -> Answer {
    let request =
        format!("POST /agents/echo\ncontent-type: application/json\na2a-version: 1.0\n{headers}");
    let body = call("SendMessage", &message("hi")).to_string();
    server.ask(&request, body.as_bytes()).await
}

fn now() -> u128 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap().as_millis()
}

#[tokio::test]
async fn all_that_is_known_of_a_request_is_told() {
    let server = start(|_| {}).await;
    server.filter("guard", &policy("hostile"), json!({})).await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let before = now();
    let headers = format!(
        "host: agents.example.com\nx-do: metadata\nx-request-id: r-17\ntraceparent: {trace}"
    );
    let answer = send(&server, &headers).await;
    let told = |name: &str| answer.header(&format!("x-{name}")).unwrap_or_default();
    for (name, value) in [
        ("request-id", "r-17"),
        ("client-ip", "127.0.0.1"),
        ("server-name", "agents.example.com"),
        ("protocol", "HTTP/1.1"),
        ("tls-version", "none"),
        ("route-id", "echo"),
        ("upstream-id", "none"),
        ("traceparent", trace),
        ("method", "POST"),
        ("uri", "/agents/echo"),
    ] {
        assert_eq!(told(name), value, "{name}");
    }
    assert_eq!(told("correlation-id").len(), 36);
    assert!(told("client-port").parse::<u16>().unwrap() > 0);
    let at: u128 = told("timestamp-ms").parse().unwrap();
    assert!((before..=now()).contains(&at), "{at}");
    // Who does not say how the request is called hears what the platform calls it.
    let answer = send(&server, "x-do: metadata").await;
    let called = answer.header("x-request-id").unwrap();
    assert_eq!(Some(called), answer.header("x-correlation-id"));
}

#[tokio::test]
async fn headers_come_in_their_order_and_those_of_one_name_all() {
    let server = start(|_| {}).await;
    server.filter("guard", &policy("hostile"), json!({})).await;
    let sent = "x-b: 1\nx-do: headers\nX-A: one\nx-c: 3\nx-a: two, three\nx-a: one";
    let answer = send(&server, sent).await;
    let seen = answer.header("x-headers").unwrap();
    // Those of one name are together, in their order, where the first of them was.
    assert_eq!(
        seen,
        "x-b=1 x-do=headers x-a=one x-a=two, three x-a=one x-c=3"
    );
}

#[tokio::test]
async fn edits_are_made_in_their_order_and_seen_by_what_follows() {
    let server = start(|_| {}).await;
    let hostile = policy("hostile");
    server.filter("first", &hostile, json!({"order": 1})).await;
    server.filter("second", &hostile, json!({"order": 2})).await;
    let sent = "x-do: edit\nx-gone: 0\nx-kept: here\nx-again: old\nx-set: 0";
    let answer = send(&server, sent).await;
    let seen = answer.header("x-headers").unwrap();
    let values = |name: &str| {
        let pairs = seen.split(' ').filter_map(|pair| pair.split_once('='));
        let named = pairs.filter(|(named, _)| *named == name);
        named.map(|(_, value)| value).collect::<Vec<_>>()
    };
    assert_eq!(values("x-do"), ["headers"], "{seen}");
    assert_eq!(values("x-set"), ["1", "2"]);
    assert_eq!(values("x-gone"), [""; 0]);
    assert_eq!(values("x-kept"), ["here", "more"]);
    assert_eq!(values("x-again"), ["new"]);
    let lines = answer.head.lines();
    let order: Vec<_> = lines.filter(|line| line.starts_with("x-order:")).collect();
    assert_eq!(order, ["x-order: 1", "x-order: 2", "x-order: 3"]);
    assert_eq!(answer.header("x-not"), None);
}

#[tokio::test]
async fn a_response_is_blocked_by_its_head_and_by_its_body() {
    let server = start(|_| {}).await;
    server.filter("guard", &policy("hostile"), json!({})).await;
    let blocked = send(&server, "x-do: later 451").await;
    assert_eq!(
        (blocked.status, &*blocked.body),
        (451, &b"the head says so"[..])
    );
    assert_eq!(blocked.header("x-blocked"), Some("later"));
    assert_eq!(send(&server, "x-do: none").await.status, 200);
    server.ask("DELETE /v1/filters/guard", b"").await;

    // What is in the card is in no request.
    server.add("loud", &["BLOCK!"]);
    let card = "GET /agents/loud/.well-known/agent-card.json";
    assert_eq!(server.ask(card, b"").await.status, 200);
    let bodies = policy("hostile-bodies");
    server.filter("bodies", &bodies, json!({})).await;
    let blocked = server.ask(card, b"").await;
    assert_eq!(
        (blocked.status, &*blocked.body),
        (422, &b"the body says so"[..])
    );
    let quiet = "GET /agents/echo/.well-known/agent-card.json";
    assert_eq!(server.ask(quiet, b"").await.status, 200);
}

/// As trap, timeout and size, an open breaker follows the failure mode.
#[tokio::test]
async fn an_open_breaker_lets_pass_or_refuses_as_configured() {
    let rules = |rules: &mut FilterRules| {
        rules.open_after = 2;
        rules.open_for = Duration::from_secs(3_600);
    };
    for (fail, failed, open) in [
        ("open", "", ""),
        ("closed", "filter_failed", "filter_breaker_open"),
    ] {
        let server = with_rules(rules).await;
        let settings = json!({"fail": fail});
        server.filter("guard", &policy("hostile"), settings).await;
        for _ in 0..2 {
            assert_eq!(server.code("trap").await.1, failed);
        }
        let entry = server.ask("GET /v1/filters/guard", b"").await;
        assert_eq!(entry.json()["breaker"], "open");
        // It would block this.
        let (status, code) = server.code("block").await;
        assert_eq!(code, open);
        assert_eq!(status, if fail == "open" { 200 } else { 503 });
    }
}
