//! Bodies on their way past filters, over every binding.

use crate::filters::policy;
use crate::grpc_client::{Client, asked, reason};
use crate::support::{Answer, Server, answer, call, message, start};
use dormouse_services::model::{AgentMessage, Message, Outcome, Part, Role};
use dormouse_services::{NewTask, TaskScope};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tonic::Code;

const PIECE: usize = 64 << 10;
const HEAD: &str = "POST /agents/echo\ncontent-type: application/json\na2a-version: 1.0";

/// A request of about this many bytes.
fn long(bytes: usize) -> Vec<u8> {
    let text = "x".repeat(bytes);
    call("SendMessage", &message(&text))
        .to_string()
        .into_bytes()
}

/// The sizes of the pieces that a filter saw; the last one has a point.
fn pieces(answer: &Answer) -> Vec<usize> {
    let pieces = answer.header("x-pieces").expect("the filter says so");
    let (last, rest) = pieces.split_once('.').expect("there is a last piece");
    assert_eq!(rest, "", "nothing follows the last");
    let size = |piece: &str| piece.parse().unwrap();
    last.split(' ').map(size).collect()
}

async fn with_bodies(settings: Value) -> Server {
    let server = start(|_| {}).await;
    server
        .filter("bodies", &policy("hostile-bodies"), settings)
        .await;
    server
}

#[tokio::test]
async fn a_body_is_whole_or_in_pieces_as_configured() {
    for (mode, at_least_two) in [("buffer", true), ("stream", true), ("hybrid", true)] {
        let server = with_bodies(json!({"body": mode})).await;
        let short = long(10);
        let seen = server.ask(HEAD, &short).await;
        assert_eq!(pieces(&seen).iter().sum::<usize>(), short.len(), "{mode}");
        if mode != "stream" {
            assert_eq!(pieces(&seen).len(), 1, "{mode}");
        }
        let body = long(300_000);
        let seen = pieces(&server.ask(HEAD, &body).await);
        assert_eq!(seen.iter().sum::<usize>(), body.len(), "{mode}");
        assert_eq!(seen.len() >= 2, at_least_two, "{mode}");
        assert!(seen.iter().all(|size| *size <= PIECE), "{seen:?}");
    }
    // One that takes no pieces sees it in one.
    let server = start(|_| {}).await;
    let hostile = policy("hostile");
    server.filter("guard", &hostile, json!({})).await;
    let refused = server.put_filter("guard", &hostile, json!({"body": "stream"}));
    let refused = refused.await;
    assert_eq!(refused.status, 422);
    assert_eq!(refused.json()["error"]["code"], "invalid_filter");
    assert_eq!(server.ask(HEAD, &long(300_000)).await.status, 200);
}

/// A client that says enough to be refused, and then nothing.
async fn half_a_body(server: &Server) -> Answer {
    let head = "POST /agents/echo HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                content-length: 1000000\r\nconnection: close\r\n\r\n";
    let mut stream = server.connect().await;
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut body = b"a BLOCK! b".to_vec();
    body.resize(3 * PIECE, b' ');
    stream.write_all(&body).await.unwrap();
    answer(stream).await
}

#[tokio::test]
async fn a_body_is_refused_before_it_is_whole() {
    for mode in ["stream", "hybrid"] {
        let server = with_bodies(json!({"body": mode})).await;
        assert_eq!(half_a_body(&server).await.status, 422, "{mode}");
    }
}

#[tokio::test]
async fn one_byte_more_than_a_filter_looks_at_follows_its_failure_mode() {
    for mode in ["buffer", "stream", "hybrid"] {
        let mut short_answer = message(&"x".repeat(100_000));
        short_answer["configuration"] = json!({"historyLength": 0});
        let body = call("SendMessage", &short_answer).to_string().into_bytes();
        let limit = |more: usize, fail: &str| json!({"body": mode, "max_body_bytes": body.len() - more, "fail": fail});
        let server = with_bodies(limit(0, "closed")).await;
        assert_eq!(server.ask(HEAD, &body).await.status, 200, "{mode}");
        let bodies = policy("hostile-bodies");
        server.filter("bodies", &bodies, limit(1, "closed")).await;
        let refused = server.ask(HEAD, &body).await;
        assert_eq!(refused.status, 413, "{mode}");
        assert_eq!(refused.json()["error"]["code"], "too_large_to_inspect");
        server.filter("bodies", &bodies, limit(1, "open")).await;
        assert_eq!(server.ask(HEAD, &body).await.status, 200, "{mode}");
        let skips = ["filter=\"bodies\"", "phase=\"request_body\""];
        let skipped = server.metric("dormouse_filter_body_skips_total", &skips);
        assert_eq!(skipped.await, 2.0, "{mode}");
    }
}

async fn counted(server: &Server, name: &str) -> f64 {
    let label = format!("name=\"{name}\"");
    server
        .metric("dormouse_filter_counter_total", &[&label])
        .await
}

#[tokio::test]
async fn responses_are_looked_at_whole_and_in_pieces() {
    let server = with_bodies(json!({})).await;
    let card = "GET /agents/echo/.well-known/agent-card.json";
    let answer = server.ask(card, b"").await;
    assert_eq!(answer.status, 200);
    assert_eq!(counted(&server, "bytes").await, answer.body.len() as f64);
    assert_eq!(counted(&server, "ends").await, 1.0);
    let small = json!({"max_body_bytes": 100});
    let bodies = policy("hostile-bodies");
    server.filter("bodies", &bodies, small.clone()).await;
    assert_eq!(server.ask(card, b"").await.status, 413);
    let mut open = small;
    open["fail"] = "open".into();
    server.filter("bodies", &bodies, open).await;
    assert_eq!(server.ask(card, b"").await.status, 200);
}

#[tokio::test]
async fn a_stream_of_server_sent_events_ends_where_a_filter_blocks_it() {
    let server = with_bodies(json!({})).await;
    let body = call("SendStreamingMessage", &message("hello")).to_string();
    let whole = server.ask(HEAD, body.as_bytes()).await;
    assert_eq!(whole.status, 200);
    let events = String::from_utf8(whole.body).unwrap();
    assert!(events.contains("TASK_STATE_FAILED"), "{events}");
    // Each event is a piece, and the end is one more.
    let seen = events.matches("data: ").count() as f64;
    assert_eq!(counted(&server, "ends").await, 1.0);
    assert_eq!(counted(&server, "pieces").await, seen + 1.0);
    assert_eq!(counted(&server, "bytes").await, events.len() as f64);

    let id = waiting(&server, "a BLOCK! b").await;
    let subscribe = call("SubscribeToTask", &json!({"id": id})).to_string();
    let cut = server.ask(HEAD, subscribe.as_bytes()).await;
    assert_eq!((cut.status, &*cut.body), (200, &b""[..]));
}

/// A task that waits, and says this.
async fn waiting(server: &Server, text: &str) -> String {
    let call = server.engine.begin(NewTask {
        scope: TaskScope {
            agent: "echo".to_owned(),
            principal: "anonymous".to_owned(),
        },
        version: 1,
        skill: "say".to_owned(),
        message: Message::new(Role::User, vec![Part::text("hi")]),
    });
    let id = call.task_id();
    let outcome = Outcome::InputRequired {
        message: AgentMessage::text(text),
        slot: 1.into(),
    };
    call.finish(outcome).await.unwrap();
    id
}

#[tokio::test]
async fn grpc_passes_filters_in_both_directions() {
    let server = with_bodies(json!({})).await;
    let client = Client::new(&server).await;
    let of_echo = |mut params: Value| {
        params["tenant"] = "echo".into();
        params
    };
    let sent = client
        .call("SendMessage", &of_echo(message("hi")))
        .await
        .unwrap();
    assert_eq!(sent["task"]["status"]["state"], "TASK_STATE_FAILED");
    assert!(counted(&server, "ends").await >= 1.0);
    let blocked = client
        .call("SendMessage", &of_echo(message("a BLOCK! b")))
        .await
        .unwrap_err();
    assert_ne!(blocked.code(), Code::Ok);

    let subscribe = async |text| {
        let id = waiting(&server, text).await;
        let params = of_echo(json!({"id": id}));
        let mut stream = client.stream(asked("SubscribeToTask", &params)).await?;
        stream.next().await
    };
    let first = subscribe("which?").await.unwrap().unwrap();
    assert_eq!(
        first["task"]["status"]["state"],
        "TASK_STATE_INPUT_REQUIRED"
    );
    let cut = subscribe("a BLOCK! b").await.unwrap_err();
    assert_eq!(
        (cut.code(), &*reason(&cut)),
        (Code::PermissionDenied, "BLOCKED_BY_FILTER")
    );
}
