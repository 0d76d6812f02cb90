//! The task engine as requests see it: begin, continue, get, list, cancel, subscribe, recover.

use crate::agents::Switchboard;
use crate::call::Call;
use crate::desk::Services;
use crate::error::{TaskError, state_word};
use crate::find::Damaged;
use crate::live::{Change, LiveTask, Shelf};
use crate::llm;
use crate::memory;
use crate::model::{
    AgentArtifact, AgentMessage, Artifact, FailureClass, Message, Role, Task, TaskState,
    TaskStatus, is_interrupted,
};
use crate::once::{Once, Turns};
use crate::push::{Book, PushConfig};
use crate::record::{LogEntry, TaskHead, blank, millis, now};
use crate::room::{Room, Rooms};
use dormouse_store::TaskStore;
use serde_json::{Map, Value};
use std::sync::{Arc, Weak};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// What is kept in one step with the next turn of a task.
#[derive(Default)]
pub struct Along {
    /// Makes the turn that of an idempotency key.
    pub once: Option<Once>,
    /// A new push notification configuration of the task.
    pub push: Option<PushConfig>,
}

/// Owns every task. Cheap to clone.
#[derive(Clone)]
pub struct TaskEngine(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) store: Arc<dyn TaskStore>,
    pub(crate) limits: TaskLimits,
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) book: Book,
    /// Ends every call, for drain.
    pub(crate) stopping: CancellationToken,
    pub(crate) turns: Turns,
    pub(crate) memory: memory::Turns,
    pub(crate) services: Arc<Services>,
    pub(crate) damaged: Damaged,
    pub(crate) rooms: Arc<Rooms>,
}

/// Why a task that looks as if a call of it were running has none, and what its user is told.
pub(crate) type Loss = (FailureClass, &'static str);

pub(crate) const STOPPED: Loss = (
    FailureClass::Interrupted,
    "The server stopped while this task was running. Send the message again.",
);
pub(crate) const LOST: Loss = (
    FailureClass::Platform,
    "The platform lost the call. Send the message again.",
);

/// Bounds on what one task may keep. Over one of them a call gets [`TaskError::Limit`].
#[derive(Debug, Clone)]
pub struct TaskLimits {
    /// Bytes of one encoded event.
    pub event_bytes: u64,
    /// Bytes of all events of one task.
    pub task_bytes: u64,
    /// Bytes of memory that the JSON of all its events takes.
    pub task_weight: u64,
    /// Bytes of memory for all large requests and all large tasks that are read, at a time.
    pub room_bytes: u64,
    /// Events of one task.
    pub events: u64,
    /// Bytes of one value of task or context state.
    pub state_value_bytes: u64,
    /// State keys that one call may write.
    pub state_keys: u64,
    /// Scopes of memory of one agent that have entries.
    pub memory_scopes: u64,
    /// Of one principal.
    pub memory_scopes_of_principal: u64,
}

impl Default for TaskLimits {
    fn default() -> Self {
        Self {
            event_bytes: 4 << 20,
            task_bytes: 32 << 20,
            task_weight: 256 << 20,
            room_bytes: 512 << 20,
            events: 10_000,
            state_value_bytes: 64 << 10,
            state_keys: 256,
            memory_scopes: memory::MAX_SCOPES,
            memory_scopes_of_principal: memory::MAX_SCOPES_OF_PRINCIPAL,
        }
    }
}

/// Whose task: it belongs to the agent and to the principal that made it. Everybody else is told
/// that it does not exist (A2A 1.0 §3.3.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskScope {
    pub agent: String,
    pub principal: String,
}

/// The first message of a task.
#[derive(Debug, Clone)]
pub struct NewTask {
    pub scope: TaskScope,
    pub version: u32,
    pub skill: String,
    pub message: Message,
}

/// What of a task never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    pub version: u32,
    pub skill: String,
    pub context: String,
}

/// A waiting task that has been given its input and now needs a call.
pub struct Continuation {
    pub call: Call,
    pub version: u32,
    pub skill: String,
    pub slot: Value,
    pub message: Message,
}

impl TaskEngine {
    /// Opens the engine over a store and ends what a stopped server left running: such a task is
    /// failed with a reason, never "working" for ever. Blocks on the disk. One damaged task does not
    /// keep the others from their server: it is logged and left as it is.
    pub async fn open(
        store: Arc<dyn TaskStore>,
        limits: TaskLimits,
    ) -> Result<(Self, u64), TaskError> {
        Self::open_with(store, limits, Services::default()).await
    }

    /// [Opens](Self::open) the engine, with services that its calls may ask for.
    pub async fn open_with(
        store: Arc<dyn TaskStore>,
        limits: TaskLimits,
        services: Services,
    ) -> Result<(Self, u64), TaskError> {
        let rooms = Arc::new(Rooms::new(limits.room_bytes));
        let (services, stopping) = (Arc::new(services), CancellationToken::new());
        let engine = Self::over(store, limits, services, rooms, stopping);
        engine.restore_budgets().await?;
        let open = engine.0.store.open_tasks()?;
        let mut interrupted = 0;
        for id in open {
            match engine.0.load(id, STOPPED) {
                Ok(Some(live)) => {
                    live.snapshot().await?;
                    interrupted += 1;
                }
                Ok(None) => {}
                Err(error) if error.is_damage() => engine.0.pass_over(id, &error),
                Err(error) => return Err(error),
            }
        }
        Ok((engine, interrupted))
    }

    fn over(
        store: Arc<dyn TaskStore>,
        limits: TaskLimits,
        services: Arc<Services>,
        rooms: Arc<Rooms>,
        stopping: CancellationToken,
    ) -> Self {
        Self(Arc::new(Inner {
            rooms,
            store,
            limits,
            shelf: Shelf::new(),
            book: Book::default(),
            stopping,
            turns: Turns::default(),
            memory: memory::Turns::default(),
            services,
            damaged: Damaged::default(),
        }))
    }

    /// An engine with the same limits and services over another store, which must be empty: for calls of which nothing
    /// is to be kept here. It stops with this one.
    pub fn aside(&self, store: Arc<dyn TaskStore>) -> Self {
        let Inner {
            limits,
            services,
            rooms,
            ..
        } = &*self.0;
        let stopping = self.0.stopping.child_token();
        let (services, rooms) = (Arc::clone(services), Arc::clone(rooms));
        Self::over(store, limits.clone(), services, rooms, stopping)
    }

    /// Goes on with the budgets of models where the last process was.
    async fn restore_budgets(&self) -> Result<(), TaskError> {
        let Some(llm) = &self.0.services.llm else {
            return Ok(());
        };
        let records = self.0.store.records(llm::BUDGETS, None, usize::MAX)?;
        let stale = llm.restore_used(records);
        if stale.is_empty() {
            return Ok(());
        }
        self.0.keep(stale).await
    }

    /// Says what leads calls of agents by agents. The first to say it stays.
    pub fn connect(&self, agents: Weak<dyn Switchboard>) {
        let _first = self.0.services.agents.set(agents);
    }

    /// A new task, known to nobody but its call until that call accepts it: an agent that answers
    /// with a plain message leaves no task behind, and a quick one costs a single commit.
    pub fn begin(&self, new: NewTask) -> Call {
        let id = Uuid::now_v7();
        let id_text = id.to_string();
        let time = now();
        let mut message = new.message;
        let context = message
            .context_id
            .clone()
            .unwrap_or_else(|| Uuid::now_v7().to_string());
        message.context_id = Some(context.clone());
        message.task_id = Some(id_text.clone());
        let head = TaskHead {
            agent: new.scope.agent,
            version: new.version,
            principal: new.scope.principal,
            context: context.clone(),
            skill: new.skill,
            state: TaskState::Submitted,
            status_ms: millis(time),
            last_seq: 0,
            push: false,
            slot: None,
        };
        let task = blank(id_text, context, time);
        let live = LiveTask::new(id, head, task, Arc::clone(&self.0.shelf));
        Call::new(Arc::clone(&self.0), live, Some(message))
    }

    /// Gives a waiting task its input. Durable when it returns, and so is `once`.
    ///
    /// # Errors
    /// NotFound, Terminal, NotWaiting, ContextMismatch, Store.
    pub async fn resume(
        &self,
        scope: &TaskScope,
        id: &str,
        message: Message,
    ) -> Result<Continuation, TaskError> {
        self.resume_with(scope, id, message, Along::default()).await
    }

    /// [Resumes](Self::resume), and keeps more in the same step.
    ///
    /// # Errors
    /// Those of resume; Limit if the task has too many configurations.
    pub async fn resume_with(
        &self,
        scope: &TaskScope,
        id: &str,
        mut message: Message,
        along: Along,
    ) -> Result<Continuation, TaskError> {
        let live = self.0.find(scope, id).await?;
        let Along { once, push } = along;
        let (_turn, push) = match push {
            Some(config) => {
                let turn = self.0.book.turn(live.id).await;
                (Some(turn), Some(self.0.new_config(&live, config).await?))
            }
            None => (None, None),
        };
        let mut slot = Value::Null;
        let mut context = String::new();
        let seq = live.write(&*self.0.store, &self.0.limits, |log| {
            let state = &log.head.state;
            if let Some(given) = message
                .context_id
                .as_ref()
                .filter(|c| **c != log.head.context)
            {
                return Err(TaskError::ContextMismatch {
                    id: id.to_owned(),
                    given: given.clone(),
                    actual: log.head.context.clone(),
                });
            }
            if state.is_terminal() {
                return Err(TaskError::Terminal {
                    id: id.to_owned(),
                    state: state_word(state),
                });
            }
            if !is_interrupted(state) {
                return Err(TaskError::NotWaiting {
                    id: id.to_owned(),
                    state: state_word(state),
                });
            }
            slot = log.head.slot.clone().unwrap_or_default();
            context.clone_from(&log.head.context);
            message.context_id = Some(context.clone());
            message.task_id = Some(id.to_owned());
            Ok(Change {
                entries: vec![
                    LogEntry::Turn(message.clone()),
                    status(TaskState::Working, None),
                ],
                state: once.iter().map(|once| once.entry(id)).collect(),
                records: push.map_or_else(Vec::new, |push| push.records(live.id, log)),
                ..Change::default()
            })
        })?;
        let (version, skill) = {
            let log = live.log();
            (log.head.version, log.head.skill.clone())
        };
        // Before the wait: when that is dropped, the task must not be left without a call.
        let call = Call::new(Arc::clone(&self.0), Arc::clone(&live), None);
        live.durable(seq).await?;
        Ok(Continuation {
            call,
            version,
            skill,
            slot,
            message,
        })
    }

    /// What stays as it was when the task began.
    ///
    /// # Errors
    /// NotFound.
    pub async fn begun_as(&self, scope: &TaskScope, id: &str) -> Result<Begun, TaskError> {
        let live = self.0.find(scope, id).await?;
        let head = &live.log().head;
        Ok(Begun {
            version: head.version,
            skill: head.skill.clone(),
            context: head.context.clone(),
        })
    }

    /// The task with its whole history.
    pub async fn get(&self, scope: &TaskScope, id: &str) -> Result<Task, TaskError> {
        let live = self.0.find(scope, id).await?;
        let _room = self.0.rooms.take(live.weight()).await?;
        Ok(live.snapshot().await?.0)
    }

    /// Room for a request that takes so many bytes of memory once it is decoded, to be asked for before and to be kept with
    /// it: its task has one copy and its agent another. Waits a while.
    ///
    /// # Errors
    /// Crowded if others have it.
    pub async fn room(&self, weight: usize) -> Result<Room, TaskError> {
        self.0.rooms.take(2 * weight as u64).await
    }

    /// The agent of one of a principal's tasks.
    ///
    /// # Errors
    /// NotFound, also when it is somebody else's.
    pub async fn agent_of(&self, principal: &str, id: &str) -> Result<String, TaskError> {
        self.0.agent_of(principal, id).await
    }

    /// Ends a task at its user's wish and interrupts its call. Durable when it returns.
    ///
    /// # Errors
    /// NotFound; NotCancelable if it has ended.
    pub async fn cancel(&self, scope: &TaskScope, id: &str) -> Result<Task, TaskError> {
        let live = self.0.find(scope, id).await?;
        let seq = live.write(&*self.0.store, &self.0.limits, |log| {
            let state = &log.head.state;
            if state.is_terminal() {
                let state = state_word(state);
                return Err(TaskError::NotCancelable {
                    id: id.to_owned(),
                    state,
                });
            }
            Ok(Change {
                entries: vec![status(TaskState::Canceled, None)],
                ..Change::default()
            })
        })?;
        live.cancel.cancel();
        live.durable(seq).await?;
        let task = live.log().task.clone();
        Ok(task)
    }

    /// Interrupts every running call and those that still begin, for drain: each ends as failed
    /// with class `interrupted`.
    pub fn interrupt_all(&self) {
        self.0.stopping.cancel();
    }
}

/// Runs a read of the store off the event loop.
pub(crate) async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, TaskError> + Send + 'static,
) -> Result<T, TaskError> {
    tokio::task::spawn_blocking(read)
        .await
        .map_err(|_died| TaskError::Stopped)?
}

pub(crate) fn status(state: TaskState, message: Option<Message>) -> LogEntry {
    LogEntry::Status(TaskStatus {
        state,
        message,
        timestamp: Some(now()),
    })
}

/// What an agent said, as a message of this task.
pub(crate) fn agent_message(task: &Task, said: AgentMessage) -> Message {
    Message {
        message_id: Uuid::now_v7().to_string(),
        context_id: Some(task.context_id.clone()),
        task_id: Some(task.id.clone()),
        role: Role::Agent,
        parts: said.parts,
        metadata: said.metadata,
        extensions: None,
        reference_task_ids: None,
    }
}

/// What an agent made, as an artifact of a task.
pub(crate) fn agent_artifact(artifact: AgentArtifact) -> Artifact {
    Artifact {
        artifact_id: artifact.id.unwrap_or_else(|| Uuid::now_v7().to_string()),
        name: artifact.name,
        description: artifact.description,
        parts: artifact.parts,
        metadata: artifact.metadata,
        extensions: None,
    }
}

pub(crate) fn failure_message(task: &Task, class: FailureClass, sentence: &str) -> Message {
    let mut message = agent_message(task, AgentMessage::text(sentence));
    let mut metadata = Map::new();
    metadata.insert("errorClass".to_owned(), Value::from(class.as_str()));
    message.metadata = Some(metadata.into_iter().collect());
    message
}
