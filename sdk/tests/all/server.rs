//! The local server, over real HTTP.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::LazyLock;
use std::thread;

use serde_json::{Value, json};

use crate::agents::configure_agents;

/// One server for all tests; it ends with the process.
static SERVER: LazyLock<SocketAddr> = LazyLock::new(|| {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || dormouse_sdk::serve_on(listener, configure_agents()));
    address
});

/// Sends one request and returns the status and a reader on the body.
fn request(method: &str, path: &str, version: &str, body: &str) -> (u16, Box<dyn BufRead>) {
    let mut stream = TcpStream::connect(*SERVER).unwrap();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{version}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let status = line.split(' ').nth(1).unwrap().parse().unwrap();
    let mut length = None;
    loop {
        line.clear();
        reader.read_line(&mut line).unwrap();
        match line.trim_end().to_ascii_lowercase().split_once(": ") {
            Some(("content-length", value)) => length = Some(value.parse().unwrap()),
            Some(_) => {}
            None => break,
        }
    }
    match length {
        Some(length) => (status, Box::new(reader.take(length))),
        None => (status, Box::new(reader)),
    }
}

fn call(method: &str, path: &str, body: &Value) -> (u16, Value) {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let (status, reader) = request(method, path, "a2a-version: 1.0\r\n", &body);
    (status, serde_json::from_reader(reader).unwrap())
}

fn rpc(agent: &str, method: &str, params: &Value) -> Value {
    let body = json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params });
    let (status, answer) = call("POST", &format!("/agents/{agent}"), &body);
    assert_eq!((status, &answer["id"]), (200, &json!(7)), "{answer}");
    answer
}

fn message(skill: &str, text: &str) -> Value {
    json!({ "message": {
        "messageId": "m", "role": "ROLE_USER", "parts": [{ "text": text }],
        "metadata": { "skillId": skill },
    }})
}

/// The events of a stream, up to the one that `is_last` recognises or the end.
fn events(reader: impl BufRead, is_last: impl Fn(&Value) -> bool) -> Vec<Value> {
    let mut events = Vec::new();
    for line in reader.lines().map(Result::unwrap) {
        // A chunk of the transfer coding begins with its length in a line of its own.
        if let Some(event) = line.strip_prefix("data: ") {
            events.push(serde_json::from_str(event).unwrap());
            if is_last(events.last().unwrap()) {
                break;
            }
        }
    }
    events
}

#[test]
fn the_card_names_skills_and_both_bindings() {
    let (status, card) = call(
        "GET",
        "/agents/several/.well-known/agent-card.json",
        &Value::Null,
    );
    assert_eq!(status, 200);
    let base = format!("http://{}/agents/several", *SERVER);
    let bindings = card["supportedInterfaces"].as_array().unwrap();
    for (interface, binding) in bindings.iter().zip(["JSONRPC", "HTTP+JSON"]) {
        let expected = json!({ "url": base, "protocolBinding": binding, "protocolVersion": "1.0" });
        assert_eq!(*interface, expected);
    }
    assert_eq!(card["skills"][1]["tags"], json!(["shop", "order"]));
    let (status, _) = call("GET", "/.well-known/agent-card.json", &Value::Null);
    assert_eq!(status, 404, "there are two agents");
}

#[test]
fn a_message_is_answered_over_both_bindings() {
    let expected = json!([{ "text": "Hello, Ada!" }]);
    let answer = rpc("greeter", "SendMessage", &message("greet", "Ada"));
    assert_eq!(answer["result"]["message"]["parts"], expected, "{answer}");
    let (status, answer) = call(
        "POST",
        "/agents/greeter/message:send",
        &message("greet", "Ada"),
    );
    assert_eq!(
        (status, &answer["message"]["parts"]),
        (200, &expected),
        "{answer}"
    );
}

#[test]
fn a_task_continues_lists_and_ends() {
    let task = rpc("several", "SendMessage", &message("order", "tulips"))["result"]["task"].clone();
    assert_eq!(
        task["status"]["state"], "TASK_STATE_INPUT_REQUIRED",
        "{task}"
    );
    let id = task["id"].as_str().unwrap();
    let mut answer = message("order", "12");
    answer["message"]["taskId"] = json!(id);
    let (_, done) = call("POST", "/agents/several/message:send", &answer);
    let done = &done["task"];
    assert_eq!(done["status"]["state"], "TASK_STATE_COMPLETED", "{done}");
    assert_eq!(
        done["status"]["message"]["parts"][0]["text"],
        "12 tulips, 12 in all, 2 messages"
    );
    assert_eq!(
        done["artifacts"][0]["parts"],
        json!([{ "text": "one " }, { "text": "bill" }])
    );

    let context = task["contextId"].as_str().unwrap();
    let (_, list) = call(
        "GET",
        &format!("/agents/several/tasks?contextId={context}"),
        &Value::Null,
    );
    assert_eq!(
        (&list["totalSize"], &list["nextPageToken"]),
        (&json!(1), &json!("")),
        "{list}"
    );
    assert_eq!(list["tasks"][0]["id"], id);
    let (_, got) = call(
        "GET",
        &format!("/agents/several/tasks/{id}?historyLength=1"),
        &Value::Null,
    );
    assert_eq!(got["history"].as_array().unwrap().len(), 1, "{got}");

    let again = rpc("several", "SendMessage", &answer);
    assert_eq!(again["error"]["code"], -32004, "{again}");
    let cancel = rpc("several", "CancelTask", &json!({ "id": id }));
    assert_eq!(cancel["error"]["code"], -32002, "{cancel}");
}

#[test]
fn a_stream_begins_with_the_task_and_ends_with_its_state() {
    let body = message("order", "tulips").to_string();
    let (status, reader) = request(
        "POST",
        "/agents/several/message:stream",
        "a2a-version: 1.0\r\n",
        &body,
    );
    assert_eq!(status, 200);
    let events = events(reader, |event| {
        event["statusUpdate"]["status"]["state"] == "TASK_STATE_INPUT_REQUIRED"
    });
    assert!(events[0]["task"].is_object(), "{events:?}");
    let update = &events[1]["statusUpdate"]["status"];
    assert_eq!(update["state"], "TASK_STATE_WORKING");
    assert_eq!(
        update["message"]["parts"][0]["text"],
        "Looking into the shelf"
    );
    assert_eq!(events.len(), 3);
}

#[test]
fn a_cancelled_task_tells_its_subscribers() {
    let mut params = message("forever", "go");
    params["configuration"] = json!({ "returnImmediately": true });
    let task = rpc("several", "SendMessage", &params)["result"]["task"].clone();
    let id = task["id"].as_str().unwrap();
    let path = format!("/agents/several/tasks/{id}:subscribe");
    let (status, reader) = request("GET", &path, "a2a-version: 1.0\r\n", "");
    assert_eq!(status, 200);
    let (_, cancelled) = call(
        "POST",
        &format!("/agents/several/tasks/{id}:cancel"),
        &Value::Null,
    );
    assert_eq!(
        cancelled["status"]["state"], "TASK_STATE_CANCELED",
        "{cancelled}"
    );
    let events = events(reader, |event| {
        event["statusUpdate"]["status"]["state"] == "TASK_STATE_CANCELED"
    });
    assert!(events[0]["task"].is_object(), "{events:?}");
    assert!(events.len() >= 2, "{events:?}");
}

#[test]
fn a_panic_fails_its_task_and_keeps_no_state() {
    let panicked = &rpc("several", "SendMessage", &message("broken", "panic"))["result"]["task"];
    assert_eq!(
        panicked["status"]["state"], "TASK_STATE_FAILED",
        "{panicked}"
    );
    let mut next = message("broken", "go");
    next["message"]["contextId"] = panicked["contextId"].clone();
    let failed = &rpc("several", "SendMessage", &next)["result"]["task"];
    assert_eq!(
        failed["status"]["message"]["parts"][0]["text"], "never seen",
        "{failed}"
    );
}

#[test]
fn each_mistake_has_its_error() {
    let send = |params: &Value| rpc("several", "SendMessage", params)["error"]["code"].clone();
    let mut empty = message("order", "");
    empty["message"]["parts"] = json!([]);
    assert_eq!(send(&empty), -32602);
    assert_eq!(send(&message("nonsense", "x")), -32602);
    assert_eq!(send(&json!({})), -32602);
    let mut lost = message("order", "x");
    lost["message"]["taskId"] = json!("lost");
    assert_eq!(send(&lost), -32001);
    assert_eq!(
        rpc("several", "Nonsense", &json!({}))["error"]["code"],
        -32601
    );
    assert_eq!(
        rpc("several", "GetExtendedAgentCard", &json!({}))["error"]["code"],
        -32004
    );
    let push = rpc("several", "CreateTaskPushNotificationConfig", &json!({}));
    assert_eq!(push["error"]["code"], -32003);

    let (status, answer) = call("GET", "/agents/several/tasks/lost", &Value::Null);
    assert_eq!(
        (status, &answer["error"]["status"]),
        (404, &json!("NOT_FOUND")),
        "{answer}"
    );
    assert_eq!(answer["error"]["details"][0]["reason"], "TASK_NOT_FOUND");
    let (status, _) = call("GET", "/agents/nobody/tasks", &Value::Null);
    assert_eq!(status, 404);

    let (_, reader) = request(
        "POST",
        "/agents/several",
        "a2a-version: 1.0\r\n",
        "{not json",
    );
    let answer: Value = serde_json::from_reader(reader).unwrap();
    assert_eq!(answer["error"]["code"], -32700, "{answer}");
    let (status, reader) = request("GET", "/agents/several/tasks", "", "");
    let answer: Value = serde_json::from_reader(reader).unwrap();
    assert_eq!(
        (status, &answer["error"]["details"][0]["reason"]),
        (400, &json!("VERSION_NOT_SUPPORTED"))
    );
}
