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
    pub fn context(&self) -> &CallContext {
        &self.context
    }

    /// The newest turns of this task, oldest first, at most `limit`, the message of this call
    /// included.
    pub async fn history(&self, limit: u32) -> Result<Vec<Turn>, AgentError> {
        self.host.history(limit).await
    }

    /// Writes a log record. The platform adds agent, version, task and time.
    pub fn log(&self, level: Level, message: &str, fields: &[(&str, &str)]) {
        self.host.log(level, message, fields);
    }

    /// What the agent remembers for longer than a task.
    pub fn memory(&self, scope: MemoryScope) -> Memory {
        Memory {
            host: Rc::clone(&self.host),
            scope,
        }
    }

    /// The platform's default language model. The agent needs the grant [`Service::Llm`](crate::Service).
    pub fn llm(&self) -> Llm {
        Llm {
            host: Rc::clone(&self.host),
            model: None,
        }
    }

    /// The same by the name that agents from radkit call.
    pub fn default_llm(&self) -> Llm {
        self.llm()
    }

    /// A value of the agent's configuration, which its operator sets; none if it is not set. Secrets are not there: the
    /// host puts them into requests ([`http`](Self::http)).
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
    pub fn agents(&self) -> Agents {
        Agents {
            host: Rc::clone(&self.host),
        }
    }

    /// HTTP requests to destinations that the agent was granted ([`Service::http`](crate::Service::http)).
    pub fn http(&self) -> Http {
        Http {
            #[cfg(not(target_family = "wasm"))]
            host: Rc::clone(&self.host),
        }
    }

    /// Waits without holding anything up: other calls in this instance, and what is joined with this, go on.
    /// (`std::thread::sleep` holds up the whole instance.)
    pub async fn sleep(&self, time: Duration) {
        self.host.sleep(time).await;
    }
}

/// What a call is about.
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
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// Who spoke.
    pub role: Role,
    /// What was said.
    pub content: Content,
}

/// Who spoke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The client.
    User,
    /// The agent.
    Agent,
}

/// How much a log record matters, least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names are the usual ones")]
pub enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}
