//! A model that answers from a file: for tests, examples and work without a network.
//!
//! ```json
//! {"replies": [
//!   {"when": "weather", "tool_calls": [{"name": "forecast", "arguments": {"city": "Oslo"}}]},
//!   {"when": "rain in Oslo", "json": {"advice": "umbrella"}},
//!   {"text": "I do not know."}
//! ]}
//! ```
//!
//! The first reply fits whose `when` is in the last turn (and whose `system` is in the instructions); without `when`
//! it always fits. In a stream the text comes word by word. `"error"` is given in place of a reply, in a stream after the
//! text; `"hangs"`: there is neither an end nor a reply.

use super::stream::Along;
use super::{Reply, Request, Said, Stop, ToolCall, Turn, bytes, unavailable};
use crate::desk::ServiceError;
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;
use tokio::sync::Barrier;

/// Requests that may be made to wait for each other.
const MAX_TOGETHER: usize = 100;

/// Not a script.
#[derive(Debug, Error)]
pub enum ScriptError {
    #[error("it is not a script: {0}")]
    NotAScript(#[from] serde_json::Error),
    #[error("`together` is 1 to {MAX_TOGETHER}")]
    Together,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Lines {
    replies: Vec<Line>,
}

/// One reply, and when it is given.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    #[serde(default)]
    when: String,
    #[serde(default)]
    system: String,
    #[serde(default)]
    text: String,
    /// In place of `text`.
    json: Option<Value>,
    #[serde(default)]
    tool_calls: Vec<Call>,
    /// In place of a reply: the model cannot be had.
    error: Option<String>,
    /// In place of a reply: nothing, ever.
    #[serde(default)]
    hangs: bool,
    /// It is given when so many requests wait for it, to all of them.
    #[serde(default = "one")]
    together: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    name: String,
    arguments: Value,
}

fn one() -> usize {
    1
}

/// A model that says what its script says. Tokens are counted as a quarter of the bytes.
pub struct Script(Vec<(Line, Barrier)>);

impl Script {
    pub fn parse(json: &[u8]) -> Result<Self, ScriptError> {
        let lines: Lines = serde_json::from_slice(json)?;
        let lines = lines.replies.into_iter().map(|line| {
            if !(1..=MAX_TOGETHER).contains(&line.together) {
                return Err(ScriptError::Together);
            }
            let barrier = Barrier::new(line.together);
            Ok((line, barrier))
        });
        Ok(Self(lines.collect::<Result<_, _>>()?))
    }

    pub(super) async fn answer(&self, request: &Request) -> Result<Reply, ServiceError> {
        let line = self.line(request).await?;
        line.end().await?;
        Ok(line.reply(request))
    }

    pub(super) async fn stream(
        &self,
        request: &Request,
        along: &mut Along<'_>,
    ) -> Result<Reply, ServiceError> {
        let line = self.line(request).await?;
        for word in line.text().split_inclusive(' ') {
            along.count(word.len()).map_err(|most| {
                ServiceError::Limit(format!("an answer has at most {most} bytes"))
            })?;
            along.say(word.to_owned()).await;
        }
        line.end().await?;
        Ok(line.reply(request))
    }

    /// The line that fits, when it is its turn.
    async fn line(&self, request: &Request) -> Result<&Line, ServiceError> {
        let asked = match request.turns.last() {
            Some(Turn::User(text)) => text.clone(),
            Some(Turn::ToolResults(results)) => {
                let contents: Vec<&str> = results.iter().map(|result| &*result.content).collect();
                contents.join("\n")
            }
            Some(Turn::Assistant(_)) | None => String::new(),
        };
        let fits =
            |line: &Line| asked.contains(&line.when) && request.system.contains(&line.system);
        let Some((line, barrier)) = self.0.iter().find(|(line, _)| fits(line)) else {
            let asked: String = asked.chars().take(80).collect();
            return Err(unavailable(format!("the script has no reply to {asked:?}")));
        };
        barrier.wait().await;
        Ok(line)
    }
}

impl Line {
    fn text(&self) -> String {
        match &self.json {
            Some(json) => json.to_string(),
            None => self.text.clone(),
        }
    }

    /// The end of a line that has another than its reply.
    async fn end(&self) -> Result<(), ServiceError> {
        if self.hangs {
            std::future::pending::<()>().await;
        }
        self.error
            .as_ref()
            .map_or(Ok(()), |error| Err(unavailable(error.clone())))
    }

    fn reply(&self, request: &Request) -> Reply {
        let text = self.text();
        let calls = self.tool_calls.iter().enumerate();
        let tool_calls: Vec<ToolCall> = calls
            .map(|(number, call)| ToolCall {
                id: format!("call-{}", number + 1),
                name: call.name.clone(),
                arguments: call.arguments.clone(),
            })
            .collect();
        let arguments = tool_calls
            .iter()
            .map(|call| call.arguments.to_string().len());
        let output = text.len() + arguments.sum::<usize>();
        Reply {
            stop: if tool_calls.is_empty() {
                Stop::End
            } else {
                Stop::Tools
            },
            said: Said { text, tool_calls },
            input_tokens: bytes(request).div_ceil(4) as u64,
            output_tokens: output.div_ceil(4) as u64,
        }
    }
}
