//! Skills that are files: instructions, and a model that follows them.

use std::rc::Rc;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    AgentError, BaseTool, Content, LlmTurn, LlmWorker, OnInputResult, OnRequestResult, Part,
    PartContent, ProgressSender, Role, Runtime, SkillHandler, SkillMetadata, SkillSlot, State,
    Thread,
};

/// Messages of its task that the model is shown.
const MAX_TURNS: u32 = 100;

/// Said to the model after the instructions of the file.
const FORM: &str = "Answer with a JSON object. `status` is \"complete\" when the work is done, \"needs_input\" when \
    the user must say more first, \"failed\" when it cannot be done. `message` is what the user reads: the result, \
    the question, or the reason.";

/// A skill without code: a `SKILL.md`, whose instructions a language model follows. [`include_skill!`] compiles one in,
/// [`AgentBuilder::with_skill_def`](crate::AgentBuilder::with_skill_def) adds it to an agent.
///
/// The model sees the messages of the task. It completes the task with a message, or fails it, or asks back: then the task
/// waits for input, and the answer goes to the model with all that was said before.
///
/// ```
/// use dormouse_sdk::{Agent, LlmResponse, Outcome, include_skill, testing::Conversation};
///
/// let skill = include_skill!("tests/skills/summarise");
/// let mut talk = Conversation::with_agent(Agent::builder().with_name("editor").with_skill_def(skill).build())
///     .with_llm(|request| {
///         assert!(request.thread.system.starts_with("# Summaries"));
///         Ok(LlmResponse::text(match request.thread.turns.len() {
///             1 => r#"{"status": "needs_input", "message": "What text?"}"#,
///             _ => r#"{"status": "complete", "message": "It rains."}"#,
///         }))
///     });
/// let question = talk.send("A summary, please");
/// assert!(matches!(question.outcome, Outcome::InputRequired { .. }));
/// assert_eq!(talk.send("It has been raining for hours.").text(), "It rains.");
/// ```
///
/// [`include_skill!`]: crate::include_skill
#[derive(Clone)]
pub struct AgentSkillDef {
    name: String,
    description: String,
    instructions: String,
    tools: Vec<Rc<dyn BaseTool>>,
}

impl AgentSkillDef {
    /// A skill of this name, which is its id, too.
    ///
    /// ```
    /// use dormouse_sdk::{Agent, AgentSkillDef};
    ///
    /// // Instructions that are no file: made of parts, for example.
    /// let languages = ["Dutch", "Frisian"];
    /// let skills = languages.map(|language| {
    ///     let id = format!("into-{}", language.to_lowercase());
    ///     let what = format!("Translates into {language}.");
    ///     AgentSkillDef::new(id, what, format!("Translate what the user says into {language}."))
    /// });
    /// let agent = skills.into_iter().fold(Agent::builder(), |agent, skill| agent.with_skill_def(skill)).build();
    /// assert_eq!(agent.skills().nth(1).map(|skill| &*skill.id), Some("into-frisian"));
    /// ```
    pub fn new(
        name: impl Into<String>,
        description: impl Into<String>,
        instructions: impl Into<String>,
    ) -> Self {
        AgentSkillDef {
            name: name.into(),
            description: description.into(),
            instructions: instructions.into(),
            tools: Vec::new(),
        }
    }

    /// Something that the model may ask for while it follows the instructions.
    ///
    /// ```
    /// # use dormouse_sdk::{Agent, AgentSkillDef, AgentError, Json, LlmResponse, testing::Conversation, tool};
    /// # #[derive(serde::Deserialize, schemars::JsonSchema)]
    /// # struct City { city: String }
    /// /// Forecasts the weather of a city.
    /// #[tool]
    /// async fn forecast(place: City) -> Result<String, AgentError> {
    ///     Ok(format!("rain in {}", place.city))
    /// }
    ///
    /// let instructions = "Look at the forecast, then say what to pack.";
    /// let skill = AgentSkillDef::new("packing", "Says what to pack.", instructions).with_tool(forecast);
    /// # let mut talk = Conversation::with_agent(Agent::builder().with_name("a").with_skill_def(skill).build())
    /// #     .with_llm(|request| Ok(match request.thread.turns.len() {
    /// #         1 => LlmResponse::tool_call("forecast", Json::parse(r#"{"city": "Oslo"}"#)?),
    /// #         _ => LlmResponse::text(r#"{"status": "complete", "message": "An umbrella."}"#),
    /// #     }));
    /// # assert_eq!(talk.send("Oslo").text(), "An umbrella.");
    /// ```
    pub fn with_tool(mut self, tool: impl BaseTool + 'static) -> Self {
        self.tools.push(Rc::new(tool));
        self
    }

    pub(crate) fn metadata(&self) -> SkillMetadata {
        let modes = ["text/plain", "application/json"].map(str::to_owned);
        SkillMetadata {
            id: self.name.clone(),
            name: self.name.clone(),
            description: self.description.clone(),
            tags: vec![self.name.clone()],
            examples: Vec::new(),
            input_modes: modes.to_vec(),
            output_modes: vec!["text/plain".to_owned()],
        }
    }

    async fn work(&self, runtime: &Runtime) -> Result<Work, AgentError> {
        let instructions = format!("{}\n\n{FORM}", self.instructions);
        let mut worker = LlmWorker::builder(runtime.llm()).with_system_instructions(instructions);
        for tool in &self.tools {
            worker = worker.with_tool(Rc::clone(tool));
        }
        let turns = runtime.history(MAX_TURNS).await?.into_iter();
        let turns = turns.map(|turn| match turn.role {
            Role::User => LlmTurn::User(plain(&turn.content)),
            Role::Agent => LlmTurn::Assistant {
                text: plain(&turn.content),
                tool_calls: Vec::new(),
            },
        });
        // A thread begins with a person.
        let turns = turns.skip_while(|turn| !matches!(turn, LlmTurn::User(_)));
        let thread = Thread {
            system: String::new(),
            turns: turns.collect(),
        };
        worker.build().run(thread).await
    }
}

impl SkillHandler for AgentSkillDef {
    async fn on_request(
        &self,
        _state: &mut State,
        _progress: &ProgressSender,
        runtime: &Runtime,
        _content: Content,
    ) -> Result<OnRequestResult, AgentError> {
        let Work { status, message } = self.work(runtime).await?;
        let message = Content::from(message);
        Ok(match status {
            WorkStatus::Complete => OnRequestResult::Completed {
                message: Some(message),
                artifacts: Vec::new(),
            },
            WorkStatus::NeedsInput => OnRequestResult::InputRequired {
                message,
                slot: SkillSlot::new("answer"),
            },
            WorkStatus::Failed => OnRequestResult::Failed { error: message },
        })
    }

    async fn on_input_received(
        &self,
        _state: &mut State,
        _progress: &ProgressSender,
        runtime: &Runtime,
        _content: Content,
    ) -> Result<OnInputResult, AgentError> {
        let Work { status, message } = self.work(runtime).await?;
        let message = Content::from(message);
        Ok(match status {
            WorkStatus::Complete => OnInputResult::Completed {
                message: Some(message),
                artifacts: Vec::new(),
            },
            WorkStatus::NeedsInput => OnInputResult::InputRequired {
                message,
                slot: SkillSlot::new("answer"),
            },
            WorkStatus::Failed => OnInputResult::Failed { error: message },
        })
    }
}

/// What the model answers with. A `reason`, as in files written for radkit, is a message, too.
#[derive(Deserialize, JsonSchema)]
struct Work {
    status: WorkStatus,
    /// What the user reads.
    #[serde(alias = "reason")]
    message: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum WorkStatus {
    Complete,
    NeedsInput,
    Failed,
}

/// A message as a model reads it: its texts, its data as JSON, its files as text or by their address.
fn plain(content: &Content) -> String {
    let plain = |part: &Part| match &part.content {
        PartContent::Text(text) => text.clone(),
        PartContent::Data(json) => json.as_str().to_owned(),
        PartContent::Raw(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        PartContent::Url(url) => url.clone(),
    };
    content
        .parts
        .iter()
        .map(plain)
        .collect::<Vec<_>>()
        .join("\n")
}
