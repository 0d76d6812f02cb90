//! Clients that do not behave.

use crate::support::{answer, start};
use serde_json::json;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const SHORT: Duration = Duration::from_millis(100);

#[tokio::test]
async fn a_client_that_sends_no_whole_head_is_disconnected() {
    let server = start(|config| config.header_timeout = SHORT).await;
    for sent in ["", "P", "POST /v1/modules HTTP/1.1\r\nhost:"] {
        let mut stream = server.connect().await;
        stream.write_all(sent.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        assert!(!rest.starts_with(b"HTTP/1.1 2"), "{sent:?}");
    }
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_given_up() {
    let server = start(|config| config.body_frame_timeout = SHORT).await;
    for (path, content_type) in [
        ("/v1/modules", "application/wasm"),
        ("/agents/calc", "application/json"),
    ] {
        for sent in ["", "{"] {
            let mut stream = server.connect().await;
            let head = format!(
                "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\na2a-version: 1.0\r\n\
                 content-type: {content_type}\r\ncontent-length: 100\r\n\r\n{sent}"
            );
            stream.write_all(head.as_bytes()).await.unwrap();
            assert_eq!(answer(stream).await.status, 408, "{path} {sent:?}");
        }
    }
}

#[tokio::test]
async fn an_upload_that_trickles_is_given_up_too() {
    let server = start(|config| config.body_timeout = SHORT).await;
    let stream = server.connect().await;
    let (mut from, mut to) = stream.into_split();
    let head = "POST /v1/modules HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 100000\r\n\r\n";
    to.write_all(head.as_bytes()).await.unwrap();
    let trickle = async {
        while to.write_all(b"x").await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    let mut status = [0; 12];
    let mut reading = std::pin::pin!(from.read_exact(&mut status));
    tokio::select! {
        read = reading.as_mut() => drop(read.unwrap()),
        () = trickle => drop(reading.await.unwrap()),
    }
    assert_eq!(&status, b"HTTP/1.1 408");
}

#[tokio::test]
async fn a_connection_lost_in_the_middle_of_an_upload_leaves_nothing() {
    let server = start(|config| config.max_uploads = 1).await;
    let mut stream = server.connect().await;
    stream
        .write_all(
            b"POST /v1/modules HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n\0asm",
        )
        .await
        .unwrap();
    drop(stream);
    // The only permit for uploads comes back.
    assert_eq!(server.ask("POST /v1/modules", b"x").await.status, 422);
    assert_eq!(server.store.modules.totals().modules, 0);
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let server = start(|config| config.max_header_bytes = 2048).await;
    let answer = server
        .ask(&format!("GET /healthz\nx: {}", "x".repeat(4000)), b"")
        .await;
    assert_eq!(answer.status, 431);
}

#[tokio::test]
async fn a_connection_serves_many_requests() {
    let server = start(|_| {}).await;
    let mut stream = server.connect().await;
    for _ in 0..3 {
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .await
            .unwrap();
        let mut read = Vec::new();
        while !read.ends_with(b"ok\n") {
            assert!(stream.read_buf(&mut read).await.unwrap() > 0);
        }
    }
}

#[tokio::test]
async fn one_connection_more_than_allowed_waits_for_another_to_end() {
    let server = start(|config| config.max_connections = 1).await;
    let mut first = server.connect().await;
    first
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut read = Vec::new();
    while !read.ends_with(b"ok\n") {
        first.read_buf(&mut read).await.unwrap();
    }
    let mut second = server.connect().await;
    second
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let waiting = tokio::time::timeout(SHORT, second.read_u8()).await;
    assert!(waiting.is_err(), "served beyond the limit");
    drop(first);
    assert_eq!(answer(second).await.body, b"ok\n");
}

#[tokio::test]
async fn a_large_message_waits_for_room_and_a_small_one_does_not() {
    let server = start(|_| {}).await;
    let message = |text: &str| {
        let message = json!({"messageId": "m", "role": "ROLE_USER", "parts": [{"text": text}]});
        json!({"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": message}})
    };
    let (large, small) = (message(&"x".repeat(600 << 10)), message("hi"));
    let others = server.engine.room(1 << 30).await.unwrap();
    let mut waits = std::pin::pin!(server.rpc("echo", &large));
    let waiting = tokio::time::timeout(SHORT, &mut waits).await;
    assert!(waiting.is_err(), "it is decoded without room");
    assert_eq!(server.rpc("echo", &small).await.0, 200);
    drop(others);
    assert_eq!(waits.await.0, 200);
}

#[tokio::test]
async fn a_client_sees_why_its_upload_is_refused_although_it_sends_all_of_it() {
    let server = start(|config| config.max_module_bytes = 1000).await;
    let mut stream = server.connect().await;
    let head = "POST /v1/modules HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 20000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![0; 20_000_000]).await.unwrap();
    assert_eq!(answer(stream).await.status, 413);
}
