//! The task engine as a running call sees it: the right to speak for one task until the call ends.

use crate::agents::Chain;
use crate::desk::Asker;
use crate::engine::{
    Inner, LOST, STOPPED, TaskLimits, agent_artifact, agent_message, failure_message, status,
};
use crate::error::TaskError;
use crate::live::{Change, LiveTask, Log};
use crate::model::{AgentArtifact, AgentMessage, FailureClass, Message, Outcome, Task, TaskState};
use crate::once::Once;
use crate::push::{NewConfig, PushConfig};
use crate::reader::TaskReader;
use crate::record::LogEntry;
use crate::room::Room;
use crate::screen::{Refused, SaidKind, Screen};
use crate::trace::{Kind, Trace};
use dormouse_store::MAX_KEY_BYTES;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use tracing::warn;

/// Entries of one task that may be on their way to the disk before a flooding guest has to wait.
const MAX_PENDING: u64 = 256;

/// One running call. If it is dropped before it has ended, its task is failed as lost; one that was
/// never accepted leaves nothing behind.
pub struct Call {
    inner: Arc<Inner>,
    live: Arc<LiveTask>,
    draft: Mutex<Draft>,
    /// The agents that wait for it; `None` if a client called.
    chain: Option<Arc<Chain>>,
    trace: Option<Trace>,
    room: Room,
    /// What its task may keep, if that is less than any task may.
    task_bytes: AtomicU64,
    pub(crate) screen: OnceLock<Arc<dyn Screen>>,
    /// Set once something was said that nobody may see.
    pub(crate) refused: OnceLock<Refused>,
}

/// What the call holds back until it is needed: the first message until the task is accepted, and
/// state writes until the outcome.
struct Draft {
    first: Option<Message>,
    push: Option<NewConfig>,
    state: BTreeMap<Vec<u8>, Option<String>>,
    /// The call has said its last word, although a guest may still hold on to it.
    ended: bool,
}

/// How a call ended for its caller.
#[derive(Debug)]
pub enum Settled {
    /// An answer without a task (A2A 1.0 §3.1.1).
    Message(Message),
    Task(Task),
}

/// Where a state value belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateScope {
    Task,
    /// The context: shared by its tasks with this agent and this principal.
    Context,
}

impl Call {
    pub(crate) fn new(inner: Arc<Inner>, live: Arc<LiveTask>, first: Option<Message>) -> Self {
        let draft = Mutex::new(Draft {
            first,
            push: None,
            state: BTreeMap::new(),
            ended: false,
        });
        Self {
            inner,
            live,
            draft,
            chain: None,
            trace: None,
            room: Room::default(),
            task_bytes: AtomicU64::new(u64::MAX),
            screen: OnceLock::new(),
            refused: OnceLock::new(),
        }
    }

    /// Says which agents wait for it.
    pub fn called_by(&mut self, chain: Option<Arc<Chain>>) {
        self.chain = chain;
    }

    /// Its task may keep so many bytes from now on, if that is less than any task may.
    pub fn keep_at_most(&self, bytes: u64) {
        self.task_bytes.store(bytes, Ordering::Relaxed);
    }

    fn limits(&self) -> TaskLimits {
        let limits = &self.inner.limits;
        let own = self.task_bytes.load(Ordering::Relaxed);
        TaskLimits {
            task_bytes: limits.task_bytes.min(own),
            ..limits.clone()
        }
    }

    /// Bytes of one event of its task.
    pub fn event_bytes(&self) -> usize {
        usize::try_from(self.inner.limits.event_bytes).unwrap_or(usize::MAX)
    }

    /// Keeps the room that its message has.
    pub fn keep_room(&mut self, room: Room) {
        self.room = room;
    }

    /// Says where in a trace it is.
    pub fn traced(&mut self, trace: Option<Trace>) {
        self.trace = trace;
    }

    /// What is done for it is a span below this.
    pub fn trace(&self) -> Option<&Trace> {
        self.trace.as_ref()
    }

    pub(crate) fn chain(&self) -> Option<&Chain> {
        self.chain.as_deref()
    }

    /// Keeps a push notification configuration with the new task, if there will be one: its receiver is
    /// told everything from the first event on.
    pub fn notify(&self, config: PushConfig) -> Result<(), TaskError> {
        self.draft().push = Some(NewConfig::of_new_task(config)?);
        Ok(())
    }

    pub fn task_id(&self) -> String {
        self.live.id.to_string()
    }

    pub fn context_id(&self) -> String {
        self.live.log().head.context.clone()
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    pub(crate) fn asker(&self) -> Asker {
        let head = &self.live.log().head;
        Asker {
            agent: head.agent.clone(),
            principal: head.principal.clone(),
            context: head.context.clone(),
        }
    }

    /// Resolves when the call must stop: its task was cancelled or the server drains.
    pub async fn interrupted(&self) {
        tokio::select! {
            biased;
            () = self.live.cancel.cancelled() => {}
            () = self.inner.stopping.cancelled() => {}
        }
    }

    /// Makes the task known and durable, if it is not yet.
    pub async fn accept(&self) -> Result<(), TaskError> {
        let seq = if self.draft().first.is_some() {
            self.write(|_log| Ok(Change::default()))?
        } else {
            self.live.log().head.last_seq
        };
        self.live.durable(seq).await
    }

    /// The same for a send with a key: the task is that key's from now on.
    pub async fn accept_once(&self, once: Once) -> Result<(), TaskError> {
        let entry = once.entry(&self.task_id());
        let seq = self.write(|_log| {
            Ok(Change {
                state: vec![entry],
                ..Change::default()
            })
        })?;
        self.live.durable(seq).await
    }

    /// The task as of now (durable), its last event's number, and a reader of what follows.
    pub async fn follow(&self) -> Result<(Task, u64, TaskReader), TaskError> {
        let mut reader = TaskReader::new(Arc::clone(&self.inner), Arc::clone(&self.live), 0);
        let (task, seq) = reader.snapshot().await?;
        Ok((task, seq, reader))
    }

    /// Progress: a working status with a message. Waits only while too much is on its way to disk.
    pub async fn update(&self, mut said: AgentMessage) -> Result<(), TaskError> {
        self.look_at_message(SaidKind::Update, &mut said).await?;
        self.room().await?;
        self.write(|log| {
            let message = agent_message(&log.task, said);
            Ok(Change {
                entries: vec![status(TaskState::Working, Some(message))],
                ..Change::default()
            })
        })?;
        Ok(())
    }

    /// A whole artifact, or a chunk of one.
    pub async fn artifact(
        &self,
        mut artifact: AgentArtifact,
        append: bool,
        last: bool,
    ) -> Result<(), TaskError> {
        self.look_at_artifact(&mut artifact).await?;
        self.room().await?;
        let artifact = agent_artifact(artifact);
        self.write(|_log| {
            Ok(Change {
                entries: vec![LogEntry::Artifact {
                    artifact,
                    append,
                    last,
                }],
                ..Change::default()
            })
        })?;
        Ok(())
    }

    /// The newest turns of the task, oldest first, at most `limit`.
    pub fn history(&self, limit: usize) -> Vec<Message> {
        let first = self.draft().first.clone();
        let log = self.live.log();
        let history = log.task.history.as_deref().unwrap_or_default();
        let turns: Vec<&Message> = history
            .iter()
            .chain(&log.task.status.message)
            .chain(&first)
            .collect();
        let skip = turns.len().saturating_sub(limit);
        turns.into_iter().skip(skip).cloned().collect()
    }

    /// A value of state as this call sees it: its own writes first. Reads the store, so it may block
    /// for the time of one cached read.
    pub fn state_get(&self, scope: StateScope, key: &str) -> Result<Option<String>, TaskError> {
        let key = self.state_key(scope, key);
        if let Some(written) = self.draft().state.get(&key) {
            return Ok(written.clone());
        }
        let stored = self.inner.store.state(&key)?;
        Ok(stored.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Sets or removes a value, kept if and only if the call's outcome is.
    pub fn state_set(
        &self,
        scope: StateScope,
        key: &str,
        value: Option<String>,
    ) -> Result<(), TaskError> {
        let limits = &self.inner.limits;
        if let Some(value) = &value
            && (value.len() + key.len()) as u64 > limits.state_value_bytes
        {
            let limit = limits.state_value_bytes;
            return Err(TaskError::Limit {
                what: "one value of state with its key (bytes)",
                limit,
            });
        }
        let key = self.state_key(scope, key);
        if key.len() > MAX_KEY_BYTES {
            return Err(TaskError::Limit {
                what: "one key of state with its owner (bytes)",
                limit: MAX_KEY_BYTES as u64,
            });
        }
        let mut draft = self.draft();
        if draft.ended {
            return Err(TaskError::Ended);
        }
        let keys = draft.state.len() as u64;
        if keys >= limits.state_keys && !draft.state.contains_key(&key) {
            let limit = limits.state_keys;
            return Err(TaskError::Limit {
                what: "the state keys written by one call",
                limit,
            });
        }
        draft.state.insert(key, value);
        Ok(())
    }

    /// Ends the call with its agent's outcome; durable when it returns. If the task has ended
    /// meanwhile (cancelled), the outcome is dropped and the task returned as it is.
    ///
    /// # Errors
    /// Limit if the outcome is too large, Refused if nobody may see it: the caller then fails the call with that.
    pub async fn finish(&self, mut outcome: Outcome) -> Result<Settled, TaskError> {
        self.look_at_outcome(&mut outcome).await?;
        if let Outcome::Message(said) = outcome {
            if self.draft().end_untouched() {
                // Nothing was kept, and nothing is: the ids in it are all that is left of the task.
                let mut message = agent_message(&self.live.log().task, said);
                message.task_id = None;
                return Ok(Settled::Message(message));
            }
            // Somebody has seen the task already, so the answer becomes its last word.
            let outcome = Outcome::Completed {
                message: Some(said),
                artifacts: Vec::new(),
            };
            return self.settle(outcome).await;
        }
        self.settle(outcome).await
    }

    /// Ends the call as failed; state writes are dropped. Durable when it returns.
    pub async fn fail(&self, class: FailureClass, sentence: &str) -> Result<Task, TaskError> {
        let failed = self.write(|log| {
            let message = failure_message(&log.task, class, sentence);
            Ok(Change {
                entries: vec![status(TaskState::Failed, Some(message))],
                ..Change::default()
            })
        });
        self.ended(failed).await
    }

    async fn settle(&self, outcome: Outcome) -> Result<Settled, TaskError> {
        let state = std::mem::take(&mut self.draft().state);
        let state = state
            .into_iter()
            .map(|(key, value)| (key, value.map(String::into_bytes)));
        let settled = self.write(|log| {
            let (entries, slot) = entries_of(log, outcome);
            Ok(Change {
                entries,
                slot,
                state: state.collect(),
                ..Change::default()
            })
        });
        Ok(Settled::Task(self.ended(settled).await?))
    }

    async fn ended(&self, written: Result<u64, TaskError>) -> Result<Task, TaskError> {
        let _span = self
            .trace
            .as_ref()
            .map(|trace| trace.span("commit", Kind::Internal));
        match written {
            // Cancelled meanwhile: what the canceller wrote is the task's last word.
            Ok(_) | Err(TaskError::Ended) => Ok(self.live.snapshot().await?.0),
            Err(error) => Err(error),
        }
    }

    /// Adds to the task, after the first message if that is not in it yet.
    fn write(
        &self,
        decide: impl FnOnce(&Log) -> Result<Change, TaskError>,
    ) -> Result<u64, TaskError> {
        // Held to the end: two writes must not both believe that theirs is the first.
        let mut draft = self.draft();
        if draft.ended {
            return Err(TaskError::Ended);
        }
        let first = draft.first.clone();
        let push = draft.push.as_ref();
        let mut ends = false;
        let seq = self.live.write(&*self.inner.store, &self.limits(), |log| {
            if log.head.state.is_terminal() {
                return Err(TaskError::Ended);
            }
            let mut change = decide(log)?;
            ends = change.entries.iter().any(LogEntry::ends_call);
            if let Some(first) = first {
                let has_status = change
                    .entries
                    .iter()
                    .any(|entry| matches!(entry, LogEntry::Status(_)));
                if !has_status {
                    change.entries.insert(0, status(TaskState::Working, None));
                }
                change.entries.insert(0, LogEntry::Turn(first));
                if let Some(push) = push {
                    change.records = push.records(self.live.id, log);
                }
            }
            Ok(change)
        })?;
        draft.first = None;
        draft.push = None;
        draft.ended = ends;
        Ok(seq)
    }

    async fn room(&self) -> Result<(), TaskError> {
        let last = self.live.log().head.last_seq;
        self.live.durable(last.saturating_sub(MAX_PENDING)).await
    }

    fn state_key(&self, scope: StateScope, key: &str) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64 + key.len());
        match scope {
            StateScope::Task => {
                bytes.push(b't');
                bytes.extend_from_slice(self.live.id.as_bytes());
            }
            StateScope::Context => {
                let log = self.live.log();
                bytes.push(b'c');
                for owner in [&log.head.agent, &log.head.principal, &log.head.context] {
                    // The length first: no text in these can then pretend to be another owner.
                    bytes.extend_from_slice(&(owner.len() as u32).to_be_bytes());
                    bytes.extend_from_slice(owner.as_bytes());
                }
            }
        }
        bytes.extend_from_slice(key.as_bytes());
        bytes
    }

    fn draft(&self) -> MutexGuard<'_, Draft> {
        self.draft.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let draft = self.draft.get_mut().unwrap_or_else(PoisonError::into_inner);
        if draft.first.is_some() {
            self.live.abandon();
        } else if !draft.ended {
            let stopping = self.inner.stopping.is_cancelled();
            let loss = if stopping { STOPPED } else { LOST };
            if let Err(error) = self.inner.lose(&self.live, loss) {
                let error = &error as &dyn std::error::Error;
                warn!(task = %self.live.id, error, "a task that lost its call cannot be ended");
            }
        }
    }
}

impl Draft {
    /// Ends the call without a task, if nobody can know of one.
    fn end_untouched(&mut self) -> bool {
        let untouched = self.first.is_some() && self.state.is_empty();
        self.ended |= untouched;
        untouched
    }
}

/// The log entries that an outcome adds, and the slot it leaves.
fn entries_of(log: &Log, outcome: Outcome) -> (Vec<LogEntry>, Option<Value>) {
    let say = |said: AgentMessage| Some(agent_message(&log.task, said));
    match outcome {
        Outcome::Completed { message, artifacts } => {
            let mut entries: Vec<LogEntry> = artifacts
                .into_iter()
                .map(|artifact| LogEntry::Artifact {
                    artifact: agent_artifact(artifact),
                    append: false,
                    last: true,
                })
                .collect();
            entries.push(status(TaskState::Completed, message.and_then(say)));
            (entries, None)
        }
        Outcome::InputRequired { message, slot } => (
            vec![status(TaskState::InputRequired, say(message))],
            Some(slot),
        ),
        Outcome::AuthRequired { message, slot } => (
            vec![status(TaskState::AuthRequired, say(message))],
            Some(slot),
        ),
        Outcome::Message(message) => (vec![status(TaskState::Completed, say(message))], None),
        Outcome::Rejected(message) => (vec![status(TaskState::Rejected, say(message))], None),
        Outcome::Failed(said) => {
            let mut message = agent_message(&log.task, said);
            // Whatever class the agent gave: the others are not its to blame.
            let class = Value::from(FailureClass::Agent.as_str());
            let metadata = message.metadata.get_or_insert_default();
            metadata.insert("errorClass".to_owned(), class);
            (vec![status(TaskState::Failed, Some(message))], None)
        }
    }
}
