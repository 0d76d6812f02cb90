//! Tool calls in answers that stream: not every provider that speaks OpenAI's form counts its calls.

use crate::llm::request;
use crate::llm_stream::{Provider, Then, all_of, delta, events};
use dormouse_services::llm::Style;
use serde_json::{Value, json};

fn part(part: Value) -> Value {
    delta(json!({"tool_calls": [part]}))
}

fn whole(index: Value, id: &str, city: &str) -> Value {
    let arguments = json!({"city": city}).to_string();
    let function = json!({"name": "forecast", "arguments": arguments});
    let mut call = json!({"id": id, "function": function});
    if !index.is_null() {
        call["index"] = index;
    }
    part(call)
}

/// What a provider says, and which calls that are, with their cities.
type Case = (Vec<Value>, Vec<(&'static str, &'static str)>);

fn uncounted() -> Vec<Case> {
    let none = Value::Null;
    vec![
        // Without an index.
        (
            vec![
                whole(none.clone(), "c1", "Oslo"),
                whole(none.clone(), "c2", "Bergen"),
            ],
            vec![("c1", "Oslo"), ("c2", "Bergen")],
        ),
        // Without ids, too.
        (
            vec![
                whole(none.clone(), "", "Oslo"),
                whole(none.clone(), "", "Bergen"),
            ],
            vec![("", "Oslo"), ("", "Bergen")],
        ),
        // All of them at the same index.
        (
            vec![
                whole(json!(0), "c1", "Oslo"),
                whole(json!(0), "c2", "Bergen"),
            ],
            vec![("c1", "Oslo"), ("c2", "Bergen")],
        ),
        // In pieces without an index.
        (
            vec![
                part(
                    json!({"id": "c1", "function": {"name": "forecast", "arguments": "{\"city\":"}}),
                ),
                part(json!({"function": {"arguments": "\"Oslo\"}"}})),
                part(
                    json!({"id": "c2", "function": {"name": "forecast", "arguments": "{\"city\":"}}),
                ),
                part(json!({"id": "c2", "function": {"arguments": "\"Bergen\"}"}})),
            ],
            vec![("c1", "Oslo"), ("c2", "Bergen")],
        ),
    ]
}

fn in_pieces() -> Vec<Case> {
    vec![
        // Each piece with an id of its own.
        (
            vec![
                part(
                    json!({"index": 0, "id": "a", "function": {"name": "forecast", "arguments": "{\"city\":"}}),
                ),
                part(json!({"index": 0, "id": "b", "function": {"arguments": "\"Oslo\"}"}})),
            ],
            vec![("a", "Oslo")],
        ),
        // Counted, mixed and with their ids again.
        (
            vec![
                part(
                    json!({"index": 1, "id": "c2", "function": {"name": "forecast", "arguments": "{\"city\":"}}),
                ),
                whole(json!(0), "c1", "Oslo"),
                part(
                    json!({"index": 1, "id": "c2", "function": {"name": "forecast", "arguments": "\"Bergen\"}"}}),
                ),
            ],
            vec![("c1", "Oslo"), ("c2", "Bergen")],
        ),
    ]
}

#[tokio::test]
async fn tool_calls_that_are_not_counted_are_told_apart() {
    let ends = json!({"choices": [{"delta": {}, "finish_reason": "tool_calls"}], "usage": null});
    for (says, expected) in [uncounted(), in_pieces()].concat() {
        let says = vec![events(&[says, vec![ends.clone()]].concat())];
        let provider = Provider::start(Style::OpenAi, says, Then::Ends).await;
        let stream = provider.desk.stream(request()).await.unwrap();
        let calls = all_of(&stream).await.1.unwrap().said.tool_calls;
        let calls: Vec<_> = calls
            .iter()
            .map(|call| (&*call.id, call.arguments["city"].as_str().unwrap()))
            .collect();
        assert_eq!(calls, expected);
    }
}
