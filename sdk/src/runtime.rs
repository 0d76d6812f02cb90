use std::rc::Rc;
use std::time::Duration;

use crate::host::CallHost;
use crate::{AgentError, Agents, Content, Http, Json, Llm, Memory, MemoryScope};

/// What a skill may know about its call and ask of the platform.
///
/// ```
/// # use dormouse_sdk::prelude::*;
/// # use dormouse_sdk::{Level, testing::Conversation};
/// # #[skill(id = "who", name = "Who", description = "Says who calls.")]
/// # struct Who;
/// # impl SkillHandler for Who {
/// #     async fn on_request(&self, _: &mut State, _: &ProgressSender, runtime: &Runtime, _: Content)
/// #         -> Result<OnRequestResult, AgentError> {
/// let principal = &runtime.context().principal;
/// runtime.log(Level::Info, "asked", &[("by", principal)]);
/// let earlier = runtime.history(10).await?;
/// # Ok(OnRequestResult::completed(format!("{principal} {}", earlier.len()))) } }
/// # assert_eq!(Conversation::new(Who).send("me?").text(), "anonymous 1");
/// ```
pub struct Runtime {
    pub(crate) host: Rc<dyn CallHost>,
    pub(crate) context: CallContext,
}

impl Runtime {
    /// What the call is about.
    ///
    /// ```
    /// # use dormouse_sdk::{OnRequestResult, testing::Conversation};
    /// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
    /// let call = runtime.context();
    /// assert_eq!((&*call.principal, &*call.task_id), ("anonymous", "task-1"));
    /// # Ok(OnRequestResult::completed("ok")) });
    /// # assert_eq!(talk.send("").text(), "ok");
    /// ```
    pub fn context(&self) -> &CallContext {
        &self.context
    }

    /// The newest turns of this task, oldest first, at most `limit`, the message of this call
    /// included.
    ///
    /// ```
    /// # use dormouse_sdk::{OnRequestResult, testing::Conversation};
    /// let mut talk = Conversation::with_function(async |_, _, runtime, _| {
    ///     let turns = runtime.history(10).await?;
    ///     let said = turns.last().map(|turn| turn.content.text());
    ///     Ok(OnRequestResult::completed(said.unwrap_or_default()))
    /// });
    /// assert_eq!(talk.send("tulips").text(), "tulips");
    /// ```
    pub async fn history(&self, limit: u32) -> Result<Vec<Turn>, AgentError> {
        self.host.history(limit).await
    }

    /// Writes a log record. The platform adds agent, version, task and time.
    ///
    /// ```
    /// # use dormouse_sdk::{Level, OnRequestResult, testing::{Conversation, Event}};
    /// let mut talk = Conversation::with_function(async |_, _, runtime, _| {
    ///     runtime.log(Level::Warn, "no rates today", &[("currency", "eur")]);
    ///     Ok(OnRequestResult::completed("About a dollar"))
    /// });
    /// let answer = talk.send("?");
    /// assert!(matches!(&answer.events[0], Event::Log { level: Level::Warn, .. }));
    /// ```
    pub fn log(&self, level: Level, message: &str, fields: &[(&str, &str)]) {
        self.host.log(level, message, fields);
    }

    /// What the agent remembers for longer than a task.
    ///
    /// ```
    /// # use dormouse_sdk::{MemoryScope, OnRequestResult, testing::Conversation};
    /// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
    /// let ours = runtime.memory(MemoryScope::Agent);
    /// let theirs = runtime.memory(MemoryScope::Principal);
    /// theirs.save("tea", "green").await?;
    /// assert_eq!(ours.load::<String>("tea").await?, None);
    /// # Ok(OnRequestResult::completed("ok")) });
    /// # assert_eq!(talk.send("").text(), "ok");
    /// ```
    pub fn memory(&self, scope: MemoryScope) -> Memory {
        Memory {
            host: Rc::clone(&self.host),
            scope,
        }
    }

    /// The platform's default language model. The agent needs the grant [`Service::Llm`](crate::Service).
    ///
    /// ```
    /// # use dormouse_sdk::{LlmResponse, OnRequestResult, testing::Conversation};
    /// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
    /// let answer = runtime.llm().generate("What is 6 times 7?").await?;
    /// assert_eq!(answer.text, "42");
    /// # Ok(OnRequestResult::completed("ok")) }).with_llm(|_| Ok(LlmResponse::text("42")));
    /// # assert_eq!(talk.send("").text(), "ok");
    /// ```
    pub fn llm(&self) -> Llm {
        Llm {
            host: Rc::clone(&self.host),
            model: None,
        }
    }

    /// The same by the name that agents from radkit call.
    ///
    /// ```
    /// # use dormouse_sdk::{LlmResponse, OnRequestResult, testing::Conversation};
    /// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
    /// let answer = runtime.default_llm().generate("What is 6 times 7?").await?;
    /// assert_eq!(answer.text, "42");
    /// # Ok(OnRequestResult::completed("ok")) }).with_llm(|_| Ok(LlmResponse::text("42")));
    /// # assert_eq!(talk.send("").text(), "ok");
    /// ```
    pub fn default_llm(&self) -> Llm {
        self.llm()
    }

    /// A value of the agent's configuration, which its operator sets; none if it is not set. Secrets are not there: the
    /// host puts them into requests ([`http`](Self::http)).
    ///
    /// ```
    /// # use dormouse_sdk::{OnRequestResult, testing::Conversation};
    /// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
    /// let currency = runtime.config("currency")?.unwrap_or("eur".to_owned());
    /// assert_eq!(currency, "nok");
    /// # Ok(OnRequestResult::completed("ok")) }).with_config("currency", "nok");
    /// # assert_eq!(talk.send("").text(), "ok");
    /// ```
    ///
    /// # Errors
    /// Unavailable if the platform cannot read it.
    pub fn config(&self, key: &str) -> Result<Option<String>, AgentError> {
        // Not behind the trait object on the platform: a module that reads none does not import this.
        #[cfg(target_family = "wasm")]
        return crate::wasm::config(key);
        #[cfg(not(target_family = "wasm"))]
        Ok(self.host.config(key))
    }

    /// Other agents of the platform that this one was granted ([`Service::agent`](crate::Service::agent)).
    ///
    /// ```
    /// # use dormouse_sdk::{AgentReply, OnRequestResult, testing::Conversation};
    /// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
    /// let weather = runtime.agents().call("weather", "Oslo").await?;
    /// assert_eq!(weather.text(), "Rain");
    /// # Ok(OnRequestResult::completed("ok")) }).with_agents(|_| Ok(AgentReply::message("Rain")));
    /// # assert_eq!(talk.send("").text(), "ok");
    /// ```
    pub fn agents(&self) -> Agents {
        Agents {
            host: Rc::clone(&self.host),
        }
    }

    /// HTTP requests to destinations that the agent was granted ([`Service::http`](crate::Service::http)).
    ///
    /// ```
    /// # use dormouse_sdk::{HttpResponse, OnRequestResult, testing::Conversation};
    /// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
    /// let rates = runtime.http().get("https://example.com/rates").send().await?;
    /// assert_eq!(rates.status, 200);
    /// # Ok(OnRequestResult::completed("ok")) }).with_http(|_| Ok(HttpResponse::new(200, "")));
    /// # assert_eq!(talk.send("").text(), "ok");
    /// ```
    pub fn http(&self) -> Http {
        Http {
            #[cfg(not(target_family = "wasm"))]
            host: Rc::clone(&self.host),
        }
    }

    /// Waits without holding anything up: other calls in this instance, and what is joined with this, go on.
    /// (`std::thread::sleep` holds up the whole instance.)
    ///
    /// ```
    /// # use dormouse_sdk::{OnRequestResult, testing::Conversation};
    /// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
    /// let mut wait = std::time::Duration::from_millis(1);
    /// while wait.as_millis() < 4 {
    ///     runtime.sleep(wait).await; // for a server that asks for patience, say
    ///     wait *= 2;
    /// }
    /// # Ok(OnRequestResult::completed("ok")) });
    /// # assert_eq!(talk.send("").text(), "ok");
    /// ```
    pub async fn sleep(&self, time: Duration) {
        self.host.sleep(time).await;
    }
}

/// What a call is about.
///
/// ```
/// use dormouse_sdk::{CallContext, OnRequestResult, testing::Conversation};
///
/// /// A cheaper answer if the client has asked for one, in the metadata that it and the agent agreed on.
/// fn is_short(call: &CallContext) -> bool {
///     let wishes = call.metadata.as_ref().map(|json| json.as_str());
///     wishes.is_some_and(|wishes| wishes.contains("short"))
/// }
///
/// let mut talk = Conversation::with_function(async |_, _, runtime, _| {
///     let long = !is_short(runtime.context());
///     Ok(OnRequestResult::completed(if long { "It rains, as ever." } else { "Rain." }))
/// });
/// assert_eq!(talk.send("?").text(), "It rains, as ever.");
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct CallContext {
    /// The agent that was called, as its module declares it; it may be deployed under another name.
    pub agent: String,
    /// The task. A call that answers with a message leaves none.
    pub task_id: String,
    /// The context that groups tasks and messages of a client.
    pub context_id: String,
    /// Who was authenticated; "anonymous" without authentication.
    pub principal: String,
    /// Metadata of the A2A request, a JSON object.
    pub metadata: Option<Json>,
    /// The client's id of the message. It may come again, with the same message or another.
    pub message_id: String,
    /// Tasks that the message names as its background.
    pub reference_task_ids: Vec<String>,
    /// Those of the agent's extensions that the client has activated.
    pub extensions: Vec<String>,
    /// How long, from its start, the call may take.
    pub deadline: Duration,
}

/// One message of a task's history.
///
/// ```
/// # use dormouse_sdk::{OnRequestResult, Role, Turn, testing::Conversation};
/// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
/// let transcript: Vec<String> = runtime.history(10).await?.iter().map(|turn: &Turn| {
///     let who = if turn.role == Role::User { "they" } else { "we" };
///     format!("{who}: {}", turn.content.text())
/// }).collect();
/// assert_eq!(transcript, ["they: tulips"]);
/// # Ok(OnRequestResult::completed("ok")) });
/// # assert_eq!(talk.send("tulips").text(), "ok");
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// Who spoke.
    pub role: Role,
    /// What was said.
    pub content: Content,
}

/// Who spoke.
///
/// ```
/// # use dormouse_sdk::{OnRequestResult, Role, testing::Conversation};
/// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
/// let turns = runtime.history(10).await?;
/// let asked = turns.iter().filter(|turn| turn.role == Role::User).count();
/// assert_eq!(asked, 1);
/// # Ok(OnRequestResult::completed("ok")) });
/// # assert_eq!(talk.send("").text(), "ok");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The client.
    User,
    /// The agent.
    Agent,
}

/// How much a log record matters, least first.
///
/// ```
/// use dormouse_sdk::Level;
///
/// assert!(Level::Error > Level::Warn && Level::Debug > Level::Trace);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names are the usual ones")]
pub enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}
