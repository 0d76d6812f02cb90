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
///
/// ```
/// # use dormouse_sdk::{LlmResponse, OnRequestResult, testing::Conversation};
/// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
/// // One agent may ask several models that its operator knows.
/// let (quick, careful) = (runtime.llm(), runtime.llm().with_model("careful"));
/// let draft = quick.generate("Write a line about rain.").await?;
/// let better = careful.generate(format!("Improve: {}", draft.text)).await?;
/// assert_eq!(better.text, "It rains, again.");
/// # Ok(OnRequestResult::completed("ok")) }).with_llm(|request| Ok(LlmResponse::text(match &request.model {
/// #     Some(_) => "It rains, again.",
/// #     None => "It rains.",
/// # })));
/// # assert_eq!(talk.send("").text(), "ok");
/// ```
#[derive(Clone)]
pub struct Llm {
    pub(crate) host: Rc<dyn CallHost>,
    pub(crate) model: Option<String>,
}

impl Llm {
    /// The model that the operator has given this name, in place of the default.
    ///
    /// ```
    /// # use dormouse_sdk::{LlmResponse, OnRequestResult, testing::Conversation};
    /// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
    /// let answer = runtime.llm().with_model("careful").generate("What is 6 times 7?").await?;
    /// assert_eq!(answer.text, "42");
    /// # Ok(OnRequestResult::completed("ok")) }).with_llm(|request| {
    /// #     assert_eq!(request.model.as_deref(), Some("careful"));
    /// #     Ok(LlmResponse::text("42"))
    /// # });
    /// # assert_eq!(talk.send("").text(), "ok");
    /// ```
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
///
/// ```
/// # use dormouse_sdk::{LlmResponse, OnRequestResult, Thread, testing::Conversation};
/// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
/// let thread = Thread::from_user("Which tea do you recommend?")
///     .with_system("You sell tea. Answer in one sentence.");
/// let answer = runtime.llm().generate(thread).await?;
/// assert_eq!(answer.text, "The green one.");
/// # Ok(OnRequestResult::completed("ok")) }).with_llm(|_| Ok(LlmResponse::text("The green one.")));
/// # assert_eq!(talk.send("").text(), "ok");
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Thread {
    /// Instructions; empty for none.
    pub system: String,
    /// Oldest first. The last one is not the model's.
    pub turns: Vec<LlmTurn>,
}

impl Thread {
    /// A thread of one message.
    ///
    /// ```
    /// # use dormouse_sdk::{LlmTurn, Thread};
    /// let thread = Thread::from_user("Hello");
    /// assert_eq!(thread.turns, [LlmTurn::User("Hello".to_owned())]);
    /// assert_eq!(thread, "Hello".into()); // a text is such a thread, too
    /// ```
    pub fn from_user(text: impl Into<String>) -> Self {
        Thread {
            system: String::new(),
            turns: vec![LlmTurn::User(text.into())],
        }
    }

    /// Sets the instructions.
    ///
    /// ```
    /// # use dormouse_sdk::Thread;
    /// let thread = Thread::from_user("Hello").with_system("Answer in French.");
    /// assert_eq!(thread.system, "Answer in French.");
    /// ```
    pub fn with_system(mut self, text: impl Into<String>) -> Self {
        self.system = text.into();
        self
    }

    /// Adds a turn at the end.
    ///
    /// ```
    /// # use dormouse_sdk::{LlmTurn, Thread};
    /// let answer = LlmTurn::Assistant { text: "Hello. Which tea?".to_owned(), tool_calls: Vec::new() };
    /// let thread = Thread::from_user("Hello").with_turn(answer).with_turn(LlmTurn::User("Green".to_owned()));
    /// assert_eq!(thread.turns.len(), 3);
    /// ```
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
///
/// ```
/// # use dormouse_sdk::{LlmTurn, OnRequestResult, Role, Thread, testing::Conversation};
/// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
/// // What was said in this task, as a thread.
/// let turns = runtime.history(20).await?.into_iter().map(|turn| match turn.role {
///     Role::User => LlmTurn::User(turn.content.text()),
///     Role::Agent => LlmTurn::Assistant { text: turn.content.text(), tool_calls: Vec::new() },
/// });
/// let thread = Thread { system: String::new(), turns: turns.collect() };
/// assert_eq!(thread, Thread::from_user("Hello"));
/// # Ok(OnRequestResult::completed("ok")) });
/// # assert_eq!(talk.send("Hello").text(), "ok");
/// ```
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
///
/// ```
/// # use dormouse_sdk::{BaseTool, FunctionTool, Json, LlmRequest, LlmResponse, OnRequestResult, ToolCall};
/// # use dormouse_sdk::testing::Conversation;
/// # #[derive(serde::Deserialize, schemars::JsonSchema)]
/// # struct At { city: String }
/// # let forecast = FunctionTool::new("forecast", "Forecasts rain.", async |at: At| Ok(at.city));
/// # let mut talk = Conversation::with_function(async move |_, _, runtime, _| {
/// let request = LlmRequest { tools: vec![forecast.declaration()], ..LlmRequest::from("Rain in Oslo?") };
/// for ToolCall { name, arguments, .. } in runtime.llm().generate(request).await?.tool_calls {
///     assert_eq!((&*name, arguments.as_str()), ("forecast", r#"{"city":"Oslo"}"#));
/// }
/// # Ok(OnRequestResult::completed("ok")) }).with_llm(|_| {
/// #     Ok(LlmResponse::tool_call("forecast", Json::parse(r#"{"city":"Oslo"}"#)?))
/// # });
/// # assert_eq!(talk.send("").text(), "ok");
/// ```
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
///
/// ```
/// use dormouse_sdk::{Json, LlmResponse, LlmTurn, Thread, ToolResult};
///
/// // What `LlmWorker` does, by hand: the model's turn, then a result for each of its calls.
/// let asked = LlmResponse::tool_call("forecast", Json::parse(r#"{"city": "Oslo"}"#)?);
/// let results = asked.tool_calls.iter().map(|call| ToolResult {
///     call_id: call.id.clone(),
///     content: "Rain".to_owned(),
///     is_error: false,
/// });
/// let results = LlmTurn::ToolResults(results.collect());
/// let turn = LlmTurn::Assistant { text: asked.text, tool_calls: asked.tool_calls };
/// let thread = Thread::from_user("An umbrella?").with_turn(turn).with_turn(results);
/// assert_eq!(thread.turns.len(), 3);
/// # Ok::<(), dormouse_sdk::AgentError>(())
/// ```
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
///
/// ```
/// # use dormouse_sdk::{LlmRequest, LlmResponse, OnRequestResult, testing::Conversation};
/// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
/// let request = LlmRequest {
///     max_tokens: Some(100),
///     temperature: Some(0.0),
///     ..LlmRequest::from("One line about rain, please")
/// };
/// assert_eq!(runtime.llm().generate(request).await?.text, "It rains.");
/// # Ok(OnRequestResult::completed("ok")) }).with_llm(|_| Ok(LlmResponse::text("It rains.")));
/// # assert_eq!(talk.send("").text(), "ok");
/// ```
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
///
/// ```
/// # use dormouse_sdk::{Level, LlmResponse, OnRequestResult, StopReason, testing::Conversation};
/// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
/// let answer = runtime.llm().generate("A long story, please").await?;
/// let cost = answer.usage.input + answer.usage.output;
/// runtime.log(Level::Info, "asked", &[("model", &answer.model), ("tokens", &cost.to_string())]);
/// assert_eq!(answer.stop, StopReason::End);
/// # Ok(OnRequestResult::completed("ok")) }).with_llm(|_| Ok(LlmResponse::text("Once upon a time")));
/// # assert_eq!(talk.send("").text(), "ok");
/// ```
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
    ///
    /// ```
    /// # use dormouse_sdk::{LlmResponse, OnRequestResult, testing::Conversation};
    /// let talk = Conversation::with_function(async |_, _, runtime, content| {
    ///     let answer = runtime.llm().generate(content.text()).await?;
    ///     Ok(OnRequestResult::completed(answer.text))
    /// });
    /// let mut talk = talk.with_llm(|_| Ok(LlmResponse::text("42")));
    /// assert_eq!(talk.send("What is 6 times 7?").text(), "42");
    /// ```
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
    ///
    /// ```
    /// # use dormouse_sdk::{Json, LlmResponse, StopReason};
    /// let asked = LlmResponse::tool_call("forecast", Json::parse(r#"{"city": "Oslo"}"#)?);
    /// assert_eq!(asked.stop, StopReason::Tools);
    /// assert_eq!(asked.tool_calls[0].name, "forecast");
    /// # Ok::<(), dormouse_sdk::AgentError>(())
    /// ```
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
///
/// ```
/// # use dormouse_sdk::{AgentError, LlmResponse, OnRequestResult, StopReason, testing::Conversation};
/// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
/// let answer = runtime.llm().generate("A long story, please").await?;
/// let story = match answer.stop {
///     StopReason::Length => format!("{} …", answer.text),
///     StopReason::Refused => return Err(AgentError::failed("the model would rather not")),
///     StopReason::End | StopReason::Tools => answer.text,
/// };
/// assert_eq!(story, "Once upon a time");
/// # Ok(OnRequestResult::completed("ok")) }).with_llm(|_| Ok(LlmResponse::text("Once upon a time")));
/// # assert_eq!(talk.send("").text(), "ok");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// It has said all.
    End,
    /// It waits for the results of its tool calls.
    Tools,
    /// The longest answer was reached. Of tool calls, the last may be cut off; then its arguments are an empty object.
    Length,
    /// It, or its provider, will not answer this.
    Refused,
}

/// Tokens that a model has read and written.
///
/// ```
/// # use dormouse_sdk::{LlmResponse, OnRequestResult, TokenUsage, testing::Conversation};
/// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
/// let mut spent = TokenUsage::default();
/// for question in ["What is rain?", "What is snow?"] {
///     let usage = runtime.llm().generate(question).await?.usage;
///     spent.input += usage.input;
///     spent.output += usage.output;
/// }
/// assert_eq!(spent, TokenUsage { input: 8, output: 2 });
/// # Ok(OnRequestResult::completed("ok")) }).with_llm(|_| {
/// #     let usage = TokenUsage { input: 4, output: 1 };
/// #     Ok(LlmResponse { usage, ..LlmResponse::text("Water") })
/// # });
/// # assert_eq!(talk.send("").text(), "ok");
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TokenUsage {
    /// Tokens read.
    pub input: u64,
    /// Tokens written.
    pub output: u64,
}
