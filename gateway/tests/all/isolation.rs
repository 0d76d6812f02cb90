//! A task is not there for anybody but its principal: every operation, every binding.

use crate::auth::token;
use crate::grpc_client::{Asked, Client, answer_json, asked, reason};
use crate::support::{Server, call, start, waiting_task};
use serde_json::{Value, json};

/// Somebody who asks for tasks of the agent `echo`.
struct Stranger {
    server: Server,
    client: Client,
    token: String,
}

impl Stranger {
    /// The reason over each binding; `request` is the method and path of HTTP+JSON.
    async fn refusals(&self, method: &str, params: &Value, request: &str) -> [Value; 3] {
        let head = format!(
            "content-type: application/json\na2a-version: 1.0\nauthorization: Bearer {}",
            self.token
        );
        let body = call(method, params).to_string();
        let rpc = format!("POST /agents/echo\n{head}");
        let rpc = self.server.ask(&rpc, body.as_bytes()).await;
        let body = match request.starts_with("POST") {
            true => params.to_string(),
            false => String::new(),
        };
        let rest = format!("{}\n{head}", request.replace(" /", " /agents/echo/"));
        let rest = self.server.ask(&rest, body.as_bytes()).await;
        let mut params = params.clone();
        params["tenant"] = json!("echo");
        let grpc = Asked {
            token: Some(&self.token),
            ..asked(method, &params)
        };
        let grpc = if ["SubscribeToTask", "SendStreamingMessage"].contains(&method) {
            self.client.stream(grpc).await.map(drop)
        } else {
            self.client.ask(grpc).await.map(drop)
        };
        [
            rpc.json()["error"]["data"][0]["reason"].clone(),
            rest.json()["error"]["details"][0]["reason"].clone(),
            json!(reason(&grpc.expect_err(method))),
        ]
    }
}

#[tokio::test]
async fn another_principals_task_is_not_there_over_any_binding() {
    let server = start(|_| {}).await;
    let task = waiting_task(&server).await;
    // From now on everybody is somebody, and nobody is `anonymous`.
    let token = token(&server, "", "ann", "admin").await;
    let client = Client::new(&server).await;
    let ann = Stranger {
        server,
        client,
        token,
    };
    let parts = json!([{"text": "mine?"}]);
    let message = json!({
        "message": {"messageId": "m", "role": "ROLE_USER", "taskId": task, "parts": parts}
    });
    let config = json!({"taskId": task, "id": "c", "url": "https://hooks.example.com/"});
    let (id, one) = (json!({"id": task}), json!({"taskId": task, "id": "c"}));
    let all = json!({"taskId": task});
    for (method, params, request) in [
        ("GetTask", &id, "GET /tasks/ID"),
        ("CancelTask", &id, "POST /tasks/ID:cancel"),
        ("SubscribeToTask", &id, "POST /tasks/ID:subscribe"),
        ("SendMessage", &message, "POST /message:send"),
        ("SendStreamingMessage", &message, "POST /message:stream"),
        ("CreateTaskPushNotificationConfig", &config, "POST CONFIGS"),
        ("GetTaskPushNotificationConfig", &one, "GET CONFIGS/c"),
        ("ListTaskPushNotificationConfigs", &all, "GET CONFIGS"),
        ("DeleteTaskPushNotificationConfig", &one, "DELETE CONFIGS/c"),
    ] {
        let request = request.replace("CONFIGS", "/tasks/ID/pushNotificationConfigs");
        let request = request.replace("ID", &task);
        let refusals = ann.refusals(method, params, &request).await;
        assert_eq!(refusals, ["TASK_NOT_FOUND"; 3], "{method}");
    }
    let listed = Asked {
        token: Some(&ann.token),
        ..asked("ListTasks", &json!({"tenant": "echo"}))
    };
    let listed = answer_json("ListTasks", &ann.client.ask(listed).await.unwrap());
    assert_eq!(listed["totalSize"].as_u64().unwrap_or(0), 0);
    assert_eq!(listed.get("tasks"), None);
}
