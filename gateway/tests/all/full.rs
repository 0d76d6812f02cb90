//! A full queue: refused in every binding, and nothing is left behind.

use crate::grpc_client::{Client, reason};
use crate::support::{Server, call, message, start_with, waiting_task};
use serde_json::{Value, json};
use tonic::Code;

const JSON_RPC: &str = "content-type: application/json\na2a-version: 1.0";

/// No instance may live and nobody may wait.
async fn full() -> Server {
    let server = start_with(
        |_| {},
        |scheduler| {
            scheduler.max_instances = 0;
            scheduler.max_queue = 0;
        },
    )
    .await;
    server.add("echo", &["say"]);
    server
}

async fn tasks(server: &Server) -> Value {
    let (_, listed) = server.rpc("echo", &call("ListTasks", &json!({}))).await;
    listed["result"]["totalSize"].clone()
}

/// With what may make a task known before its guest runs.
fn messages() -> [Value; 3] {
    let plain = message("hi");
    let mut at_once = message("hi");
    at_once["configuration"] = json!({"returnImmediately": true});
    let mut once = message("hi");
    once["message"]["metadata"] = json!({"urn:dormouse:idempotency:v1/key": "k"});
    [plain, at_once, once]
}

#[tokio::test]
async fn a_new_message_is_refused_before_there_is_a_task() {
    let server = full().await;
    let client = Client::new(&server).await;
    for body in messages() {
        for (method, path) in [
            ("SendMessage", "message:send"),
            ("SendStreamingMessage", "message:stream"),
        ] {
            let (status, answer) = server.rpc("echo", &call(method, &body)).await;
            assert_eq!((status, &answer["error"]["code"]), (200, &json!(-32603)));
            assert_eq!(
                answer["error"]["data"][0]["reason"], "UNAVAILABLE",
                "{answer}"
            );
            let request = format!("POST /agents/echo/{path}\n{JSON_RPC}");
            let answer = server.ask(&request, body.to_string().as_bytes()).await;
            assert_eq!(answer.status, 503);
            assert_eq!(answer.header("retry-after"), Some("1"));
            assert_eq!(answer.json()["error"]["status"], "UNAVAILABLE");
        }
        let mut of_echo = body.clone();
        of_echo["tenant"] = json!("echo");
        let status = client.call("SendMessage", &of_echo).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(reason(&status), "UNAVAILABLE");
    }
    assert_eq!(tasks(&server).await, 0);
}

#[tokio::test]
async fn a_task_that_waits_for_input_still_waits_when_its_message_is_refused() {
    let server = full().await;
    let id = waiting_task(&server).await;
    let mut body = message("this one");
    body["message"]["taskId"] = json!(id);
    let (_, answer) = server.rpc("echo", &call("SendMessage", &body)).await;
    assert_eq!(
        answer["error"]["data"][0]["reason"], "UNAVAILABLE",
        "{answer}"
    );
    let (_, task) = server
        .rpc("echo", &call("GetTask", &json!({"id": id})))
        .await;
    let task = &task["result"];
    assert_eq!(
        task["status"]["state"], "TASK_STATE_INPUT_REQUIRED",
        "{task}"
    );
    assert_eq!(task["history"].as_array().map(Vec::len), Some(1), "{task}");
}
