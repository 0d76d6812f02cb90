//! Clauses of A2A 1.0 that are easily met by one path of the code and missed by another.

use crate::support::{Server, call, message, start, waiting_task};
use serde_json::{Value, json};

fn reason(answer: &Value) -> &str {
    let rpc = answer["error"]["data"][0]["reason"].as_str();
    let rest = answer["error"]["details"][0]["reason"].as_str();
    rpc.or(rest).unwrap_or("none")
}

async fn state(server: &Server, task: &str) -> Value {
    let request = format!("GET /agents/echo/tasks/{task}");
    server.rest(&request, &json!(null)).await.1["status"]["state"].clone()
}

/// §3.1.1 and §3.1.2, of every message.
#[tokio::test]
async fn a_follow_up_that_the_skill_does_not_take_is_refused_and_its_task_waits_on() {
    let server = start(|_| {}).await;
    let task = waiting_task(&server).await;
    let mut image = message("");
    image["message"]["taskId"] = json!(task);
    image["message"]["parts"] = json!([{"raw": "AAAA", "mediaType": "image/png"}]);
    for method in ["SendMessage", "SendStreamingMessage"] {
        let (_, refused) = server.rpc("echo", &call(method, &image)).await;
        assert_eq!(reason(&refused), "CONTENT_TYPE_NOT_SUPPORTED", "{refused}");
        assert_eq!(state(&server, &task).await, "TASK_STATE_INPUT_REQUIRED");
    }
    image["message"]["parts"] = json!([{"text": "x", "mediaType": "Text/Plain; charset=utf-8"}]);
    let (_, taken) = server.rpc("echo", &call("SendMessage", &image)).await;
    assert_eq!(reason(&taken), "none", "{taken}");
    assert_ne!(state(&server, &task).await, "TASK_STATE_INPUT_REQUIRED");
}

/// §5.1: the same reason over every binding, whatever the parser thinks of it.
#[tokio::test]
async fn what_is_json_but_no_request_is_not_called_a_parse_error() {
    let server = start(|_| {}).await;
    let deep = "[".repeat(200) + &"]".repeat(200);
    for (part, expected) in [
        ("{\"data\":1e400}", "INVALID_PARAMS"),
        ("{\"text\":\"\\ud800\"}", "INVALID_PARAMS"),
        (&*format!("{{\"data\":{deep}}}"), "INVALID_PARAMS"),
        ("{\"data\":1e}", "PARSE_ERROR"),
        ("{\"data\":[}", "PARSE_ERROR"),
    ] {
        let params = format!(
            "{{\"message\":{{\"messageId\":\"m\",\"role\":\"ROLE_USER\",\"parts\":[{part}]}}}}"
        );
        let rpc = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"SendMessage\",\"params\":{params}}}"
        );
        for (path, body) in [("", &rpc), ("/message:send", &params)] {
            let request = format!(
                "POST /agents/echo{path}\ncontent-type: application/json\na2a-version: 1.0"
            );
            let answer = server.ask(&request, body.as_bytes()).await.json();
            assert_eq!(reason(&answer), expected, "{path} {part}: {answer}");
        }
    }
    let odd = r#"{"jsonrpc":"2.0","id":1,"method":"\ud800"}"#;
    let request = "POST /agents/echo\ncontent-type: application/json\na2a-version: 1.0";
    let answer = server.ask(request, odd.as_bytes()).await.json();
    assert_eq!(reason(&answer), "INVALID_REQUEST");
}

/// §3.4.1: nothing is answered out of another context.
#[tokio::test]
async fn a_key_that_is_sent_again_into_another_context_is_refused() {
    let server = start(|_| {}).await;
    let mut first = message("hi");
    first["message"]["metadata"] = json!({"urn:dormouse:idempotency:v1/key": "k"});
    let (_, sent) = server.rpc("echo", &call("SendMessage", &first)).await;
    let task = &sent["result"]["task"];
    for (context, skill, same) in [
        (json!(null), json!(null), true),
        (task["contextId"].clone(), json!("say"), true),
        (json!("zz"), json!(null), false),
        (json!(null), json!("other"), false),
    ] {
        let mut again = first.clone();
        again["message"]["contextId"] = context;
        if !skill.is_null() {
            again["metadata"] = json!({"skillId": skill});
        }
        for (base, body) in [
            ("POST /agents/echo", call("SendMessage", &again)),
            ("POST /agents/echo/message:send", again.clone()),
        ] {
            let answer = server.rest(base, &body).await.1;
            if same {
                let led = answer.get("result").unwrap_or(&answer);
                assert_eq!(led["task"]["id"], task["id"], "{again}");
            } else {
                assert_eq!(reason(&answer), "INVALID_PARAMS", "{again}: {answer}");
            }
        }
    }
}

#[tokio::test]
async fn accepted_output_modes_are_a_list_of_texts() {
    let server = start(|_| {}).await;
    for (modes, expected) in [
        (json!(["text/plain"]), "none"),
        (json!([]), "none"),
        (json!("text/plain"), "INVALID_PARAMS"),
        (json!([1]), "INVALID_PARAMS"),
    ] {
        let mut asked = message("hi");
        asked["configuration"] = json!({"acceptedOutputModes": modes});
        for (base, body) in [
            ("POST /agents/echo", call("SendMessage", &asked)),
            ("POST /agents/echo/message:send", asked.clone()),
        ] {
            let answer = server.rest(base, &body).await.1;
            assert_eq!(reason(&answer), expected, "{base} {modes}: {answer}");
        }
    }
}

#[tokio::test]
async fn a_page_token_of_nobodys_is_refused_where_there_are_configurations_too() {
    let server = start(|_| {}).await;
    let (task, other) = (waiting_task(&server).await, waiting_task(&server).await);
    let all = |task: &str| format!("/agents/echo/tasks/{task}/pushNotificationConfigs");
    for (task, id) in [(&task, "a"), (&task, "b"), (&other, "a"), (&other, "b")] {
        let config = json!({"id": id, "url": "https://example.com"});
        let made = server.rest(&format!("POST {}", all(task)), &config).await;
        assert_eq!(made.0, 200);
    }
    let page = async |task: &str, token: &str| {
        let request = format!("GET {}?pageSize=1&pageToken={token}", all(task));
        server.rest(&request, &json!(null)).await.1
    };
    let first = page(&task, "").await;
    let token = first["nextPageToken"].as_str().unwrap();
    assert_eq!(page(&task, token).await["configs"][0]["id"], "b");
    for (task, token) in [
        (&task, "zzz"),
        (&task, "a"),
        (&task, "0.a"),
        (&other, token),
    ] {
        assert_eq!(
            reason(&page(task, token).await),
            "INVALID_PARAMS",
            "{token}"
        );
    }
    let gone = format!("DELETE {}/a", all(&task));
    assert_eq!(server.rest(&gone, &json!(null)).await.0, 200);
    assert_eq!(page(&task, token).await["configs"][0]["id"], "b");
}

/// A client that connects again by itself must not run its message again.
#[tokio::test]
async fn a_message_is_not_taken_with_the_event_that_was_seen_last() {
    let server = start(|_| {}).await;
    for (request, body) in [
        ("POST /agents/echo/message:stream", message("hi")),
        (
            "POST /agents/echo",
            call("SendStreamingMessage", &message("hi")),
        ),
    ] {
        for seen in ["3", "garbage"] {
            let request = format!("{request}\nlast-event-id: {seen}");
            let answer = server.rest(&request, &body).await.1;
            assert_eq!(reason(&answer), "INVALID_PARAMS", "{answer}");
            assert!(answer.to_string().contains("subscribe"), "{answer}");
        }
    }
    let listed = "GET /agents/echo/tasks\nlast-event-id: garbage";
    let (status, listed) = server.rest(listed, &json!(null)).await;
    assert_eq!((status, &listed["totalSize"]), (200, &json!(0)));
    let task = waiting_task(&server).await;
    let resumed = format!("GET /agents/echo/tasks/{task}:subscribe\nlast-event-id: garbage");
    let (_, refused) = server.rest(&resumed, &json!(null)).await;
    assert_eq!(reason(&refused), "INVALID_PARAMS");
}

/// JSON-RPC 2.0 §4.1.
#[tokio::test]
async fn a_notification_is_run_once_and_answered_with_nothing() {
    let server = start(|_| {}).await;
    let notify = async |method: &str, params: Value| {
        let request = "POST /agents/echo\ncontent-type: application/json\na2a-version: 1.0";
        let body = json!({"jsonrpc": "2.0", "method": method, "params": params});
        let answer = server.ask(request, body.to_string().as_bytes()).await;
        assert_eq!((answer.status, &*answer.body), (204, &b""[..]), "{method}");
    };
    notify("SendMessage", message("hi")).await;
    notify("GetTask", json!({"id": "none"})).await;
    notify("NoSuchMethod", json!({})).await;
    let (_, listed) = server.rest("GET /agents/echo/tasks", &json!(null)).await;
    assert_eq!(listed["totalSize"], 1, "{listed}");
    let body = json!({"jsonrpc": "2.0", "id": null, "method": "ListTasks"});
    let (status, answer) = server.rpc("echo", &body).await;
    assert_eq!(
        (status, &answer["id"]),
        (200, &json!(null)),
        "null is an id"
    );
    assert_eq!(answer["result"]["totalSize"], 1);
}

/// Every number of 64 bits is exact over JSON.
#[tokio::test]
async fn numbers_are_what_they_were() {
    let server = start(|_| {}).await;
    let exact = [
        "18446744073709551615",
        "-9223372036854775808",
        "9007199254740993",
        "0.1",
        "1.7976931348623157e308",
        "5e-324",
        "123456789.12345679",
    ];
    // What is none of them is the double next to it, and a double is written as one.
    let rounded = [
        ("18446744073709551616", "1.8446744073709552e19"),
        ("1e2", "100.0"),
        ("-0", "-0.0"),
    ];
    let rounded = rounded.into_iter();
    for (given, kept) in exact
        .map(|number| (number, number))
        .into_iter()
        .chain(rounded)
    {
        let body = format!(
            "{{\"message\":{{\"messageId\":\"m\",\"role\":\"ROLE_USER\",\"parts\":[{{\"data\":[{given}]}}]}}}}"
        );
        let request =
            "POST /agents/echo/message:send\ncontent-type: application/json\na2a-version: 1.0";
        let answer = server.ask(request, body.as_bytes()).await;
        let text = String::from_utf8(answer.body).unwrap().replace("e+", "e");
        assert!(
            text.contains(&format!("\"data\":[{kept}]")),
            "{given}: {text}"
        );
    }
}
