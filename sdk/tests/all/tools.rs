//! Functions that are tools.

use dormouse_sdk::prelude::*;
use dormouse_sdk::testing::Conversation;
use dormouse_sdk::{BaseTool, Json, LlmResponse, LlmTurn, LlmWorker, Outcome, StopReason};
use schemars::JsonSchema;
use serde::Deserialize;

#[derive(Deserialize, JsonSchema)]
struct Numbers {
    /// The first.
    left: i64,
    right: i64,
}

/// Adds two numbers.
///
/// Both may be negative.
#[tool]
async fn sum(numbers: Numbers) -> Result<i64, AgentError> {
    Ok(numbers.left + numbers.right)
}

/// Not what the model is told.
#[tool(name = "take-away", description = "Takes one from the other.")]
#[allow(clippy::unused_async, reason = "tools are async")]
pub async fn difference(Numbers { left, right }: Numbers) -> Result<i64, AgentError> {
    match left - right {
        negative if negative < 0 => Err(AgentError::invalid_input("too much is taken away")),
        rest => Ok(rest),
    }
}

#[skill(id = "calculate", name = "Calculate", description = "Calculates.")]
struct Calculate;

impl SkillHandler for Calculate {
    async fn on_request(
        &self,
        _state: &mut State,
        _progress: &ProgressSender,
        runtime: &Runtime,
        content: Content,
    ) -> Result<OnRequestResult, AgentError> {
        let worker = LlmWorker::<String>::builder(runtime.llm())
            .with_tool(sum)
            .with_tool(difference)
            .build();
        Ok(OnRequestResult::completed(
            worker.run(content.text()).await?,
        ))
    }
}

#[test]
fn a_model_is_told_what_the_function_says_of_itself() {
    let told = sum.declaration();
    assert_eq!(told.name, "sum");
    assert_eq!(
        told.description,
        "Adds two numbers.\n\nBoth may be negative."
    );
    let schema: serde_json::Value = told.parameters.deserialize().unwrap();
    assert_eq!(schema["type"], "object");
    assert_eq!(schema["properties"]["left"]["description"], "The first.");
    assert_eq!(schema["required"], serde_json::json!(["left", "right"]));
    let told = difference.declaration();
    assert_eq!(
        (&*told.name, &*told.description),
        ("take-away", "Takes one from the other.")
    );
}

#[test]
fn a_worker_runs_it_and_the_model_hears_of_errors() {
    let answer = |tool: &'static str, arguments: &'static str| {
        let mut talk = Conversation::new(Calculate).with_llm(move |request| {
            Ok(match request.thread.turns.last() {
                Some(LlmTurn::ToolResults(results)) => {
                    let said = serde_json::json!({"value": results[0].content});
                    LlmResponse::text(said.to_string())
                }
                _ => LlmResponse::tool_call(tool, Json::parse(arguments)?),
            })
        });
        talk.send("?").text()
    };
    assert_eq!(answer("sum", r#"{"left": 2, "right": 3}"#), "5");
    assert_eq!(answer("take-away", r#"{"left": 2, "right": 2}"#), "0");
    assert!(answer("take-away", r#"{"left": 2, "right": 3}"#).contains("too much"));
    assert!(answer("sum", r#"{"left": "two"}"#).contains("two"));
    assert!(answer("difference", "{}").contains("no tool"));
}

/// Half a call has no arguments, or those of another call: it must not be run.
#[test]
fn a_call_that_is_cut_off_is_not_run_and_the_model_hears_of_it_once() {
    let cut = || LlmResponse {
        stop: StopReason::Length,
        ..LlmResponse::tool_call(
            "sum",
            Json::from_text_unchecked(r#"{"left": 2, "right": 3}"#),
        )
    };
    let mut talk = Conversation::new(Calculate).with_llm(move |request| {
        Ok(match request.thread.turns.last() {
            Some(LlmTurn::ToolResults(results)) => {
                assert!(results[0].is_error && results[0].content.contains("cut off"));
                LlmResponse::text(r#"{"value": "short"}"#)
            }
            _ => cut(),
        })
    });
    assert_eq!(talk.send("?").text(), "short");
    let mut talk = Conversation::new(Calculate).with_llm(move |_| Ok(cut()));
    let answer = talk.send("?");
    assert!(matches!(answer.outcome, Outcome::Failed(_)));
    assert!(answer.text().contains("in the middle of a tool call"));
}
