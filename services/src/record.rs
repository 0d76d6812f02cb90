//! What the store keeps of a task: one small head and the events of its log, and how the events
//! fold into the A2A task.

use crate::model::{
    Artifact, Message, StreamResponse, Task, TaskArtifactUpdateEvent, TaskState, TaskStatus,
    TaskStatusUpdateEvent, is_interrupted,
};
use bytes::Bytes;
use chrono::{DateTime, SubsecRound, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The small record of a task; everything else is in its log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct TaskHead {
    pub(crate) agent: String,
    pub(crate) version: u32,
    pub(crate) principal: String,
    pub(crate) context: String,
    pub(crate) skill: String,
    pub(crate) state: TaskState,
    /// Milliseconds since the Unix epoch of the last status.
    pub(crate) status_ms: u64,
    pub(crate) last_seq: u64,
    /// The task has, or had, push notification configurations.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) push: bool,
    /// What the agent wants back together with the awaited input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) slot: Option<Value>,
}

impl TaskHead {
    /// A call of the task is running.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, TaskState::Submitted | TaskState::Working)
    }
}

/// One entry of a task's log.
#[derive(Debug, Clone)]
pub(crate) enum LogEntry {
    /// What the user said: part of the history, not an event that subscribers are sent.
    Turn(Message),
    Status(TaskStatus),
    Artifact {
        artifact: Artifact,
        append: bool,
        last: bool,
    },
}

impl LogEntry {
    /// Whether this is the last word of a call: its task has ended, or waits for its user.
    pub(crate) fn ends_call(&self) -> bool {
        matches!(self, Self::Status(status)
            if status.state.is_terminal() || is_interrupted(&status.state))
    }
}

const TURN: u8 = b'm';
const EVENT: u8 = b'e';

/// An entry as stored: a kind byte, then JSON. For events the JSON is the A2A `StreamResponse`
/// itself, encoded once, so that every subscriber is sent the very same bytes.
#[derive(Debug, Clone)]
pub(crate) struct Encoded(Bytes);

impl Encoded {
    pub(crate) fn new(task: &Task, entry: &LogEntry) -> Result<Self, serde_json::Error> {
        let mut bytes = Vec::with_capacity(256);
        match entry {
            LogEntry::Turn(message) => {
                bytes.push(TURN);
                serde_json::to_writer(&mut bytes, message)?;
            }
            LogEntry::Status(status) => {
                bytes.push(EVENT);
                let event = StreamResponse::StatusUpdate(TaskStatusUpdateEvent {
                    task_id: task.id.clone(),
                    context_id: task.context_id.clone(),
                    status: status.clone(),
                    metadata: None,
                });
                serde_json::to_writer(&mut bytes, &event)?;
            }
            LogEntry::Artifact {
                artifact,
                append,
                last,
            } => {
                bytes.push(EVENT);
                let event = StreamResponse::ArtifactUpdate(TaskArtifactUpdateEvent {
                    task_id: task.id.clone(),
                    context_id: task.context_id.clone(),
                    artifact: artifact.clone(),
                    append: Some(*append),
                    last_chunk: Some(*last),
                    metadata: None,
                });
                serde_json::to_writer(&mut bytes, &event)?;
            }
        }
        Ok(Self(bytes.into()))
    }

    pub(crate) fn from_store(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }

    pub(crate) fn stored(&self) -> &[u8] {
        &self.0
    }

    /// The `StreamResponse` JSON, if this entry is one that subscribers are sent.
    pub(crate) fn event_json(&self) -> Option<Bytes> {
        (self.0.first() == Some(&EVENT)).then(|| self.0.slice(1..))
    }

    pub(crate) fn decode(&self) -> Result<LogEntry, serde_json::Error> {
        let json = self.0.get(1..).unwrap_or_default();
        if self.0.first() == Some(&TURN) {
            return Ok(LogEntry::Turn(serde_json::from_slice(json)?));
        }
        match serde_json::from_slice(json)? {
            StreamResponse::StatusUpdate(event) => Ok(LogEntry::Status(event.status)),
            StreamResponse::ArtifactUpdate(event) => Ok(LogEntry::Artifact {
                artifact: event.artifact,
                append: event.append == Some(true),
                last: event.last_chunk == Some(true),
            }),
            StreamResponse::Message(message) => Ok(LogEntry::Turn(message)),
            StreamResponse::Task(task) => Ok(LogEntry::Status(task.status)),
        }
    }
}

/// Adds one entry to the task as a client sees it. A status message that is superseded, or
/// answered, becomes part of the history, as in the official SDKs.
pub(crate) fn fold(task: &mut Task, entry: LogEntry) {
    match entry {
        LogEntry::Turn(message) => {
            let history = task.history.get_or_insert_default();
            history.extend(task.status.message.take());
            history.push(message);
        }
        LogEntry::Status(status) => {
            let before = std::mem::replace(&mut task.status, status);
            task.history.get_or_insert_default().extend(before.message);
        }
        LogEntry::Artifact {
            artifact, append, ..
        } => {
            let artifacts = task.artifacts.get_or_insert_default();
            match artifacts
                .iter_mut()
                .find(|known| known.artifact_id == artifact.artifact_id)
            {
                Some(known) if append => known.parts.extend(artifact.parts),
                Some(known) => *known = artifact,
                None => artifacts.push(artifact),
            }
        }
    }
}

/// A task before its first entry.
pub(crate) fn blank(id: String, context_id: String, now: DateTime<Utc>) -> Task {
    Task {
        id,
        context_id,
        status: TaskStatus {
            state: TaskState::Submitted,
            message: None,
            timestamp: Some(now),
        },
        artifacts: None,
        history: None,
        metadata: None,
    }
}

/// Now, in the precision that the log keeps.
pub(crate) fn now() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(3)
}

pub(crate) fn millis(time: DateTime<Utc>) -> u64 {
    u64::try_from(time.timestamp_millis()).unwrap_or(0)
}

/// The index byte of a state; the numbers of `TaskState` in a2a.proto.
pub(crate) fn state_byte(state: &TaskState) -> u8 {
    match state {
        TaskState::Unspecified => 0,
        TaskState::Submitted => 1,
        TaskState::Working => 2,
        TaskState::Completed => 3,
        TaskState::Failed => 4,
        TaskState::Canceled => 5,
        TaskState::InputRequired => 6,
        TaskState::Rejected => 7,
        TaskState::AuthRequired => 8,
    }
}
