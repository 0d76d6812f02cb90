//! Why the task engine refuses, and whose fault it is.

use crate::model::{FailureClass, TaskState};
use dormouse_store::StoreError;
use std::sync::Arc;
use thiserror::Error;

/// A refusal of the task engine. The gateway maps each to its A2A error (1.0 §3.3.2).
#[derive(Debug, Clone, Error)]
pub enum TaskError {
    /// Unknown, or another principal's: the two must not be told apart (A2A 1.0 §3.3.2).
    #[error("task not found: {0}")]
    NotFound(String),
    #[error("the task has no push notification configuration {0:?}")]
    PushConfigNotFound(String),
    #[error("task {id} has already ended ({state})")]
    Terminal { id: String, state: &'static str },
    #[error("task {id} is {state} and takes a message only when it asks for input")]
    NotWaiting { id: String, state: &'static str },
    #[error("task {id} has ended ({state}) and can no longer be canceled")]
    NotCancelable { id: String, state: &'static str },
    #[error("task {id} belongs to context {actual}, not to {given}")]
    ContextMismatch {
        id: String,
        given: String,
        actual: String,
    },
    #[error("task {id} has no event {event} yet")]
    NoSuchEvent { id: String, event: u64 },
    #[error("this idempotency key was used for another message")]
    KeyReused,
    #[error("page token is not one that this server gave out")]
    BadPageToken,
    /// The guest or the client went past a stated bound.
    #[error("{what} is over the limit of {limit}")]
    Limit { what: &'static str, limit: u64 },
    /// What was said is not for anybody to see.
    #[error("{sentence}")]
    Refused {
        class: FailureClass,
        sentence: String,
    },
    /// The call that speaks has ended: cancelled, timed out, or already finished.
    #[error("the call has ended")]
    Ended,
    #[error("the task store could not take or give the record")]
    Store(#[source] Arc<StoreError>),
    #[error("a stored task record cannot be read")]
    Record(#[source] Arc<serde_json::Error>),
    /// Others have all the memory that there is for large requests and tasks.
    #[error("too many large requests and tasks are in memory; try again shortly")]
    Crowded,
    /// A background thread that was doing this has died.
    #[error("the task engine was stopped in the middle of this")]
    Stopped,
}

impl TaskError {
    /// Whether it is one record that cannot be read, not the store.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Self::Record(_) => true,
            Self::Store(cause) => matches!(**cause, StoreError::Corrupt { .. }),
            _ => false,
        }
    }
}

impl From<StoreError> for TaskError {
    fn from(source: StoreError) -> Self {
        Self::Store(Arc::new(source))
    }
}

impl From<serde_json::Error> for TaskError {
    fn from(source: serde_json::Error) -> Self {
        Self::Record(Arc::new(source))
    }
}

/// The word for a state in sentences.
pub(crate) fn state_word(state: &TaskState) -> &'static str {
    match state {
        TaskState::Unspecified => "unspecified",
        TaskState::Submitted => "submitted",
        TaskState::Working => "working",
        TaskState::Completed => "completed",
        TaskState::Failed => "failed",
        TaskState::Canceled => "canceled",
        TaskState::InputRequired => "input-required",
        TaskState::Rejected => "rejected",
        TaskState::AuthRequired => "auth-required",
    }
}
