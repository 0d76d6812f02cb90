//! What every backend of the store can do. All calls but [`TaskStore::commit`] block.

use std::collections::BTreeMap;

use crate::{Digest, StoreError};

/// Modules by digest.
pub trait ModuleStore: Send + Sync {
    /// Keeps these bytes; durable when it returns. Bytes that are there already are kept once.
    fn put(&self, bytes: &[u8]) -> Result<Put, StoreError>;
    /// The bytes, hashed again on every read. Bytes that do not match are moved to the quarantine folder
    /// and answered with [`StoreError::Corrupt`]; putting the right bytes again mends the module.
    fn get(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError>;
    /// Bytes the module has, without reading it.
    fn size(&self, digest: &Digest) -> Result<Option<u64>, StoreError>;
    /// Forgets the module; false when there was none. Whether a version still needs it is the caller's
    /// question: see [`Registry::references`].
    fn remove(&self, digest: &Digest) -> Result<bool, StoreError>;
    /// Kept in memory; costs nothing.
    fn totals(&self) -> Totals;
}

/// What [`ModuleStore::put`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Put {
    pub digest: Digest,
    /// False when the module was stored before.
    pub new: bool,
}

/// All modules together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub modules: u64,
    pub bytes: u64,
}

/// Agents and their versions. Every change is one atomic step, durable when the call returns.
pub trait Registry: Send + Sync {
    /// Makes (agent, digest) the active version of each named agent, all agents in one step. A digest the
    /// agent already has keeps its number and creation time, takes the definition given now and becomes
    /// active again.
    fn deploy(
        &self,
        digest: Digest,
        definitions: &[(String, Vec<u8>)],
        now_ms: u64,
    ) -> Result<Vec<VersionRecord>, StoreError> {
        self.deploy_with(digest, definitions, None, now_ms)
    }
    /// As [`deploy`](Registry::deploy), and in the same step gives each of the agents these limits. `None` leaves
    /// what they have.
    fn deploy_with(
        &self,
        digest: Digest,
        definitions: &[(String, Vec<u8>)],
        limits: Option<&[u8]>,
        now_ms: u64,
    ) -> Result<Vec<VersionRecord>, StoreError>;
    /// The limits that were set for an agent, opaque to the store; they belong to the agent, not to a version, and
    /// are forgotten with it. `None` when there are none, or no such agent.
    fn limits(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;
    /// Sets the limits of an agent, or with `None` forgets them; false, and nothing is changed, when there is no such
    /// agent.
    fn set_limits(&self, name: &str, limits: Option<&[u8]>) -> Result<bool, StoreError>;
    fn agent(&self, name: &str) -> Result<Option<AgentRecord>, StoreError>;
    /// Agents in the order of their names, those after `after`, at most `limit`.
    fn agents(&self, after: Option<&str>, limit: usize) -> Result<Vec<AgentRecord>, StoreError>;
    /// How many agents there are; kept in memory.
    fn count(&self) -> u64;
    fn version(&self, name: &str, number: u32) -> Result<Option<VersionRecord>, StoreError>;
    /// All versions of an agent, ascending; empty when the agent is unknown.
    fn versions(&self, name: &str) -> Result<Vec<VersionRecord>, StoreError>;
    /// Makes this version the active one, for all new work; `None` when there is no such version.
    fn activate(&self, name: &str, number: u32) -> Result<Option<VersionRecord>, StoreError>;
    /// Has a version take a share of the work that begins, beside the active one, until a version is deployed or made
    /// active. False, and nothing is changed, when there is no such version or it is the active one.
    fn split(&self, name: &str, split: Split) -> Result<bool, StoreError>;
    /// Forgets the agent and returns the versions it had; empty when the agent is unknown. A later deploy of
    /// the name counts on from the highest number ever given.
    fn delete(&self, name: &str) -> Result<Vec<VersionRecord>, StoreError>;
    /// How many versions name this module.
    fn references(&self, digest: &Digest) -> Result<u32, StoreError>;
}

/// One version of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionRecord {
    pub agent: String,
    /// Counts up from 1 per agent.
    pub number: u32,
    pub digest: Digest,
    /// Opaque to the store.
    pub definition: Vec<u8>,
    /// Milliseconds since the Unix epoch.
    pub created_ms: u64,
}

/// An agent and the version its calls go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentRecord {
    pub name: String,
    pub active: VersionRecord,
    /// How many versions there are.
    pub versions: u32,
    /// The version that takes a share of new work, if one does.
    pub split: Option<Split>,
}

/// A share of the work that begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    /// Not the active one.
    pub version: u32,
    /// 1 to 99, which the caller checks.
    pub percent: u8,
}

/// API tokens. Every change is durable when the call returns. The secrets are not here: only their hashes.
pub trait TokenStore: Send + Sync {
    /// Keeps a token; false, and nothing is changed, when there is one of this name or of this hash.
    fn add(&self, token: &TokenRecord) -> Result<bool, StoreError>;
    /// All tokens, in the order of their names.
    fn tokens(&self) -> Result<Vec<TokenRecord>, StoreError>;
    /// Forgets the token of this name; false when there was none.
    fn remove(&self, name: &str) -> Result<bool, StoreError>;
}

/// What is kept of an API token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRecord {
    pub name: String,
    /// Of the secret.
    pub hash: Digest,
    /// A set of bits, opaque to the store.
    pub scopes: u8,
    /// Milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// From this time on it is worth nothing; `None` means never. Milliseconds since the Unix epoch.
    pub expires_ms: Option<u64>,
}

/// Names a task.
pub type TaskId = uuid::Uuid;

/// Tells the writer what became of its write. Runs on the committer thread: it must be short and never block.
pub type Done = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// A whole key, chosen by the caller, and its value; `None` removes the key.
pub type Record = (Vec<u8>, Option<Vec<u8>>);
/// A record as it is read.
pub type KeptRecord = (Vec<u8>, Vec<u8>);

/// Tasks: a head, an ordered event log, and state; and records, which are read in the order of their keys.
pub trait TaskStore: Send + Sync {
    /// Queues one write. All of it or nothing becomes durable (fsynced); then `done` is called from the
    /// committer thread, in the order of submission. Never blocks.
    ///
    /// A write over a limit, a full queue and a closed store call `done` at once, on this thread, with
    /// [`StoreError::LimitExceeded`], [`Busy`](StoreError::Busy) or [`Closed`](StoreError::Closed).
    /// Reads show a write at the latest when its `done` runs.
    fn commit(&self, write: TaskWrite, done: Done);
    /// Queues a write of records alone, with the promises of [`commit`](TaskStore::commit).
    fn keep(&self, records: Vec<Record>, done: Done);
    fn head(&self, task: TaskId) -> Result<Option<Vec<u8>>, StoreError>;
    /// Events with a sequence number of at least `from`, ascending, at most `limit`.
    fn events(
        &self,
        task: TaskId,
        from: u64,
        limit: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, StoreError>;
    fn state(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;
    /// Records whose keys have this prefix, ascending, those after `after` when it is given, at most `limit`.
    fn records(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<KeptRecord>, StoreError>;
    /// Newest first: by `updated_ms`, then by task id, both descending. Costs one walk over the index entries
    /// of this agent and owner, because of `total`.
    fn list(&self, query: &TaskQuery) -> Result<TaskPage, StoreError>;
    /// Tasks whose last write said `open`: calls that were running when the process ended.
    fn open_tasks(&self) -> Result<Vec<TaskId>, StoreError>;
    /// How many tasks have each status byte; kept in memory.
    fn counts(&self) -> BTreeMap<u8, u64>;
    /// To be told by whoever finds bytes of a task that cannot be read: what they mean is not known here.
    fn found_damage(&self);
}

/// One atomic step of one task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskWrite {
    pub task: TaskId,
    /// Replaces the head. Opaque to the store.
    pub head: Vec<u8>,
    /// A call of the task is running; recovery looks for these.
    pub open: bool,
    pub index: TaskIndex,
    /// The `updated_ms` of the task's last write, `None` for its first: that index entry is removed.
    pub replaces_updated_ms: Option<u64>,
    /// Sequence numbers start at 1. Opaque to the store.
    pub events: Vec<(u64, Vec<u8>)>,
    /// Keys of at most [`MAX_KEY_BYTES`], read one by one.
    pub state: Vec<Record>,
    /// Keys of at most [`MAX_RECORD_KEY_BYTES`], read by prefix.
    pub records: Vec<Record>,
}

/// What tasks are listed by. `agent` and `owner` of a task never change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskIndex {
    pub agent: String,
    pub owner: String,
    pub context: String,
    pub status: u8,
    /// Milliseconds since the Unix epoch.
    pub updated_ms: u64,
}

/// Which tasks to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskQuery {
    pub agent: String,
    pub owner: String,
    pub context: Option<String>,
    pub status: Option<u8>,
    /// Only tasks updated at this time or later, as A2A's `statusTimestampAfter` means it.
    pub updated_after_ms: Option<u64>,
    /// The [`TaskPage::next`] of the page before.
    pub after: Option<(u64, TaskId)>,
    pub limit: usize,
}

/// One page of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskPage {
    /// Each task with its `updated_ms`.
    pub tasks: Vec<(TaskId, u64)>,
    /// Where the next page begins; `None` on the last one.
    pub next: Option<(u64, TaskId)>,
    /// Tasks that match the query, `after` and `limit` aside.
    pub total: u64,
}

/// Longest agent name, in bytes.
pub const MAX_AGENT_NAME_BYTES: usize = 256;
/// Longest name of a token, in bytes: less than a key has room for.
pub const MAX_TOKEN_NAME_BYTES: usize = 128;
/// Tokens at a time. All of them are in the server's memory.
pub const MAX_TOKENS: usize = 10_000;
/// Longest owner, context and state key, in bytes.
pub const MAX_KEY_BYTES: usize = 1024;
/// Longest key of a record, in bytes. It is kept as it is, and sled's index nodes must stay small.
pub const MAX_RECORD_KEY_BYTES: usize = 256;
