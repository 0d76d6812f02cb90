//! Language models: single answers here, typed ones and ones with tools in [`worker`].

mod schema;
mod stream;
mod tool;
mod worker;

pub use stream::{LlmPiece, LlmStream};
pub use tool::{BaseTool, FunctionTool, ToolDeclaration};
pub use worker::{LlmFunction, LlmWorker, LlmWorkerBuilder};

use std::rc::Rc;

use crate::host::CallHost;
use crate::{AgentError, Json};

/// A language model of the platform; from [`Runtime::llm`](crate::Runtime::llm). The agent needs the grant
/// [`Service::Llm`](crate::Service). Which model answers, and with whose key, is the operator's business.
#[derive(Clone)]
pub struct Llm {
    pub(crate) host: Rc<dyn CallHost>,
    pub(crate) model: Option<String>,
}

impl Llm {
    /// The model that the operator has given this name, in place of the default.
    pub fn with_model(mut self, name: impl Into<String>) -> Self {
        self.model = Some(name.into());
        self
    }

    /// Has the model answer a thread, or a request with tools and the like.
    ///
    /// ```
    /// # use dormouse_sdk::prelude::*;
    /// # use dormouse_sdk::{LlmResponse, testing::Conversation};
    /// # #[skill(id = "ask", name = "Ask", description = "Asks a model.")]
    /// # struct Ask;
    /// # impl SkillHandler for Ask {
    /// #     async fn on_request(&self, _: &mut State, _: &ProgressSender, runtime: &Runtime, content: Content)
    /// #         -> Result<OnRequestResult, AgentError> {
    /// let answer = runtime.llm().generate(content.text()).await?;
    /// # Ok(OnRequestResult::completed(answer.text)) } }
    /// # let mut asked = Conversation::new(Ask).with_llm(|_| Ok(LlmResponse::text("42")));
    /// # assert_eq!(asked.send("6 × 7?").text(), "42");
    /// ```
    ///
    /// # Errors
    /// [`AgentError::Denied`] without the grant, [`AgentError::Limit`] when a budget is used up,
    /// [`AgentError::Unavailable`] when no model answers.
    pub fn generate<R: Into<LlmRequest>>(
        &self,
        request: R,
    ) -> impl Future<Output = Result<LlmResponse, AgentError>> + use<R> {
        let request = self.request(request);
        let host = Rc::clone(&self.host);
        async move { host.generate(request).await }
    }

    fn request(&self, request: impl Into<LlmRequest>) -> LlmRequest {
        let mut request = request.into();
        if request.model.is_none() {
            request.model.clone_from(&self.model);
        }
        request
    }
}

/// What was said so far, and the instructions.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Thread {
    /// Instructions; empty for none.
    pub system: String,
    /// Oldest first. The last one is not the model's.
    pub turns: Vec<LlmTurn>,
}

impl Thread {
    /// A thread of one message.
    pub fn from_user(text: impl Into<String>) -> Self {
        Thread {
            system: String::new(),
            turns: vec![LlmTurn::User(text.into())],
        }
    }

    /// Sets the instructions.
    pub fn with_system(mut self, text: impl Into<String>) -> Self {
        self.system = text.into();
        self
    }

    /// Adds a turn at the end.
    pub fn with_turn(mut self, turn: LlmTurn) -> Self {
        self.turns.push(turn);
        self
    }
}

impl<T: Into<String>> From<T> for Thread {
    fn from(text: T) -> Self {
        Thread::from_user(text)
    }
}

/// One turn of a thread.
#[derive(Debug, Clone, PartialEq)]
pub enum LlmTurn {
    /// What a person, or the agent in a person's place, says.
    User(String),
    /// What the model has said.
    Assistant {
        /// Its words.
        text: String,
        /// What it asked for.
        tool_calls: Vec<ToolCall>,
    },
    /// What came of the tool calls of the turn before.
    ToolResults(Vec<ToolResult>),
}

/// A model asks for a tool.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolCall {
    /// Names the call; its result names it again.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// A JSON object.
    pub arguments: Json,
}

/// What came of a tool call.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolResult {
    /// The id of the tool call.
    pub call_id: String,
    /// What the model is to read.
    pub content: String,
    /// Whether it is the sentence of an error.
    pub is_error: bool,
}

/// All that can be asked of a model. Made from a [`Thread`] or a text.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LlmRequest {
    /// The operator's name of a model; none for the default.
    pub model: Option<String>,
    /// What was said so far.
    pub thread: Thread,
    /// What the model may ask for.
    pub tools: Vec<ToolDeclaration>,
    /// A JSON schema (of an object) that the answer's text is to follow.
    pub schema: Option<Json>,
    /// The longest answer, in tokens; none for the platform's limit.
    pub max_tokens: Option<u32>,
    /// 0 to 2; none for the model's own.
    pub temperature: Option<f32>,
}

impl<T: Into<Thread>> From<T> for LlmRequest {
    fn from(thread: T) -> Self {
        LlmRequest {
            thread: thread.into(),
            ..LlmRequest::default()
        }
    }
}

/// What a model has said.
#[derive(Debug, Clone, PartialEq)]
pub struct LlmResponse {
    /// Its words.
    pub text: String,
    /// What it asks for.
    pub tool_calls: Vec<ToolCall>,
    /// Why it stopped.
    pub stop: StopReason,
    /// The operator's name of the model.
    pub model: String,
    /// What it cost.
    pub usage: TokenUsage,
}

impl LlmResponse {
    /// Words alone, as a model under test says them.
    pub fn text(text: impl Into<String>) -> Self {
        LlmResponse {
            text: text.into(),
            tool_calls: Vec::new(),
            stop: StopReason::End,
            model: "test".to_owned(),
            usage: TokenUsage::default(),
        }
    }

    /// One tool call, as a model under test asks for it.
    pub fn tool_call(name: impl Into<String>, arguments: Json) -> Self {
        LlmResponse {
            tool_calls: vec![ToolCall {
                id: "call-1".to_owned(),
                name: name.into(),
                arguments,
            }],
            stop: StopReason::Tools,
            ..LlmResponse::text("")
        }
    }
}

/// Why a model stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// It has said all.
    End,
    /// It waits for the results of its tool calls.
    Tools,
    /// The longest answer was reached.
    Length,
    /// It, or its provider, will not answer this.
    Refused,
}

/// Tokens that a model has read and written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TokenUsage {
    /// Tokens read.
    pub input: u64,
    /// Tokens written.
    pub output: u64,
}
