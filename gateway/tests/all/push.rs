//! Push notification configurations, over both bindings.

use crate::support::{Server, call, message, start, waiting_task};
use dormouse_gateway::GatewayConfig;
use serde_json::{Value, json};

async fn rpc(server: &Server, method: &str, params: Value) -> Value {
    let method = format!("{method}TaskPushNotificationConfig");
    let method = method.replace(
        "ListTaskPushNotificationConfig",
        "ListTaskPushNotificationConfigs",
    );
    server.rpc("echo", &call(&method, &params)).await.1
}

fn config(task: &str, id: &str) -> Value {
    json!({
        "taskId": task,
        "id": id,
        "url": "https://hooks.example.com/a?b=c",
        "token": "t0ken",
        "authentication": {"scheme": "Bearer", "credentials": "secret"},
    })
}

#[tokio::test]
async fn a_configuration_lives_over_json_rpc() {
    let server = start(|_| {}).await;
    let task = waiting_task(&server).await;
    let made = rpc(&server, "Create", config(&task, "one")).await;
    assert_eq!(made["result"], config(&task, "one"));
    let unnamed = json!({"task_id": task, "url": "http://hooks.example.com"});
    let unnamed = rpc(&server, "Create", unnamed).await;
    assert_eq!(unnamed["result"]["taskId"], *task);
    let made = unnamed["result"]["id"].as_str().unwrap();
    assert!(!made.is_empty());
    for names in [json!({"taskId": task}), json!({"task_id": task})] {
        let mut one = names.clone();
        one["id"] = json!("one");
        let known = rpc(&server, "Get", one).await;
        assert_eq!(known["result"], config(&task, "one"));
        let all = rpc(&server, "List", names).await;
        assert_eq!(all["result"]["configs"].as_array().unwrap().len(), 2);
        assert_eq!(all["result"].get("nextPageToken"), None);
    }
    for _ in 0..2 {
        let gone = rpc(&server, "Delete", json!({"taskId": task, "id": "one"})).await;
        assert_eq!(gone, json!({"jsonrpc": "2.0", "id": 7, "result": {}}));
    }
    let missing = rpc(&server, "Get", json!({"taskId": task, "id": "one"})).await;
    assert_eq!(missing["error"]["code"], -32001);
    assert_eq!(
        missing["error"]["data"][0]["reason"],
        json!("TASK_NOT_FOUND")
    );
}

#[tokio::test]
async fn a_configuration_lives_over_http_json() {
    let server = start(|_| {}).await;
    let task = waiting_task(&server).await;
    let all = format!("/agents/echo/tasks/{task}/pushNotificationConfigs");
    for id in ["a", "b c", "d"] {
        let made = server
            .rest(&format!("POST {all}"), &config(&task, id))
            .await;
        assert_eq!(made, (200, config(&task, id)));
    }
    let mut nowhere = config(&task, "e");
    nowhere["taskId"] = json!("another");
    let (status, _) = server.rest(&format!("POST {all}"), &nowhere).await;
    assert_eq!(status, 400);
    nowhere.as_object_mut().unwrap().remove("taskId");
    let (status, made) = server.rest(&format!("POST {all}"), &nowhere).await;
    assert_eq!((status, &made["taskId"]), (200, &json!(task)));
    let gone = server.rest(&format!("DELETE {all}/e"), &Value::Null).await;
    assert_eq!(gone, (200, json!({})));

    let known = server.rest(&format!("GET {all}/b%20c"), &Value::Null).await;
    assert_eq!(known, (200, config(&task, "b c")));
    let first = format!("GET {all}?pageSize=2");
    let (_, page) = server.rest(&first, &Value::Null).await;
    assert_eq!(page["configs"][1]["id"], "b c");
    let token = page["nextPageToken"].as_str().unwrap().replace(' ', "%20");
    let second = format!("GET {all}?pageSize=2&pageToken={token}");
    let (_, page) = server.rest(&second, &Value::Null).await;
    assert_eq!(page, json!({"configs": [config(&task, "d")]}));

    for (request, expected) in [
        (format!("GET {all}?pageSize=101"), 400),
        (format!("GET {all}/none"), 404),
        (format!("DELETE {all}"), 405),
        (format!("POST {all}/a"), 405),
        (format!("GET {}", all.replace("echo", "calc")), 404),
        (format!("DELETE {}/a", all.replace("echo", "calc")), 404),
    ] {
        let (status, _) = server.rest(&request, &Value::Null).await;
        assert_eq!(status, expected, "{request}");
    }
}

#[tokio::test]
async fn what_must_not_be_sent_to_is_refused() {
    let allow = |config: &mut GatewayConfig| {
        config.webhook_allow = ["127.0.0.1:9000".parse().unwrap()].into_iter().collect();
    };
    let server = start(allow).await;
    let task = waiting_task(&server).await;
    for (url, allowed) in [
        ("http://127.0.0.1:9000/", true),
        ("http://127.0.0.1:9001/", false),
        ("http://169.254.169.254/latest", false),
        ("http://[::ffff:10.0.0.1]/", false),
        ("ftp://hooks.example.com/", false),
        ("https://me:secret@hooks.example.com/", false),
        ("hooks.example.com", false),
        ("", false),
    ] {
        let answer = rpc(&server, "Create", json!({"taskId": task, "url": url})).await;
        let code = &answer["error"]["code"];
        assert_eq!(code.is_null(), allowed, "{url} {answer}");
        assert!(allowed || *code == -32602, "{url} {answer}");
        assert!(!answer.to_string().contains("secret"));
        let mut sent = message("hi");
        sent["configuration"] = json!({"taskPushNotificationConfig": {"url": url}});
        sent["message"]["taskId"] = json!(uuid::Uuid::nil().to_string());
        let (_, answer) = server.rpc("echo", &call("SendMessage", &sent)).await;
        let code = if allowed { -32001 } else { -32602 };
        assert_eq!(answer["error"]["code"], code, "{url}");
    }
    for (name, value) in [
        ("id", json!("a/b")),
        ("id", json!("x".repeat(129))),
        ("token", json!("a\r\nx: y")),
        (
            "authentication",
            json!({"scheme": "Bearer\n", "credentials": "x"}),
        ),
        (
            "authentication",
            json!({"scheme": "Bearer", "credentials": "x\ny"}),
        ),
        ("authentication", json!({"credentials": "x"})),
        ("url", json!(null)),
        ("taskId", json!("")),
    ] {
        let mut wrong = config(&task, "one");
        wrong[name] = value;
        let answer = rpc(&server, "Create", wrong).await;
        assert_eq!(answer["error"]["code"], -32602, "{name} {answer}");
    }
    for _ in 0..9 {
        let more = json!({"taskId": task, "url": "https://hooks.example.com"});
        assert!(rpc(&server, "Create", more).await["error"].is_null());
    }
    let more = json!({"taskId": task, "url": "https://hooks.example.com"});
    assert_eq!(rpc(&server, "Create", more).await["error"]["code"], -32602);
}

#[tokio::test]
async fn a_server_without_push_says_so() {
    let server = start(|config| config.push_notifications = false).await;
    let task = waiting_task(&server).await;
    let card = server
        .ask("GET /agents/echo/.well-known/agent-card.json", b"")
        .await
        .json();
    assert_eq!(card["capabilities"]["pushNotifications"], json!(false));
    for method in ["Create", "Get", "List", "Delete"] {
        let answer = rpc(&server, method, config(&task, "one")).await;
        assert_eq!(answer["error"]["code"], -32003, "{method} {answer}");
    }
    let all = format!("/agents/echo/tasks/{task}/pushNotificationConfigs");
    let (status, answer) = server.rest(&format!("GET {all}"), &Value::Null).await;
    assert_eq!(
        (status, &answer["error"]["details"][0]["reason"]),
        (400, &json!("PUSH_NOTIFICATION_NOT_SUPPORTED"))
    );
    let mut sent = message("hi");
    sent["configuration"] = json!({"taskPushNotificationConfig": {"url": "https://example.com"}});
    let (_, answer) = server.rpc("echo", &call("SendMessage", &sent)).await;
    assert_eq!(answer["error"]["code"], -32003);
}

#[tokio::test]
async fn push_notifications_are_counted() {
    let server = start(|_| {}).await;
    let answer = crate::support::ask(&server.metrics_address, "GET /metrics", b"").await;
    let text = String::from_utf8(answer.body).unwrap();
    for line in [
        "dormouse_push_deliveries_total{outcome=\"delivered\"} 0",
        "dormouse_push_deliveries_total{outcome=\"given_up\"} 0",
        "dormouse_push_queued 0",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}
