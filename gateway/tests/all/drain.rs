//! Stopping in order.

use crate::support::{Server, answer, ask, start, waiting_task};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A stream that stays open because its task waits; returns when its first event is there.
async fn subscribe(server: &Server) -> TcpStream {
    let id = waiting_task(server).await;
    let mut stream = server.connect().await;
    let head = format!(
        "GET /agents/echo/tasks/{id}:subscribe HTTP/1.1\r\nhost: localhost\r\na2a-version: 1.0\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut read = Vec::new();
    while !String::from_utf8_lossy(&read).contains("TASK_STATE_INPUT_REQUIRED") {
        assert!(stream.read_buf(&mut read).await.unwrap() > 0);
    }
    stream
}

#[tokio::test]
async fn an_idle_server_stops_at_once() {
    let mut server = start(|_| {}).await;
    assert_eq!(
        ask(&server.metrics_address, "GET /readyz", b"")
            .await
            .status,
        200
    );
    let mut idle = server.connect().await;
    idle.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut read = Vec::new();
    while !read.ends_with(b"ready\n") {
        idle.read_buf(&mut read).await.unwrap();
    }
    let drained = tokio::time::timeout(Duration::from_secs(2), server.stop()).await;
    drained.expect("nothing holds the drain up").unwrap();
    assert_eq!(idle.read_to_end(&mut read).await.unwrap(), 0);
    assert!(TcpStream::connect(&server.address).await.is_err());
    assert!(TcpStream::connect(&server.metrics_address).await.is_err());
}

#[tokio::test]
async fn streams_are_ended_and_the_rest_of_a_request_is_still_answered() {
    let mut server = start(|_| {}).await;
    let mut stream = subscribe(&server).await;
    let body = br#"{"jsonrpc":"2.0","id":7,"method":"ListTasks"}"#;
    let mut slow = server.connect().await;
    let head = format!(
        "POST /agents/echo HTTP/1.1\r\nhost: localhost\r\na2a-version: 1.0\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{{",
        body.len()
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    // Answered in the order of arrival on the server's side: the slow head has been read by now.
    assert_eq!(server.ask("GET /healthz", b"").await.status, 200);
    let metrics = server.metrics_address.clone();
    let running = server.stop();

    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert!(
        String::from_utf8_lossy(&rest).ends_with("0\r\n\r\n"),
        "the stream ends in order"
    );
    let answered = ask(&metrics, "GET /readyz", b"").await;
    assert_eq!(
        (answered.status, &*answered.body),
        (503, &b"draining\n"[..])
    );
    assert_eq!(ask(&metrics, "GET /healthz", b"").await.status, 200);
    slow.write_all(&body[1..]).await.unwrap();
    let answered = answer(slow).await;
    assert_eq!(
        (answered.status, answered.header("connection")),
        (200, Some("close"))
    );
    running.await.unwrap();
}

#[tokio::test]
async fn a_quiet_stream_is_kept_alive() {
    let server = start(|config| config.stream_keep_alive = Duration::from_millis(10)).await;
    let mut stream = subscribe(&server).await;
    let mut read = Vec::new();
    while !String::from_utf8_lossy(&read).contains(": keep-alive\n\n") {
        assert!(stream.read_buf(&mut read).await.unwrap() > 0);
    }
}
