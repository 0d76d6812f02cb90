//! Answers that stream, from providers on real sockets that say what they are told, and then end, hang or go on for
//! ever.

use crate::llm::{SHORT, answer, call, desk, read, request, simple};
use dormouse_services::llm::{AnswerStream, Budgets, LlmMetrics, Piece, Response, Stop, Style};
use dormouse_services::{Desk, ServiceError};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// What a provider does after what it says.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Then {
    Ends,
    Hangs,
    SaysItForEver,
}

/// More than any of these tests needs, however busy the machine is.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// Short only where the wait is what is looked at.
fn patience(word: &str) -> Duration {
    if word == "in time" { SHORT } else { LONG }
}

pub(crate) const EVENTS: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";

pub(crate) struct Provider {
    pub(crate) desk: Desk,
    metrics: LlmMetrics,
    /// The body of each request, and `null` for each connection that the platform has given up.
    pub(crate) seen: mpsc::UnboundedReceiver<Value>,
}

impl Provider {
    pub(crate) async fn start(style: Style, says: Vec<String>, then: Then) -> Self {
        Self::with(style, says, then, None, LONG).await
    }

    /// Each answer is said once, the last one as often as it is asked for.
    pub(crate) async fn with(
        style: Style,
        says: Vec<String>,
        then: Then,
        agent: Option<u64>,
        patience: Duration,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (told, seen) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut says = says.into_iter().peekable();
            let mut said = String::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                said = says.next().unwrap_or(said);
                let (said, told) = (said.clone(), told.clone());
                tokio::spawn(async move {
                    let _ = told.send(read(&mut stream).await.1);
                    let _ = stream.write_all(said.as_bytes()).await;
                    if then == Then::SaysItForEver {
                        let body = said.strip_prefix(EVENTS).unwrap();
                        while stream.write_all(body.as_bytes()).await.is_ok() {}
                    }
                    if then == Then::Hangs {
                        let _ = stream.read_u8().await;
                    }
                    let _ = told.send(Value::Null);
                });
            }
        });
        let budgets = Budgets {
            agent,
            principal: None,
        };
        let (desk, metrics) = desk(style, &address, budgets, patience).await;
        Self {
            desk,
            metrics,
            seen,
        }
    }

    pub(crate) fn requests(&self, outcome: &str) -> u64 {
        let requests = &self.metrics.requests;
        requests.with_label_values(&["m", outcome]).get()
    }

    fn tokens(&self, direction: &str) -> u64 {
        let tokens = &self.metrics.tokens;
        tokens.with_label_values(&["m", direction]).get()
    }
}

pub(crate) fn events(events: &[Value]) -> String {
    let events = events.iter().map(|event| format!("data: {event}\n\n"));
    format!("{EVENTS}{}", events.collect::<String>())
}

pub(crate) fn delta(delta: Value) -> Value {
    json!({"choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
}

fn word(text: &str) -> Value {
    delta(json!({"content": text}))
}

/// A whole answer of OpenAI's.
fn openai(words: &[&str]) -> String {
    let mut all: Vec<Value> = words.iter().map(|text| word(text)).collect();
    all.push(json!({"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": null}));
    all.push(json!({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}));
    events(&all) + "data: [DONE]\n\n"
}

/// The texts, and how it ended.
pub(crate) async fn all_of(stream: &AnswerStream) -> (String, Result<Response, ServiceError>) {
    let mut text = String::new();
    loop {
        match stream.next().await {
            Ok(Piece::Text(more)) => text.push_str(&more),
            Ok(Piece::Done(response)) => return (text, Ok(response)),
            Err(error) => return (text, Err(error)),
        }
    }
}

#[tokio::test]
async fn the_words_of_an_openai_compatible_answer_come_one_by_one() {
    let part = |part: Value| delta(json!({"tool_calls": [part]}));
    let asks = events(&[
        delta(json!({"role": "assistant", "content": null})),
        part(json!({"index": 0, "id": "c1", "function": {"name": "forecast", "arguments": ""}})),
        part(json!({"index": 0, "function": {"arguments": "{\"city\":"}})),
        part(json!({"index": 0, "function": {"arguments": " \"Oslo\"}"}})),
        json!({"choices": [{"delta": {}, "finish_reason": "tool_calls"}]}),
        json!({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}),
    ]);
    let says = vec![openai(&["Rain", " in", " Oslo"]), asks];
    let mut provider = Provider::start(Style::OpenAi, says, Then::Ends).await;
    let stream = provider.desk.stream(request()).await.unwrap();
    for text in ["Rain", " in", " Oslo"] {
        assert_eq!(stream.next().await.unwrap(), Piece::Text(text.to_owned()));
    }
    let whole = answer("Rain in Oslo", vec![], Stop::End);
    assert_eq!(stream.next().await.unwrap(), Piece::Done(whole));
    let after = stream.next().await;
    assert!(matches!(after, Err(ServiceError::Invalid(_))), "{after:?}");
    let asked = provider.seen.recv().await.unwrap();
    assert_eq!(asked["stream"], true);
    assert_eq!(asked["stream_options"], json!({"include_usage": true}));
    assert_eq!(asked["max_tokens"], 100);
    let asks = provider.desk.stream(request()).await.unwrap();
    let whole = answer("", vec![call()], Stop::Tools);
    assert_eq!(all_of(&asks).await, (String::new(), Ok(whole)));
    assert_eq!(provider.requests("ok"), 2);
    assert_eq!(
        (provider.tokens("input"), provider.tokens("output")),
        (14, 6)
    );
}

#[tokio::test]
async fn the_words_of_an_anthropic_style_answer_come_one_by_one() {
    let start = json!({"type": "message_start", "message": {"usage": {"input_tokens": 7, "output_tokens": 1}}});
    let ends = |reason: &str| {
        [
            json!({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 3}}),
            json!({"type": "message_stop"}),
        ]
    };
    let block = |index: u32, block: Value, kind: &str, name: &str, parts: &[&str]| {
        let mut all = vec![
            json!({"type": "content_block_start", "index": index, "content_block": block}),
            json!({"type": "ping"}),
        ];
        all.extend(parts.iter().map(|part| {
            json!({"type": "content_block_delta", "index": index, "delta": {"type": kind, name: part}})
        }));
        all.push(json!({"type": "content_block_stop", "index": index}));
        all
    };
    let text = |index, parts: &[&str]| {
        let head = json!({"type": "text", "text": ""});
        block(index, head, "text_delta", "text", parts)
    };
    let tool = |index, id: &str, name: &str, parts: &[&str]| {
        let head = json!({"type": "tool_use", "id": id, "name": name, "input": {}});
        block(index, head, "input_json_delta", "partial_json", parts)
    };
    let said = |blocks: Vec<Vec<Value>>, reason: &str| {
        let all = [vec![start.clone()], blocks.concat(), ends(reason).to_vec()];
        events(&all.concat())
    };
    let says = vec![
        said(
            vec![
                text(0, &["Let me", " look"]),
                tool(1, "c1", "forecast", &["{\"city\":", "\"Oslo\"}"]),
            ],
            "tool_use",
        ),
        said(
            vec![
                text(0, &["thinking aloud"]),
                tool(1, "c2", "answer", &["{\"a\"", ":1}"]),
            ],
            "tool_use",
        ),
    ];
    let mut provider = Provider::start(Style::Anthropic, says, Then::Ends).await;
    let stream = provider.desk.stream(simple()).await.unwrap();
    let whole = answer("Let me look", vec![call()], Stop::Tools);
    assert_eq!(all_of(&stream).await, ("Let me look".to_owned(), Ok(whole)));
    assert_eq!(provider.seen.recv().await.unwrap()["stream"], true);
    let stream = provider.desk.stream(request()).await.unwrap();
    let whole = answer("{\"a\":1}", vec![], Stop::End);
    assert_eq!(
        all_of(&stream).await,
        ("{\"a\":1}".to_owned(), Ok(whole)),
        "the answer with its schema, and nothing before it"
    );
}

#[tokio::test]
async fn what_does_not_stream_comes_as_one_piece_and_what_is_busy_is_asked_again() {
    let body = json!({"choices": [{"message": {"content": "hello"}, "finish_reason": "stop"}]});
    let busy = "HTTP/1.1 503 x\r\ncontent-length: 0\r\n\r\n".to_owned();
    let whole = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.to_string().len()
    );
    let provider = Provider::start(Style::OpenAi, vec![busy, whole], Then::Ends).await;
    let stream = provider.desk.stream(simple()).await.unwrap();
    let (text, ended) = all_of(&stream).await;
    assert_eq!((&*text, &*ended.unwrap().said.text), ("hello", "hello"));
}

#[tokio::test]
async fn a_stream_that_goes_wrong_is_an_error_with_a_sentence_after_what_came() {
    let half = |rest: &str| format!("{}{rest}", events(&[word("Rain")]));
    let told = format!("data: {}\n\n", json!({"error": {"message": "overloaded"}}));
    let wide = (0..200).map(|index| json!({"index": index, "id": "c", "function": {"name": "f"}}));
    let wide = delta(json!({"tool_calls": wide.collect::<Value>()}));
    for (says, then, word) in [
        (half(""), Then::Hangs, "in time"),
        (half(""), Then::Ends, "broke off"),
        (half(&told), Then::Hangs, "overloaded"),
        (half("data: nonsense\n\n"), Then::Hangs, "cannot be read"),
        (half("data: {\"a\": 1}\n\n"), Then::Hangs, "cannot be read"),
        (
            half(&format!("data: {wide}\n\n")),
            Then::Hangs,
            "cannot be read",
        ),
        (half(&"x".repeat(300 << 10)), Then::Hangs, "262144 bytes"),
        (half(": wait\n\n"), Then::Hangs, "in time"),
    ] {
        let patience = patience(word);
        let provider = Provider::with(Style::OpenAi, vec![says], then, None, patience).await;
        let stream = provider.desk.stream(simple()).await.unwrap();
        let (text, ended) = all_of(&stream).await;
        let told = ended.unwrap_err().to_string();
        assert!(text == "Rain" && told.contains(word), "{word}: {told}");
        assert!(!told.contains("sesame"));
        assert_eq!(provider.requests("failed"), 1);
        assert_eq!(provider.tokens("output"), 1, "what came has a price");
    }
}

#[tokio::test]
async fn a_stream_that_does_not_begin_is_an_error_at_once() {
    let refused = "HTTP/1.1 401 x\r\ncontent-length: 0\r\n\r\n".to_owned();
    let tool = json!({"type": "content_block_delta", "index": 3, "delta": {"type": "text_delta", "text": "x"}});
    for (style, says, then, word) in [
        (Style::OpenAi, refused, Then::Ends, "platform's key"),
        (Style::OpenAi, String::new(), Then::Hangs, "in time"),
        (Style::OpenAi, EVENTS.to_owned(), Then::Ends, "broke off"),
        (
            Style::Anthropic,
            events(&[tool]),
            Then::Hangs,
            "cannot be read",
        ),
    ] {
        let provider = Provider::with(style, vec![says], then, None, patience(word)).await;
        let told = provider
            .desk
            .stream(simple())
            .await
            .err()
            .unwrap()
            .to_string();
        assert!(told.contains(word), "{word}: {told}");
        assert_eq!(provider.tokens("output"), 0);
    }
}

#[tokio::test]
async fn a_stream_without_an_end_is_ended() {
    let huge = events(&[word(&"x".repeat(200 << 10))]);
    let silent = format!("{EVENTS}: nothing\n\n");
    for (says, word) in [(huge, "4194304 bytes"), (silent, "in time")] {
        let then = Then::SaysItForEver;
        let mut provider =
            Provider::with(Style::OpenAi, vec![says], then, None, patience(word)).await;
        let told = match provider.desk.stream(simple()).await {
            Ok(stream) => all_of(&stream).await.1.unwrap_err(),
            Err(error) => error,
        };
        assert!(told.to_string().contains(word), "{word}: {told}");
        provider.seen.recv().await.unwrap();
        assert_eq!(provider.seen.recv().await.unwrap(), Value::Null);
    }
}

#[tokio::test]
async fn a_stream_that_is_dropped_counts_as_it_was_set_aside() {
    let says = vec![events(&[word("Rain"), word(" in")])];
    let mut provider = Provider::with(Style::OpenAi, says, Then::Hangs, Some(250), LONG).await;
    for _ in 0..2 {
        let stream = provider.desk.stream(simple()).await.unwrap();
        stream.next().await.unwrap();
        drop(stream);
        provider.seen.recv().await.unwrap();
        assert_eq!(
            provider.seen.recv().await.unwrap(),
            Value::Null,
            "the connection is given up"
        );
    }
    assert_eq!(provider.requests("dropped"), 2);
    let refused = provider.desk.stream(simple()).await.err().unwrap();
    assert!(
        matches!(&refused, ServiceError::Limit(told) if told.contains("50 left")),
        "{refused}"
    );
    assert_eq!(provider.requests("refused"), 1);
}

/// Meanwhile it has a place among the requests of all agents.
#[tokio::test]
async fn a_stream_that_is_not_read_is_given_up_and_counts_as_it_was_set_aside() {
    let says = vec![events(&[word("Rain")])];
    let then = Then::SaysItForEver;
    let mut provider = Provider::with(Style::OpenAi, says, then, Some(250), LONG).await;
    let unread = provider.desk.stream(simple()).await.unwrap();
    provider.seen.recv().await.unwrap();
    assert_eq!(
        provider.seen.recv().await.unwrap(),
        Value::Null,
        "the connection is given up"
    );
    assert_eq!(provider.requests("dropped"), 1);
    // What had come is still read, and then nothing follows.
    let (read, ended) = all_of(&unread).await;
    assert!(!read.is_empty());
    assert!(
        matches!(&ended, Err(ServiceError::Unavailable(told)) if told.contains("not read")),
        "{ended:?}"
    );
    let after = unread.next().await;
    assert!(matches!(after, Err(ServiceError::Invalid(_))), "{after:?}");
}

#[tokio::test]
async fn the_time_that_pieces_wait_for_their_agent_is_not_the_providers() {
    let words = ["word"; 40];
    let says = vec![openai(&words)];
    let provider = Provider::with(Style::OpenAi, says, Then::Ends, None, SHORT).await;
    let stream = provider.desk.stream(simple()).await.unwrap();
    tokio::time::sleep(2 * SHORT).await;
    let (text, ended) = all_of(&stream).await;
    assert_eq!(text, words.concat());
    assert!(ended.is_ok(), "{ended:?}");
}

#[tokio::test]
async fn a_stream_that_is_held_past_its_call_has_ended_with_it() {
    let says = vec![events(&[word("Rain"), word(" in")])];
    let mut provider = Provider::start(Style::OpenAi, says, Then::Hangs).await;
    let held = provider.desk.stream(simple()).await.unwrap();
    held.next().await.unwrap();
    drop(provider.desk);
    let after = held.next().await;
    assert!(matches!(after, Err(ServiceError::Invalid(_))), "{after:?}");
    provider.seen.recv().await.unwrap();
    assert_eq!(provider.seen.recv().await.unwrap(), Value::Null);
}

#[tokio::test]
async fn streams_have_a_place_among_the_requests_of_their_call() {
    let says = vec![events(&[word("Rain")])];
    let provider = Provider::start(Style::OpenAi, says, Then::Ends).await;
    let mut held = Vec::new();
    for _ in 0..16 {
        held.push(provider.desk.stream(simple()).await.unwrap());
    }
    let refused = provider.desk.stream(simple()).await.err().unwrap();
    assert!(matches!(refused, ServiceError::Limit(_)), "{refused}");
    assert!(all_of(&held[0]).await.1.is_err(), "it broke off");
    assert!(
        provider.desk.stream(simple()).await.is_ok(),
        "one that has ended is none any more"
    );
}
