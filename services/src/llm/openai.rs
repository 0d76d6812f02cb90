//! The wire form of OpenAI's chat completions, as OpenAI and many others speak it
//! (platform.openai.com/docs/api-reference/chat).

use super::stream::{Event, MAX_CALLS, Unreadable};
use super::{Reply, Request, Said, Stop, ToolCall, Turn};
use serde_json::{Value, json};

pub(super) fn body(model: &str, request: &Request) -> Value {
    let mut messages = Vec::new();
    if !request.system.is_empty() {
        messages.push(json!({"role": "system", "content": request.system}));
    }
    for turn in &request.turns {
        match turn {
            Turn::User(text) => messages.push(json!({"role": "user", "content": text})),
            Turn::Assistant(said) => messages.push(assistant(said)),
            Turn::ToolResults(results) => messages.extend(results.iter().map(|result| {
                json!({"role": "tool", "tool_call_id": result.call_id, "content": result.content})
            })),
        }
    }
    let mut body = json!({"model": model, "messages": messages, "max_tokens": request.max_tokens});
    if !request.tools.is_empty() {
        let tools = request.tools.iter().map(|tool| {
            json!({"type": "function", "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.parameters,
            }})
        });
        body["tools"] = tools.collect();
    }
    if let Some(schema) = &request.schema {
        body["response_format"] = json!({
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": schema},
        });
    }
    if let Some(temperature) = request.temperature {
        body["temperature"] = temperature.into();
    }
    body
}

fn assistant(said: &Said) -> Value {
    let mut message = json!({"role": "assistant", "content": said.text});
    if !said.tool_calls.is_empty() {
        let calls = said.tool_calls.iter().map(|call| {
            json!({"id": call.id, "type": "function", "function": {
                "name": call.name,
                "arguments": call.arguments.to_string(),
            }})
        });
        message["tool_calls"] = calls.collect();
    }
    message
}

/// `None` if it is not of this form.
pub(super) fn reply(body: &Value) -> Option<Reply> {
    let choice = body["choices"].get(0)?;
    let message = choice["message"].as_object()?;
    let text = |name: &str| message.get(name).and_then(Value::as_str);
    let calls = message.get("tool_calls").and_then(Value::as_array);
    let finish = choice["finish_reason"].as_str();
    let is_cut = finish == Some("length");
    let calls = calls.into_iter().flatten();
    let tool_calls: Option<Vec<ToolCall>> = calls.map(|call| tool_call(call, is_cut)).collect();
    let tool_calls = tool_calls?;
    let stop = match finish {
        Some("length") => Stop::Length,
        Some("content_filter") => Stop::Refused,
        _ if text("refusal").is_some() => Stop::Refused,
        _ if !tool_calls.is_empty() => Stop::Tools,
        _ => Stop::End,
    };
    Some(Reply {
        said: Said {
            text: text("content")
                .or(text("refusal"))
                .unwrap_or_default()
                .to_owned(),
            tool_calls,
        },
        stop,
        input_tokens: body["usage"]["prompt_tokens"].as_u64().unwrap_or(0),
        output_tokens: body["usage"]["completion_tokens"].as_u64().unwrap_or(0),
    })
}

/// Arguments that are cut off are an empty object, if the whole answer is.
fn tool_call(call: &Value, is_cut: bool) -> Option<ToolCall> {
    let function = &call["function"];
    let arguments = function["arguments"].as_str()?;
    // A tool without parameters is called with nothing at all by some.
    let arguments = if arguments.trim().is_empty() {
        "{}"
    } else {
        arguments
    };
    Some(ToolCall {
        id: call["id"].as_str()?.to_owned(),
        name: function["name"].as_str()?.to_owned(),
        arguments: match serde_json::from_str(arguments) {
            Ok(arguments) => arguments,
            Err(_) if is_cut => json!({}),
            Err(_) => return None,
        },
    })
}

/// What makes a request one for an answer that is sent while it is written.
pub(super) fn streamed(mut body: Value) -> Value {
    body["stream"] = true.into();
    body["stream_options"] = json!({"include_usage": true});
    body
}

/// An answer that is being written.
#[derive(Default)]
pub(super) struct Written {
    text: String,
    refusal: String,
    /// As they have come.
    calls: Vec<Asked>,
    finish: Option<String>,
    usage: Value,
}

/// A tool call that is being written.
#[derive(Default)]
struct Asked {
    index: Option<u64>,
    id: String,
    name: String,
    arguments: String,
}

impl Written {
    pub(super) fn take(&mut self, data: &str) -> Result<Event, Unreadable> {
        if data.trim() == "[DONE]" {
            return Ok(Event::end());
        }
        let chunk: Value = serde_json::from_str(data).map_err(|_| Unreadable::Garbage)?;
        if let Some(error) = chunk.get("error").filter(|error| !error.is_null()) {
            return Err(Unreadable::told(error));
        }
        if chunk["usage"].is_object() {
            self.usage = chunk["usage"].clone();
        }
        let choices = chunk["choices"].as_array().ok_or(Unreadable::Garbage)?;
        // The last one has the usage alone.
        let Some(choice) = choices.first() else {
            return Ok(Event::default());
        };
        if let Some(finish) = choice["finish_reason"].as_str() {
            self.finish = Some(finish.to_owned());
        }
        let delta = &choice["delta"];
        let text = delta["content"].as_str().unwrap_or_default().to_owned();
        let refusal = delta["refusal"].as_str().unwrap_or_default();
        let mut bytes = text.len() + refusal.len();
        self.text.push_str(&text);
        self.refusal.push_str(refusal);
        for part in delta["tool_calls"].as_array().into_iter().flatten() {
            bytes += self.tool_call(part)?;
        }
        Ok(Event {
            text,
            bytes,
            ends: false,
        })
    }

    fn tool_call(&mut self, part: &Value) -> Result<usize, Unreadable> {
        let function = &part["function"];
        let index = part["index"].as_u64();
        let known = match index {
            Some(_) => self.calls.iter().rposition(|call| call.index == index),
            // Who does not count sends each call whole, or one piece after the other.
            None => self.calls.len().checked_sub(1),
        };
        let id = part["id"].as_str().unwrap_or_default();
        let known = known.filter(|known| {
            let call = &self.calls[*known];
            let unnamed = function["name"].as_str().unwrap_or_default().is_empty();
            // Some providers give each piece an id of its own; whom to call is said with the first only.
            let other = !unnamed && !id.is_empty() && !call.id.is_empty() && id != call.id;
            let unnamed = unnamed && id.is_empty();
            !other && (index.is_some() || unnamed || (!id.is_empty() && id == call.id))
        });
        let call = match known {
            Some(known) => &mut self.calls[known],
            None if self.calls.len() >= MAX_CALLS => return Err(Unreadable::Garbage),
            None => {
                let index = part["index"].as_u64();
                self.calls.push(Asked {
                    index,
                    ..Asked::default()
                });
                self.calls.last_mut().ok_or(Unreadable::Garbage)?
            }
        };
        let mut bytes = 0;
        // Who is called comes whole, and from some providers with every piece.
        for (value, to) in [
            (&part["id"], &mut call.id),
            (&function["name"], &mut call.name),
        ] {
            let whole = value.as_str().unwrap_or_default();
            if to.is_empty() {
                to.push_str(whole);
            }
            bytes += whole.len();
        }
        let more = function["arguments"].as_str().unwrap_or_default();
        call.arguments.push_str(more);
        bytes += more.len();
        Ok(bytes)
    }

    /// Whether nothing more has to come.
    pub(super) fn is_whole(&self) -> bool {
        self.finish.is_some()
    }

    /// `None` if it is not of the form of an answer.
    pub(super) fn reply(mut self) -> Option<Reply> {
        let mut message = json!({"content": self.text});
        if !self.refusal.is_empty() {
            message["refusal"] = self.refusal.into();
            if self.text.is_empty() {
                message["content"] = Value::Null;
            }
        }
        self.calls.sort_by_key(|call| call.index);
        let calls = self.calls.into_iter().map(|call| {
            json!({"id": call.id, "function": {"name": call.name, "arguments": call.arguments}})
        });
        message["tool_calls"] = calls.collect();
        let choice = json!({"message": message, "finish_reason": self.finish});
        reply(&json!({"choices": [choice], "usage": self.usage}))
    }
}
