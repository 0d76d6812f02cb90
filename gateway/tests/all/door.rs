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
