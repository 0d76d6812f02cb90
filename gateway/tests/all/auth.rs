//! Who is let in, and what they may do.

use crate::grpc_client::{Asked, Client, answer_json, asked, reason};
use crate::support::{Answer, Server, call, message, start};
use dormouse_gateway::{CardKey, WithoutTokens};
use serde_json::{Value, json};
use tonic::Code;

const CARD: &str = "/.well-known/agent-card.json";

/// A request that needs nothing but a token that may invoke.
const LIST: &str = "GET /agents/calc/tasks\na2a-version: 1.0";

async fn create(server: &Server, admin: &str, body: &Value) -> (u16, Value) {
    let request = format!("POST /v1/tokens\nauthorization: Bearer {admin}");
    let answer = server.ask(&request, body.to_string().as_bytes()).await;
    (answer.status, answer.json())
}

/// The secret of a new token.
pub(crate) async fn token(server: &Server, admin: &str, name: &str, scope: &str) -> String {
    let (status, made) = create(server, admin, &json!({"name": name, "scopes": [scope]})).await;
    assert_eq!(status, 201, "{made}");
    made["token"].as_str().unwrap().to_owned()
}

async fn with(server: &Server, request: &str, token: &str) -> Answer {
    let request = format!("{request}\nauthorization: Bearer {token}");
    server.ask(&request, b"").await
}

#[tokio::test]
async fn the_first_token_closes_an_open_server() {
    let server = start(|_| {}).await;
    assert_eq!(server.ask(LIST, b"").await.status, 200);
    let admin = token(&server, "", "ann", "admin").await;
    for (request, status) in [
        (LIST, 401),
        ("POST /agents/calc", 401),
        ("GET /agents/nobody/tasks", 401),
        ("GET /agents/calc/extendedAgentCard", 401),
        ("GET /v1/agents", 401),
        ("DELETE /v1/agents/calc", 401),
        ("POST /v1/modules", 401),
        ("GET /v1/tokens", 401),
        ("GET /metrics", 401),
        ("GET /", 401),
        ("GET /healthz", 200),
        ("GET /readyz", 200),
        ("GET /agents/calc/.well-known/agent-card.json", 200),
    ] {
        let answer = server.ask(request, b"").await;
        assert_eq!(answer.status, status, "{request}");
        let challenge = (status == 401).then_some(r#"Bearer realm="dormouse""#);
        assert_eq!(answer.header("www-authenticate"), challenge, "{request}");
    }
    let metrics = crate::support::ask(&server.metrics_address, "GET /metrics", b"").await;
    assert_eq!(metrics.status, 200);
    assert_eq!(with(&server, LIST, &admin).await.status, 200);
    assert_eq!(server.store.registry.count(), 2);
}

#[tokio::test]
async fn a_closed_server_waits_for_its_first_token() {
    let server = start(|config| config.without_tokens = WithoutTokens::Closed).await;
    let first = json!({"name": "ann", "scopes": ["admin"]});
    assert_eq!(create(&server, "", &first).await.0, 401);
    assert_eq!(server.ask(LIST, b"").await.status, 401);
    assert_eq!(
        server
            .ask(&format!("GET /agents/calc{CARD}"), b"")
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn each_binding_refuses_in_its_own_form() {
    let server = start(|_| {}).await;
    let admin = token(&server, "", "ann", "admin").await;
    let deploy = token(&server, &admin, "ci", "deploy").await;
    let body = call("SendMessage", &message("hi")).to_string();
    for (credentials, status, reason, error) in [
        ("x-none: y", 401, "UNAUTHENTICATED", None),
        (
            "authorization: Bearer x",
            401,
            "UNAUTHENTICATED",
            Some(r#"error="invalid_token""#),
        ),
        (
            &format!("authorization: Bearer {deploy}"),
            403,
            "PERMISSION_DENIED",
            Some(r#"error="insufficient_scope", scope="invoke""#),
        ),
    ] {
        let rpc = format!("POST /agents/calc\ncontent-type: application/json\n{credentials}");
        let rpc = server.ask(&rpc, body.as_bytes()).await;
        let json = rpc.json();
        assert_eq!((rpc.status, &json["id"]), (status, &Value::Null));
        assert_eq!(json["error"]["code"], json!(-32600));
        assert_eq!(json["error"]["data"][0]["reason"], json!(reason));
        let rest = server.ask(&format!("{LIST}\n{credentials}"), b"").await;
        let json = rest.json();
        assert_eq!(
            (rest.status, &json["error"]["status"]),
            (status, &json!(reason))
        );
        assert_eq!(json["error"]["details"][0]["reason"], json!(reason));
        let platform = server
            .ask(&format!("GET /v1/tokens\n{credentials}"), b"")
            .await;
        assert_eq!(platform.status, status);
        assert_eq!(
            platform.json()["error"]["code"],
            json!(reason.to_lowercase())
        );
        let challenge = rpc.header("www-authenticate").unwrap();
        assert_eq!(rest.header("www-authenticate"), Some(challenge));
        assert!(
            error.is_none_or(|error| challenge.ends_with(error)),
            "{challenge}"
        );
    }
}

#[tokio::test]
async fn grpc_refuses_in_its_own_form() {
    let server = start(|_| {}).await;
    let admin = token(&server, "", "ann", "admin").await;
    let deploy = token(&server, &admin, "ci", "deploy").await;
    let client = Client::new(&server).await;
    for (token, code) in [
        (None, Code::Unauthenticated),
        (Some("x"), Code::Unauthenticated),
        (Some(&*deploy), Code::PermissionDenied),
    ] {
        let asked = Asked {
            token,
            ..asked("ListTasks", &json!({"tenant": "calc"}))
        };
        let status = client.ask(asked).await.unwrap_err();
        assert_eq!(status.code(), code);
        let expected = if code == Code::Unauthenticated {
            "UNAUTHENTICATED"
        } else {
            "PERMISSION_DENIED"
        };
        assert_eq!(reason(&status), expected);
        assert!(status.metadata().contains_key("www-authenticate"));
    }
}

#[tokio::test]
async fn the_extended_card_is_the_same_over_every_binding() {
    let server = start(|config| config.card_key = Some(CardKey::generate().unwrap())).await;
    let admin = token(&server, "", "ann", "admin").await;
    let rest = "GET /agents/calc/extendedAgentCard\na2a-version: 1.0";
    let rest = with(&server, rest, &admin).await.json();
    assert!(rest["signatures"][0]["signature"].is_string(), "{rest}");
    let client = Client::new(&server).await;
    let asked = Asked {
        token: Some(&admin),
        ..asked("GetExtendedAgentCard", &json!({"tenant": "calc"}))
    };
    let grpc = client.ask(asked).await.unwrap();
    let mut grpc = answer_json("GetExtendedAgentCard", &grpc);
    // Protobuf has one kind of number.
    let version = &mut grpc["capabilities"]["extensions"][1]["params"]["version"];
    *version = json!(version.as_f64().unwrap() as u32);
    assert_eq!(grpc, rest);
}

#[tokio::test]
async fn credentials_that_are_not_one_known_token() {
    let server = start(|_| {}).await;
    let admin = token(&server, "", "ann", "admin").await;
    let huge = "x".repeat(8 << 10);
    let flipped = admin.to_uppercase();
    for (credentials, status) in [
        (format!("authorization: Bearer {admin}"), 200),
        (format!("authorization: bEARER {admin}"), 200),
        (format!("authorization: Bearer   {admin}  "), 200),
        (format!("authorization: Bearer {flipped}"), 401),
        (format!("authorization: Bearer {admin}x"), 401),
        (
            format!("authorization: Bearer {}", &admin[..admin.len() - 1]),
            401,
        ),
        (format!("authorization: Bearer {admin} {admin}"), 401),
        (
            format!("authorization: Bearer {admin}\nauthorization: Bearer {admin}"),
            401,
        ),
        (format!("authorization: Bearer{admin}"), 401),
        (format!("authorization: Basic {admin}"), 401),
        (format!("authorization: {admin}"), 401),
        (format!("x-api-key: {admin}"), 401),
        ("authorization: Bearer".to_owned(), 401),
        ("authorization:".to_owned(), 401),
        ("authorization: Bearer \u{e4}\u{f6}".to_owned(), 401),
        (format!("authorization: Bearer {huge}"), 401),
        (format!("authorization: Bearer {huge}{huge}{huge}"), 431),
        // A line break ends the header; what follows is another one.
        ("authorization: Bearer x\r\nx: y".to_owned(), 401),
        // A bare carriage return is no header at all.
        (format!("authorization: Bearer {admin}\rx: y"), 400),
    ] {
        let answer = server.ask(&format!("{LIST}\n{credentials}"), b"").await;
        assert_eq!(answer.status, status, "{credentials:.60}");
    }
}

#[tokio::test]
async fn many_wrong_tokens_change_nothing_for_the_right_one() {
    let server = start(|_| {}).await;
    let admin = token(&server, "", "ann", "admin").await;
    for number in 0..200 {
        assert_eq!(
            with(&server, LIST, &format!("{admin}{number}"))
                .await
                .status,
            401
        );
    }
    assert_eq!(with(&server, LIST, &admin).await.status, 200);
}

#[tokio::test]
async fn scopes_are_kept_apart() {
    let server = start(|_| {}).await;
    let admin = token(&server, "", "ann", "admin").await;
    let deploy = token(&server, &admin, "ci", "deploy").await;
    let invoke = token(&server, &admin, "bob", "invoke").await;
    for (request, deploys, invokes, admins) in [
        (LIST, 403, 200, 200),
        ("GET /v1/agents", 200, 200, 200),
        ("GET /v1/agents/none", 404, 404, 404),
        ("GET /v1/modules/none", 404, 403, 404),
        ("POST /v1/modules", 400, 403, 400),
        ("DELETE /v1/agents/none", 404, 403, 404),
        ("GET /v1/tokens", 403, 403, 200),
        ("DELETE /v1/tokens/none", 403, 403, 404),
        ("GET /nothing", 404, 404, 404),
    ] {
        for (token, status) in [(&deploy, deploys), (&invoke, invokes), (&admin, admins)] {
            assert_eq!(
                with(&server, request, token).await.status,
                status,
                "{request}"
            );
        }
    }
}

#[tokio::test]
async fn a_token_ends_when_it_expires_or_is_revoked() {
    let server = start(|_| {}).await;
    let admin = token(&server, "", "ann", "admin").await;
    let brief = json!({"name": "brief", "scopes": ["invoke"], "expires_in": 0});
    let (_, brief) = create(&server, &admin, &brief).await;
    let brief = brief["token"].as_str().unwrap();
    let bob = token(&server, &admin, "bob", "invoke").await;
    assert_eq!(with(&server, LIST, brief).await.status, 401);
    assert_eq!(with(&server, LIST, &bob).await.status, 200);
    assert_eq!(
        with(&server, "DELETE /v1/tokens/bob", &admin).await.status,
        200
    );
    assert_eq!(with(&server, LIST, &bob).await.status, 401);
    let listed = with(&server, "GET /v1/tokens", &admin).await.json();
    let names: Vec<&Value> = listed["tokens"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["name"])
        .collect();
    assert_eq!(names, [&json!("ann"), &json!("brief")]);
    assert_eq!(listed["tokens"][1]["expired"], json!(true));
    assert!(
        !listed.to_string().contains("dormouse_"),
        "no secret is listed"
    );
}

#[tokio::test]
async fn tokens_that_are_not_made_or_not_revoked() {
    let server = start(|_| {}).await;
    let invoke = json!({"name": "bob", "scopes": ["invoke"]});
    let (status, error) = create(&server, "", &invoke).await;
    assert_eq!(
        (status, &error["error"]["code"]),
        (409, &json!("first_token_must_be_admin"))
    );
    let admin = token(&server, "", "ann", "admin").await;
    for (body, status, code) in [
        (
            json!({"name": "ann", "scopes": ["invoke"]}),
            409,
            "token_exists",
        ),
        (
            json!({"name": "anonymous", "scopes": ["invoke"]}),
            400,
            "invalid_name",
        ),
        (
            json!({"name": "a b", "scopes": ["invoke"]}),
            400,
            "invalid_name",
        ),
        (json!({"name": "bob", "scopes": []}), 400, "invalid_scope"),
        (
            json!({"name": "bob", "scopes": ["root"]}),
            400,
            "invalid_body",
        ),
        (
            json!({"name": "bob", "scopes": ["invoke"], "token": "x"}),
            400,
            "invalid_body",
        ),
        (
            json!({"name": "bob", "scopes": ["invoke"], "expires_in": u64::MAX}),
            400,
            "invalid_expiry",
        ),
    ] {
        let (told, error) = create(&server, &admin, &body).await;
        assert_eq!(
            (told, &error["error"]["code"]),
            (status, &json!(code)),
            "{body}"
        );
    }
    for (name, status, code) in [
        ("ann", 409, "last_admin_token"),
        ("none", 404, "unknown_token"),
    ] {
        let answer = with(&server, &format!("DELETE /v1/tokens/{name}"), &admin).await;
        assert_eq!(
            (answer.status, &answer.json()["error"]["code"]),
            (status, &json!(code))
        );
    }
    let made = server
        .ask(
            &format!("POST /v1/tokens\nauthorization: Bearer {admin}"),
            json!({"name": "bob", "scopes": ["invoke"]})
                .to_string()
                .as_bytes(),
        )
        .await;
    assert_eq!(made.header("cache-control"), Some("no-store"));
}
