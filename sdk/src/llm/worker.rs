use std::marker::PhantomData;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{BaseTool, Llm, LlmRequest, LlmTurn, StopReason, Thread, ToolCall, ToolResult, schema};
use crate::{AgentError, Json, join_all};

/// Requests to the model in one run, if the author does not say otherwise.
const MAX_ITERATIONS: u32 = 10;

/// A question to a model whose answer is a `T`.
///
/// ```
/// # use dormouse_sdk::prelude::*;
/// # use dormouse_sdk::{LlmFunction, LlmResponse, testing::Conversation};
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// struct Mood {
///     /// One word.
///     word: String,
/// }
/// # #[skill(id = "mood", name = "Mood", description = "Tells the mood.")]
/// # struct Tell;
/// # impl SkillHandler for Tell {
/// #     async fn on_request(&self, _: &mut State, _: &ProgressSender, runtime: &Runtime, content: Content)
/// #         -> Result<OnRequestResult, AgentError> {
/// let instructions = "Tell the writer's mood.";
/// let function = LlmFunction::<Mood>::new_with_system_instructions(runtime.llm(), instructions);
/// let mood = function.run(content.text()).await?;
/// # Ok(OnRequestResult::completed(mood.word)) } }
/// # let said = r#"{"word": "sunny"}"#;
/// # let mut talk = Conversation::new(Tell).with_llm(move |_| Ok(LlmResponse::text(said)));
/// # assert_eq!(talk.send("What a day!").text(), "sunny");
/// ```
pub struct LlmFunction<T>(LlmWorker<T>);

impl<T: DeserializeOwned + JsonSchema> LlmFunction<T> {
    /// Without instructions.
    ///
    /// ```
    /// # use dormouse_sdk::{LlmFunction, LlmResponse, OnRequestResult, testing::Conversation};
    /// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
    /// let cities = LlmFunction::<Vec<String>>::new(runtime.llm());
    /// assert_eq!(cities.run("Two towns on the Rhine").await?, ["Basel", "Bonn"]);
    /// # Ok(OnRequestResult::completed("ok")) })
    /// #     .with_llm(|_| Ok(LlmResponse::text(r#"{"value": ["Basel", "Bonn"]}"#)));
    /// # assert_eq!(talk.send("").text(), "ok");
    /// ```
    pub fn new(llm: Llm) -> Self {
        LlmFunction(LlmWorker::builder(llm).build())
    }

    /// With instructions for the model.
    ///
    /// ```
    /// # use dormouse_sdk::{LlmFunction, LlmResponse, OnRequestResult, testing::Conversation};
    /// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
    /// let yes_or_no = LlmFunction::<bool>::new_with_system_instructions(runtime.llm(), "Is this a complaint?");
    /// assert!(yes_or_no.run("The heating is cold again!").await?);
    /// # Ok(OnRequestResult::completed("ok")) })
    /// #     .with_llm(|_| Ok(LlmResponse::text(r#"{"value": true}"#)));
    /// # assert_eq!(talk.send("").text(), "ok");
    /// ```
    pub fn new_with_system_instructions(llm: Llm, instructions: impl Into<String>) -> Self {
        let worker = LlmWorker::builder(llm).with_system_instructions(instructions);
        LlmFunction(worker.build())
    }

    /// The model's answer. An answer that is no `T` goes back to the model once, with what is wrong with it.
    ///
    /// ```
    /// # use dormouse_sdk::{LlmFunction, LlmResponse, OnRequestResult, testing::Conversation};
    /// # #[derive(serde::Deserialize, schemars::JsonSchema)]
    /// # struct Mood { word: String }
    /// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
    /// let mood = LlmFunction::<Mood>::new(runtime.llm());
    /// assert_eq!(mood.run("What a day!").await?.word, "sunny");
    /// # Ok(OnRequestResult::completed("ok")) })
    /// #     .with_llm(|_| Ok(LlmResponse::text(r#"{"word": "sunny"}"#)));
    /// # assert_eq!(talk.send("").text(), "ok");
    /// ```
    ///
    /// # Errors
    /// Those of [`Llm::generate`]; [`AgentError::Failed`] if the model refuses or does not give a `T`.
    pub async fn run(&self, input: impl Into<Thread>) -> Result<T, AgentError> {
        self.0.run(input).await
    }
}

/// A model with tools: it may ask for them, several at once and again and again, before its answer, which is a `T`.
///
/// ```
/// # use dormouse_sdk::prelude::*;
/// # use dormouse_sdk::{FunctionTool, Json, LlmResponse, LlmWorker, testing::Conversation};
/// # #[derive(serde::Deserialize, schemars::JsonSchema)]
/// # struct City { city: String }
/// # #[skill(id = "weather", name = "Weather", description = "Tells the weather.")]
/// # struct Weather;
/// # impl SkillHandler for Weather {
/// #     async fn on_request(&self, _: &mut State, _: &ProgressSender, runtime: &Runtime, content: Content)
/// #         -> Result<OnRequestResult, AgentError> {
/// let forecast = FunctionTool::new("forecast", "Forecasts the weather.", async |at: City| {
///     Ok(format!("rain in {}", at.city))
/// });
/// let worker = LlmWorker::<String>::builder(runtime.llm())
///     .with_system_instructions("Give advice in one sentence.")
///     .with_tool(forecast)
///     .build();
/// let advice = worker.run(content.text()).await?;
/// # Ok(OnRequestResult::completed(advice)) } }
/// # let mut talk = Conversation::new(Weather).with_llm(|request| Ok(match request.thread.turns.len() {
/// #     1 => LlmResponse::tool_call("forecast", Json::parse(r#"{"city": "Oslo"}"#)?),
/// #     _ => LlmResponse::text(r#"{"value": "Take an umbrella."}"#),
/// # }));
/// # assert_eq!(talk.send("Oslo?").text(), "Take an umbrella.");
/// ```
pub struct LlmWorker<T> {
    llm: Llm,
    system: String,
    tools: Vec<Box<dyn BaseTool>>,
    max_iterations: u32,
    answer: PhantomData<fn() -> T>,
}

/// Fills in an [`LlmWorker`].
///
/// ```
/// # use dormouse_sdk::{LlmResponse, LlmWorker, LlmWorkerBuilder, OnRequestResult, Runtime};
/// # use dormouse_sdk::testing::Conversation;
/// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
/// // Workers that differ in what they are to do.
/// fn worker(runtime: &Runtime, task: &str) -> LlmWorker<String> {
///     let builder: LlmWorkerBuilder<String> = LlmWorker::builder(runtime.llm());
///     builder.with_system_instructions(format!("{task} Answer in English.")).build()
/// }
/// let summary = worker(runtime, "Summarise.").run(content.text()).await?;
/// let review = worker(runtime, "Find mistakes.").run(summary).await?;
/// assert_eq!(review, "None.");
/// # Ok(OnRequestResult::completed("ok")) })
/// #     .with_llm(|_| Ok(LlmResponse::text(r#"{"value": "None."}"#)));
/// # assert_eq!(talk.send("").text(), "ok");
/// ```
pub struct LlmWorkerBuilder<T>(LlmWorker<T>);

impl<T> LlmWorker<T> {
    /// A worker without instructions and tools, and with at most 10 requests in one run.
    ///
    /// ```
    /// # use dormouse_sdk::{LlmResponse, LlmWorker, OnRequestResult, testing::Conversation};
    /// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
    /// let worker = LlmWorker::<u32>::builder(runtime.llm()).build();
    /// assert_eq!(worker.run("What is 6 times 7?").await?, 42);
    /// # Ok(OnRequestResult::completed("ok")) })
    /// #     .with_llm(|_| Ok(LlmResponse::text(r#"{"value": 42}"#)));
    /// # assert_eq!(talk.send("").text(), "ok");
    /// ```
    pub fn builder(llm: Llm) -> LlmWorkerBuilder<T> {
        LlmWorkerBuilder(LlmWorker {
            llm,
            system: String::new(),
            tools: Vec::new(),
            max_iterations: MAX_ITERATIONS,
            answer: PhantomData,
        })
    }
}

impl<T> LlmWorkerBuilder<T> {
    /// Instructions for the model.
    ///
    /// ```
    /// # use dormouse_sdk::{LlmResponse, LlmWorker, OnRequestResult, testing::Conversation};
    /// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
    /// let worker = LlmWorker::<String>::builder(runtime.llm())
    ///     .with_system_instructions("Answer in French.")
    ///     .build();
    /// assert_eq!(worker.run("Good day").await?, "Bonjour");
    /// # Ok(OnRequestResult::completed("ok")) }).with_llm(|request| {
    /// #     assert_eq!(request.thread.system, "Answer in French.");
    /// #     Ok(LlmResponse::text(r#"{"value": "Bonjour"}"#))
    /// # });
    /// # assert_eq!(talk.send("").text(), "ok");
    /// ```
    pub fn with_system_instructions(mut self, instructions: impl Into<String>) -> Self {
        self.0.system = instructions.into();
        self
    }

    /// Something that the model may ask for.
    ///
    /// ```
    /// # use dormouse_sdk::{AgentError, Json, LlmResponse, LlmWorker, OnRequestResult, tool};
    /// # use dormouse_sdk::testing::Conversation;
    /// # #[derive(serde::Deserialize, schemars::JsonSchema)]
    /// # struct City { city: String }
    /// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
    /// /// Forecasts the weather of a city.
    /// #[tool]
    /// async fn forecast(place: City) -> Result<String, AgentError> {
    ///     Ok(format!("rain in {}", place.city))
    /// }
    /// let worker = LlmWorker::<String>::builder(runtime.llm()).with_tool(forecast).build();
    /// assert_eq!(worker.run("An umbrella in Oslo?").await?, "Yes.");
    /// # Ok(OnRequestResult::completed("ok")) }).with_llm(|request| Ok(match request.thread.turns.len() {
    /// #     1 => LlmResponse::tool_call("forecast", Json::parse(r#"{"city": "Oslo"}"#)?),
    /// #     _ => LlmResponse::text(r#"{"value": "Yes."}"#),
    /// # }));
    /// # assert_eq!(talk.send("").text(), "ok");
    /// ```
    pub fn with_tool(mut self, tool: impl BaseTool + 'static) -> Self {
        self.0.tools.push(Box::new(tool));
        self
    }

    /// How many requests to the model one run may take; at least 1.
    ///
    /// ```
    /// # use dormouse_sdk::{Json, LlmResponse, LlmWorker, OnRequestResult, testing::Conversation};
    /// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
    /// let worker = LlmWorker::<String>::builder(runtime.llm()).with_max_iterations(3).build();
    /// let error = worker.run("Hello").await.unwrap_err();
    /// assert_eq!(error.to_string(), "the model gave no answer in 3 requests");
    /// # Ok(OnRequestResult::completed("ok")) }).with_llm(|_| {
    /// #     Ok(LlmResponse::tool_call("again", Json::parse("{}")?))
    /// # });
    /// # assert_eq!(talk.send("").text(), "ok");
    /// ```
    pub fn with_max_iterations(mut self, requests: u32) -> Self {
        self.0.max_iterations = requests.max(1);
        self
    }

    /// The worker.
    ///
    /// ```
    /// # use dormouse_sdk::{LlmResponse, LlmWorker, OnRequestResult, testing::Conversation};
    /// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
    /// let worker = LlmWorker::<Vec<String>>::builder(runtime.llm()).build();
    /// let (north, south) = (worker.run("Northern towns").await?, worker.run("Southern towns").await?);
    /// assert_eq!(north, south); // a worker keeps nothing between runs
    /// # Ok(OnRequestResult::completed("ok")) })
    /// #     .with_llm(|_| Ok(LlmResponse::text(r#"{"value": ["Rome"]}"#)));
    /// # assert_eq!(talk.send("").text(), "ok");
    /// ```
    pub fn build(self) -> LlmWorker<T> {
        self.0
    }
}

impl<T: DeserializeOwned + JsonSchema> LlmWorker<T> {
    /// Asks the model, runs the tools that it asks for (those of one turn at once), and returns its answer. If it is cut
    /// off in a tool call, the model is told so once.
    ///
    /// ```
    /// # use dormouse_sdk::{LlmResponse, LlmWorker, OnRequestResult, Thread, testing::Conversation};
    /// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
    /// let worker = LlmWorker::<String>::builder(runtime.llm()).build();
    /// let thread = Thread::from_user("Good day").with_system("Answer in French.");
    /// assert_eq!(worker.run(thread).await?, "Bonjour");
    /// # Ok(OnRequestResult::completed("ok")) })
    /// #     .with_llm(|_| Ok(LlmResponse::text(r#"{"value": "Bonjour"}"#)));
    /// # assert_eq!(talk.send("").text(), "ok");
    /// ```
    ///
    /// # Errors
    /// Those of [`Llm::generate`]; [`AgentError::Failed`] if the model refuses, does not give a `T` or does not come
    /// to an end.
    pub async fn run(&self, input: impl Into<Thread>) -> Result<T, AgentError> {
        let (schema, wrapped) = schema::of::<T>();
        let mut thread = input.into();
        if !self.system.is_empty() {
            thread.system = match &*thread.system {
                "" => self.system.clone(),
                more => format!("{}\n\n{more}", self.system),
            };
        }
        let mut request = LlmRequest {
            schema: Some(Json::from(schema)),
            tools: self.tools.iter().map(|tool| tool.declaration()).collect(),
            ..LlmRequest::from(thread)
        };
        let mut is_repaired = false;
        for _ in 0..self.max_iterations {
            let response = self.llm.generate(request.clone()).await?;
            let turns = &mut request.thread.turns;
            let said = LlmTurn::Assistant {
                text: response.text.clone(),
                tool_calls: response.tool_calls.clone(),
            };
            match response.stop {
                StopReason::Refused => {
                    let sentence = format!("the model refuses to answer: {}", response.text);
                    return Err(AgentError::failed(sentence));
                }
                StopReason::Tools => {
                    let results = response.tool_calls.into_iter().map(|call| self.tool(call));
                    turns.push(said);
                    turns.push(LlmTurn::ToolResults(join_all(results).await));
                    continue;
                }
                // Which of them is whole, nobody knows.
                StopReason::Length if !response.tool_calls.is_empty() => {
                    if is_repaired {
                        let sentence =
                            "the model's answer was cut off in the middle of a tool call";
                        return Err(AgentError::failed(sentence));
                    }
                    is_repaired = true;
                    turns.push(said);
                    let calls = response.tool_calls.into_iter();
                    turns.push(LlmTurn::ToolResults(calls.map(cut_off).collect()));
                    continue;
                }
                StopReason::End | StopReason::Length => {}
            }
            let error = match schema::read(&response.text, wrapped) {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if is_repaired || response.stop == StopReason::Length {
                let sentence =
                    format!("the model's answer does not have the form asked for: {error}");
                return Err(AgentError::failed(sentence));
            }
            is_repaired = true;
            turns.push(said);
            turns.push(LlmTurn::User(format!(
                "That does not have the form asked for ({error}). Answer again, with JSON alone."
            )));
        }
        let sentence = format!(
            "the model gave no answer in {} requests",
            self.max_iterations
        );
        Err(AgentError::failed(sentence))
    }

    async fn tool(&self, call: ToolCall) -> ToolResult {
        let found = self
            .tools
            .iter()
            .find(|tool| tool.declaration().name == call.name);
        let done = match found {
            Some(tool) => tool.run_async(call.arguments).await,
            None => Err(AgentError::failed(format!(
                "there is no tool {:?}",
                call.name
            ))),
        };
        let (content, is_error) = match done {
            Ok(json) => (plain(json), false),
            Err(error) => (error.to_string(), true),
        };
        ToolResult {
            call_id: call.id,
            content,
            is_error,
        }
    }
}

/// What the model is told of a tool call that may be half of one.
fn cut_off(call: ToolCall) -> ToolResult {
    ToolResult {
        call_id: call.id,
        content: "Not done: your answer was cut off at its longest. Answer again, with less."
            .to_owned(),
        is_error: true,
    }
}

/// A text without its quotes, anything else as JSON.
fn plain(json: Json) -> String {
    match json.deserialize() {
        Ok(Value::String(text)) => text,
        _ => json.into_string(),
    }
}
