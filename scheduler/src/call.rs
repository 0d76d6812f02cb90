//! One call: what it needs and what came of it.

use crate::config::CallLimits;
use crate::usage::Usage;
use dormouse_services::model::{FailureClass, Isolation, Message, Metadata, Outcome};
use dormouse_services::{Call, Grants};
use dormouse_store::Digest;
use serde_json::Value;
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

/// One version of an agent, as far as running it needs to know. Instances are reused between equal ones, so an
/// instance that was started under other limits is not.
#[derive(Debug, Clone)]
pub struct VersionRef {
    pub agent: String,
    /// What the module calls this agent. It differs from `agent` when the module was deployed under another name.
    pub declared: String,
    pub number: u32,
    pub digest: Digest,
    pub isolation: Isolation,
    /// Calls that may be in one instance at a time; at least 1.
    pub concurrency: u32,
    /// Services that its calls may ask for.
    pub grants: Grants,
    pub limits: Arc<CallLimits>,
    /// What its guest reads as its configuration.
    pub config: Arc<BTreeMap<String, String>>,
    /// Where its agent's calls are summed up.
    pub usage: Arc<Usage>,
}

impl VersionRef {
    /// Whether several calls may be in one instance at a time. Fuel is an instance's, so if a call's is to be
    /// known, it has to be alone.
    pub(crate) fn is_shared(&self) -> bool {
        self.concurrency > 1 && self.isolation != Isolation::Call && self.limits.fuel.is_none()
    }
}

impl PartialEq for VersionRef {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
            && self.agent == other.agent
            && self.declared == other.declared
            && self.digest == other.digest
            && self.isolation == other.isolation
            && self.concurrency == other.concurrency
            && self.grants == other.grants
            && self.limits == other.limits
            && self.config == other.config
    }
}

impl Eq for VersionRef {}

/// Versions with the same number and digest rarely differ, and every call hashes.
impl Hash for VersionRef {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.agent.hash(state);
        self.number.hash(state);
        self.digest.hash(state);
    }
}

/// Which of the two skill functions to call.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// `on-request`: a new task.
    Request,
    /// `on-input`: the task waited, with this slot.
    Input { slot: Value },
}

/// Everything that one call needs.
pub struct CallRequest {
    pub version: Arc<VersionRef>,
    pub entry: Entry,
    pub skill: String,
    pub message: Message,
    /// Metadata of the A2A request.
    pub metadata: Option<Metadata>,
    pub principal: String,
    /// Those of the agent's extensions that the client has activated.
    pub extensions: Vec<String>,
    /// The right to speak for the task; the guest gets it for the time of the call.
    pub task: Arc<Call>,
}

/// What came of a call.
#[derive(Debug)]
pub struct CallReport {
    pub result: Result<Outcome, CallFailure>,
    /// How the instance was had, and how long until the guest function was entered. `None` if it
    /// never was.
    pub start: Option<(Temperature, Duration)>,
    /// Time inside the guest function, its waits included.
    pub ran: Duration,
    /// Processor time of the call, its start included.
    pub processor: Duration,
    /// Units of fuel that the guest function has used, if fuel is counted and the function has ended.
    pub fuel: Option<u64>,
    /// The most linear memory that its instance had while the call was in it, in bytes; zero if it was in none. Calls
    /// that share an instance share its memory.
    pub memory_bytes: u64,
}

/// A call that ended without an outcome of its agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallFailure {
    pub class: FailureClass,
    /// One sentence for the user.
    pub sentence: String,
}

impl CallFailure {
    /// Whether the agent has brought it about, and its instance was lost with it.
    pub(crate) fn is_the_agents(&self) -> bool {
        use FailureClass::{InvalidResponse, Limit, Trap};
        matches!(self.class, Trap | Limit | InvalidResponse)
    }
}

/// What of a version existed when the call came (design of record, life of an instance).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Temperature {
    /// A parked instance.
    Hot,
    /// Loaded code.
    Warm,
    /// Compiled code on disk.
    Cold,
    /// Only the module's bytes.
    Stored,
}

impl Temperature {
    pub const ALL: [Self; 4] = [Self::Hot, Self::Warm, Self::Cold, Self::Stored];

    /// The word used in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hot => "hot",
            Self::Warm => "warm",
            Self::Cold => "cold",
            Self::Stored => "stored",
        }
    }
}
