//! Both bindings, as far as they answer without a guest.

use crate::support::{call, message, start, waiting_task};
use serde_json::{Value, json};

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn json_rpc_refusals() {
    let server = start(|config| config.max_request_bytes = 2000).await;
    let unknown = uuid::Uuid::nil().to_string();
    let mut both = message("hi");
    both["message"]["parts"][0]["url"] = json!("x");
    let mut continued = message("hi");
    continued["message"]["taskId"] = json!(unknown);
    let mut skilled = message("hi");
    skilled["metadata"] = json!({"skillId": "mul"});
    let mut typed = message("hi");
    typed["message"]["parts"][0]["mediaType"] = json!("image/png");
    for (method, params, code, reason) in [
        ("SendMessage", json!({}), -32602, "INVALID_PARAMS"),
        ("SendMessage", both, -32602, "INVALID_PARAMS"),
        ("SendMessage", message("hi"), -32602, "INVALID_PARAMS"),
        ("SendStreamingMessage", skilled, -32602, "INVALID_PARAMS"),
        ("SendMessage", continued.clone(), -32001, "TASK_NOT_FOUND"),
        ("SendStreamingMessage", continued, -32001, "TASK_NOT_FOUND"),
        ("GetTask", json!({"id": unknown}), -32001, "TASK_NOT_FOUND"),
        (
            "GetTask",
            json!({"id": "not-one-of-ours"}),
            -32001,
            "TASK_NOT_FOUND",
        ),
        (
            "CancelTask",
            json!({"id": unknown}),
            -32001,
            "TASK_NOT_FOUND",
        ),
        (
            "SubscribeToTask",
            json!({"id": unknown}),
            -32001,
            "TASK_NOT_FOUND",
        ),
        (
            "ListTasks",
            json!({"pageSize": 101}),
            -32602,
            "INVALID_PARAMS",
        ),
        (
            "ListTasks",
            json!({"pageToken": "x"}),
            -32602,
            "INVALID_PARAMS",
        ),
        (
            "CreateTaskPushNotificationConfig",
            json!({}),
            -32602,
            "INVALID_PARAMS",
        ),
        (
            "CreateTaskPushNotificationConfig",
            json!({"taskId": unknown, "url": "https://example.com/"}),
            -32001,
            "TASK_NOT_FOUND",
        ),
        (
            "ListTaskPushNotificationConfigs",
            json!({"taskId": unknown}),
            -32001,
            "TASK_NOT_FOUND",
        ),
        (
            "GetExtendedAgentCard",
            json!({}),
            -32004,
            "UNSUPPORTED_OPERATION",
        ),
        ("message/send", json!({}), -32601, "METHOD_NOT_FOUND"),
    ] {
        let (status, answer) = server.rpc("calc", &call(method, &params)).await;
        assert_eq!(
            (status, &answer["id"], &answer["jsonrpc"]),
            (200, &json!(7), &json!("2.0"))
        );
        assert_eq!(
            answer["error"]["code"],
            json!(code),
            "{method} {params} {answer}"
        );
        let info = &answer["error"]["data"][0];
        assert_eq!(
            info["@type"],
            json!("type.googleapis.com/google.rpc.ErrorInfo")
        );
        assert_eq!(
            (&info["reason"], &info["domain"]),
            (&json!(reason), &json!("a2a-protocol.org"))
        );
    }
    let (_, unclear) = server
        .rpc("calc", &call("SendMessage", &message("hi")))
        .await;
    assert!(
        unclear["error"]["message"]
            .as_str()
            .unwrap()
            .contains("add, sub")
    );
    let mut skilled = typed.clone();
    skilled["message"]["metadata"] = json!({"skillId": "add"});
    let (_, refused) = server.rpc("calc", &call("SendMessage", &skilled)).await;
    assert_eq!(refused["error"]["code"], json!(-32005));
    let (status, large) = server
        .rpc("calc", &call("SendMessage", &message(&"x".repeat(2000))))
        .await;
    assert_eq!((status, &large["error"]["code"]), (413, &json!(-32600)));
    let (status, missing) = server.rpc("none", &call("ListTasks", &json!({}))).await;
    assert_eq!(
        (status, &missing["error"]["code"], &missing["id"]),
        (404, &json!(-32600), &Value::Null)
    );
}

#[tokio::test]
async fn json_rpc_needs_json_and_a_version() {
    let server = start(|_| {}).await;
    for (headers, body, code) in [
        (
            "content-type: text/plain\na2a-version: 1.0",
            "nonsense",
            -32005,
        ),
        ("a2a-version: 1.0", "{}", -32005),
        ("content-type: application/json", "nonsense", -32700),
        (
            "content-type: application/json",
            r#"{"jsonrpc":"2.0","id":7,"method":"ListTasks"}"#,
            -32009,
        ),
        (
            "content-type: application/json\na2a-version: 0.3",
            r#"{"jsonrpc":"2.0","id":7,"method":"ListTasks"}"#,
            -32009,
        ),
    ] {
        let answer = server
            .ask(&format!("POST /agents/calc/\n{headers}"), body.as_bytes())
            .await;
        assert_eq!(
            (answer.status, &answer.json()["error"]["code"]),
            (200, &json!(code)),
            "{headers}"
        );
    }
    let body = r#"{"jsonrpc":"2.0","id":"a","method":"ListTasks"}"#;
    let request = "POST /agents/calc/versions/1?A2A-Version=1.0\ncontent-type: application/json";
    let answer = server.ask(request, body.as_bytes()).await.json();
    assert_eq!(
        answer,
        json!({"jsonrpc": "2.0", "id": "a", "result":
        {"tasks": [], "nextPageToken": "", "pageSize": 50, "totalSize": 0}})
    );
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn rest_refusals() {
    let server = start(|config| config.max_request_bytes = 2000).await;
    let unknown = uuid::Uuid::nil();
    for (request, body, code, status) in [
        (
            "POST /agents/echo/message:send".to_owned(),
            json!({}),
            400,
            "INVALID_ARGUMENT",
        ),
        (
            "POST /agents/echo/message:send".to_owned(),
            message(&"x".repeat(2000)),
            413,
            "INVALID_ARGUMENT",
        ),
        (
            "POST /agents/calc/message:stream".to_owned(),
            message("hi"),
            400,
            "INVALID_ARGUMENT",
        ),
        (
            format!("GET /agents/echo/tasks/{unknown}"),
            Value::Null,
            404,
            "NOT_FOUND",
        ),
        (
            format!("POST /agents/echo/tasks/{unknown}:cancel"),
            Value::Null,
            404,
            "NOT_FOUND",
        ),
        (
            format!("GET /agents/echo/tasks/{unknown}:subscribe"),
            Value::Null,
            404,
            "NOT_FOUND",
        ),
        (
            format!("POST /agents/echo/tasks/{unknown}%3Asubscribe"),
            Value::Null,
            404,
            "NOT_FOUND",
        ),
        (
            format!("GET /agents/echo/tasks/{unknown}?historyLength=-1"),
            Value::Null,
            400,
            "INVALID_ARGUMENT",
        ),
        (
            "GET /agents/echo/tasks?pageSize=0".to_owned(),
            Value::Null,
            400,
            "INVALID_ARGUMENT",
        ),
        (
            format!("GET /agents/echo/tasks/{unknown}/pushNotificationConfigs"),
            Value::Null,
            404,
            "NOT_FOUND",
        ),
        (
            "GET /agents/echo/extendedAgentCard".to_owned(),
            Value::Null,
            400,
            "FAILED_PRECONDITION",
        ),
        (
            "GET /agents/echo/nothing".to_owned(),
            Value::Null,
            404,
            "NOT_FOUND",
        ),
        (
            "GET /agents/none/tasks".to_owned(),
            Value::Null,
            404,
            "NOT_FOUND",
        ),
    ] {
        let (found, answer) = server.rest(&request, &body).await;
        let error = &answer["error"];
        assert_eq!(
            (found, &error["code"]),
            (code, &json!(code)),
            "{request} {answer}"
        );
        assert_eq!(error["status"], json!(status), "{request}");
        assert_eq!(
            error["details"][0]["domain"],
            json!("a2a-protocol.org"),
            "{request}"
        );
    }
    let answer = server.ask("GET /agents/echo/tasks", b"").await;
    assert_eq!(
        answer.json()["error"]["details"][0]["reason"],
        json!("VERSION_NOT_SUPPORTED")
    );
}

#[tokio::test]
async fn rest_mirrors_the_media_type() {
    let server = start(|_| {}).await;
    for (headers, expected) in [
        ("a2a-version: 1.0", "application/json"),
        (
            "a2a-version: 1.0\naccept: application/a2a+json",
            "application/a2a+json",
        ),
        ("accept: application/a2a+json", "application/a2a+json"),
    ] {
        let answer = server
            .ask(&format!("GET /agents/echo/tasks\n{headers}"), b"")
            .await;
        assert_eq!(answer.header("content-type"), Some(expected), "{headers}");
    }
}

/// The registry names a module that is not stored: the call fails, and its task says so.
#[tokio::test]
async fn a_call_that_cannot_start_is_a_failed_task() {
    let server = start(|_| {}).await;
    let (status, answer) = server
        .rpc("echo", &call("SendMessage", &message("hi")))
        .await;
    let task = &answer["result"]["task"];
    assert_eq!(
        (status, &task["status"]["state"]),
        (200, &json!("TASK_STATE_FAILED")),
        "{answer}"
    );
    assert!(task["status"]["message"]["metadata"]["errorClass"].is_string());
    assert_eq!(task["history"][0]["parts"], json!([{"text": "hi"}]));
    let id = task["id"].as_str().unwrap();

    let (_, found) = server
        .rest(&format!("GET /agents/echo/tasks/{id}"), &Value::Null)
        .await;
    assert_eq!(&found, task);
    let (_, short) = server
        .rest(
            &format!("GET /agents/echo/tasks/{id}?historyLength=0"),
            &Value::Null,
        )
        .await;
    assert_eq!(short.get("history"), None);
    let (_, listed) = server
        .rpc("echo", &call("ListTasks", &json!({"historyLength": 1})))
        .await;
    assert_eq!(
        (
            &listed["result"]["totalSize"],
            &listed["result"]["tasks"][0]["id"]
        ),
        (&json!(1), &json!(id))
    );
    // Not another agent's business.
    assert_eq!(
        server
            .rest(&format!("GET /agents/calc/tasks/{id}"), &Value::Null)
            .await
            .0,
        404
    );

    let mut next = message("more");
    next["message"]["taskId"] = json!(id);
    let (_, ended) = server.rpc("echo", &call("SendMessage", &next)).await;
    assert_eq!(ended["error"]["code"], json!(-32004));
    let (_, ended) = server
        .rpc("echo", &call("CancelTask", &json!({"id": id})))
        .await;
    assert_eq!(ended["error"]["code"], json!(-32002));
    let (_, ended) = server
        .rpc("echo", &call("SubscribeToTask", &json!({"id": id})))
        .await;
    assert_eq!(ended["error"]["code"], json!(-32004));
}

#[tokio::test]
async fn a_stream_begins_with_the_task_and_ends_with_it() {
    let server = start(|_| {}).await;
    for (request, body) in [
        (
            "POST /agents/echo",
            call("SendStreamingMessage", &message("hi")),
        ),
        ("POST /agents/echo/message:stream", message("hi")),
    ] {
        let request = format!("{request}\ncontent-type: application/json\na2a-version: 1.0");
        let answer = server.ask(&request, body.to_string().as_bytes()).await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (200, Some("text/event-stream"))
        );
        let text = String::from_utf8(answer.body).unwrap();
        let events: Vec<Value> = text
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .map(|data| serde_json::from_str(data).unwrap())
            .map(|event: Value| event.get("result").cloned().unwrap_or(event))
            .collect();
        assert_eq!(
            events[0]["task"]["status"]["state"],
            json!("TASK_STATE_SUBMITTED"),
            "{text}"
        );
        let last = &events[events.len() - 1]["statusUpdate"];
        assert_eq!(
            last["status"]["state"],
            json!("TASK_STATE_FAILED"),
            "{text}"
        );
        assert_eq!(last["taskId"], events[0]["task"]["id"]);
        assert!(text.starts_with("id: 0\n"), "{text}");
    }
}

#[tokio::test]
async fn rest_is_under_the_tenant_too() {
    let server = start(|_| {}).await;
    let task = waiting_task(&server).await;
    let of_agent = server
        .rest(&format!("GET /agents/echo/tasks/{task}"), &json!(null))
        .await;
    assert_eq!(of_agent.0, 200, "{of_agent:?}");
    for tenant in ["echo", "echo/versions/1", "echo%2Fversions%2F1"] {
        let of_tenant = server
            .rest(&format!("GET /{tenant}/tasks/{task}"), &json!(null))
            .await;
        assert_eq!(of_tenant, of_agent, "{tenant}");
    }
    let listed = server.rest("GET /calc/tasks", &json!(null)).await.1;
    assert_eq!(listed["totalSize"], 0, "another agent's: {listed}");
    let (status, sent) = server.rest("POST /echo/message:send", &message("hi")).await;
    assert_eq!(
        (status, &sent["task"]["status"]["state"]),
        (200, &json!("TASK_STATE_FAILED"))
    );
    let (status, refused) = server
        .rest("POST /nobody/message:send", &message("hi"))
        .await;
    let reason = &refused["error"]["details"][0]["reason"];
    assert_eq!((status, reason), (404, &json!("AGENT_NOT_FOUND")));
    let canceled = server
        .rest(&format!("POST /echo/tasks/{task}:cancel"), &json!(null))
        .await;
    assert_eq!(canceled.0, 200, "{canceled:?}");
}
