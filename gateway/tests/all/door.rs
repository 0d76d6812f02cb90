//! A server without tokens, and pages that have a browser send it things.

use crate::support::start;
use dormouse_gateway::WithoutTokens;
use serde_json::json;

const ADMIN: &[u8] = br#"{"name":"mallory","scopes":["admin"]}"#;

#[tokio::test]
async fn an_open_server_takes_nothing_from_pages_of_others() {
    let server = start(|_| {}).await;
    for foreign in [
        "content-type: text/plain\norigin: http://evil.example",
        "content-type: application/json\norigin: http://evil.example",
        "content-type: application/json\norigin: null",
        "content-type: application/json\nsec-fetch-site: cross-site",
        "content-type: application/json\nhost: evil.example",
        "content-type: application/json\nhost: evil.example\norigin: http://evil.example",
    ] {
        for path in [
            "POST /v1/tokens",
            "GET /v1/agents",
            "GET /metrics",
            "POST /agents/echo",
            "POST /agents/echo/message:send",
            "GET /v1/tokens",
        ] {
            let answer = server.ask(&format!("{path}\n{foreign}"), ADMIN).await;
            assert_eq!(answer.status, 403, "{path} {foreign}");
            let told = answer.json()["error"]["message"].to_string();
            assert!(
                told.contains("token create") && told.contains("--public-url"),
                "{told}"
            );
        }
    }
    let tokens = server.ask("GET /v1/tokens", b"").await.json();
    assert_eq!(tokens, json!({"tokens": []}));
    for open in [
        "GET /healthz",
        "GET /agents/echo/.well-known/agent-card.json",
    ] {
        let answer = server
            .ask(&format!("{open}\nhost: evil.example"), b"")
            .await;
        assert_eq!(answer.status, 200, "{open}");
    }
}

#[tokio::test]
async fn an_open_server_takes_what_is_its_own() {
    let server = start(|_| {}).await;
    let address = server.address.clone();
    for own in [
        format!("host: {address}"),
        format!("host: {address}\norigin: http://{address}\nsec-fetch-site: same-origin"),
        "host: localhost\norigin: http://localhost:3000".to_owned(),
        // Its public URL.
        "host: agents.example.com\norigin: https://agents.example.com".to_owned(),
    ] {
        let answer = server.ask(&format!("GET /v1/agents\n{own}"), b"").await;
        assert_eq!(answer.status, 200, "{own}");
    }
}

/// Then a page has no token to send.
#[tokio::test]
async fn with_tokens_any_name_will_do() {
    let server = start(|config| config.without_tokens = WithoutTokens::Closed).await;
    let request = "GET /v1/agents\nhost: dormouse.example\norigin: http://evil.example";
    assert_eq!(server.ask(request, b"").await.status, 401);
}

#[tokio::test]
async fn what_is_said_to_be_something_else_than_json_is_not_read_as_json() {
    let server = start(|_| {}).await;
    for (request, body) in [
        ("POST /v1/tokens", ADMIN),
        ("PUT /v1/agents/echo/limits", b"{}"),
        ("PUT /v1/agents/echo/config", b"{}"),
        ("POST /v1/agents/echo/active", br#"{"version":1}"#),
        ("PUT /v1/filters/f", b"{}"),
    ] {
        for other in ["text/plain", "application/x-www-form-urlencoded", ""] {
            let answer = server
                .ask(&format!("{request}\ncontent-type: {other}"), body)
                .await;
            let code = answer.json()["error"]["code"].clone();
            assert_eq!(
                (answer.status, code),
                (415, json!("unsupported_media_type")),
                "{request} {other:?}"
            );
        }
    }
    let json = "POST /v1/agents/echo/active\ncontent-type: Application/JSON; charset=utf-8";
    let answer = server.ask(json, br#"{"version":1}"#).await;
    assert_eq!(answer.status, 200);
}
