//! Finds tasks, in memory or in the store, and fails those that have lost their call.

use crate::engine::{Inner, LOST, Loss, TaskScope, blocking, failure_message, status};
use crate::error::TaskError;
use crate::live::{Change, LiveTask, Size};
use crate::model::{FailureClass, TaskState};
use crate::record::{Encoded, TaskHead, blank, fold, now};
use crate::room::{FREE, Room};
use dormouse_store::TaskId;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use tracing::error;
use uuid::Uuid;

/// Tasks that could not be read: each is told once, however often it is met.
#[derive(Default)]
pub(crate) struct Damaged(Mutex<HashSet<TaskId>>);

/// Of more, nothing new is told: then it is the disk, and no longer a task.
const MAX_DAMAGED: usize = 1_000;

/// What came of reading a task.
enum Loaded {
    Done(Option<Arc<LiveTask>>),
    /// It needs more room.
    TooLarge,
}

impl Inner {
    /// Logs and counts a task that cannot be read, and leaves it as it is.
    pub(crate) fn pass_over(&self, id: TaskId, error: &TaskError) {
        let mut known = self
            .damaged
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_DAMAGED || !known.insert(id) {
            return;
        }
        self.store.found_damage();
        let error = error as &dyn std::error::Error;
        error!(task = %id, error, "a task cannot be read; others go on without it");
    }

    /// The scope's task, in memory or from the store.
    pub(crate) async fn find(
        self: &Arc<Self>,
        scope: &TaskScope,
        id: &str,
    ) -> Result<Arc<LiveTask>, TaskError> {
        let live = self.find_any(id).await?;
        let ours = {
            let head = &live.log().head;
            head.agent == scope.agent && head.principal == scope.principal
        };
        if ours {
            Ok(live)
        } else {
            Err(TaskError::NotFound(id.to_owned()))
        }
    }

    pub(crate) async fn agent_of(
        self: &Arc<Self>,
        principal: &str,
        id: &str,
    ) -> Result<String, TaskError> {
        let live = self.find_any(id).await?;
        let log = live.log();
        if log.head.principal == principal {
            Ok(log.head.agent.clone())
        } else {
            Err(TaskError::NotFound(id.to_owned()))
        }
    }

    /// Whose task it may be.
    async fn find_any(self: &Arc<Self>, id: &str) -> Result<Arc<LiveTask>, TaskError> {
        let not_found = || TaskError::NotFound(id.to_owned());
        let uuid = Uuid::try_parse(id).map_err(|_not_ours| not_found())?;
        let (mut bytes, mut room) = (FREE, Room::default());
        loop {
            let inner = Arc::clone(self);
            match blocking(move || inner.load_within(uuid, LOST, bytes, room)).await? {
                Loaded::Done(live) => return live.ok_or_else(not_found),
                // How large it is only its events say.
                Loaded::TooLarge => {
                    bytes = bytes.saturating_mul(4).min(self.limits.task_weight);
                    room = self.rooms.take(bytes).await?;
                }
            }
        }
    }

    /// The task in memory, or from the store, however large it is.
    pub(crate) fn load(&self, id: TaskId, loss: Loss) -> Result<Option<Arc<LiveTask>>, TaskError> {
        match self.load_within(id, loss, u64::MAX, Room::default())? {
            Loaded::Done(live) => Ok(live),
            Loaded::TooLarge => Ok(None),
        }
    }

    /// The task in memory, or from the store, if it takes no more memory than so much; the room is that task's then. A task
    /// that comes from the store as running has no call, since a call keeps its task in memory: it is failed because of
    /// `loss`.
    fn load_within(
        &self,
        id: TaskId,
        loss: Loss,
        bytes: u64,
        mut room: Room,
    ) -> Result<Loaded, TaskError> {
        let (mut lost, mut is_too_large) = (false, false);
        let found = self.shelf.find_or_load(id, || {
            let Some(head) = self.store.head(id)? else {
                return Ok(None);
            };
            let head: TaskHead = serde_json::from_slice(&head)?;
            let mut task = blank(id.to_string(), head.context.clone(), now());
            let mut size = Size::default();
            let mut from = 1;
            while from <= head.last_seq {
                let page = self.store.events(id, from, 256)?;
                let Some((last, _)) = page.last() else { break };
                from = last + 1;
                for (_, stored) in page {
                    size.add(&stored);
                    // Its last words may be over what a task has.
                    if size.weight > bytes && bytes < self.limits.task_weight {
                        is_too_large = true;
                        return Ok(None);
                    }
                    fold(&mut task, Encoded::from_store(stored).decode()?);
                }
            }
            lost = head.is_open();
            room.shrink(size.weight);
            let shelf = Arc::clone(&self.shelf);
            let live = LiveTask::loaded(id, head, task, shelf, size, room);
            Ok(Some(live))
        })?;
        if is_too_large {
            return Ok(Loaded::TooLarge);
        }
        if let Some(live) = found.as_ref().filter(|_| lost) {
            self.lose(live, loss)?;
        }
        Ok(Loaded::Done(found))
    }

    /// Ends a task whose call is gone, unless it has ended already.
    pub(crate) fn lose(
        &self,
        live: &Arc<LiveTask>,
        (class, sentence): Loss,
    ) -> Result<(), TaskError> {
        let failed = live.write(&*self.store, &self.limits, |log| {
            if !log.head.is_open() {
                return Err(TaskError::Ended);
            }
            let message = failure_message(&log.task, class, sentence);
            Ok(Change {
                entries: vec![status(TaskState::Failed, Some(message))],
                ..Change::default()
            })
        });
        match failed {
            Ok(_) if class == FailureClass::Platform => {
                error!(task = %live.id, "a task lost its call");
                Ok(())
            }
            Ok(_) | Err(TaskError::Ended) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
