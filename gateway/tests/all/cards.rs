//! Agent cards, from definitions in the registry.

use crate::support::{start, start_empty};
use dormouse_gateway::CardKey;
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
            {"url": "agents.example.com:443", "protocolBinding": "GRPC", "protocolVersion": "1.0",
             "tenant": "calc"},
        ])
    );
    let mut capabilities = card["capabilities"].clone();
    let extension = capabilities["extensions"].take();
    assert_eq!(extension[0]["uri"], "urn:dormouse:idempotency:v1");
    assert_eq!(
        capabilities,
        json!({"streaming": true, "pushNotifications": true, "extendedAgentCard": false,
            "extensions": null})
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

/// Makes the first token.
async fn lock(server: &crate::support::Server) -> String {
    let body = json!({"name": "ann", "scopes": ["admin"]}).to_string();
    let answer = server.ask("POST /v1/tokens", body.as_bytes()).await;
    answer.json()["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_card_says_that_a_token_is_needed_when_one_is() {
    let server = start(|_| {}).await;
    let path = format!("GET /agents/calc{CARD}");
    let open = server.ask(&path, b"").await;
    assert_eq!(open.json().get("securitySchemes"), None);
    lock(&server).await;
    let locked = server.ask(&path, b"").await;
    assert_ne!(open.header("etag"), locked.header("etag"));
    let card = locked.json();
    let scheme = &card["securitySchemes"]["bearer"]["httpAuthSecurityScheme"];
    assert_eq!(scheme["scheme"], json!("Bearer"));
    let requirements = json!([{"schemes": {"bearer": {"list": ["invoke"]}}}]);
    assert_eq!(card["securityRequirements"], requirements);
    assert_eq!(card["capabilities"]["extendedAgentCard"], json!(true));
}

#[tokio::test]
async fn the_extended_card_is_for_authenticated_callers() {
    let server = start(|config| config.card_key = Some(CardKey::generate().unwrap())).await;
    let call = json!({"jsonrpc": "2.0", "id": 7, "method": "GetExtendedAgentCard"});
    let rest = "GET /agents/calc/extendedAgentCard\na2a-version: 1.0";
    let (_, refused) = server.rpc("calc", &call).await;
    assert_eq!(
        refused["error"]["code"],
        json!(-32004),
        "nobody is authenticated here"
    );
    let (status, refused) = server
        .rest("GET /agents/calc/extendedAgentCard", &json!(null))
        .await;
    assert_eq!(
        (status, &refused["error"]["status"]),
        (400, &json!("FAILED_PRECONDITION"))
    );

    let token = lock(&server).await;
    assert_eq!(server.rpc("calc", &call).await.0, 401);
    assert_eq!(server.ask(rest, b"").await.status, 401);
    let with_token = format!("{rest}\nauthorization: Bearer {token}");
    let extended = server.ask(&with_token, b"").await;
    assert_eq!(server.ask(&with_token, b"").await.body, extended.body);
    let mut extended = extended.json();
    let rpc = "POST /agents/calc\ncontent-type: application/json\na2a-version: 1.0";
    let rpc = format!("{rpc}\nauthorization: Bearer {token}");
    let rpc = server.ask(&rpc, call.to_string().as_bytes()).await;
    assert_eq!(rpc.json()["result"], extended);
    let extensions = extended["capabilities"]["extensions"].as_array_mut();
    let extension = extensions.unwrap().pop().unwrap();
    assert_eq!(
        extension["params"],
        json!({"version": 1, "digest": Digest::of(b"calc"), "deployed": "1994-11-06T08:49:37Z", "isolation": "shared"})
    );
    let mut public = server
        .ask(&format!("GET /agents/calc{CARD}"), b"")
        .await
        .json();
    assert_ne!(public["signatures"], extended["signatures"]);
    for card in [&mut public, &mut extended] {
        card["signatures"].take();
        card["capabilities"]
            .as_object_mut()
            .unwrap()
            .remove("extensions");
    }
    assert_eq!(public, extended);
}

#[tokio::test]
async fn cards_are_signed_with_the_published_key() {
    let key = CardKey::generate().unwrap();
    let server = start(|config| config.card_key = Some(key.clone())).await;
    let path = format!("GET /agents/calc{CARD}");
    let card = server.ask(&path, b"").await;
    let signatures = card.json()["signatures"].clone();
    assert_eq!(signatures.as_array().unwrap().len(), 1, "{signatures}");
    let jwks = server.ask("GET /.well-known/jwks.json", b"").await;
    let public = &jwks.json()["keys"][0];
    assert_eq!(
        (&public["kty"], &public["crv"]),
        (&json!("EC"), &json!("P-256"))
    );
    assert_eq!(public.get("d"), None);
    assert!(jwks.header("etag").is_some() && jwks.header("cache-control").is_some());
    // Another server with the key says the same, byte for byte.
    let other = start(|config| config.card_key = Some(key)).await;
    assert_eq!(other.ask(&path, b"").await.body, card.body);
    let keyless = start(|_| {}).await;
    assert_eq!(
        keyless.ask("GET /.well-known/jwks.json", b"").await.status,
        404
    );
}
