//! Answers that end before they are whole, and parts of them that come before they should.

use crate::llm::{call, request, simple};
use crate::llm_stream::{EVENTS, LONG, Provider, Then, all_of, delta, events};
use crate::support::ann;
use dormouse_services::llm::{Budgets, Llm, Model, Request, Script, Stop, Style, ToolCall};
use dormouse_services::model::AgentDefinition;
use dormouse_services::{Chooser, Services, TaskEngine, TaskLimits};
use dormouse_store::Store;
use serde_json::{Value, json};

/// OpenAI's form of a call whose arguments are the first half, and why the model stopped.
fn half_a_call(finish: &str) -> [Value; 2] {
    let call = json!({"index": 0, "id": "c1", "function": {"name": "forecast", "arguments": "{\"city\": \"Os"}});
    [
        delta(json!({"content": "Let me look", "tool_calls": [call]})),
        json!({"choices": [{"delta": {}, "finish_reason": finish}]}),
    ]
}

/// Anthropic's form of a block that begins as `head` and goes on with `parts`.
fn block(index: u32, head: &Value, parts: &[Value]) -> Vec<Value> {
    let start = json!({"type": "content_block_start", "index": index, "content_block": head});
    let parts = parts
        .iter()
        .map(|part| json!({"type": "content_block_delta", "index": index, "delta": part}));
    [start].into_iter().chain(parts).collect()
}

fn stops(reason: &str) -> Vec<Value> {
    vec![
        json!({"type": "message_delta", "delta": {"stop_reason": reason}}),
        json!({"type": "message_stop"}),
    ]
}

fn tool(name: &str) -> Value {
    json!({"type": "tool_use", "id": "c1", "name": name, "input": {}})
}

fn input(json: &str) -> Value {
    json!({"type": "input_json_delta", "partial_json": json})
}

/// What `request` answers by a provider that says this.
async fn told(
    style: Style,
    says: &[Value],
    asked: Request,
) -> (String, Result<(String, Vec<ToolCall>, Stop), String>) {
    let says = vec![events(says)];
    let provider = Provider::with(style, says, Then::Ends, None, LONG).await;
    let (text, ended) = match provider.desk.stream(asked).await {
        Ok(stream) => all_of(&stream).await,
        // Before there was anything to show.
        Err(error) => (String::new(), Err(error)),
    };
    let ended = ended.map(|response| (response.said.text, response.said.tool_calls, response.stop));
    (text, ended.map_err(|error| error.to_string()))
}

#[tokio::test]
async fn a_tool_call_that_is_cut_off_does_not_cost_the_answer() {
    let empty = ToolCall {
        arguments: json!({}),
        ..call()
    };
    let (text, ended) = told(Style::OpenAi, &half_a_call("length"), simple()).await;
    let whole = ("Let me look".to_owned(), vec![empty.clone()], Stop::Length);
    assert_eq!((&*text, ended), ("Let me look", Ok(whole)));
    let cut = |reason| {
        [
            block(0, &tool("forecast"), &[input("{\"city\": \"Os")]),
            stops(reason),
        ]
        .concat()
    };
    let (_, ended) = told(Style::Anthropic, &cut("max_tokens"), simple()).await;
    assert_eq!(ended, Ok((String::new(), vec![empty], Stop::Length)));

    // A model that says it was done has said nonsense.
    for (style, says) in [
        (Style::OpenAi, half_a_call("tool_calls").to_vec()),
        (Style::Anthropic, cut("tool_use")),
    ] {
        let (_, ended) = told(style, &says, simple()).await;
        let error = ended.unwrap_err();
        assert!(error.contains("cannot be read"), "{error}");
    }
}

#[tokio::test]
async fn an_answer_with_a_schema_that_is_cut_off_is_what_has_come() {
    let says = [
        block(0, &tool("answer"), &[input("{\"advice\": \"umb")]),
        stops("max_tokens"),
    ]
    .concat();
    let (text, ended) = told(Style::Anthropic, &says, request()).await;
    let cut = "{\"advice\": \"umb";
    assert_eq!(
        (&*text, ended),
        (cut, Ok((cut.to_owned(), vec![], Stop::Length)))
    );
}

#[tokio::test]
async fn what_a_block_begins_with_is_part_of_the_answer() {
    let text = |text: &str| json!({"type": "text", "text": text});
    let more = json!({"type": "text_delta", "text": " in Oslo"});
    let whole =
        json!({"type": "tool_use", "id": "c1", "name": "forecast", "input": {"city": "Oslo"}});
    let says = [
        block(0, &text("Rain"), &[more]),
        block(1, &json!({"type": "thinking", "thinking": "hm"}), &[]),
        block(2, &whole, &[]),
        stops("tool_use"),
    ];
    let (shown, ended) = told(Style::Anthropic, &says.concat(), simple()).await;
    let all = ("Rain in Oslo".to_owned(), vec![call()], Stop::Tools);
    assert_eq!((&*shown, ended), ("Rain in Oslo", Ok(all)));

    let big = "x".repeat(200 << 10);
    let tool = json!({"type": "tool_use", "id": "c1", "name": "forecast", "input": {"city": big}});
    for head in [text(&big), tool] {
        let says = (0..40).flat_map(|index| block(index, &head, &[]));
        let (_, ended) = told(Style::Anthropic, &says.collect::<Vec<_>>(), simple()).await;
        let error = ended.unwrap_err();
        assert!(error.contains("4194304 bytes"), "{error}");
    }
}

#[tokio::test]
async fn an_answer_that_nobody_waits_for_any_more_is_counted() {
    let mut provider = Provider::start(Style::OpenAi, vec![EVENTS.to_owned()], Then::Hangs).await;
    tokio::select! {
        answered = provider.desk.generate(simple()) => panic!("{answered:?}"),
        _asked = provider.seen.recv() => {}
    }
    assert_eq!(provider.requests("dropped"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_choice_that_takes_too_long_is_counted() {
    let script = Script::parse(br#"{"replies": [{"hangs": true}]}"#).unwrap();
    let models = [("s".to_owned(), Model::Script(script))].into();
    let llm = Llm::new(models, "s".to_owned(), Budgets::default());
    let requests = llm.metrics().requests;
    let chooser = Chooser::new("s".to_owned());
    let choices = chooser.outcomes();
    let services = Services {
        llm: Some(llm),
        chooser: Some(chooser),
        ..Services::default()
    };
    let store = Store::in_memory().tasks;
    let (engine, ..) = TaskEngine::open_with(store, TaskLimits::default(), services)
        .await
        .unwrap();
    let calc: AgentDefinition = serde_json::from_value(json!({
        "name": "calc",
        "version": "1",
        "description": "Calculates.",
        "default_input_modes": [],
        "default_output_modes": [],
        "isolation": "shared",
        "concurrency": 1,
        "skills": [],
    }))
    .unwrap();
    assert_eq!(engine.choose_skill(&ann(), &calc, "1 + 1").await, None);
    assert_eq!(requests.with_label_values(&["s", "dropped"]).get(), 1);
    assert_eq!(choices.with_label_values(&["failed"]).get(), 1);
}
