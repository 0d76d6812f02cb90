//! The wire form of Anthropic's messages (docs.anthropic.com/en/api/messages).

use super::{Reply, Request, Said, Stop, ToolCall, Turn};
use serde_json::{Value, json};

/// The version of the API that this is written for.
pub(super) const VERSION: &str = "2023-06-01";

/// The tool that stands for an answer with a schema: a model that has to call it follows its schema.
const ANSWER: &str = "answer";

pub(super) fn body(model: &str, request: &Request) -> Value {
    let messages: Vec<Value> = request.turns.iter().map(message).collect();
    let mut body = json!({"model": model, "max_tokens": request.max_tokens, "messages": messages});
    if !request.system.is_empty() {
        body["system"] = request.system.as_str().into();
    }
    let mut tools: Vec<Value> = request
        .tools
        .iter()
        .map(|tool| {
            json!({
                "name": tool.name,
                "description": tool.description,
                "input_schema": tool.parameters,
            })
        })
        .collect();
    if let Some(schema) = &request.schema {
        tools.push(json!({
            "name": ANSWER,
            "description": "Gives the final answer.",
            "input_schema": schema,
        }));
        body["tool_choice"] = if request.tools.is_empty() {
            json!({"type": "tool", "name": ANSWER})
        } else {
            json!({"type": "any"})
        };
    }
    if !tools.is_empty() {
        body["tools"] = tools.into();
    }
    if let Some(temperature) = request.temperature {
        // Other models go up to 2, these to 1.
        body["temperature"] = temperature.min(1.0).into();
    }
    body
}

fn message(turn: &Turn) -> Value {
    match turn {
        Turn::User(text) => json!({"role": "user", "content": text}),
        Turn::Assistant(said) => {
            let mut content = Vec::new();
            // A text block must not be empty.
            if !said.text.is_empty() {
                content.push(json!({"type": "text", "text": said.text}));
            }
            content.extend(said.tool_calls.iter().map(|call| {
                json!({"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments})
            }));
            json!({"role": "assistant", "content": content})
        }
        Turn::ToolResults(results) => {
            let content = results.iter().map(|result| {
                json!({
                    "type": "tool_result",
                    "tool_use_id": result.call_id,
                    "content": result.content,
                    "is_error": result.is_error,
                })
            });
            json!({"role": "user", "content": content.collect::<Vec<_>>()})
        }
    }
}

/// `None` if it is not of this form.
pub(super) fn reply(body: &Value, has_schema: bool) -> Option<Reply> {
    let mut said = Said::default();
    let mut answer = None;
    for block in body["content"].as_array()? {
        match block["type"].as_str()? {
            "text" => said.text.push_str(block["text"].as_str()?),
            "tool_use" => {
                let name = block["name"].as_str()?;
                if has_schema && name == ANSWER {
                    answer = Some(block["input"].to_string());
                    continue;
                }
                said.tool_calls.push(ToolCall {
                    id: block["id"].as_str()?.to_owned(),
                    name: name.to_owned(),
                    arguments: block["input"].clone(),
                });
            }
            // Thinking and the like: nothing that was said.
            _ => {}
        }
    }
    let stop = match body["stop_reason"].as_str() {
        Some("max_tokens") => Stop::Length,
        Some("refusal") => Stop::Refused,
        _ if !said.tool_calls.is_empty() => Stop::Tools,
        _ => Stop::End,
    };
    if let Some(answer) = answer {
        said.text = answer;
    }
    let usage = &body["usage"];
    Some(Reply {
        said,
        stop,
        input_tokens: usage["input_tokens"].as_u64().unwrap_or(0),
        output_tokens: usage["output_tokens"].as_u64().unwrap_or(0),
    })
}
