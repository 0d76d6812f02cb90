use std::rc::Rc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::host::{CallHost, Scope};
use crate::{AgentError, SkillSlot};

/// What an agent remembers between calls: per task, and per context (the session of a client).
/// It is kept if and only if the call returns; a call that panics leaves no half-written state.
///
/// ```
/// use dormouse_sdk::prelude::*;
/// use dormouse_sdk::testing::Conversation;
///
/// #[skill(id = "count", name = "Count", description = "Counts the requests of a context.")]
/// struct Count;
///
/// impl SkillHandler for Count {
///     async fn on_request(
///         &self,
///         state: &mut State,
///         _progress: &ProgressSender,
///         _runtime: &Runtime,
///         _content: Content,
///     ) -> Result<OnRequestResult, AgentError> {
///         let count = state.session().load::<u64>("count")?.unwrap_or(0) + 1;
///         state.session().save("count", &count)?;
///         Ok(OnRequestResult::completed(count.to_string()))
///     }
/// }
///
/// let mut conversation = Conversation::new(Count);
/// assert_eq!(conversation.send("once").text(), "1");
/// assert_eq!(conversation.send("again").text(), "2");
/// ```
pub struct State {
    task: StateScope,
    session: StateScope,
    slot: Option<SkillSlot>,
}

impl State {
    pub(crate) fn new(host: &Rc<dyn CallHost>, slot: Option<SkillSlot>) -> Self {
        let scope = |scope| StateScope {
            host: Rc::clone(host),
            scope,
        };
        State {
            task: scope(Scope::Task),
            session: scope(Scope::Context),
            slot,
        }
    }

    /// Values of this task.
    pub fn task(&mut self) -> &mut StateScope {
        &mut self.task
    }

    /// Values of this context, shared by its tasks with this agent.
    pub fn session(&mut self) -> &mut StateScope {
        &mut self.session
    }

    /// The note that the last call of this task left in its `InputRequired` or `AuthRequired`;
    /// `None` in the first call of a task.
    pub fn slot<T: DeserializeOwned>(&self) -> Result<Option<T>, AgentError> {
        self.slot.as_ref().map(SkillSlot::deserialize).transpose()
    }

    pub(crate) fn awaits_input(&self) -> bool {
        self.slot.is_some()
    }
}

/// Values by key, of one task or of one context.
pub struct StateScope {
    host: Rc<dyn CallHost>,
    scope: Scope,
}

impl StateScope {
    /// Sets a value. Fails if JSON cannot express it, or over a limit of the platform.
    pub fn save(&mut self, key: &str, value: &(impl Serialize + ?Sized)) -> Result<(), AgentError> {
        let value = serde_json::to_string(value)?;
        self.host.state_set(self.scope, key, Some(value))
    }

    /// Reads a value; `None` if there is none. Fails if it has another form than `T`.
    pub fn load<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, AgentError> {
        match self.host.state_get(self.scope, key)? {
            Some(value) => Ok(Some(serde_json::from_str(&value)?)),
            None => Ok(None),
        }
    }

    /// Removes a value, if there is one.
    pub fn remove(&mut self, key: &str) -> Result<(), AgentError> {
        self.host.state_set(self.scope, key, None)
    }
}
