//! The wire form of Anthropic's messages (docs.anthropic.com/en/api/messages).

use super::stream::{Event, MAX_CALLS, Unreadable};
use super::{Reply, Request, Said, Stop, ToolCall, Turn};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The version of the API that this is written for.
pub(super) const VERSION: &str = "2023-06-01";

/// The tool that stands for an answer with a schema: a model that has to call it follows its schema.
const ANSWER: &str = "answer";

/// Why a model stopped that had more to say.
const MAX_TOKENS: &str = "max_tokens";

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
                    answer = Some(match &block["input"] {
                        Value::String(cut) => cut.clone(),
                        whole => whole.to_string(),
                    });
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
        Some(MAX_TOKENS) => Stop::Length,
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

/// An answer that is being written.
pub(super) struct Written {
    has_schema: bool,
    blocks: BTreeMap<u64, Block>,
    stop: Value,
    usage: Value,
    ended: bool,
}

struct Block {
    /// As it began.
    head: Value,
    /// What was added: its text, or the JSON of a tool's input.
    body: String,
}

impl Block {
    fn is_answer(&self) -> bool {
        self.head["type"] == "tool_use" && self.head["name"] == ANSWER
    }
}

impl Written {
    pub(super) fn new(has_schema: bool) -> Self {
        Self {
            has_schema,
            blocks: BTreeMap::new(),
            stop: Value::Null,
            usage: json!({}),
            ended: false,
        }
    }

    pub(super) fn take(&mut self, data: &str) -> Result<Event, Unreadable> {
        let mut event: Value = serde_json::from_str(data).map_err(|_| Unreadable::Garbage)?;
        let index = event["index"].as_u64();
        match event["type"].as_str().ok_or(Unreadable::Garbage)? {
            "message_start" => self.count(&event["message"]["usage"]),
            "content_block_start" => {
                let index = index.ok_or(Unreadable::Garbage)?;
                if self.blocks.len() >= MAX_CALLS {
                    return Err(Unreadable::Garbage);
                }
                return Ok(self.begin(index, &event["content_block"]));
            }
            "content_block_delta" => return self.delta(index, &event["delta"]),
            "message_delta" => {
                self.stop = event["delta"]["stop_reason"].take();
                self.count(&event["usage"]);
            }
            "message_stop" => {
                self.ended = true;
                return Ok(Event::end());
            }
            "error" => return Err(Unreadable::told(&event["error"])),
            // Pings and the like.
            _ => {}
        }
        Ok(Event::default())
    }

    /// A block as it begins: mostly empty, but nothing says that it has to be.
    fn begin(&mut self, index: u64, block: &Value) -> Event {
        let kind = block["type"].as_str();
        let text = block["text"].as_str().filter(|_| kind == Some("text"));
        let text = text.unwrap_or_default();
        let (head, bytes) = match kind {
            Some("tool_use") => (block.clone(), block.to_string().len()),
            Some("text") => (json!({"type": "text"}), text.len()),
            // Thinking and the like: nothing of it is kept.
            _ => (json!({"type": "other"}), 0),
        };
        let body = text.to_owned();
        self.blocks.insert(index, Block { head, body });
        Event {
            text: if self.has_schema { "" } else { text }.to_owned(),
            bytes,
            ends: false,
        }
    }

    fn delta(&mut self, index: Option<u64>, delta: &Value) -> Result<Event, Unreadable> {
        let block = index.and_then(|index| self.blocks.get_mut(&index));
        let block = block.ok_or(Unreadable::Garbage)?;
        let (more, is_shown) = match delta["type"].as_str() {
            // Before an answer with a schema a model may think aloud; that is not the answer.
            Some("text_delta") => (&delta["text"], !self.has_schema),
            Some("input_json_delta") => {
                (&delta["partial_json"], self.has_schema && block.is_answer())
            }
            _ => return Ok(Event::default()),
        };
        let more = more.as_str().ok_or(Unreadable::Garbage)?;
        block.body.push_str(more);
        Ok(Event {
            text: if is_shown {
                more.to_owned()
            } else {
                String::new()
            },
            bytes: more.len(),
            ends: false,
        })
    }

    fn count(&mut self, usage: &Value) {
        for name in ["input_tokens", "output_tokens"] {
            if let Some(count) = usage[name].as_u64() {
                self.usage[name] = count.into();
            }
        }
    }

    /// Whether nothing more has to come.
    pub(super) fn is_whole(&self) -> bool {
        self.ended || self.stop.is_string()
    }

    /// `None` if it is not of the form of an answer.
    pub(super) fn reply(self) -> Option<Reply> {
        let is_cut = self.stop == MAX_TOKENS;
        let blocks = self.blocks.into_values().map(|block| {
            let is_answer = block.is_answer();
            let Block { mut head, body } = block;
            match head["type"].as_str()? {
                "text" => head["text"] = body.into(),
                "tool_use" if !body.trim().is_empty() => {
                    head["input"] = match serde_json::from_str(&body) {
                        Ok(input) => input,
                        Err(_) if is_cut && self.has_schema && is_answer => body.into(),
                        Err(_) if is_cut => json!({}),
                        Err(_) => return None,
                    };
                }
                // What it began with is all of it.
                "tool_use" if head["input"].is_object() => {}
                "tool_use" => head["input"] = json!({}),
                _ => {}
            }
            Some(head)
        });
        let content: Option<Vec<Value>> = blocks.collect();
        let whole = json!({"content": content?, "stop_reason": self.stop, "usage": self.usage});
        reply(&whole, self.has_schema)
    }
}
