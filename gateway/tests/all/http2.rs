//! HTTP/2 on the port of HTTP/1.1, and clients that do not behave.

use crate::grpc_client::{Client, asked};
use crate::support::{Server, start, waiting_task};
use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream};
use hyper::http::{Request, Response};
use serde_json::json;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

const SHORT: Duration = Duration::from_millis(100);
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// An empty SETTINGS frame.
const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";

async fn connect(server: &Server) -> SendRequest<Bytes> {
    let (client, connection) = h2::client::handshake(server.connect().await).await.unwrap();
    tokio::spawn(connection);
    client.ready().await.unwrap()
}

fn request(path: &str, content_type: &str) -> Request<()> {
    Request::post(format!("http://localhost{path}"))
        .header("content-type", content_type)
        .header("a2a-version", "1.0")
        .body(())
        .unwrap()
}

/// A gRPC request with this body.
fn send(client: &mut SendRequest<Bytes>, method: &str, body: Vec<u8>) -> ResponseFuture {
    let path = format!("/lf.a2a.v1.A2AService/{method}");
    let request = request(&path, "application/grpc");
    let (response, mut stream) = client.send_request(request, false).unwrap();
    stream.send_data(body.into(), true).unwrap();
    response
}

fn status(response: &Response<RecvStream>) -> &str {
    response.headers()["grpc-status"].to_str().unwrap()
}

fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0], &length[..], message].concat()
}

async fn is_alive(server: &Server) {
    assert_eq!(server.ask("GET /healthz", b"").await.body, b"ok\n");
    let list = json!({"tenant": "echo"});
    let client = Client::new(server).await;
    client.call("ListTasks", &list).await.unwrap();
}

#[tokio::test]
async fn every_path_is_there_over_http_2_too() {
    let server = start(|_| {}).await;
    let mut client = connect(&server).await;
    let (answer, _) = client
        .send_request(
            Request::get("http://localhost/healthz").body(()).unwrap(),
            true,
        )
        .unwrap();
    let mut answer = answer.await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.body_mut().data().await.unwrap().unwrap(), "ok\n");
    let (answer, mut body) = client
        .send_request(request("/agents/echo", "application/json"), false)
        .unwrap();
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"ListTasks"}"#;
    body.send_data(list.into(), true).unwrap();
    let body = answer.await.unwrap().into_body().data().await;
    let text = String::from_utf8(body.unwrap().unwrap().to_vec()).unwrap();
    assert!(text.contains("\"totalSize\":0"), "{text}");
}

#[tokio::test]
async fn grpc_needs_http_2_and_its_media_type() {
    let server = start(|_| {}).await;
    let asked = "POST /lf.a2a.v1.A2AService/GetTask\ncontent-type: application/grpc";
    let answer = server.ask(asked, &framed(b"")).await;
    assert_eq!(answer.status, 505);
    assert_eq!(answer.json()["error"]["code"], json!("http2_required"));
    let mut client = connect(&server).await;
    for content_type in ["application/json", "application/grpc-web", ""] {
        let path = "/lf.a2a.v1.A2AService/GetTask";
        let (answer, _) = client
            .send_request(request(path, content_type), true)
            .unwrap();
        assert_eq!(answer.await.unwrap().status(), 415, "{content_type}");
    }
}

#[tokio::test]
async fn the_first_bytes_may_come_one_by_one() {
    let server = start(|_| {}).await;
    for (sent, expected) in [
        ([PREFACE, SETTINGS].concat(), &b"\x04\0"[..]),
        (b"PUT / HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec(), b"P/"),
    ] {
        let mut stream = server.connect().await;
        for byte in sent {
            stream.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        let mut head = [0; 5];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(&head[3..], expected);
    }
}

#[tokio::test]
async fn a_client_that_asks_for_nothing_is_disconnected() {
    let server = start(|config| config.header_timeout = SHORT).await;
    // A HEADERS frame that promises a continuation.
    let unfinished = [PREFACE, SETTINGS, b"\0\0\x01\x01\0\0\0\0\x01\x82"].concat();
    for sent in [
        b"PR".to_vec(),
        b"PRI * HT".to_vec(),
        PREFACE.to_vec(),
        unfinished,
    ] {
        let mut stream = server.connect().await;
        stream.write_all(&sent).await.unwrap();
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(SHORT * 50, stream.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "{:?}", String::from_utf8_lossy(&sent));
    }
}

#[tokio::test]
async fn a_client_that_ends_in_the_middle_of_the_first_bytes_is_let_go() {
    // The end is what is to be noticed, not that time passes.
    let server = start(|_| {}).await;
    for sent in ["", "P", "PR", "PRI"] {
        let mut stream = server.connect().await;
        stream.write_all(sent.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(SHORT * 50, stream.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "{sent:?}");
    }
}

#[tokio::test]
async fn an_open_stream_is_not_idle() {
    let server = start(|config| config.header_timeout = SHORT).await;
    let id = waiting_task(&server).await;
    let client = Client::new(&server).await;
    let subscribe = json!({"tenant": "echo", "id": id});
    let mut stream = client
        .stream(asked("SubscribeToTask", &subscribe))
        .await
        .unwrap();
    stream.next().await.unwrap();
    assert!(
        tokio::time::timeout(SHORT * 5, stream.next())
            .await
            .is_err()
    );
    client.call("CancelTask", &subscribe).await.unwrap();
    assert!(stream.next().await.unwrap().unwrap()["statusUpdate"].is_object());
}

#[tokio::test]
async fn garbage_ends_its_connection_only() {
    let server = start(|_| {}).await;
    for garbage in [
        b"PRINTER / HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec(),
        [PREFACE, &[0xff; 4096]].concat(),
        // A frame of 16 MiB, data on stream 0, and a window of 2^31.
        [PREFACE, SETTINGS, b"\xff\xff\xff\0\0\0\0\0\x01"].concat(),
        [PREFACE, SETTINGS, b"\0\0\x01\0\0\0\0\0\0x"].concat(),
        [PREFACE, SETTINGS, b"\0\0\x04\x08\0\0\0\0\0\x7f\xff\xff\xff"].concat(),
    ] {
        let mut stream = server.connect().await;
        stream.write_all(&garbage).await.unwrap();
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(SHORT * 50, stream.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "{garbage:?}");
    }
    is_alive(&server).await;
}

#[tokio::test]
async fn a_body_that_is_not_one_message_is_refused() {
    let server = start(|_| {}).await;
    let mut client = connect(&server).await;
    let compressed = [&[1], &framed(b"\x0a\x04echo")[1..]].concat();
    for (body, code) in [
        (Vec::new(), "3"),
        (b"\0\0\0".to_vec(), "3"),
        (b"\0\xff\xff\xff\xff".to_vec(), "3"),
        (b"\0\0\0\0\x09\x0a\x04echo".to_vec(), "3"),
        (
            [framed(b"\x0a\x04echo"), framed(b"\x0a\x04echo")].concat(),
            "3",
        ),
        (compressed, "12"),
    ] {
        let answer = send(&mut client, "ListTasks", body.clone()).await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), status(&answer)),
            (200, code),
            "{body:?}"
        );
    }
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_given_up() {
    let server = start(|config| config.body_frame_timeout = SHORT).await;
    let mut client = connect(&server).await;
    let request = request("/lf.a2a.v1.A2AService/ListTasks", "application/grpc");
    let (answer, _open) = client.send_request(request, false).unwrap();
    assert_eq!(status(&answer.await.unwrap()), "4");
}

#[tokio::test]
async fn a_connection_has_no_more_streams_than_allowed() {
    let server = start(|config| config.max_streams_per_connection = 10).await;
    let id = waiting_task(&server).await;
    let subscribe = framed(&asked("SubscribeToTask", &json!({"tenant": "echo", "id": id})).message);
    let mut client = connect(&server).await;
    // Now the client knows how many it may have.
    assert_eq!(status_of_list(&mut client).await, "0");
    let mut answers = JoinSet::new();
    for _ in 0..1000 {
        let (client, subscribe) = (client.clone(), subscribe.clone());
        answers.spawn(async move {
            let mut client = client.ready().await.unwrap();
            send(&mut client, "SubscribeToTask", subscribe)
                .await
                .unwrap()
        });
    }
    let mut open = Vec::new();
    for _ in 0..10 {
        open.push(answers.join_next().await.unwrap().unwrap());
    }
    let more = tokio::time::timeout(SHORT, answers.join_next()).await;
    assert!(more.is_err(), "served beyond the limit");
    is_alive(&server).await;
}

#[tokio::test]
async fn a_client_that_opens_all_it_can_at_once_is_refused() {
    let server = start(|config| config.max_streams_per_connection = 10).await;
    let id = waiting_task(&server).await;
    let subscribe = framed(&asked("SubscribeToTask", &json!({"tenant": "echo", "id": id})).message);
    let mut client = connect(&server).await;
    let answers: Vec<_> = (0..1000)
        .map(|_| send(&mut client, "SubscribeToTask", subscribe.clone()))
        .collect();
    let mut open = Vec::new();
    for answer in answers {
        let answer = tokio::time::timeout(SHORT * 50, answer).await;
        open.extend(answer.expect("an answer or a refusal"));
    }
    assert!(open.len() <= 10, "{}", open.len());
    is_alive(&server).await;
}

#[tokio::test]
async fn all_connections_together_have_no_more_streams_than_allowed() {
    let server = start(|config| config.max_streams = 1).await;
    let id = waiting_task(&server).await;
    let subscribe = framed(&asked("SubscribeToTask", &json!({"tenant": "echo", "id": id})).message);
    let (mut one, mut two) = (connect(&server).await, connect(&server).await);
    let open = send(&mut one, "SubscribeToTask", subscribe.clone())
        .await
        .unwrap();
    assert_eq!(open.headers().get("grpc-status"), None);
    let refused = send(&mut two, "SubscribeToTask", subscribe).await.unwrap();
    assert_eq!(status(&refused), "14");
    let list = request("/agents/echo", "application/json");
    let (refused, _) = two.send_request(list, true).unwrap();
    assert_eq!(refused.await.unwrap().status(), 503);
    drop((open, one));
    let mut tries = 0;
    // The reset of the first is on its way.
    while status_of_list(&mut two).await != "0" {
        tries += 1;
        assert!(tries < 1000, "the place of a stream did not come back");
    }
}

async fn status_of_list(client: &mut SendRequest<Bytes>) -> String {
    let answer = send(client, "ListTasks", framed(b"\x0a\x04echo"))
        .await
        .unwrap();
    if let Some(status) = answer.headers().get("grpc-status") {
        return status.to_str().unwrap().to_owned();
    }
    let mut body = answer.into_body();
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
    }
    body.trailers().await.unwrap().unwrap()["grpc-status"]
        .to_str()
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn a_client_that_resets_all_it_asks_for_harms_only_itself() {
    let server = start(|_| {}).await;
    let (client, connection) = h2::client::handshake(server.connect().await).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    for _ in 0..5000 {
        let request = request("/lf.a2a.v1.A2AService/ListTasks", "application/grpc");
        let Ok((_, mut stream)) = client.send_request(request, false) else {
            break;
        };
        stream.send_reset(Reason::CANCEL);
        tokio::task::yield_now().await;
    }
    is_alive(&server).await;
    drop(client);
    let _ = tokio::time::timeout(SHORT * 50, connection).await.unwrap();
    is_alive(&server).await;
}
