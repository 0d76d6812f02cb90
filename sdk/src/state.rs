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
    ///
    /// ```
    /// # use dormouse_sdk::{OnRequestResult, testing::Conversation};
    /// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
    /// state.task().save("step", "asked for a city")?;
    /// assert_eq!(state.task().load::<String>("step")?.as_deref(), Some("asked for a city"));
    /// # Ok(OnRequestResult::completed("ok")) });
    /// # assert_eq!(talk.send("").text(), "ok");
    /// ```
    pub fn task(&mut self) -> &mut StateScope {
        &mut self.task
    }

    /// Values of this context, shared by its tasks with this agent.
    ///
    /// ```
    /// # use dormouse_sdk::{OnRequestResult, testing::Conversation};
    /// let mut talk = Conversation::with_function(async |state, _, _, content| {
    ///     let before: Option<String> = state.session().load("city")?;
    ///     state.session().save("city", &content.text())?;
    ///     Ok(OnRequestResult::completed(before.unwrap_or_default()))
    /// });
    /// talk.send("Oslo");
    /// assert_eq!(talk.send("Bergen").text(), "Oslo"); // another task of the same context
    /// ```
    pub fn session(&mut self) -> &mut StateScope {
        &mut self.session
    }

    /// The note that the last call of this task left in its `InputRequired` or `AuthRequired`;
    /// `None` in the first call of a task.
    ///
    /// ```
    /// # use dormouse_sdk::prelude::*;
    /// # use dormouse_sdk::testing::Conversation;
    /// # #[skill(id = "order", name = "Order", description = "Takes an order.")]
    /// # struct Order;
    /// impl SkillHandler for Order {
    ///     async fn on_request(&self, _: &mut State, _: &ProgressSender, _: &Runtime, content: Content)
    ///         -> Result<OnRequestResult, AgentError> {
    ///         let slot = SkillSlot::new(content.text());
    ///         Ok(OnRequestResult::InputRequired { message: "How many?".into(), slot })
    ///     }
    ///
    ///     async fn on_input_received(&self, state: &mut State, _: &ProgressSender, _: &Runtime, content: Content)
    ///         -> Result<OnInputResult, AgentError> {
    ///         let thing: Option<String> = state.slot()?;
    ///         Ok(OnInputResult::completed(format!("{} {}", content.text(), thing.unwrap_or_default())))
    ///     }
    /// }
    /// # let mut talk = Conversation::new(Order);
    /// # talk.send("tulips");
    /// # assert_eq!(talk.send("12").text(), "12 tulips");
    /// ```
    pub fn slot<T: DeserializeOwned>(&self) -> Result<Option<T>, AgentError> {
        self.slot.as_ref().map(SkillSlot::deserialize).transpose()
    }

    pub(crate) fn awaits_input(&self) -> bool {
        self.slot.is_some()
    }
}

/// Values by key, of one task or of one context.
///
/// ```
/// use dormouse_sdk::{AgentError, OnRequestResult, StateScope, testing::Conversation};
///
/// /// The same for the task and for the context.
/// fn count(scope: &mut StateScope) -> Result<u32, AgentError> {
///     let count = scope.load("count")?.unwrap_or(0) + 1;
///     scope.save("count", &count)?;
///     Ok(count)
/// }
///
/// let mut talk = Conversation::with_function(async |state, _, _, _| {
///     let (here, overall) = (count(state.task())?, count(state.session())?);
///     Ok(OnRequestResult::completed(format!("{here} of {overall}")))
/// });
/// assert_eq!(talk.send("once").text(), "1 of 1");
/// assert_eq!(talk.send("again").text(), "1 of 2");
/// ```
pub struct StateScope {
    host: Rc<dyn CallHost>,
    scope: Scope,
}

impl StateScope {
    /// Sets a value. Fails if JSON cannot express it, or over a limit of the platform.
    ///
    /// ```
    /// # use dormouse_sdk::{OnRequestResult, testing::Conversation};
    /// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
    /// state.session().save("cities", &["Oslo", "Bergen"])?;
    /// assert_eq!(state.session().load::<Vec<String>>("cities")?.map(|cities| cities.len()), Some(2));
    /// # Ok(OnRequestResult::completed("ok")) });
    /// # assert_eq!(talk.send("").text(), "ok");
    /// ```
    pub fn save(&mut self, key: &str, value: &(impl Serialize + ?Sized)) -> Result<(), AgentError> {
        let value = serde_json::to_string(value)?;
        self.host.state_set(self.scope, key, Some(value))
    }

    /// Reads a value; `None` if there is none. Fails if it has another form than `T`.
    ///
    /// ```
    /// # use dormouse_sdk::{OnRequestResult, testing::Conversation};
    /// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
    /// assert_eq!(state.session().load::<u32>("visits")?, None);
    /// state.session().save("visits", &1)?;
    /// assert_eq!(state.session().load::<u32>("visits")?, Some(1));
    /// assert!(state.session().load::<String>("visits").is_err());
    /// # Ok(OnRequestResult::completed("ok")) });
    /// # assert_eq!(talk.send("").text(), "ok");
    /// ```
    pub fn load<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, AgentError> {
        match self.host.state_get(self.scope, key)? {
            Some(value) => Ok(Some(serde_json::from_str(&value)?)),
            None => Ok(None),
        }
    }

    /// Removes a value, if there is one.
    ///
    /// ```
    /// # use dormouse_sdk::{OnRequestResult, testing::Conversation};
    /// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
    /// state.task().save("draft", "Dear")?;
    /// state.task().remove("draft")?;
    /// assert_eq!(state.task().load::<String>("draft")?, None);
    /// state.task().remove("draft")?; // nothing there: nothing to do
    /// # Ok(OnRequestResult::completed("ok")) });
    /// # assert_eq!(talk.send("").text(), "ok");
    /// ```
    pub fn remove(&mut self, key: &str) -> Result<(), AgentError> {
        self.host.state_set(self.scope, key, None)
    }
}
