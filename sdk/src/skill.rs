use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::host::LocalFuture;
use crate::{AgentError, Artifact, Content, Json, ProgressSender, Runtime, State};

/// The code of a skill. One value serves every call of its agent in this instance, one after
/// another or, with a concurrency above 1, interleaved at each `.await`.
///
/// What a call leaves in the fields of the value may be gone at the next: what must last belongs
/// into [`State`].
///
/// ```
/// use dormouse_sdk::prelude::*;
/// use dormouse_sdk::testing::Conversation;
///
/// #[skill(id = "double", name = "Double", description = "Doubles a number.")]
/// struct Double;
///
/// impl SkillHandler for Double {
///     async fn on_request(
///         &self,
///         _state: &mut State,
///         _progress: &ProgressSender,
///         _runtime: &Runtime,
///         content: Content,
///     ) -> Result<OnRequestResult, AgentError> {
///         match content.text().parse::<f64>() {
///             Ok(number) => Ok(OnRequestResult::completed((number * 2.0).to_string())),
///             Err(_) => Ok(OnRequestResult::Rejected { reason: "I double numbers".into() }),
///         }
///     }
/// }
///
/// assert_eq!(Conversation::new(Double).send("21").text(), "42");
/// ```
#[allow(
    async_fn_in_trait,
    reason = "a guest has one thread: nobody needs the futures to be Send"
)]
pub trait SkillHandler: 'static {
    /// Answers the first message of a task.
    ///
    /// ```
    /// # use dormouse_sdk::prelude::*;
    /// # use dormouse_sdk::testing::Conversation;
    /// # #[skill(id = "lines", name = "Lines", description = "Counts lines.")]
    /// # struct Lines;
    /// impl SkillHandler for Lines {
    ///     async fn on_request(&self, _: &mut State, progress: &ProgressSender, _: &Runtime, content: Content)
    ///         -> Result<OnRequestResult, AgentError> {
    ///         let Some(text) = content.first_text() else {
    ///             return Err(AgentError::invalid_input("I count the lines of texts")); // the task fails
    ///         };
    ///         progress.send_update("Counting").await?;
    ///         Ok(OnRequestResult::completed(text.lines().count().to_string()))
    ///     }
    /// }
    ///
    /// assert_eq!(Conversation::new(Lines).send("one\ntwo").text(), "2");
    /// ```
    async fn on_request(
        &self,
        state: &mut State,
        progress: &ProgressSender,
        runtime: &Runtime,
        content: Content,
    ) -> Result<OnRequestResult, AgentError>;

    /// Answers a message for a task that waits for one. [`State::slot`] says what it waits for.
    ///
    /// ```
    /// # use dormouse_sdk::prelude::*;
    /// # use dormouse_sdk::{Outcome, testing::Conversation};
    /// # #[skill(id = "book", name = "Book", description = "Books.")]
    /// # struct Book;
    /// impl SkillHandler for Book {
    /// #   async fn on_request(&self, _: &mut State, _: &ProgressSender, _: &Runtime, _: Content)
    /// #       -> Result<OnRequestResult, AgentError> {
    /// #       Ok(OnRequestResult::InputRequired { message: "When?".into(), slot: SkillSlot::new("day") })
    /// #   }
    ///     // `on_request` has asked for a day, with the slot "day".
    ///     async fn on_input_received(&self, _: &mut State, _: &ProgressSender, _: &Runtime, content: Content)
    ///         -> Result<OnInputResult, AgentError> {
    ///         match content.text().parse::<u8>() {
    ///             Ok(day @ 1..=31) => Ok(OnInputResult::completed(format!("Booked for day {day}"))),
    ///             _ => Ok(OnInputResult::InputRequired {
    ///                 message: "A number from 1 to 31, please".into(),
    ///                 slot: SkillSlot::new("day"),
    ///             }),
    ///         }
    ///     }
    /// }
    ///
    /// let mut talk = Conversation::new(Book);
    /// talk.send("A room, please");
    /// assert_eq!(talk.send("soon").text(), "A number from 1 to 31, please");
    /// assert_eq!(talk.send("4").text(), "Booked for day 4");
    /// ```
    async fn on_input_received(
        &self,
        state: &mut State,
        progress: &ProgressSender,
        runtime: &Runtime,
        content: Content,
    ) -> Result<OnInputResult, AgentError> {
        let _ = (state, progress, runtime, content);
        Ok(OnInputResult::Failed {
            error: "This skill does not support multi-turn input".into(),
        })
    }
}

/// How the first call of a task ends.
///
/// ```
/// use dormouse_sdk::{Artifact, OnRequestResult, SkillSlot};
///
/// fn answer(question: &str) -> OnRequestResult {
///     match question {
///         "" => OnRequestResult::InputRequired {
///             message: "What about?".into(),
///             slot: SkillSlot::new("subject"),
///         },
///         "gossip" => OnRequestResult::Rejected { reason: "I do not gossip".into() },
///         subject => OnRequestResult::Completed {
///             message: None,
///             artifacts: vec![Artifact::from_text("essay.md", format!("# On {subject}"))],
///         },
///     }
/// }
///
/// assert!(matches!(answer("tea"), OnRequestResult::Completed { artifacts, .. } if artifacts.len() == 1));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub enum OnRequestResult {
    /// The client must say more. `slot` is the agent's own note on what it asked for.
    InputRequired {
        /// The question.
        message: Content,
        /// Comes back as [`State::slot`] with the answer.
        slot: SkillSlot,
    },
    /// The client must authenticate somewhere, out of band (A2A 1.0 §7.6).
    AuthRequired {
        /// What to do.
        message: Content,
        /// Comes back as [`State::slot`] with the next message.
        slot: SkillSlot,
    },
    /// Done.
    Completed {
        /// A last word.
        message: Option<Content>,
        /// Results, besides those sent during the call.
        artifacts: Vec<Artifact>,
    },
    /// The work could not be done.
    Failed {
        /// Why.
        error: Content,
    },
    /// The agent will not do it.
    Rejected {
        /// Why.
        reason: Content,
    },
    /// An answer without a task (A2A 1.0 §3.1.1). Only for a call that sent no update or artifact
    /// and saved no state.
    Message {
        /// The answer.
        message: Content,
    },
}

impl OnRequestResult {
    /// Done, with a last word and no artifacts.
    ///
    /// ```
    /// # use dormouse_sdk::OnRequestResult;
    /// assert!(matches!(OnRequestResult::completed("Done"), OnRequestResult::Completed { .. }));
    /// ```
    pub fn completed(message: impl Into<Content>) -> Self {
        OnRequestResult::Completed {
            message: Some(message.into()),
            artifacts: Vec::new(),
        }
    }
}

/// How a later call of a task ends; the variants are those of [`OnRequestResult`] that still make
/// sense then.
///
/// ```
/// use dormouse_sdk::{OnInputResult, SkillSlot};
///
/// fn answer(quantity: &str) -> OnInputResult {
///     match quantity.parse::<u32>() {
///         Ok(0) => OnInputResult::Failed { error: "Nothing ordered".into() },
///         Ok(some) => OnInputResult::completed(format!("{some} tulips")),
///         Err(_) => OnInputResult::InputRequired {
///             message: "How many, as a number?".into(),
///             slot: SkillSlot::new("quantity"),
///         },
///     }
/// }
///
/// assert_eq!(answer("12"), OnInputResult::completed("12 tulips"));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub enum OnInputResult {
    /// The client must say more.
    InputRequired {
        /// The question.
        message: Content,
        /// Comes back as [`State::slot`] with the answer.
        slot: SkillSlot,
    },
    /// The client must authenticate somewhere, out of band.
    AuthRequired {
        /// What to do.
        message: Content,
        /// Comes back as [`State::slot`] with the next message.
        slot: SkillSlot,
    },
    /// Done.
    Completed {
        /// A last word.
        message: Option<Content>,
        /// Results, besides those sent during the call.
        artifacts: Vec<Artifact>,
    },
    /// The work could not be done.
    Failed {
        /// Why.
        error: Content,
    },
}

impl OnInputResult {
    /// Done, with a last word and no artifacts.
    ///
    /// ```
    /// # use dormouse_sdk::OnInputResult;
    /// assert!(matches!(OnInputResult::completed("Done"), OnInputResult::Completed { .. }));
    /// ```
    pub fn completed(message: impl Into<Content>) -> Self {
        OnInputResult::Completed {
            message: Some(message.into()),
            artifacts: Vec::new(),
        }
    }
}

/// The agent's note on which input it waits for: any value that JSON can express.
///
/// ```
/// # fn main() -> Result<(), dormouse_sdk::AgentError> {
/// use dormouse_sdk::SkillSlot;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize, PartialEq, Debug)]
/// enum Missing { Email, Phone }
///
/// let slot = SkillSlot::new(&Missing::Email);
/// assert_eq!(slot.deserialize::<Missing>()?, Missing::Email);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkillSlot(pub(crate) Json);

impl SkillSlot {
    /// Notes a value.
    ///
    /// ```
    /// # use dormouse_sdk::SkillSlot;
    /// // A name is enough if there is one question; what was said already may go along.
    /// let name = SkillSlot::new("email");
    /// let more = SkillSlot::new(("email", vec!["Ann"]));
    /// assert_ne!(name, more);
    /// ```
    ///
    /// # Panics
    ///
    /// If JSON cannot express the value, which is a mistake in its type (a map whose keys are not
    /// text, for example).
    pub fn new(value: impl Serialize) -> Self {
        SkillSlot(Json::new(&value).expect("a slot's type can be written as JSON"))
    }

    /// Reads the value back.
    ///
    /// ```
    /// # use dormouse_sdk::SkillSlot;
    /// let slot = SkillSlot::new(("email", 2));
    /// let (asked, tries): (String, u32) = slot.deserialize()?;
    /// assert_eq!((&*asked, tries), ("email", 2));
    /// assert!(slot.deserialize::<bool>().is_err());
    /// # Ok::<(), dormouse_sdk::AgentError>(())
    /// ```
    pub fn deserialize<T: DeserializeOwned>(&self) -> Result<T, AgentError> {
        self.0.deserialize()
    }
}

/// How a call ended, whichever function it entered.
///
/// ```
/// use dormouse_sdk::{OnRequestResult, Outcome, testing::Conversation};
///
/// let mut talk = Conversation::with_function(async |_, _, _, content| {
///     Ok(match content.text().as_str() {
///         "" => OnRequestResult::Rejected { reason: "Nothing to do".into() },
///         text => OnRequestResult::completed(text),
///     })
/// });
/// assert!(matches!(talk.send("").outcome, Outcome::Rejected(reason) if reason.text() == "Nothing to do"));
/// assert!(matches!(talk.send("tea").outcome, Outcome::Completed { artifacts, .. } if artifacts.is_empty()));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The task is done.
    Completed {
        /// A last word.
        message: Option<Content>,
        /// Results, besides those sent during the call.
        artifacts: Vec<Artifact>,
    },
    /// The task waits for a message.
    InputRequired {
        /// The question.
        message: Content,
        /// The agent's note.
        slot: SkillSlot,
    },
    /// The task waits until the client has authenticated somewhere.
    AuthRequired {
        /// What to do.
        message: Content,
        /// The agent's note.
        slot: SkillSlot,
    },
    /// An answer without a task.
    Message(Content),
    /// The agent will not do it.
    Rejected(Content),
    /// The work could not be done, or the handler returned an error.
    Failed(Content),
}

impl From<OnRequestResult> for Outcome {
    fn from(result: OnRequestResult) -> Self {
        match result {
            OnRequestResult::InputRequired { message, slot } => {
                Outcome::InputRequired { message, slot }
            }
            OnRequestResult::AuthRequired { message, slot } => {
                Outcome::AuthRequired { message, slot }
            }
            OnRequestResult::Completed { message, artifacts } => {
                Outcome::Completed { message, artifacts }
            }
            OnRequestResult::Failed { error } => Outcome::Failed(error),
            OnRequestResult::Rejected { reason } => Outcome::Rejected(reason),
            OnRequestResult::Message { message } => Outcome::Message(message),
        }
    }
}

impl From<OnInputResult> for Outcome {
    fn from(result: OnInputResult) -> Self {
        match result {
            OnInputResult::InputRequired { message, slot } => {
                Outcome::InputRequired { message, slot }
            }
            OnInputResult::AuthRequired { message, slot } => {
                Outcome::AuthRequired { message, slot }
            }
            OnInputResult::Completed { message, artifacts } => {
                Outcome::Completed { message, artifacts }
            }
            OnInputResult::Failed { error } => Outcome::Failed(error),
        }
    }
}

/// [`SkillHandler`] in a form that a list can hold.
pub(crate) trait DynSkill {
    /// Runs the function that fits: with a slot in the state it is the answer to a question.
    fn call<'a>(
        &'a self,
        state: &'a mut State,
        progress: &'a ProgressSender,
        runtime: &'a Runtime,
        content: Content,
    ) -> LocalFuture<'a, Result<Outcome, AgentError>>;
}

impl<S: SkillHandler> DynSkill for S {
    fn call<'a>(
        &'a self,
        state: &'a mut State,
        progress: &'a ProgressSender,
        runtime: &'a Runtime,
        content: Content,
    ) -> LocalFuture<'a, Result<Outcome, AgentError>> {
        Box::pin(async move {
            if state.awaits_input() {
                let result = self
                    .on_input_received(state, progress, runtime, content)
                    .await;
                result.map(Outcome::from)
            } else {
                let result = self.on_request(state, progress, runtime, content).await;
                result.map(Outcome::from)
            }
        })
    }
}
