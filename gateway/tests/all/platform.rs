//! The platform API: what it refuses and what it tells.

use crate::support::{ask, start, start_empty};
use dormouse_store::Digest;
use serde_json::{Value, json};

#[tokio::test]
async fn uploads_that_are_no_agents_are_refused_and_leave_nothing() {
    let server = start_empty(|config| config.max_module_bytes = 4096).await;
    let upload = |headers: &str| format!("POST /v1/modules{headers}");
    for (request, body, status, code) in [
        (upload(""), b"".to_vec(), 400, "empty_module"),
        (upload(""), vec![0; 5000], 413, "module_too_large"),
        (
            upload("\ncontent-length: 5000"),
            Vec::new(),
            413,
            "module_too_large",
        ),
        (
            upload("\ncontent-type: text/html"),
            b"x".to_vec(),
            415,
            "unsupported_media_type",
        ),
        (
            upload("\ncontent-type: application/wasm"),
            b"#!/bin/sh".to_vec(),
            422,
            "not_wasm",
        ),
        (
            upload("\ncontent-type: application/octet-stream"),
            b"#!".to_vec(),
            422,
            "not_wasm",
        ),
    ] {
        let answer = server.ask(&request, &body).await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (status, Some("application/json"))
        );
        let error = &answer.json()["error"];
        assert_eq!(error["code"], json!(code));
        assert!(
            error["message"]
                .as_str()
                .is_some_and(|sentence| sentence.len() > 10)
        );
    }
    assert_eq!(server.store.modules.totals().modules, 0);
    assert_eq!(server.store.registry.count(), 0);
}

#[tokio::test]
async fn an_upload_over_the_limit_in_chunks_is_refused_too() {
    let server = start_empty(|config| config.max_module_bytes = 100).await;
    let chunks = format!("64\r\n{0}\r\n64\r\n{0}\r\n0\r\n\r\n", "x".repeat(100));
    let request = "POST /v1/modules\ntransfer-encoding: chunked";
    let answer = server.ask(request, chunks.as_bytes()).await;
    assert_eq!(
        (answer.status, &answer.json()["error"]["code"]),
        (413, &json!("module_too_large"))
    );
}

#[tokio::test]
async fn modules_are_served_by_their_digest() {
    let server = start_empty(|_| {}).await;
    let digest = server.store.modules.put(b"module").unwrap().digest;
    let answer = server.ask(&format!("GET /v1/modules/{digest}"), b"").await;
    assert_eq!((answer.status, &*answer.body), (200, &b"module"[..]));
    assert_eq!(answer.header("content-type"), Some("application/wasm"));
    let head = server.ask(&format!("HEAD /v1/modules/{digest}"), b"").await;
    assert_eq!(
        (head.status, head.header("content-length"), head.body.len()),
        (200, Some("6"), 0)
    );
    for missing in [Digest::of(b"other").to_string(), "blake3:7".to_owned()] {
        let answer = server.ask(&format!("GET /v1/modules/{missing}"), b"").await;
        assert_eq!(
            (answer.status, &answer.json()["error"]["code"]),
            (404, &json!("unknown_module"))
        );
    }
}

#[tokio::test]
async fn the_registry_is_listed_paged_and_deleted() {
    let server = start(|_| {}).await;
    let names = |page: &Value| -> Vec<String> {
        let agents = page["agents"].as_array().unwrap();
        agents
            .iter()
            .map(|agent| agent["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let (_, all) = server.rest("GET /v1/agents", &Value::Null).await;
    assert_eq!(
        (names(&all), &all["next"]),
        (vec!["calc".to_owned(), "echo".to_owned()], &Value::Null)
    );
    let (_, first) = server.rest("GET /v1/agents?limit=1", &Value::Null).await;
    assert_eq!(
        (names(&first), &first["next"]),
        (vec!["calc".to_owned()], &json!("calc"))
    );
    let (_, rest) = server
        .rest("GET /v1/agents?limit=1&after=calc", &Value::Null)
        .await;
    assert_eq!(
        (names(&rest), &rest["next"]),
        (vec!["echo".to_owned()], &Value::Null)
    );

    let (status, calc) = server.rest("GET /v1/agents/calc", &Value::Null).await;
    assert_eq!((status, &calc["skills"]), (200, &json!(["add", "sub"])));
    assert_eq!(calc["url"], json!("https://agents.example.com/agents/calc"));
    assert_eq!(calc["digest"], json!(Digest::of(b"calc").to_string()));
    let (_, versions) = server
        .rest("GET /v1/agents/calc/versions", &Value::Null)
        .await;
    let only = &versions["versions"][0];
    assert_eq!(
        (&only["version"], &only["active"]),
        (&json!(1), &json!(true))
    );
    assert_eq!(only["created"], json!("1994-11-06T08:49:37Z"));

    let digest = server.store.modules.put(b"calc").unwrap().digest;
    assert_eq!(
        server.rest("DELETE /v1/agents/calc", &Value::Null).await.0,
        200
    );
    assert_eq!(server.store.modules.size(&digest).unwrap(), None);
    for request in [
        "GET /v1/agents/calc",
        "DELETE /v1/agents/calc",
        "GET /v1/agents/calc/versions",
    ] {
        let (status, error) = server.rest(request, &Value::Null).await;
        assert_eq!(
            (status, &error["error"]["code"]),
            (404, &json!("unknown_agent")),
            "{request}"
        );
    }
    assert_eq!(
        server
            .ask("GET /agents/calc/.well-known/agent-card.json", b"")
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn switching_to_what_is_not_there_is_refused() {
    let server = start(|_| {}).await;
    for (name, body, status, code) in [
        ("calc", json!({"version": 2}), 404, "unknown_version"),
        ("none", json!({"version": 1}), 404, "unknown_agent"),
        ("calc", json!({"version": "1"}), 400, "invalid_body"),
    ] {
        let (found, error) = server
            .rest(&format!("POST /v1/agents/{name}/active"), &body)
            .await;
        assert_eq!((found, &error["error"]["code"]), (status, &json!(code)));
    }
}

#[tokio::test]
async fn unknown_paths_and_wrong_methods() {
    let server = start(|_| {}).await;
    for path in ["/", "/nothing", "/v1/agents/calc/x", "/agents", "/metrics"] {
        let answer = server.ask(&format!("GET {path}"), b"").await;
        assert_eq!(
            (answer.status, &answer.json()["error"]["code"]),
            (404, &json!("not_found")),
            "{path}"
        );
    }
    for (request, allow) in [
        ("GET /v1/modules", "POST"),
        ("PUT /v1/modules/blake3:0", "GET, HEAD"),
        ("POST /v1/agents", "GET, HEAD"),
        ("POST /v1/agents/calc", "GET, HEAD, PUT, DELETE"),
        ("GET /v1/agents/calc/active", "POST"),
        ("POST /healthz", "GET, HEAD"),
        ("POST /agents/calc/.well-known/agent-card.json", "GET, HEAD"),
        ("GET /agents/calc", "POST"),
        ("GET /agents/calc/message:send", "POST"),
        ("DELETE /agents/calc/tasks/7:subscribe", "GET, POST"),
    ] {
        let answer = server.ask(request, b"").await;
        assert_eq!(
            (answer.status, answer.header("allow")),
            (405, Some(allow)),
            "{request}"
        );
        assert_eq!(
            answer.header("content-type"),
            Some("application/json"),
            "{request}"
        );
    }
}

#[tokio::test]
async fn metrics_have_the_names_of_the_interface() {
    let server = start(|config| config.labelled_agents = 1).await;
    server.store.modules.put(b"12345").unwrap();
    for agent in ["calc", "echo"] {
        server
            .ask(
                &format!("GET /agents/{agent}/.well-known/agent-card.json"),
                b"",
            )
            .await;
    }
    server.ask("GET /agents/none/tasks", b"").await;
    let answer = ask(&server.metrics_address, "GET /metrics", b"").await;
    assert_eq!(
        answer.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    let text = String::from_utf8(answer.body).unwrap();
    for line in [
        r#"dormouse_requests_total{agent="calc",code="ok",operation="card"} 1"#,
        r#"dormouse_requests_total{agent="other",code="ok",operation="card"} 1"#,
        r#"dormouse_requests_total{agent="",code="agent_not_found",operation="unknown"} 1"#,
        r#"dormouse_request_seconds_count{agent="calc",operation="card"} 1"#,
        r#"dormouse_request_seconds_bucket{agent="calc",operation="card",le="0.0001"}"#,
        "dormouse_modules 1",
        "dormouse_module_bytes 5",
        r#"dormouse_tasks{state="working"} 0"#,
        "dormouse_store_corrupt_total 0",
        "dormouse_store_commit_seconds_count 0",
        "process_resident_memory_bytes",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}
