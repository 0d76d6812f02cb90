//! Requests that no client should send: the error that A2A 1.0 names, on both bindings.

use super::{Server, answer, data_dir, guest, raw, text};
use serde_json::json;

fn server(dir: &tempfile::TempDir) -> Server {
    let server = Server::start(dir.path(), &[]);
    server.deploy(&guest("hostile"));
    server
}

#[test]
fn json_rpc_errors() {
    let dir = data_dir();
    let server = server(&dir);
    let code = |method: &str, params: &serde_json::Value| {
        let answer = server.rpc("hostile", method, params);
        assert_eq!(answer.headers["content-type"], "application/json");
        let (code, sentence) = answer.rpc_error();
        assert!(!sentence.is_empty());
        code
    };
    let skill = text("x").skill("no-such-skill").params();
    assert_eq!(code("SendMessage", &skill), -32602, "unknown skill");
    let ambiguous = text("x").params();
    assert_eq!(
        code("SendMessage", &ambiguous),
        -32602,
        "one of many skills must be named"
    );
    assert_eq!(
        code("GetTask", &json!({"id": "no-such-task"})),
        -32001,
        "unknown task"
    );
    assert_eq!(code("CancelTask", &json!({"id": "no-such-task"})), -32001);
    assert_eq!(
        code("SubscribeToTask", &json!({"id": "no-such-task"})),
        -32001
    );
    assert_eq!(code("NoSuchMethod", &json!({})), -32601, "unknown method");
    assert_eq!(code("SendMessage", &json!({"message": 7})), -32602);
    let empty = json!({"message": {"messageId": "m", "role": "ROLE_USER", "parts": []}});
    assert_eq!(
        code("SendMessage", &empty),
        -32602,
        "a message without parts"
    );
    let both = json!({"message": {"messageId": "m", "role": "ROLE_USER",
        "parts": [{"text": "a", "url": "https://example.com"}]}});
    assert_eq!(code("SendMessage", &both), -32602, "two members of a oneof");
}

#[test]
fn json_rpc_envelopes() {
    let dir = data_dir();
    let server = server(&dir);
    let post = |content_type: &str, body: &str| {
        answer(
            server
                .request("POST", "/agents/hostile")
                .header("content-type", content_type.to_owned())
                .body(body.to_owned()),
        )
    };
    assert_eq!(
        post("application/json", "{\"jsonrpc\":").rpc_error().0,
        -32700
    );
    assert_eq!(
        post("application/json", "{\"jsonrpc\":\"2.0\"}")
            .rpc_error()
            .0,
        -32600
    );
    assert_eq!(post("text/plain", "hello").rpc_error().0, -32005);
    assert_eq!(server.get("/agents/hostile").status, 405);
}

#[test]
fn rest_errors() {
    let dir = data_dir();
    let server = server(&dir);
    let send = |path: &str, body: String| {
        answer(
            server
                .request("POST", path)
                .header("content-type", "application/json")
                .body(body),
        )
    };
    let told = |answer: &super::Answer| {
        let json = answer.json();
        let code = json["error"]["code"]
            .as_u64()
            .unwrap_or_else(|| panic!("{json}"));
        assert_eq!(
            code,
            u64::from(answer.status),
            "google.rpc.Status repeats the status"
        );
        answer.status
    };
    let path = "/agents/hostile/message:send";
    let typed = server
        .request("POST", path)
        .header("content-type", "text/plain");
    assert_eq!(told(&answer(typed.body("hello"))), 400);
    assert_eq!(told(&send(path, "{".into())), 400);
    let skill = text("x").skill("no-such-skill").params().to_string();
    assert_eq!(told(&send(path, skill)), 400);
    assert_eq!(told(&server.get("/agents/hostile/tasks/no-such-task")), 404);
    assert_eq!(
        told(&send("/agents/hostile/tasks/none:cancel", "{}".into())),
        404
    );
    assert_eq!(told(&server.get("/agents/hostile/no-such-path")), 404);
    assert_eq!(told(&server.get("/agents/nobody/tasks/x")), 404);
    assert_eq!(told(&answer(server.request("DELETE", path))), 405);
}

#[test]
fn an_oversized_message_is_refused() {
    let dir = data_dir();
    let server = server(&dir);
    let said = raw(
        &server,
        b"POST /agents/hostile HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
          a2a-version: 1.0\r\ncontent-length: 4000000000\r\nconnection: close\r\n\r\n{",
    );
    assert!(said.starts_with("HTTP/1.1 413"), "{said}");
}

#[test]
fn an_unknown_agent_is_not_found() {
    let dir = data_dir();
    let server = server(&dir);
    let answer = server.rpc("nobody", "SendMessage", &text("x").params());
    assert_eq!(answer.status, 404);
    assert!(answer.rpc_error().1.contains("nobody"), "{answer:?}");
    assert_eq!(
        server
            .get("/agents/nobody/.well-known/agent-card.json")
            .status,
        404
    );
}

#[test]
fn garbage_on_the_wire_ends_that_connection_only() {
    let dir = data_dir();
    let server = server(&dir);
    let said = raw(
        &server,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    );
    assert!(
        said.is_empty() || said.starts_with("HTTP/1.1 400"),
        "{said}"
    );
    assert_eq!(server.get("/healthz").status, 200);
}
