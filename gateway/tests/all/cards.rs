//! Agent cards, from definitions in the registry.

use crate::support::{start, start_empty};
use dormouse_store::Digest;
use serde_json::json;

const CARD: &str = "/.well-known/agent-card.json";

#[tokio::test]
async fn a_card_says_where_and_how_to_reach_its_agent() {
    let server = start(|_| {}).await;
    let answer = server.ask(&format!("GET /agents/calc{CARD}"), b"").await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, Some("application/json"))
    );
    let url = "https://agents.example.com/agents/calc";
    let card = answer.json();
    assert_eq!(
        card["supportedInterfaces"],
        json!([
            {"url": url, "protocolBinding": "JSONRPC", "protocolVersion": "1.0"},
            {"url": url, "protocolBinding": "HTTP+JSON", "protocolVersion": "1.0"},
        ])
    );
    assert_eq!(
        card["capabilities"],
        json!({"streaming": true, "pushNotifications": true, "extendedAgentCard": false})
    );
    assert_eq!(
        (&card["name"], &card["version"]),
        (&json!("calc"), &json!("0.1.0"))
    );
    assert_eq!(card["defaultOutputModes"], json!(["text/plain"]));
    assert_eq!(
        (&card["skills"][0]["id"], &card["skills"][1]["id"]),
        (&json!("add"), &json!("sub"))
    );
    assert_eq!(
        answer.header("last-modified"),
        Some("Sun, 06 Nov 1994 08:49:37 GMT")
    );
    assert!(answer.header("cache-control").unwrap().contains("max-age="));

    let pinned = server
        .ask(&format!("GET /agents/calc/versions/1{CARD}"), b"")
        .await
        .json();
    assert_eq!(
        pinned["supportedInterfaces"][0]["url"],
        json!(format!("{url}/versions/1"))
    );
}

#[tokio::test]
async fn a_known_card_is_not_sent_again() {
    let server = start(|_| {}).await;
    let path = format!("GET /agents/calc{CARD}");
    let first = server.ask(&path, b"").await;
    let tag = first.header("etag").unwrap();
    let again = server
        .ask(&format!("{path}\nif-none-match: \"x\", W/{tag}"), b"")
        .await;
    assert_eq!(
        (again.status, again.body.len(), again.header("etag")),
        (304, 0, Some(tag))
    );
    let other = server
        .ask(&format!("{path}\nif-none-match: \"x\""), b"")
        .await;
    assert_eq!((other.status, &other.body), (200, &first.body));
    let head = server.ask(&path.replace("GET", "HEAD"), b"").await;
    assert_eq!(
        (head.status, head.body.len(), head.header("etag")),
        (200, 0, Some(tag))
    );
    let length = first.body.len().to_string();
    assert_eq!(head.header("content-length"), Some(&*length));
}

#[tokio::test]
async fn the_root_card_is_that_of_the_only_agent_or_of_the_configured_one() {
    let server = start_empty(|_| {}).await;
    let root = format!("GET {CARD}");
    assert_eq!(
        server.ask(&root, b"").await.json()["error"]["code"],
        json!("no_root_agent")
    );
    server.add("echo", &["say"]);
    assert_eq!(server.ask(&root, b"").await.json()["name"], json!("echo"));
    server.add("calc", &["add"]);
    assert_eq!(server.ask(&root, b"").await.status, 404);

    let server = start(|config| config.root_agent = Some("calc".to_owned())).await;
    assert_eq!(server.ask(&root, b"").await.json()["name"], json!("calc"));
}

#[tokio::test]
async fn switching_the_active_version_is_seen_at_once() {
    let server = start(|_| {}).await;
    let card = format!("GET /agents/echo{CARD}");
    assert_eq!(
        server.ask(&card, b"").await.json()["description"],
        json!("The agent echo")
    );
    let mut second = crate::support::definition("echo", &["say"]);
    second.description = "The second".to_owned();
    let second = serde_json::to_vec(&second).unwrap();
    server
        .store
        .registry
        .deploy(Digest::of(b"2"), &[("echo".to_owned(), second)], 0)
        .unwrap();
    for (version, description) in [(1, "The agent echo"), (2, "The second")] {
        let (status, entry) = server
            .rest("POST /v1/agents/echo/active", &json!({"version": version}))
            .await;
        assert_eq!((status, &entry["version"]), (200, &json!(version)));
        assert_eq!(
            server.ask(&card, b"").await.json()["description"],
            json!(description)
        );
    }
}
