//! Filters that come and go: what a change leaves behind, and what becomes of requests that are on their way.

use crate::filters::{policy, with_rules};
use crate::support::{Answer, Server, answer, call, message, start, start_on, start_with};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

#[tokio::test]
async fn what_does_not_start_with_the_server_holds_no_place() {
    let server = start(|_| {}).await;
    let hostile = policy("hostile");
    server
        .filter(
            "pair",
            &hostile,
            json!({"instances": 2, "agents": ["calc"]}),
        )
        .await;
    let store = server.leave().await;
    // Room for one instance of a filter.
    let small = start_on(store, |_| {}, |scheduler| scheduler.max_instances = 16).await;
    assert_eq!(small.told("calc", "").await.status, 503);
    small
        .filter("one", &hostile, json!({"agents": ["echo"]}))
        .await;
    assert_eq!(small.told("echo", "").await.status, 200);
}

#[tokio::test]
async fn what_is_refused_leaves_no_code_behind() {
    let server = start(|_| {}).await;
    let hostile = policy("hostile");
    let compiles = async || server.metric("dormouse_compiles_total", &[]).await;
    for (settings, code) in [
        (json!({"config": "refuse"}), "configuration_refused"),
        (json!({"body": "stream"}), "invalid_filter"),
    ] {
        let before = compiles().await;
        let refused = server.put_filter("guard", &hostile, settings).await;
        assert_eq!(refused.json()["error"]["code"], code);
        assert_eq!(compiles().await, before + 1.0, "it was compiled anew");
    }
    server.filter("guard", &hostile, json!({})).await;
    let before = compiles().await;
    // What another filter is made of stays.
    let refuse = json!({"config": "refuse"});
    let refused = server.put_filter("other", &hostile, refuse).await;
    assert_eq!(refused.status, 422);
    server.filter("other", &hostile, json!({})).await;
    assert_eq!(compiles().await, before);
    assert_eq!(server.told("echo", "").await.status, 200);
}

/// A request whose client has said half of its body, and the other half.
struct OnItsWay {
    stream: TcpStream,
    rest: Vec<u8>,
}

impl OnItsWay {
    /// When this returns the filter was asked in `phase`.
    async fn begin(server: &Server, phase: &str, text: &str) -> Self {
        let body = call("SendMessage", &message(text)).to_string().into_bytes();
        let (first, rest) = body.split_at(body.len() / 2);
        let length = body.len();
        let head = format!(
            "POST /agents/echo HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             a2a-version: 1.0\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
        );
        let before = asked(server, phase).await;
        let mut stream = server.connect().await;
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(first).await.unwrap();
        while asked(server, phase).await == before {
            tokio::task::yield_now().await;
        }
        let rest = rest.to_vec();
        Self { stream, rest }
    }

    async fn end(mut self) -> Answer {
        self.stream.write_all(&self.rest).await.unwrap();
        answer(self.stream).await
    }
}

async fn asked(server: &Server, phase: &str) -> f64 {
    let phase = format!("phase=\"{phase}\"");
    let name = "dormouse_filter_seconds_count";
    server.metric(name, &[&phase]).await
}

async fn failed(server: &Server) -> f64 {
    let name = "dormouse_filter_decisions_total";
    server.metric(name, &["decision=\"failed_"]).await
}

/// Changes a filter, or takes it away.
async fn change(server: &Server, settings: Option<Value>) {
    match settings {
        Some(settings) => drop(server.filter("guard", &policy("hostile"), settings).await),
        None => {
            let answer = server.ask("DELETE /v1/filters/guard", b"").await;
            assert_eq!(answer.status, 200);
        }
    }
}

#[tokio::test]
async fn what_began_under_a_filter_is_looked_at_by_it_to_the_end() {
    for fail in ["closed", "open"] {
        for settings in [
            Some(json!({"order": 7, "fail": fail})),
            Some(json!({"fail": fail, "agents": ["calc"]})),
            None,
        ] {
            let server = start(|_| {}).await;
            change(&server, Some(json!({"fail": fail}))).await;
            let head = "request_headers";
            let good = OnItsWay::begin(&server, head, "hello").await;
            let bad = OnItsWay::begin(&server, head, "hello BLOCK! hello").await;
            change(&server, settings.clone()).await;
            assert_eq!(bad.end().await.status, 422, "{fail} {settings:?}");
            let good = good.end().await;
            assert_eq!(good.status, 200, "{fail} {settings:?}");
            assert_eq!(good.header("x-count"), Some("1"));
            assert_eq!(good.header("x-status-seen"), Some("200"));
            assert_eq!(failed(&server).await, 0.0);
        }
    }
}

#[tokio::test]
async fn a_body_in_pieces_is_one_filters_whole() {
    let server = start(|_| {}).await;
    let settings = json!({"body": "stream"});
    let bodies = policy("hostile-bodies");
    server.filter("bodies", &bodies, settings.clone()).await;
    let text = "x".repeat(400_000);
    let sent = OnItsWay::begin(&server, "request_body", &text).await;
    server.filter("bodies", &bodies, settings).await;
    let answer = sent.end().await;
    let pieces = answer.header("x-pieces").unwrap().trim_end_matches('.');
    let sizes = pieces.split(' ').map(|size| size.parse::<usize>().unwrap());
    assert!(sizes.sum::<usize>() > 400_000, "{pieces}");
}

#[tokio::test]
async fn what_lasts_too_long_is_looked_at_by_the_one_that_has_the_name_now() {
    let small = json!({"max_body_bytes": 10});
    for (settings, good, bad) in [
        (Some(json!({"order": 7})), 200, 422),
        (Some(json!({"fail": "open"})), 200, 422),
        (Some(small), 413, 413),
        // Nobody has it: the operator wants nobody to look.
        (None, 200, 200),
    ] {
        let server = with_rules(|rules| rules.linger = Duration::ZERO).await;
        change(&server, Some(json!({}))).await;
        let head = "request_headers";
        let well = OnItsWay::begin(&server, head, "hello").await;
        let wrong = OnItsWay::begin(&server, head, "hello BLOCK! hello").await;
        change(&server, settings.clone()).await;
        // Its time is over when the next is there.
        change(&server, settings.clone().or(Some(json!({})))).await;
        if settings.is_none() {
            change(&server, None).await;
        }
        assert_eq!(wrong.end().await.status, bad, "{settings:?}");
        assert_eq!(well.end().await.status, good, "{settings:?}");
        let expected = if good == 413 { 2.0 } else { 0.0 };
        assert_eq!(failed(&server).await, expected, "{settings:?}");
    }
}

#[tokio::test]
async fn a_change_is_no_failure_for_those_who_wait_for_their_turn() {
    let server = with_rules(|rules| rules.linger = Duration::ZERO).await;
    change(&server, Some(json!({}))).await;
    let ask = || server.told("echo", "sleep 20");
    let changes = async {
        for order in 0..5 {
            tokio::time::sleep(Duration::from_millis(5)).await;
            change(&server, Some(json!({"order": order}))).await;
        }
    };
    let (one, two, three, four, five, six, ()) =
        tokio::join!(ask(), ask(), ask(), ask(), ask(), ask(), changes);
    for answer in [one, two, three, four, five, six] {
        assert_eq!(answer.status, 200);
    }
    assert_eq!(failed(&server).await, 0.0);
}

#[tokio::test]
async fn a_full_house_can_still_be_changed() {
    let server = start(|_| {}).await;
    let hostile = policy("hostile");
    let eight = |agent: &str| json!({"instances": 8, "agents": [agent]});
    for name in ["a", "b", "c"] {
        server.filter(name, &hostile, eight("calc")).await;
    }
    server.filter("guard", &hostile, eight("echo")).await;
    let one = server.put_filter("more", &hostile, json!({})).await;
    let refusal = one.json()["error"].clone();
    assert_eq!(
        (one.status, &refusal["code"]),
        (422, &json!("filter_limit"))
    );
    let sentence = refusal["message"].as_str().unwrap();
    assert!(
        sentence.contains("32") && sentence.contains("fewer"),
        "{sentence}"
    );
    // A request has the old one, until its places are wanted.
    let head = "request_headers";
    let good = OnItsWay::begin(&server, head, "hello").await;
    let bad = OnItsWay::begin(&server, head, "hello BLOCK! hello").await;
    server.filter("guard", &hostile, eight("echo")).await;
    for name in ["a", "b", "guard"] {
        let agent = if name == "guard" { "echo" } else { "calc" };
        server.filter(name, &hostile, eight(agent)).await;
    }
    assert_eq!(bad.end().await.status, 422);
    assert_eq!(good.end().await.status, 200);
    assert_eq!(failed(&server).await, 0.0);
    let fewer = json!({"instances": 7, "agents": ["calc"]});
    server.filter("a", &hostile, fewer).await;
    server.filter("more", &hostile, json!({})).await;
}

#[tokio::test]
async fn a_small_house_says_how_much_room_there_is() {
    // Six instances, and two places for what takes the place of others.
    let server = start_with(|_| {}, |scheduler| scheduler.max_instances = 64).await;
    let hostile = policy("hostile");
    let settings = |instances: usize| json!({"instances": instances});
    server.filter("guard", &hostile, settings(6)).await;
    let refused = server.put_filter("guard", &hostile, settings(6)).await;
    let refusal = refused.json()["error"].clone();
    assert_eq!(refusal["code"], "filter_limit");
    let sentence = refusal["message"].as_str().unwrap();
    assert!(sentence.contains("2 are free"), "{sentence}");
    for instances in [2, 6] {
        server.filter("guard", &hostile, settings(instances)).await;
    }
}
