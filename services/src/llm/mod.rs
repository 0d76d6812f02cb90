//! Language models for agents: who answers, with which key, and how much of it an agent may have.
//!
//! The wire forms are in [`openai`] and [`anthropic`]; [`script`] answers from a file. [`remote`] sends, waits and
//! tries again, [`sse`] reads what comes in events, [`stream`] hands it on; [`budget`] counts.

mod anthropic;
mod budget;
mod embed;
mod openai;
mod remote;
mod script;
mod sse;
mod stream;

pub use budget::Budgets;
pub(crate) use budget::PREFIX as BUDGETS;
pub use embed::Embedder;
pub(crate) use embed::Embedding;
pub use remote::{Remote, Style};
pub use script::{Script, ScriptError};
pub(crate) use stream::Streams;
pub use stream::{AnswerStream, Piece};

use crate::desk::{Asker, ServiceError};
use budget::Ledger;
use dormouse_store::Record;
use prometheus::{IntCounterVec, Opts};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use stream::Along;
use tokio::sync::Semaphore;

/// Requests that may be at models at a time; more wait.
const MAX_REQUESTS: usize = 256;
/// Bytes of all texts, schemas and arguments of a request.
const MAX_REQUEST_BYTES: usize = 4 << 20;
/// Bytes of an answer. The longest answers of today's models are a tenth of it.
const MAX_ANSWER_BYTES: usize = 4 << 20;
/// Tools of one request.
const MAX_TOOLS: usize = 128;
/// What a model may say at most, unless the request or the operator says less.
const MAX_TOKENS: u32 = 4096;

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Request {
    /// The operator's name of a model; `None` for the default.
    pub model: Option<String>,
    /// Empty for none.
    pub system: String,
    pub turns: Vec<Turn>,
    pub tools: Vec<Tool>,
    /// A JSON schema that the answer's text is to follow.
    pub schema: Option<Value>,
    pub max_tokens: Option<u32>,
    pub temperature: Option<f32>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    pub name: String,
    pub description: String,
    /// A JSON schema of an object.
    pub parameters: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Turn {
    User(String),
    Assistant(Said),
    ToolResults(Vec<ToolResult>),
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Said {
    pub text: String,
    pub tool_calls: Vec<ToolCall>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ToolCall {
    pub id: String,
    pub name: String,
    pub arguments: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ToolResult {
    pub call_id: String,
    pub content: String,
    pub is_error: bool,
}

/// Why a model stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    End,
    Tools,
    /// Of tool calls, the last may be cut off. Then its arguments are an empty object.
    Length,
    Refused,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Response {
    pub said: Said,
    pub stop: Stop,
    /// The operator's name for the model.
    pub model: String,
    pub input_tokens: u64,
    pub output_tokens: u64,
}

/// What a model's answer comes to, before the platform has put its name on it.
#[derive(Debug, Clone, PartialEq)]
struct Reply {
    said: Said,
    stop: Stop,
    input_tokens: u64,
    output_tokens: u64,
}

/// A model under the operator's name for it.
pub enum Model {
    Remote(Remote),
    Script(Script),
}

/// The models of a platform.
pub struct Llm {
    models: BTreeMap<String, Model>,
    default: String,
    /// What makes vectors of what agents remember.
    embedder: Option<Embedder>,
    ledger: Ledger,
    requests: Semaphore,
    metrics: LlmMetrics,
}

/// Handles to the metrics; whoever serves metrics registers them.
#[derive(Debug, Clone)]
pub struct LlmMetrics {
    /// `dormouse_llm_requests_total`, by `model` and `outcome` (ok, refused, failed, dropped).
    pub requests: IntCounterVec,
    /// `dormouse_llm_tokens_total`, by `model` and `direction` (input, output).
    pub tokens: IntCounterVec,
}

impl LlmMetrics {
    fn new() -> Self {
        let counter = |name, help, labels: &[&str]| {
            IntCounterVec::new(Opts::new(name, help), labels)
                .expect("the name is constant and valid")
        };
        Self {
            requests: counter(
                "dormouse_llm_requests_total",
                "Requests of agents to language models by what became of them",
                &["model", "outcome"],
            ),
            tokens: counter(
                "dormouse_llm_tokens_total",
                "Tokens that language models have read and written",
                &["model", "direction"],
            ),
        }
    }
}

impl Llm {
    /// `default` is the name of one of the models, if there are any.
    pub fn new(models: BTreeMap<String, Model>, default: String, budgets: Budgets) -> Self {
        Self {
            models,
            default,
            embedder: None,
            ledger: Ledger::new(budgets),
            requests: Semaphore::new(MAX_REQUESTS),
            metrics: LlmMetrics::new(),
        }
    }

    /// Whether there is any model that answers.
    pub(crate) fn has_models(&self) -> bool {
        !self.models.is_empty()
    }

    /// Whether there is a model of this name.
    pub fn has_model(&self, name: &str) -> bool {
        self.models.contains_key(name)
    }

    pub fn metrics(&self) -> LlmMetrics {
        self.metrics.clone()
    }

    /// Has a model answer. Its tokens are the agent's and the principal's, for their budgets.
    ///
    /// # Errors
    /// Invalid for what no model would take, Limit if a budget does not have enough left, Unavailable if the
    /// model could not be had after some attempts.
    pub(crate) async fn generate(
        &self,
        asker: &Asker,
        request: Request,
    ) -> Result<Response, ServiceError> {
        let (name, model) = self.model(request.model.as_deref())?;
        let mut uncounted = Uncounted(Some((self, name)));
        let answered = self.answer(asker, name, model, request, None).await;
        uncounted.0 = None;
        self.count(name, Some(&answered), None);
        answered
    }

    /// Counts what became of a request; `None`: nobody waited for it any more. `cut_off`: about what an answer
    /// without an end has cost, read and written.
    fn count(
        &self,
        name: &str,
        answered: Option<&Result<Response, ServiceError>>,
        cut_off: Option<(u64, u64)>,
    ) {
        let (outcome, tokens) = match answered {
            Some(Ok(response)) => ("ok", Some((response.input_tokens, response.output_tokens))),
            Some(Err(ServiceError::Unavailable(_))) => ("failed", cut_off),
            Some(Err(_)) => ("refused", cut_off),
            None => ("dropped", cut_off),
        };
        let requests = &self.metrics.requests;
        requests.with_label_values(&[name, outcome]).inc();
        if let Some((input, output)) = tokens {
            let tokens = &self.metrics.tokens;
            tokens.with_label_values(&[name, "input"]).inc_by(input);
            tokens.with_label_values(&[name, "output"]).inc_by(output);
        }
    }

    /// With `along`, the words of the answer go there while they come.
    async fn answer(
        &self,
        asker: &Asker,
        name: &str,
        model: &Model,
        mut request: Request,
        mut along: Option<&mut Along<'_>>,
    ) -> Result<Response, ServiceError> {
        let bytes = check(&request)?;
        let most = match model {
            Model::Remote(remote) => remote.max_tokens,
            Model::Script(_) => None,
        };
        let most = most.unwrap_or(MAX_TOKENS);
        let wanted = request.max_tokens.unwrap_or(most).min(most);
        request.max_tokens = Some(wanted);
        // About four bytes are a token; what it really was is known afterwards.
        let asked = bytes as u64 / 4;
        let mut reserved = self.ledger.reserve(asker, asked + u64::from(wanted))?;
        let _turn = self.requests.acquire().await;
        reserved.sent();
        let mut answered = match (model, &mut along) {
            (Model::Remote(remote), None) => remote.answer(&request).await,
            (Model::Script(script), None) => script.answer(&request).await,
            (Model::Remote(remote), Some(along)) => remote.stream(&request, along).await,
            (Model::Script(script), Some(along)) => script.stream(&request, along).await,
        };
        let heard = along.map_or(0, |along| along.tokens());
        let used = match &mut answered {
            Ok(reply) => {
                // Not every provider counts what it streams.
                if reply.input_tokens == 0 && heard > 0 {
                    reply.input_tokens = asked;
                }
                reply.output_tokens = match reply.output_tokens {
                    0 => heard,
                    told => told,
                };
                reply.input_tokens.saturating_add(reply.output_tokens)
            }
            Err(_) if heard > 0 => asked + heard,
            Err(_) => 0,
        };
        reserved.settle(used);
        let reply = answered?;
        Ok(Response {
            said: reply.said,
            stop: reply.stop,
            model: name.to_owned(),
            input_tokens: reply.input_tokens,
            output_tokens: reply.output_tokens,
        })
    }

    /// Hands over what the budgets of this asker have used, to be kept.
    pub(crate) fn keep_used(&self, asker: &Asker, keep: impl FnOnce(Vec<Record>)) {
        self.ledger.keep(asker, keep);
    }

    /// Takes back what was kept of budgets; returns what is of no use any more.
    pub(crate) fn restore_used(&self, records: Vec<(Vec<u8>, Vec<u8>)>) -> Vec<Record> {
        self.ledger.restore(records)
    }

    fn model(&self, name: Option<&str>) -> Result<(&str, &Model), ServiceError> {
        let name = name.unwrap_or(&self.default);
        let found = self.models.get_key_value(name);
        let found = found.map(|(name, model)| (name.as_str(), model));
        found.ok_or_else(|| {
            let known: Vec<&str> = self.models.keys().map(String::as_str).collect();
            let name: String = name.chars().take(80).collect();
            ServiceError::Invalid(format!(
                "there is no model {name:?} here; there is: {}",
                known.join(", ")
            ))
        })
    }
}

/// A request that is waited for. Dropped as it is, it is counted as one that nobody waited for any more.
struct Uncounted<'a>(Option<(&'a Llm, &'a str)>);

impl Drop for Uncounted<'_> {
    fn drop(&mut self) {
        if let Some((llm, name)) = self.0 {
            llm.count(name, None, None);
        }
    }
}

/// The bytes of a request that a model could answer.
fn check(request: &Request) -> Result<usize, ServiceError> {
    let invalid = |sentence: &str| Err(ServiceError::Invalid(sentence.to_owned()));
    match request.turns.last() {
        None => return invalid("a request to a model has at least one turn"),
        Some(Turn::Assistant(_)) => return invalid("the last turn must not be the model's own"),
        Some(Turn::User(_) | Turn::ToolResults(_)) => {}
    }
    if request.tools.len() > MAX_TOOLS {
        return Err(ServiceError::Limit(format!(
            "a request has at most {MAX_TOOLS} tools"
        )));
    }
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    for tool in &request.tools {
        if !(1..=64).contains(&tool.name.len()) || !tool.name.chars().all(legal) {
            return invalid("a tool's name is 1 to 64 of letters, digits, `_` and `-`");
        }
        if !tool.parameters.is_object() {
            return invalid("the parameters of a tool are a JSON schema, which is an object");
        }
    }
    if request
        .schema
        .as_ref()
        .is_some_and(|schema| !schema.is_object())
    {
        return invalid("the schema of an answer is a JSON object");
    }
    if request
        .temperature
        .is_some_and(|t| !(0.0..=2.0).contains(&t))
    {
        return invalid("a temperature is 0 to 2");
    }
    let bytes = bytes(request);
    check_size(bytes)?;
    Ok(bytes)
}

/// # Errors
/// Limit if a request to a model must not have so many bytes of texts, schemas and arguments.
pub fn check_size(bytes: usize) -> Result<(), ServiceError> {
    if bytes > MAX_REQUEST_BYTES {
        return Err(ServiceError::Limit(format!(
            "a request to a model has at most {MAX_REQUEST_BYTES} bytes, not {bytes}"
        )));
    }
    Ok(())
}

fn bytes(request: &Request) -> usize {
    let json = |value: &Value| value.to_string().len();
    let turn = |turn: &Turn| match turn {
        Turn::User(text) => text.len(),
        Turn::Assistant(said) => {
            let calls = said.tool_calls.iter();
            said.text.len()
                + calls
                    .map(|call| call.name.len() + json(&call.arguments))
                    .sum::<usize>()
        }
        Turn::ToolResults(results) => results.iter().map(|result| result.content.len()).sum(),
    };
    let tools = request.tools.iter();
    let tools = tools.map(|tool| tool.name.len() + tool.description.len() + json(&tool.parameters));
    request.system.len()
        + request.turns.iter().map(turn).sum::<usize>()
        + tools.sum::<usize>()
        + request.schema.as_ref().map_or(0, json)
}

/// One name for what several parts of this folder say about a provider.
fn unavailable(what: impl Into<String>) -> ServiceError {
    ServiceError::Unavailable(what.into())
}

/// A key that is not shown anywhere.
#[derive(Clone)]
pub struct Secret(Arc<str>);

impl Secret {
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}
