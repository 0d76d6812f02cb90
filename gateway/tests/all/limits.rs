//! Limits of single agents, as they are set and shown.

use crate::support::{start, start_with};
use serde_json::{Value, json};

#[tokio::test]
async fn limits_are_set_shown_and_removed() {
    let server = start(|_| {}).await;
    let (_, before) = server.rest("GET /v1/agents/echo", &Value::Null).await;
    assert_eq!(before["overrides"], json!({}));
    assert_eq!(before["limits"]["preset"], "default");
    assert_eq!(before["limits"]["isolation"], "shared");
    assert_eq!(before["limits"]["max_instances"], 256);
    let set = json!({"preset": "strict", "call_seconds": 1.5, "isolation": "call", "concurrency": 4, "max_instances": 2});
    let (status, answer) = server.rest("PUT /v1/agents/echo/limits", &set).await;
    assert_eq!((status, &answer["name"]), (200, &json!("echo")));
    assert_eq!(answer["overrides"], set);
    let expected = json!({
        "preset": "strict",
        "call_seconds": 1.5,
        "processor_seconds": 5.0,
        "memory_bytes": 16 << 20,
        "table_elements": 10_000,
        "host_call_bytes": 1 << 20,
        "handles": 250,
        "log_records": 200,
        "log_bytes": 64 << 10,
        "task_bytes": 8 << 20,
        "max_instances": 2,
        "concurrency": 4,
        "isolation": "call",
    });
    assert_eq!(answer["limits"], expected);
    for path in ["limits", "versions"] {
        let (_, shown) = server
            .rest(&format!("GET /v1/agents/echo/{path}"), &Value::Null)
            .await;
        assert_eq!(shown["limits"], expected, "{path}");
    }
    // They are of one agent, and stay when it is deployed again.
    server.add("echo", &["say"]);
    let (_, again) = server.rest("GET /v1/agents/echo", &Value::Null).await;
    assert_eq!((&again["limits"], &again["overrides"]), (&expected, &set));
    let (_, other) = server.rest("GET /v1/agents/calc", &Value::Null).await;
    assert_eq!(other["limits"], before["limits"]);
    // What is set later replaces all of it.
    let (_, answer) = server
        .rest("PUT /v1/agents/echo/limits", &json!({"call_seconds": 7}))
        .await;
    assert_eq!(answer["overrides"], json!({"call_seconds": 7.0}));
    assert_eq!(answer["limits"]["preset"], "default");
    let (status, answer) = server
        .rest("DELETE /v1/agents/echo/limits", &Value::Null)
        .await;
    assert_eq!((status, &answer["limits"]), (200, &before["limits"]));
    assert_eq!(answer["overrides"], json!({}));
}

#[tokio::test]
async fn limits_that_cannot_be_are_refused_and_change_nothing() {
    let server = start_with(|_| {}, |config| config.max_instances = 10).await;
    server.add("echo", &["say"]);
    let put = "PUT /v1/agents/echo/limits";
    for (limits, word) in [
        (json!({"memory_bytes": 1_u64 << 40}), "instance pool"),
        (json!({"table_elements": 1_000_000}), "instance pool"),
        (json!({"max_instances": 11}), "at most 10"),
        (json!({"memory": 1}), "unknown field"),
    ] {
        let (status, answer) = server.rest(put, &limits).await;
        let error = &answer["error"];
        assert_eq!(
            (status, &error["code"]),
            (422, &json!("invalid_limits")),
            "{limits}"
        );
        assert!(error["message"].as_str().unwrap().contains(word), "{error}");
    }
    let answer = server.ask(put, b"memory_bytes: 1").await;
    assert_eq!(answer.status, 422);
    let (_, shown) = server
        .rest("GET /v1/agents/echo/limits", &Value::Null)
        .await;
    assert_eq!(shown["overrides"], json!({}));
    for method in ["GET", "PUT", "DELETE"] {
        let request = format!("{method} /v1/agents/nobody/limits");
        let (status, answer) = server.rest(&request, &json!({})).await;
        assert_eq!(
            (status, &answer["error"]["code"]),
            (404, &json!("unknown_agent"))
        );
    }
    let answer = server.ask("POST /v1/agents/echo/limits", b"{}").await;
    assert_eq!(answer.status, 405);
    // An upload with limits that cannot be is refused as a whole.
    let upload = "POST /v1/modules\ndormouse-limits: {\"memory_bytes\": 0}";
    let answer = server.ask(upload, b"\0asm\x01\0\0\0").await;
    assert_eq!(answer.json()["error"]["code"], "invalid_limits");
}
