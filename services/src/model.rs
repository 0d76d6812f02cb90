//! The data model: A2A 1.0 as the `a2a-lf` crate has it, and what an agent declares of itself.
//!
//! Nothing else in the platform names `a2a-lf` for these types, so that a new release of it is met
//! in one place.

use crate::grants::Service;
pub use a2a::{
    Artifact, Message, Part, PartContent, Role, StreamResponse, Task, TaskArtifactUpdateEvent,
    TaskState, TaskStatus, TaskStatusUpdateEvent,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::HashMap;

/// A point in time, in UTC (A2A 1.0 §5.6.1).
pub type Timestamp = chrono::DateTime<chrono::Utc>;

/// Members of a `metadata` object (a JSON object, A2A 1.0 §4.1).
pub type Metadata = HashMap<String, Value>;

/// One A2A agent as its module declares it; the card is made from this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentDefinition {
    /// An RFC 1123 label: it is part of the agent's URL.
    pub name: String,
    /// The author's version text. The platform counts deployments by itself.
    pub version: String,
    pub description: String,
    pub default_input_modes: Vec<String>,
    pub default_output_modes: Vec<String>,
    pub isolation: Isolation,
    /// Calls that may wait in one instance at a time; at least 1.
    pub concurrency: u32,
    pub skills: Vec<SkillDefinition>,
    #[serde(default)]
    pub provider: Option<Provider>,
    #[serde(default)]
    pub documentation_url: Option<String>,
    #[serde(default)]
    pub icon_url: Option<String>,
    #[serde(default)]
    pub extensions: Vec<Extension>,
    /// Whether clients may stream.
    #[serde(default = "yes")]
    pub streaming: bool,
    /// Whether clients may have events pushed.
    #[serde(default = "yes")]
    pub push_notifications: bool,
    /// Services that it needs; what it gets of them, its operator says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<Service>,
}

fn yes() -> bool {
    true
}

/// Who offers an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provider {
    pub organization: String,
    pub url: String,
}

/// An extension of the protocol that an agent speaks (A2A 1.0 §4.6).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extension {
    pub uri: String,
    pub description: String,
    /// Whether a client that does not name it is refused.
    pub required: bool,
    pub params: Option<Metadata>,
}

/// A capability of an agent: the unit that a call is dispatched to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkillDefinition {
    pub id: String,
    pub name: String,
    pub description: String,
    pub tags: Vec<String>,
    pub examples: Vec<String>,
    /// Media types; empty means the agent's defaults.
    pub input_modes: Vec<String>,
    /// Media types; empty means the agent's defaults.
    pub output_modes: Vec<String>,
}

/// Who may meet the memory of an instance that has already served a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    Shared,
    Principal,
    Context,
    Call,
}

/// What an agent says. Its id, role, task and context are stamped on by the task engine.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentMessage {
    pub parts: Vec<Part>,
    pub metadata: Option<Metadata>,
}

impl AgentMessage {
    /// A message of one text part.
    pub fn text(text: impl Into<String>) -> Self {
        Self {
            parts: vec![Part::text(text)],
            metadata: None,
        }
    }
}

/// An artifact as an agent hands it over; without an id the task engine makes one.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentArtifact {
    pub id: Option<String>,
    pub name: Option<String>,
    pub description: Option<String>,
    pub parts: Vec<Part>,
    pub metadata: Option<Metadata>,
}

/// How a call ended, as its agent said.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    Completed {
        message: Option<AgentMessage>,
        artifacts: Vec<AgentArtifact>,
    },
    InputRequired {
        message: AgentMessage,
        slot: Value,
    },
    AuthRequired {
        message: AgentMessage,
        slot: Value,
    },
    /// An answer without a task (A2A 1.0 §3.1.1).
    Message(AgentMessage),
    Rejected(AgentMessage),
    Failed(AgentMessage),
}

/// Why a call ended without an outcome of its own. The class is part of the failed status
/// (`metadata.errorClass`), so that a client can tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureClass {
    /// The agent itself said that it failed.
    Agent,
    /// The guest trapped: a panic, an unreachable, a stack overflow, a refused growth of memory.
    Trap,
    /// The wall deadline of the call passed.
    Deadline,
    /// A limit other than time: output volume, host-call memory, events.
    Limit,
    /// The guest's answer is not what the contract allows.
    InvalidResponse,
    /// No instance could be had: queue full or drain.
    Unavailable,
    /// The server stopped while the call ran.
    Interrupted,
    /// A filter does not let through what the agent has said, or cannot say whether it may.
    Filter,
    /// The platform's own fault.
    Platform,
}

impl FailureClass {
    /// The word used in statuses, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Trap => "trap",
            Self::Deadline => "deadline",
            Self::Limit => "limit",
            Self::InvalidResponse => "invalid_response",
            Self::Unavailable => "unavailable",
            Self::Interrupted => "interrupted",
            Self::Filter => "filter",
            Self::Platform => "platform",
        }
    }
}

/// States in which a task waits for its user (A2A 1.0 §4.1.3).
pub fn is_interrupted(state: &TaskState) -> bool {
    matches!(state, TaskState::InputRequired | TaskState::AuthRequired)
}
