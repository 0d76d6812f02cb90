use std::rc::Rc;

use crate::host::CallHost;
use crate::{AgentError, Artifact, Content};

/// Other agents of the platform; see [`Runtime::agents`](crate::Runtime::agents).
///
/// An agent is called in the same process, for the principal of this call and in its context. It needs a grant for each
/// ([`Service::agent`](crate::Service::agent)). An agent that waits for this call already cannot be called.
///
/// ```
/// use dormouse_sdk::prelude::*;
/// use dormouse_sdk::{AgentReply, join_all, testing::Conversation};
///
/// #[skill(id = "trip", name = "Trip", description = "Asks about weather and hotels.")]
/// struct Trip;
///
/// impl SkillHandler for Trip {
///     async fn on_request(
///         &self, _: &mut State, _: &ProgressSender, runtime: &Runtime, content: Content,
///     ) -> Result<OnRequestResult, AgentError> {
///         let agents = runtime.agents();
///         let city = content.text();
///         let calls = ["weather", "hotels"].map(|agent| agents.call(agent, &*city));
///         let mut said = Vec::new();
///         for reply in join_all(calls).await {
///             said.push(reply?.completed()?.text());
///         }
///         Ok(OnRequestResult::completed(said.join("; ")))
///     }
/// }
///
/// let mut conversation = Conversation::new(Trip)
///     .with_agents(|request| Ok(AgentReply::message(format!("{} of {}", request.agent, request.message.text()))));
/// assert_eq!(conversation.send("Oslo").text(), "weather of Oslo; hotels of Oslo");
/// ```
pub struct Agents {
    pub(crate) host: Rc<dyn CallHost>,
}

impl Agents {
    /// Sends a message to an agent with one skill, and waits for what comes of it.
    ///
    /// ```
    /// # use dormouse_sdk::{AgentReply, Artifact, OnRequestResult, testing::Conversation};
    /// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
    /// let reply = runtime.agents().call("csv-stats", "a,b\n1,2\n").await?.completed()?;
    /// assert_eq!(reply.artifacts()[0].text(), "2 columns");
    /// # Ok(OnRequestResult::completed("ok")) }).with_agents(|request| {
    /// #     assert_eq!(request.agent, "csv-stats");
    /// #     Ok(AgentReply::artifacts_of([Artifact::from_text("columns", "2 columns")]))
    /// # });
    /// # assert_eq!(talk.send("").text(), "ok");
    /// ```
    ///
    /// # Errors
    /// Denied without a grant. Limit if it would be a circle, or is too deep. InvalidInput if there is no such agent or
    /// it does not take the message. Unavailable if no instance is free for it.
    pub async fn call(
        &self,
        agent: &str,
        message: impl Into<Content>,
    ) -> Result<AgentReply, AgentError> {
        self.send(AgentRequest::new(agent, message)).await
    }

    /// The same with a skill, or for a task that waits.
    ///
    /// ```
    /// # use dormouse_sdk::{AgentReply, AgentRequest, OnRequestResult, testing::Conversation};
    /// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
    /// let request = AgentRequest::new("desk", "Two for Oslo").with_skill("book");
    /// let reply = runtime.agents().send(request).await?;
    /// assert_eq!(reply.text(), "Booked");
    /// # Ok(OnRequestResult::completed("ok")) }).with_agents(|request| {
    /// #     assert_eq!(request.skill.as_deref(), Some("book"));
    /// #     Ok(AgentReply::message("Booked"))
    /// # });
    /// # assert_eq!(talk.send("").text(), "ok");
    /// ```
    ///
    /// # Errors
    /// As of [`call`](Self::call).
    pub async fn send(&self, request: AgentRequest) -> Result<AgentReply, AgentError> {
        // Not behind the trait object on the platform: a module that calls nobody does not import this.
        #[cfg(target_family = "wasm")]
        return crate::wasm::call_agent(self.host.handle(), request).await;
        #[cfg(not(target_family = "wasm"))]
        self.host.call_agent(request).await
    }
}

/// A message to an agent.
///
/// ```
/// use dormouse_sdk::AgentRequest;
///
/// let answer = AgentRequest::new("desk", "The 4th of May").with_task("task-7");
/// assert_eq!(answer.task.as_deref(), Some("task-7"));
/// assert_eq!(answer.skill, None); // the task knows its skill
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct AgentRequest {
    /// The name that it is deployed under.
    pub agent: String,
    /// A skill's id; needed if the agent has several.
    pub skill: Option<String>,
    /// A task that waits for input; without, the message begins a new one.
    pub task: Option<String>,
    /// What is sent.
    pub message: Content,
}

impl AgentRequest {
    /// To an agent with one skill, for a new task.
    ///
    /// ```
    /// # use dormouse_sdk::AgentRequest;
    /// let request = AgentRequest::new("csv-stats", "a,b\n1,2\n");
    /// assert_eq!((request.agent.as_str(), request.task), ("csv-stats", None));
    /// ```
    pub fn new(agent: impl Into<String>, message: impl Into<Content>) -> Self {
        Self {
            agent: agent.into(),
            skill: None,
            task: None,
            message: message.into(),
        }
    }

    /// To this skill.
    ///
    /// ```
    /// # use dormouse_sdk::AgentRequest;
    /// let request = AgentRequest::new("desk", "Two for Oslo").with_skill("book");
    /// assert_eq!(request.skill.as_deref(), Some("book"));
    /// ```
    pub fn with_skill(mut self, id: impl Into<String>) -> Self {
        self.skill = Some(id.into());
        self
    }

    /// For a task that waits.
    ///
    /// ```
    /// # use dormouse_sdk::{AgentReply, AgentRequest, AgentTask, AgentTaskState, OnRequestResult};
    /// # use dormouse_sdk::testing::Conversation;
    /// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
    /// let agents = runtime.agents();
    /// let mut reply = agents.call("desk", "Two for Oslo").await?;
    /// if let AgentReply::Task(AgentTask { id, state: AgentTaskState::InputRequired, .. }) = &reply {
    ///     reply = agents.send(AgentRequest::new("desk", "On the 4th of May").with_task(id)).await?;
    /// }
    /// assert_eq!(reply.text(), "Booked");
    /// # Ok(OnRequestResult::completed("ok")) }).with_agents(|request| Ok(match &request.task {
    /// #     Some(_) => AgentReply::message("Booked"),
    /// #     None => AgentReply::Task(AgentTask {
    /// #         id: "task-7".to_owned(),
    /// #         state: AgentTaskState::InputRequired,
    /// #         message: Some("When?".into()),
    /// #         artifacts: Vec::new(),
    /// #     }),
    /// # }));
    /// # assert_eq!(talk.send("").text(), "ok");
    /// ```
    pub fn with_task(mut self, id: impl Into<String>) -> Self {
        self.task = Some(id.into());
        self
    }
}

/// What an agent answered.
///
/// ```
/// use dormouse_sdk::{AgentReply, AgentTaskState};
///
/// fn question(reply: &AgentReply) -> Option<String> {
///     match reply {
///         AgentReply::Task(task) if task.state == AgentTaskState::InputRequired => Some(reply.text()),
///         AgentReply::Task(_) | AgentReply::Message(_) => None,
///     }
/// }
///
/// assert_eq!(question(&AgentReply::message("Booked")), None);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub enum AgentReply {
    /// A message, without a task.
    Message(Content),
    /// A task that has ended, or waits for input.
    Task(AgentTask),
}

/// A task of another agent.
///
/// ```
/// use dormouse_sdk::{AgentReply, AgentTask, AgentTaskState};
///
/// // What a test has another agent answer.
/// let reply = AgentReply::Task(AgentTask {
///     id: "task-7".to_owned(),
///     state: AgentTaskState::Rejected,
///     message: Some("No flights on Sundays".into()),
///     artifacts: Vec::new(),
/// });
/// assert_eq!(reply.text(), "No flights on Sundays");
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct AgentTask {
    /// Its id, to go on with it.
    pub id: String,
    /// Where it is.
    pub state: AgentTaskState,
    /// The message of its last status.
    pub message: Option<Content>,
    /// What it has made.
    pub artifacts: Vec<Artifact>,
}

/// The states of A2A 1.0 §4.1.3.
///
/// ```
/// use dormouse_sdk::AgentTaskState;
///
/// fn waits_for_us(state: AgentTaskState) -> bool {
///     matches!(state, AgentTaskState::InputRequired | AgentTaskState::AuthRequired)
/// }
///
/// assert!(!waits_for_us(AgentTaskState::Completed));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are A2A's")]
pub enum AgentTaskState {
    Submitted,
    Working,
    Completed,
    InputRequired,
    AuthRequired,
    Rejected,
    Failed,
    Canceled,
}

impl AgentReply {
    /// A reply for a test: a message.
    ///
    /// ```
    /// # use dormouse_sdk::AgentReply;
    /// assert_eq!(AgentReply::message("Sunny").text(), "Sunny");
    /// ```
    pub fn message(content: impl Into<Content>) -> Self {
        AgentReply::Message(content.into())
    }

    /// A reply for a test: a completed task with artifacts.
    ///
    /// ```
    /// # use dormouse_sdk::{AgentReply, Artifact};
    /// let reply = AgentReply::artifacts_of([Artifact::from_text("report.md", "# Oslo")]);
    /// assert_eq!(reply.artifacts()[0].text(), "# Oslo");
    /// ```
    pub fn artifacts_of(artifacts: impl IntoIterator<Item = Artifact>) -> Self {
        AgentReply::Task(AgentTask {
            id: "task-of-another".to_owned(),
            state: AgentTaskState::Completed,
            message: None,
            artifacts: artifacts.into_iter().collect(),
        })
    }

    /// The reply itself if the agent is done: a message, or a completed task.
    ///
    /// ```
    /// # use dormouse_sdk::{AgentReply, AgentTask, AgentTaskState};
    /// assert!(AgentReply::message("Sunny").completed().is_ok());
    ///
    /// let failed = AgentReply::Task(AgentTask {
    ///     id: "task-7".to_owned(),
    ///     state: AgentTaskState::Failed,
    ///     message: Some("no such city".into()),
    ///     artifacts: Vec::new(),
    /// });
    /// let error = failed.completed().unwrap_err();
    /// assert!(error.to_string().ends_with("Failed: no such city"));
    /// ```
    ///
    /// # Errors
    /// Unavailable, with the state and the message of the task.
    pub fn completed(self) -> Result<Self, AgentError> {
        match &self {
            AgentReply::Task(task) if task.state != AgentTaskState::Completed => {
                let said = self.text();
                Err(AgentError::Unavailable(format!(
                    "the task of the other agent is {:?}: {said}",
                    task.state
                )))
            }
            _ => Ok(self),
        }
    }

    /// The text of the message; empty without one.
    ///
    /// ```
    /// # use dormouse_sdk::AgentReply;
    /// assert_eq!(AgentReply::message("Sunny").text(), "Sunny");
    /// assert_eq!(AgentReply::artifacts_of([]).text(), ""); // a task that ended without a word
    /// ```
    pub fn text(&self) -> String {
        let message = match self {
            AgentReply::Message(message) => Some(message),
            AgentReply::Task(task) => task.message.as_ref(),
        };
        message.map(Content::text).unwrap_or_default()
    }

    /// The artifacts of the task; none of a message.
    ///
    /// ```
    /// # use dormouse_sdk::{AgentReply, Artifact};
    /// let reply = AgentReply::artifacts_of([Artifact::from_text("a.txt", "1"), Artifact::from_text("b.txt", "2")]);
    /// assert_eq!(reply.artifacts().len(), 2);
    /// assert!(AgentReply::message("Sunny").artifacts().is_empty());
    /// ```
    pub fn artifacts(&self) -> &[Artifact] {
        match self {
            AgentReply::Message(_) => &[],
            AgentReply::Task(task) => &task.artifacts,
        }
    }
}
