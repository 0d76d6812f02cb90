//! The gRPC binding, as far as it answers without a guest.

use crate::grpc_client::{Asked, Client, asked, reason};
use crate::support::{message, start, start_empty, waiting_task};
use serde_json::{Value, json};
use std::time::Duration;
use tonic::{Code, Status};

/// The same request, for an agent.
fn of(agent: &str, mut params: Value) -> Value {
    params["tenant"] = json!(agent);
    params
}

fn refused<T>(answer: Result<T, Status>) -> (Code, String) {
    let status = answer.err().expect("a refusal");
    (status.code(), reason(&status))
}

#[tokio::test]
async fn a_task_is_sent_read_listed_and_canceled() {
    let server = start(|_| {}).await;
    let client = Client::new(&server).await;
    let sent = client.call("SendMessage", &of("echo", message("hi"))).await;
    let task = &sent.unwrap()["task"];
    // There is no module behind it.
    assert_eq!(task["status"]["state"], json!("TASK_STATE_FAILED"));
    let get = of("echo", json!({"id": task["id"]}));
    assert_eq!(client.call("GetTask", &get).await.unwrap(), *task);
    let listed = client
        .call("ListTasks", &of("echo", json!({})))
        .await
        .unwrap();
    assert_eq!(
        (&listed["totalSize"], &listed["pageSize"]),
        (&json!(1), &json!(50))
    );
    let waiting = waiting_task(&server).await;
    let cancel = of("echo", json!({"id": waiting}));
    let canceled = client.call("CancelTask", &cancel).await.unwrap();
    assert_eq!(canceled["status"]["state"], json!("TASK_STATE_CANCELED"));
    let again = refused(client.call("CancelTask", &cancel).await);
    assert_eq!(
        again,
        (Code::FailedPrecondition, "TASK_NOT_CANCELABLE".into())
    );
}

#[tokio::test]
async fn a_stream_begins_with_the_task_and_ends_with_it() {
    let server = start(|_| {}).await;
    let client = Client::new(&server).await;
    let asked = asked("SendStreamingMessage", &of("echo", message("hi")));
    let mut stream = client.stream(asked).await.unwrap();
    let mut events = Vec::new();
    while let Some(event) = stream.next().await.unwrap() {
        events.push(event);
    }
    assert_eq!(
        events[0]["task"]["status"]["state"],
        json!("TASK_STATE_SUBMITTED")
    );
    let last = &events[events.len() - 1]["statusUpdate"];
    assert_eq!(last["status"]["state"], json!("TASK_STATE_FAILED"));
    assert_eq!(last["taskId"], events[0]["task"]["id"]);
}

#[tokio::test]
async fn the_tenant_is_the_agent() {
    let server = start_empty(|_| {}).await;
    let client = Client::new(&server).await;
    let list = async |tenant: &str| {
        let answer = client.call("ListTasks", &of(tenant, json!({}))).await;
        answer
            .map(drop)
            .map_err(|status| (status.code(), reason(&status)))
    };
    let missing = Err((Code::NotFound, "AGENT_NOT_FOUND".to_owned()));
    assert_eq!(list("").await, missing);
    server.add("calc", &["add", "sub"]);
    for tenant in ["", "calc", "calc/versions/1"] {
        assert_eq!(list(tenant).await, Ok(()), "{tenant:?}");
    }
    server.add("echo", &["say"]);
    for tenant in [
        "",
        "none",
        "calc/",
        "/calc",
        "calc/versions/2",
        "calc/versions/01",
        "calc/tasks",
    ] {
        assert_eq!(list(tenant).await, missing, "{tenant:?}");
    }
}

#[tokio::test]
async fn a_configured_root_agent_is_the_tenant_of_requests_without_one() {
    let server = start(|config| config.root_agent = Some("echo".to_owned())).await;
    let client = Client::new(&server).await;
    let id = waiting_task(&server).await;
    let task = client.call("GetTask", &json!({"id": id})).await.unwrap();
    assert_eq!(task["id"], json!(id));
}

#[tokio::test]
async fn a_request_needs_its_version() {
    let server = start(|_| {}).await;
    let client = Client::new(&server).await;
    for version in ["", "0.3", "1.1", "1.0.x"] {
        let asked = Asked {
            version,
            ..asked("ListTasks", &of("calc", json!({})))
        };
        let expected = (Code::FailedPrecondition, "VERSION_NOT_SUPPORTED".to_owned());
        assert_eq!(refused(client.ask(asked).await), expected, "{version:?}");
    }
    let patch = Asked {
        version: "1.0.1",
        ..asked("ListTasks", &of("calc", json!({})))
    };
    assert!(client.ask(patch).await.is_ok());
}

#[tokio::test]
async fn what_is_not_there_is_not_implemented() {
    let server = start(|_| {}).await;
    let client = Client::new(&server).await;
    for path in [
        "/lf.a2a.v1.A2AService/Nothing",
        "/lf.a2a.v1.A2AService/",
        "/lf.a2a.v1.A2AService/GetTask/more",
        "/a2a.v1.A2AService/SendMessage",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    ] {
        let asked = Asked {
            path,
            ..asked("ListTasks", &json!({}))
        };
        let expected = (Code::Unimplemented, "METHOD_NOT_FOUND".to_owned());
        assert_eq!(refused(client.ask(asked).await), expected, "{path}");
    }
}

#[tokio::test]
async fn what_protobuf_leaves_open_is_refused() {
    let server = start(|_| {}).await;
    let client = Client::new(&server).await;
    let ask = async |method: &str, message: &[u8]| {
        let asked = Asked {
            message: message.to_vec(),
            ..asked(method, &json!({}))
        };
        refused(client.ask(asked).await)
    };
    let invalid = (Code::InvalidArgument, "INVALID_PARAMS".to_owned());
    // tenant "echo" and a message: id "m", ROLE_USER, and one part with no content.
    let echo = b"\x0a\x04echo";
    let without_content = [echo, &b"\x12\x07\x0a\x01m\x20\x01\x2a\x00"[..]].concat();
    assert_eq!(ask("SendMessage", &without_content).await, invalid);
    // The same with a data part that is no value.
    let without_value = [echo, &b"\x12\x09\x0a\x01m\x20\x01\x2a\x02\x22\x00"[..]].concat();
    assert_eq!(ask("SendMessage", &without_value).await, invalid);
    // A role and a status that nobody has defined.
    let role = [echo, &b"\x12\x09\x0a\x01m\x20\x07\x2a\x02\x0a\x00"[..]].concat();
    assert_eq!(ask("SendMessage", &role).await, invalid);
    assert_eq!(
        ask("ListTasks", &[echo, &b"\x18\x63"[..]].concat()).await,
        invalid
    );
    // No message at all.
    assert_eq!(ask("SendMessage", echo).await, invalid);
    let garbage = (Code::InvalidArgument, "PARSE_ERROR".to_owned());
    assert_eq!(ask("SendMessage", b"\xff\xff\xff").await, garbage);
    assert_eq!(ask("GetTask", b"\x12\x04\xff\xfe\xfd\xfc").await, garbage);
}

#[tokio::test]
async fn data_is_as_deep_as_protobuf_allows() {
    let server = start(|_| {}).await;
    let client = Client::new(&server).await;
    for (depth, expected) in [
        (20, "INVALID_PARAMS"),
        (60, "PARSE_ERROR"),
        (10_000, "PARSE_ERROR"),
    ] {
        // A number, in objects with one member, as the request's metadata. There is no message.
        let value = (0..depth).fold(b"\x11\0\0\0\0\0\0\0\0".to_vec(), |inner, _| {
            field(5, &members(&inner))
        });
        let asked = Asked {
            message: [b"\x0a\x04echo".to_vec(), field(4, &members(&value))].concat(),
            ..asked("SendMessage", &json!({}))
        };
        let expected = (Code::InvalidArgument, expected.to_owned());
        assert_eq!(refused(client.ask(asked).await), expected, "{depth}");
    }
}

/// A google.protobuf.Struct with one member.
fn members(value: &[u8]) -> Vec<u8> {
    field(1, &[b"\x0a\x01a".to_vec(), field(2, value)].concat())
}

/// A field with a length.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    let mut length = content.len();
    while length > 0x7f {
        field.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    field.push(length as u8);
    field.extend_from_slice(content);
    field
}

#[tokio::test]
async fn messages_have_the_limit_of_json_bodies() {
    let server = start(|config| config.max_request_bytes = 2000).await;
    let client = Client::new(&server).await;
    let sized = |bytes: usize| {
        let of = |text: usize| asked("SendMessage", &of("calc", message(&"x".repeat(text))));
        let overhead = of(1000).message.len() - 1000;
        let asked = of(bytes - overhead);
        assert_eq!(asked.message.len(), bytes);
        asked
    };
    let let_in = refused(client.ask(sized(2000)).await);
    assert_eq!(let_in, (Code::InvalidArgument, "INVALID_PARAMS".into()));
    let huge = asked("SendMessage", &of("calc", message(&"x".repeat(10_000_000))));
    for asked in [sized(2001), huge] {
        let large = refused(client.ask(asked).await);
        assert_eq!(large, (Code::InvalidArgument, "REQUEST_TOO_LARGE".into()));
    }
}

#[tokio::test]
async fn an_error_that_quotes_its_request_fits_into_a_header() {
    let server = start(|_| {}).await;
    let client = Client::new(&server).await;
    let mut params = of("calc", message("hi"));
    params["metadata"] = json!({"skillId": "ß".repeat(1_000_000)});
    let refused = refused(client.call("SendMessage", &params).await);
    assert_eq!(refused, (Code::InvalidArgument, "INVALID_PARAMS".into()));
}

#[tokio::test]
async fn a_deadline_ends_the_answer_and_nothing_else() {
    let server = start(|_| {}).await;
    let client = Client::new(&server).await;
    let id = waiting_task(&server).await;
    let asked = Asked {
        timeout: Some(Duration::from_millis(200)),
        ..asked("SubscribeToTask", &of("echo", json!({"id": id})))
    };
    let mut stream = client.stream(asked).await.unwrap();
    assert_eq!(
        stream.next().await.unwrap().unwrap()["task"]["id"],
        json!(id)
    );
    assert_eq!(
        stream.next().await.unwrap_err().code(),
        Code::DeadlineExceeded
    );
    let task = client
        .call("GetTask", &of("echo", json!({"id": id})))
        .await
        .unwrap();
    assert_eq!(task["status"]["state"], json!("TASK_STATE_INPUT_REQUIRED"));
}

#[tokio::test]
async fn a_client_that_drops_its_stream_drops_nothing_else() {
    let server = start(|_| {}).await;
    let client = Client::new(&server).await;
    let id = waiting_task(&server).await;
    let subscribe = || asked("SubscribeToTask", &of("echo", json!({"id": id})));
    let mut left = client.stream(subscribe()).await.unwrap();
    left.next().await.unwrap();
    let mut stays = client.stream(subscribe()).await.unwrap();
    stays.next().await.unwrap();
    drop(left);
    let cancel = of("echo", json!({"id": id}));
    client.call("CancelTask", &cancel).await.unwrap();
    let last = stays.next().await.unwrap().unwrap();
    assert_eq!(
        last["statusUpdate"]["status"]["state"],
        json!("TASK_STATE_CANCELED")
    );
    assert_eq!(stays.next().await.unwrap(), None);
}

#[tokio::test]
async fn streams_end_when_the_server_stops() {
    let mut server = start(|_| {}).await;
    let client = Client::new(&server).await;
    let id = waiting_task(&server).await;
    let asked = asked("SubscribeToTask", &of("echo", json!({"id": id})));
    let mut stream = client.stream(asked).await.unwrap();
    stream.next().await.unwrap();
    let stopping = server.stop();
    let ended = stream.next().await.unwrap_err();
    assert_eq!(
        (ended.code(), reason(&ended)),
        (Code::Unavailable, "UNAVAILABLE".into())
    );
    stopping.await.unwrap();
}

#[tokio::test]
async fn requests_are_counted_as_those_of_the_other_bindings() {
    let server = start(|_| {}).await;
    let client = Client::new(&server).await;
    client
        .call("SendMessage", &of("echo", message("hi")))
        .await
        .unwrap();
    let missing = of("echo", json!({"id": "none"}));
    refused(client.call("GetTask", &missing).await);
    refused(client.call("ListTasks", &of("none", json!({}))).await);
    let metrics = crate::support::ask(&server.metrics_address, "GET /metrics", b"").await;
    let metrics = String::from_utf8(metrics.body).unwrap();
    for line in [
        r#"dormouse_requests_total{agent="echo",code="ok",operation="send"} 1"#,
        r#"dormouse_requests_total{agent="echo",code="task_not_found",operation="get"} 1"#,
        r#"dormouse_requests_total{agent="",code="agent_not_found",operation="unknown"} 1"#,
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
}
