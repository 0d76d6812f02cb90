//! How a stream begins.

use dormouse_services::model::{Message, StreamResponse, Task};
use dormouse_services::{TaskEvent, TaskReader};

/// How a stream begins (A2A 1.0 §3.1.2): a task and what follows, or exactly one message.
pub(crate) struct Opening {
    /// `None` if the client goes on from an event that it has seen.
    pub(crate) first: Option<StreamResponse>,
    /// The place in the task's log that `first` shows.
    pub(crate) seq: Option<u64>,
    /// What the reader has said already.
    pub(crate) next: Option<TaskEvent>,
    pub(crate) reader: Option<TaskReader>,
}

impl Opening {
    pub(super) fn task(task: Task, seq: u64, next: Option<TaskEvent>, reader: TaskReader) -> Self {
        Self {
            first: Some(StreamResponse::Task(task)),
            seq: Some(seq),
            next,
            reader: Some(reader),
        }
    }

    pub(super) fn message(message: Message) -> Self {
        Self {
            first: Some(StreamResponse::Message(message)),
            seq: None,
            next: None,
            reader: None,
        }
    }

    /// What follows an event that the client has seen.
    pub(super) fn rest(reader: TaskReader) -> Self {
        Self {
            first: None,
            seq: None,
            next: None,
            reader: Some(reader),
        }
    }
}
