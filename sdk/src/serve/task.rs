//! One task: its state and the one ordered log that every reader follows.

use std::cell::{Ref, RefCell};
use std::rc::Rc;

use a2a::{StreamResponse, TaskState, TaskStatus};
use chrono::Utc;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::native::Effect;
use crate::{AgentError, Content, Outcome, SkillSlot};

use super::convert;

/// Events that one task may log; more are refused to its agent.
const MAX_EVENTS: usize = 10_000;

pub(super) struct Task {
    pub(super) agent: String,
    pub(super) skill: String,
    record: RefCell<Record>,
    changed: Notify,
}

struct Record {
    task: a2a::Task,
    /// The first entry is the task itself, or the message of an agent that answers without one.
    log: Vec<StreamResponse>,
    slot: Option<SkillSlot>,
    run: Option<AbortHandle>,
}

impl Task {
    pub(super) fn new(
        agent: String,
        skill: String,
        context_id: Option<String>,
        mut first: a2a::Message,
    ) -> Self {
        let id = a2a::new_task_id();
        let context_id = context_id.unwrap_or_else(a2a::new_context_id);
        first.task_id = Some(id.clone());
        first.context_id = Some(context_id.clone());
        let task = a2a::Task {
            id,
            context_id,
            status: status(TaskState::Submitted, None),
            artifacts: None,
            history: Some(vec![first]),
            metadata: None,
        };
        Task {
            agent,
            skill,
            record: RefCell::new(Record {
                task,
                log: Vec::new(),
                slot: None,
                run: None,
            }),
            changed: Notify::new(),
        }
    }

    pub(super) fn task(&self) -> Ref<'_, a2a::Task> {
        Ref::map(self.record.borrow(), |record| &record.task)
    }

    /// Whether the task waits for a message of its client.
    pub(super) fn is_interrupted(&self) -> bool {
        is_interrupted(&self.task().status.state)
    }

    /// Whether there is a task to be seen: an agent may still answer without one.
    pub(super) fn is_announced(&self) -> bool {
        matches!(
            self.record.borrow().log.first(),
            Some(StreamResponse::Task(_))
        )
    }

    /// Makes the task visible, as it is now, if it is not yet.
    pub(super) fn announce(&self) {
        let mut record = self.record.borrow_mut();
        if record.log.is_empty() {
            let snapshot = record.task.clone();
            record.log.push(StreamResponse::Task(snapshot));
        }
        drop(record);
        self.changed.notify_waiters();
    }

    /// Takes the next message of the client and the note on what it answers.
    pub(super) fn continue_with(&self, mut message: a2a::Message) -> Option<SkillSlot> {
        let mut record = self.record.borrow_mut();
        message.task_id = Some(record.task.id.clone());
        message.context_id = Some(record.task.context_id.clone());
        record.push_history(message);
        record.task.status = status(TaskState::Working, None);
        record.slot.take()
    }

    pub(super) fn runs_as(&self, handle: AbortHandle) {
        self.record.borrow_mut().run = Some(handle);
    }

    pub(super) fn cancel(&self) {
        if let Some(run) = self.record.borrow_mut().run.take() {
            run.abort();
        }
        self.announce();
        self.set_status(TaskState::Canceled, None);
    }

    /// What a running call did.
    pub(super) fn apply(&self, effect: Effect) -> Result<(), AgentError> {
        match effect {
            Effect::Log {
                level,
                message,
                fields,
            } => {
                eprintln!("{level:?} {} {message} {fields:?}", self.agent);
                return Ok(());
            }
            _ if self.record.borrow().log.len() >= MAX_EVENTS => {
                return Err(AgentError::Limit(format!("{MAX_EVENTS} events in a task")));
            }
            Effect::Update(content) => {
                let message = self.message(content)?;
                self.announce();
                self.set_status(TaskState::Working, Some(message));
            }
            Effect::Artifact {
                artifact,
                append,
                last,
            } => {
                let artifact = convert::artifact(artifact)?;
                self.announce();
                self.add_artifact(artifact, append, last);
            }
        }
        Ok(())
    }

    /// The end of a call.
    pub(super) fn finish(&self, outcome: Outcome) {
        if self.task().status.state.is_terminal() {
            return;
        }
        if let Err(error) = self.try_finish(outcome) {
            self.fail(&format!("the agent's answer is not valid: {error}"));
        }
    }

    /// Ends the task for a reason that is not the agent's own answer.
    pub(super) fn fail(&self, sentence: &str) {
        let message = self.message(sentence.into()).ok();
        self.announce();
        self.set_status(TaskState::Failed, message);
    }

    fn try_finish(&self, outcome: Outcome) -> Result<(), AgentError> {
        let (state, message) = match outcome {
            Outcome::Message(content) => {
                let message = self.message(content)?;
                let mut record = self.record.borrow_mut();
                if record.log.is_empty() {
                    record.log.push(StreamResponse::Message(a2a::Message {
                        task_id: None,
                        ..message
                    }));
                    drop(record);
                    self.changed.notify_waiters();
                    return Ok(());
                }
                (TaskState::Completed, Some(message))
            }
            Outcome::Completed { message, artifacts } => {
                let artifacts = artifacts
                    .into_iter()
                    .map(convert::artifact)
                    .collect::<Result<Vec<_>, _>>()?;
                let message = message.map(|content| self.message(content)).transpose()?;
                self.announce();
                for artifact in artifacts {
                    self.add_artifact(artifact, false, true);
                }
                (TaskState::Completed, message)
            }
            Outcome::InputRequired { message, slot } => {
                self.record.borrow_mut().slot = Some(slot);
                (TaskState::InputRequired, Some(self.message(message)?))
            }
            Outcome::AuthRequired { message, slot } => {
                self.record.borrow_mut().slot = Some(slot);
                (TaskState::AuthRequired, Some(self.message(message)?))
            }
            Outcome::Rejected(reason) => (TaskState::Rejected, Some(self.message(reason)?)),
            Outcome::Failed(error) => (TaskState::Failed, Some(self.message(error)?)),
        };
        self.announce();
        self.set_status(state, message);
        Ok(())
    }

    fn message(&self, content: Content) -> Result<a2a::Message, AgentError> {
        let task = self.task();
        convert::message(content, &task.id, &task.context_id)
    }

    fn set_status(&self, state: TaskState, message: Option<a2a::Message>) {
        let mut record = self.record.borrow_mut();
        if let Some(message) = &message {
            record.push_history(message.clone());
        }
        record.task.status = status(state, message);
        let event = a2a::TaskStatusUpdateEvent {
            task_id: record.task.id.clone(),
            context_id: record.task.context_id.clone(),
            status: record.task.status.clone(),
            metadata: None,
        };
        record.log.push(StreamResponse::StatusUpdate(event));
        drop(record);
        self.changed.notify_waiters();
    }

    fn add_artifact(&self, artifact: a2a::Artifact, append: bool, last: bool) {
        let mut record = self.record.borrow_mut();
        let event = a2a::TaskArtifactUpdateEvent {
            task_id: record.task.id.clone(),
            context_id: record.task.context_id.clone(),
            artifact: artifact.clone(),
            append: Some(append),
            last_chunk: Some(last),
            metadata: None,
        };
        let artifacts = record.task.artifacts.get_or_insert_default();
        let same = artifacts
            .iter_mut()
            .find(|held| held.artifact_id == artifact.artifact_id);
        match same {
            Some(held) if append => held.parts.extend(artifact.parts),
            Some(held) => *held = artifact,
            None => artifacts.push(artifact),
        }
        record.log.push(StreamResponse::ArtifactUpdate(event));
        drop(record);
        self.changed.notify_waiters();
    }
}

impl Record {
    fn push_history(&mut self, message: a2a::Message) {
        self.task.history.get_or_insert_default().push(message);
    }
}

/// Reads a task's log from some place on.
pub(super) struct Reader {
    task: Rc<Task>,
    snapshot: Option<StreamResponse>,
    next: usize,
    /// Whether the reader has enough once the task waits for its client.
    ends_interrupted: bool,
}

impl Reader {
    /// Of a task that has just been made: the log from its first entry.
    pub(super) fn of_new(task: Rc<Task>) -> Self {
        Reader {
            task,
            snapshot: None,
            next: 0,
            ends_interrupted: true,
        }
    }

    /// Of a task that exists: the task as it is, then what follows.
    pub(super) fn of_existing(task: Rc<Task>, ends_interrupted: bool) -> Self {
        let snapshot = StreamResponse::Task(task.task().clone());
        let next = task.record.borrow().log.len();
        Reader {
            task,
            snapshot: Some(snapshot),
            next,
            ends_interrupted,
        }
    }

    /// The next event; `None` at the end.
    pub(super) async fn next(&mut self) -> Option<StreamResponse> {
        if let Some(snapshot) = self.snapshot.take() {
            return Some(snapshot);
        }
        loop {
            // One thread: nothing happens between this look and the wait.
            if let Some(event) = self.task.record.borrow().log.get(self.next) {
                self.next += 1;
                return Some(event.clone());
            }
            if self.is_at_end() {
                return None;
            }
            self.task.changed.notified().await;
        }
    }

    fn is_at_end(&self) -> bool {
        let record = self.task.record.borrow();
        let state = &record.task.status.state;
        matches!(record.log.first(), Some(StreamResponse::Message(_)))
            || state.is_terminal()
            || (self.ends_interrupted && is_interrupted(state))
    }
}

fn is_interrupted(state: &TaskState) -> bool {
    matches!(state, TaskState::InputRequired | TaskState::AuthRequired)
}

fn status(state: TaskState, message: Option<a2a::Message>) -> TaskStatus {
    TaskStatus {
        state,
        message,
        timestamp: Some(Utc::now()),
    }
}
