//! Clients that open a stream and stop reading it.

use crate::grpc_client::{Client, asked};
use crate::support::{Server, start};
use bytes::Bytes;
use dormouse_services::model::{AgentMessage, Message, Outcome, Part, Role};
use dormouse_services::{Call, NewTask, TaskScope};
use h2::client::SendRequest;
use h2::{Reason, RecvStream};
use hyper::http::Request;
use serde_json::json;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long bytes may wait in these tests.
const SHORT: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(20);
/// More together than the kernel keeps for a connection, and less than the log of a task may have.
const EVENTS: usize = 28;
const EVENT_BYTES: usize = 1 << 20;

fn running(server: &Server) -> Call {
    server.engine.begin(NewTask {
        scope: TaskScope {
            agent: "echo".to_owned(),
            principal: "anonymous".to_owned(),
        },
        version: 1,
        skill: "say".to_owned(),
        message: Message::new(Role::User, vec![Part::text("hi")]),
    })
}

/// What the agent does meanwhile: it says much, and completes.
async fn go_on(call: Call) {
    for number in 0..EVENTS {
        let text = number
            .to_string()
            .repeat(EVENT_BYTES / number.to_string().len());
        call.update(AgentMessage::text(text)).await.unwrap();
    }
    let outcome = Outcome::Completed {
        message: None,
        artifacts: Vec::new(),
    };
    call.finish(outcome).await.unwrap();
}

/// Everything that a subscriber who reads is sent.
async fn read_all(mut events: crate::grpc_client::Events) -> usize {
    let mut read = 0;
    while let Some(event) = events.next().await.unwrap() {
        read += 1;
        if event["statusUpdate"]["status"]["state"] == "TASK_STATE_COMPLETED" {
            return read;
        }
    }
    panic!("the stream ended after {read} events");
}

async fn subscribe(server: &Server, task: &str) -> crate::grpc_client::Events {
    let client = Client::new(server).await;
    let subscribe = asked("SubscribeToTask", &json!({"tenant": "echo", "id": task}));
    client.stream(subscribe).await.unwrap()
}

/// An open stream over HTTP/1.1 of which nothing but the head is read.
async fn http1(server: &Server, task: &str) -> TcpStream {
    let mut stream = server.connect().await;
    let head = format!(
        "GET /agents/echo/tasks/{task}:subscribe HTTP/1.1\r\nhost: localhost\r\na2a-version: 1.0\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
    stream
}

/// A connection over which streams have the window of HTTP/2's default, and all together more.
async fn http2(server: &Server) -> SendRequest<Bytes> {
    let (client, connection) = h2::client::Builder::new()
        .initial_connection_window_size(16 << 20)
        .handshake(server.connect().await)
        .await
        .unwrap();
    tokio::spawn(connection);
    client.ready().await.unwrap()
}

/// An open stream of events, as SSE or as gRPC.
async fn open(client: &mut SendRequest<Bytes>, task: &str, is_grpc: bool) -> RecvStream {
    let (request, body) = if is_grpc {
        let asked = asked("SubscribeToTask", &json!({"tenant": "echo", "id": task}));
        let length = u32::try_from(asked.message.len()).unwrap().to_be_bytes();
        let request = Request::post(format!("http://localhost{}", asked.path))
            .header("content-type", "application/grpc");
        (request, [&[0], &length[..], &asked.message].concat())
    } else {
        let path = format!("http://localhost/agents/echo/tasks/{task}:subscribe");
        (Request::get(path), Vec::new())
    };
    let request = request.header("a2a-version", "1.0").body(()).unwrap();
    let (answer, mut stream) = client.send_request(request, false).unwrap();
    stream.send_data(body.into(), true).unwrap();
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.into_body()
}

async fn is_completed(server: &Server, task: &str) {
    let (_, answer) = server
        .rest(&format!("GET /agents/echo/tasks/{task}"), &json!(null))
        .await;
    assert_eq!(answer["status"]["state"], "TASK_STATE_COMPLETED");
}

#[tokio::test]
async fn over_http_1_its_connection_is_reset() {
    // Two places: one for the client that stops reading, one for the client that goes on.
    let server = start(|config| {
        config.stall_timeout = SHORT;
        config.max_connections = 2;
    })
    .await;
    let call = running(&server);
    call.accept().await.unwrap();
    let task = call.task_id();
    let mut stalled = http1(&server, &task).await;
    let reader = tokio::spawn(read_all(subscribe(&server, &task).await));
    go_on(call).await;
    // Only now is there a place again: the first client's was given back.
    timeout(PATIENCE, is_completed(&server, &task))
        .await
        .expect("the place of a client that stopped reading");
    assert_eq!(reader.await.unwrap(), EVENTS + 2);
    let mut left = Vec::new();
    let end = timeout(PATIENCE, stalled.read_to_end(&mut left)).await;
    end.expect("the end of the connection")
        .expect_err("a reset, not an end");
    assert!(left.len() < EVENTS * EVENT_BYTES, "{}", left.len());
}

#[tokio::test]
async fn over_http_2_its_stream_is_reset_and_the_connection_goes_on() {
    for is_grpc in [false, true] {
        let server = start(|config| {
            config.stall_timeout = SHORT;
            config.max_streams = 2;
        })
        .await;
        let call = running(&server);
        call.accept().await.unwrap();
        let task = call.task_id();
        let mut client = http2(&server).await;
        let mut stalled = open(&mut client, &task, is_grpc).await;
        let reader = tokio::spawn(read_all(subscribe(&server, &task).await));
        go_on(call).await;
        assert_eq!(reader.await.unwrap(), EVENTS + 2);
        // Both places are free again, and the connection is.
        let mut again = Vec::new();
        for _ in 0..2 {
            again.push(until_open(&mut client, &task).await);
        }
        is_completed(&server, &task).await;
        let mut read = 0;
        let end = loop {
            match timeout(PATIENCE, stalled.data()).await.unwrap() {
                Some(Ok(data)) => read += data.len(),
                end => break end,
            }
        };
        let error = end.expect("a reset, not an end").unwrap_err();
        assert_eq!(error.reason(), Some(Reason::CANCEL), "after {read} bytes");
        assert!(read <= 65_535, "{read} bytes through a window of 65,535");
    }
}

/// An answer that is longer than the window, and has a place.
async fn until_open(client: &mut SendRequest<Bytes>, task: &str) -> RecvStream {
    let whole = async {
        loop {
            let request = Request::get(format!("http://localhost/agents/echo/tasks/{task}"))
                .header("a2a-version", "1.0")
                .body(())
                .unwrap();
            let answer = client.send_request(request, true).unwrap().0.await.unwrap();
            if answer.status() == 200 {
                return answer.into_body();
            }
        }
    };
    timeout(PATIENCE, whole)
        .await
        .expect("a place for a request")
}

#[tokio::test]
async fn an_answer_that_is_not_read_gives_its_place_back() {
    let server = start(|config| {
        config.stall_timeout = SHORT;
        config.max_streams = 1;
    })
    .await;
    let call = running(&server);
    let task = call.task_id();
    go_on(call).await;
    let mut client = http2(&server).await;
    let mut not_read = Vec::new();
    for _ in 0..3 {
        not_read.push(until_open(&mut client, &task).await);
    }
}

#[tokio::test]
async fn a_connection_of_http_2_that_is_not_read_is_ended() {
    let server = start(|config| {
        config.stall_timeout = SHORT;
        config.max_connections = 1;
    })
    .await;
    let call = running(&server);
    call.accept().await.unwrap();
    let task = call.task_id();
    let (client, connection) = h2::client::Builder::new()
        .initial_window_size(1 << 30)
        .initial_connection_window_size(1 << 30)
        .handshake(server.connect().await)
        .await
        .unwrap();
    let mut connection = Box::pin(connection);
    let opening = async {
        let mut client = client.ready().await.unwrap();
        let events = open(&mut client, &task, true).await;
        (client, events)
    };
    let _open = tokio::select! {
        opened = opening => opened,
        _ = connection.as_mut() => panic!("the connection ended"),
    };
    // From here on nobody looks at the connection.
    go_on(call).await;
    timeout(PATIENCE, is_completed(&server, &task))
        .await
        .expect("the place of a client that stopped reading");
    connection.await.unwrap_err();
}

/// On threads, because what the agent says is much work, and that must not hold up the reader.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_slow_reader_is_not_one_that_has_stopped() {
    // More than a busy machine may hold up the reader between two reads, less than all of them take.
    let limit = SHORT * 4;
    let server = start(|config| config.stall_timeout = limit).await;
    let call = running(&server);
    call.accept().await.unwrap();
    let task = call.task_id();
    let mut slow = http1(&server, &task).await;
    let mut client = http2(&server).await;
    let mut slow_too = open(&mut client, &task, false).await;
    tokio::spawn(go_on(call));
    let over_http1 = async {
        let mut piece = vec![0; 1 << 20];
        let mut read = 0;
        while read < EVENTS * EVENT_BYTES {
            tokio::time::sleep(limit / 20).await;
            read += slow.read(&mut piece).await.unwrap();
        }
    };
    let over_http2 = async {
        let mut read = 0;
        while let Some(data) = slow_too.data().await {
            let data = data.unwrap();
            read += data.len();
            slow_too
                .flow_control()
                .release_capacity(data.len())
                .unwrap();
            if read % 64 == 0 {
                tokio::time::sleep(SHORT / 100).await;
            }
        }
        assert!(read > EVENTS * EVENT_BYTES, "{read}");
    };
    let both = async { tokio::join!(over_http1, over_http2) };
    timeout(PATIENCE * 2, both).await.expect("all events");
}
