//! A task in memory: its one ordered log, the writes on their way to the disk, and the mark up to
//! which they have arrived.

use crate::engine::{TaskLimits, blocking};
use crate::error::TaskError;
use crate::model::Task;
use crate::push::{Upto, Wakes};
use crate::record::{Encoded, LogEntry, TaskHead, fold, millis, state_byte};
use crate::room::Room;
use crate::weight::weight;
use dormouse_store::{Record, TaskId, TaskIndex, TaskStore, TaskWrite};
use serde_json::Value;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

/// Entries kept in memory for readers that follow closely; slower ones read the store.
const TAIL_ENTRIES: usize = 256;
/// What a task may take in memory to be copied on an event loop, in bytes.
const COPIED_HERE: u64 = 2 << 20;

/// How far the log is durable, and therefore visible.
#[derive(Debug, Clone, Default)]
pub(crate) struct Committed {
    pub(crate) seq: u64,
    /// The entry at `seq` ended the task.
    pub(crate) ended: bool,
    pub(crate) failed: Option<TaskError>,
}

pub(crate) struct LiveTask {
    pub(crate) id: TaskId,
    /// Ends the running call.
    pub(crate) cancel: CancellationToken,
    log: Mutex<Log>,
    committed: watch::Sender<Committed>,
    shelf: Arc<Shelf>,
    /// Of a large one that was read.
    _room: Room,
}

pub(crate) struct Log {
    pub(crate) head: TaskHead,
    /// The task with every entry folded in, also those not durable yet.
    pub(crate) task: Task,
    /// False until the first write: until then nobody but the running call knows of this task.
    pub(crate) accepted: bool,
    tail: VecDeque<(u64, Encoded)>,
    pub(crate) size: Size,
    indexed_ms: Option<u64>,
}

/// What one step adds to a task. All of it becomes durable or nothing.
#[derive(Default)]
pub(crate) struct Change {
    pub(crate) entries: Vec<LogEntry>,
    /// Replaces the slot.
    pub(crate) slot: Option<Value>,
    pub(crate) state: Vec<Record>,
    /// Of push notification configurations.
    pub(crate) records: Vec<Record>,
}

impl LiveTask {
    pub(crate) fn new(id: TaskId, head: TaskHead, task: Task, shelf: Arc<Shelf>) -> Arc<Self> {
        Self::with_log(id, head, task, shelf, None, Size::default())
    }

    /// A task as the store has it; everything in it is durable.
    pub(crate) fn loaded(
        id: TaskId,
        head: TaskHead,
        task: Task,
        shelf: Arc<Shelf>,
        size: Size,
        room: Room,
    ) -> Arc<Self> {
        Self::with_log(id, head, task, shelf, Some(room), size)
    }

    fn with_log(
        id: TaskId,
        head: TaskHead,
        task: Task,
        shelf: Arc<Shelf>,
        // Of one that the store has.
        room: Option<Room>,
        size: Size,
    ) -> Arc<Self> {
        let accepted = room.is_some();
        let mark = Committed {
            seq: head.last_seq,
            ended: head.state.is_terminal(),
            failed: None,
        };
        let indexed_ms = accepted.then_some(head.status_ms);
        Arc::new(Self {
            id,
            cancel: CancellationToken::new(),
            log: Mutex::new(Log {
                head,
                task,
                accepted,
                tail: VecDeque::new(),
                size,
                indexed_ms,
            }),
            committed: watch::Sender::new(mark),
            shelf,
            _room: room.unwrap_or_default(),
        })
    }

    pub(crate) fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Committed> {
        self.committed.subscribe()
    }

    /// Looks at the task and adds to it in one step. Returns the number of the last entry; it is
    /// visible once [`LiveTask::durable`] says so.
    pub(crate) fn write(
        self: &Arc<Self>,
        store: &dyn TaskStore,
        limits: &TaskLimits,
        decide: impl FnOnce(&Log) -> Result<Change, TaskError>,
    ) -> Result<u64, TaskError> {
        self.write_then(store, limits, decide, |_result| ())
    }

    /// Like [`LiveTask::write`], for a change that adds no entry to wait for.
    pub(crate) fn write_and_tell(
        self: &Arc<Self>,
        store: &dyn TaskStore,
        limits: &TaskLimits,
        told: oneshot::Sender<Result<(), TaskError>>,
        decide: impl FnOnce(&Log) -> Result<Change, TaskError>,
    ) -> Result<u64, TaskError> {
        self.write_then(store, limits, decide, |result| {
            // Whoever asked may have left.
            let _ = told.send(result);
        })
    }

    fn write_then(
        self: &Arc<Self>,
        store: &dyn TaskStore,
        limits: &TaskLimits,
        decide: impl FnOnce(&Log) -> Result<Change, TaskError>,
        then: impl FnOnce(Result<(), TaskError>) + Send + 'static,
    ) -> Result<u64, TaskError> {
        let mut log = self.log();
        if let Some(error) = self.committed.borrow().failed.clone() {
            return Err(error);
        }
        let change = decide(&log)?;
        let write = log.apply(self.id, change, limits)?;
        let seq = log.head.last_seq;
        if !log.accepted {
            log.accepted = true;
            self.shelf.insert(self);
        }
        let (ended, push) = (log.head.state.is_terminal(), log.head.push);
        let live = Arc::clone(self);
        // Inside the lock, so that two writes of one task reach the store in the order of their
        // numbers. The store never blocks here.
        store.commit(
            write,
            Box::new(move |result| {
                let result = live.committed_up_to(seq, ended, result.map_err(TaskError::from));
                if push && result.is_ok() {
                    live.shelf.wakes.wake(live.id, Upto { seq, ended });
                }
                then(result);
            }),
        );
        Ok(seq)
    }

    /// Moves the mark. Behind a lost entry nothing is shown: readers would see a log with a hole.
    fn committed_up_to(
        &self,
        seq: u64,
        ended: bool,
        mut result: Result<(), TaskError>,
    ) -> Result<(), TaskError> {
        self.committed
            .send_modify(|mark| match (&mark.failed, &result) {
                (Some(earlier), _) => result = Err(earlier.clone()),
                (None, Ok(())) => {
                    mark.seq = seq;
                    mark.ended = ended;
                }
                (None, Err(error)) => mark.failed = Some(error.clone()),
            });
        result
    }

    /// How far the log may be shown.
    pub(crate) fn upto(&self) -> Upto {
        let mark = self.committed.borrow();
        Upto {
            seq: mark.seq,
            ended: mark.ended,
        }
    }

    /// Waits until entry `seq` is on the disk.
    pub(crate) async fn durable(&self, seq: u64) -> Result<(), TaskError> {
        let mut watch = self.watch();
        let mark = watch
            .wait_for(|mark| mark.seq >= seq || mark.failed.is_some())
            .await
            .map_err(|_closed| TaskError::Stopped)?;
        match &mark.failed {
            Some(error) if mark.seq < seq => Err(error.clone()),
            _ => Ok(()),
        }
    }

    /// The task as of now and the number of its last entry, as soon as all of it is on the disk.
    pub(crate) async fn snapshot(self: &Arc<Self>) -> Result<(Task, u64), TaskError> {
        let (task, seq) = if self.weight() > COPIED_HERE {
            let live = Arc::clone(self);
            blocking(move || Ok(live.copy())).await?
        } else {
            self.copy()
        };
        self.durable(seq).await?;
        Ok((task, seq))
    }

    fn copy(&self) -> (Task, u64) {
        let log = self.log();
        (log.task.clone(), log.head.last_seq)
    }

    /// Bytes of memory that it takes.
    pub(crate) fn weight(&self) -> u64 {
        self.log().size.weight
    }

    /// Tells whoever follows a task that was never accepted that nothing will come.
    pub(crate) fn abandon(&self) {
        self.committed.send_modify(|mark| mark.ended = true);
    }

    /// Entries of the tail from `from` on, or `None` if they are older than the tail.
    pub(crate) fn tail_from(&self, from: u64, upto: u64) -> Option<Vec<(u64, Encoded)>> {
        let log = self.log();
        let first = log.tail.front().map(|(seq, _)| *seq)?;
        (first <= from).then(|| {
            log.tail
                .iter()
                .filter(|(seq, _)| (from..=upto).contains(seq))
                .cloned()
                .collect()
        })
    }
}

impl Drop for LiveTask {
    fn drop(&mut self) {
        self.shelf.forget(self.id);
    }
}

/// How much there is of a task.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Size {
    /// Stored, of all its events.
    bytes: u64,
    /// The same in memory (`weight.rs`).
    pub(crate) weight: u64,
}

impl Size {
    pub(crate) fn add(&mut self, stored: &[u8]) {
        self.bytes += stored.len() as u64;
        self.weight += weight(stored) as u64;
    }
}

impl Log {
    fn apply(
        &mut self,
        id: TaskId,
        change: Change,
        limits: &TaskLimits,
    ) -> Result<TaskWrite, TaskError> {
        let mut entries = Vec::with_capacity(change.entries.len());
        let mut size = self.size;
        let mut seq = self.head.last_seq;
        for entry in change.entries {
            let encoded = Encoded::new(&self.task, &entry)?;
            let bytes = encoded.stored().len() as u64;
            check(bytes, limits.event_bytes, "one event of a task (bytes)")?;
            size.add(encoded.stored());
            seq += 1;
            // The last word of a call must always fit, or the task would never end.
            if !entry.ends_call() {
                check(size.bytes, limits.task_bytes, "the log of one task (bytes)")?;
                check(
                    size.weight,
                    limits.task_weight,
                    "the JSON of one task in memory (bytes)",
                )?;
                check(seq, limits.events, "the log of one task (events)")?;
            }
            entries.push((seq, encoded, entry));
        }
        self.size = size;
        self.head.last_seq = seq;
        self.head.slot = change.slot;
        self.head.push |= !change.records.is_empty();
        let mut events = Vec::with_capacity(entries.len());
        for (seq, encoded, entry) in entries {
            if let LogEntry::Status(status) = &entry {
                self.head.state = status.state.clone();
                self.head.status_ms = status.timestamp.map_or(0, millis);
            }
            events.push((seq, encoded.stored().to_vec()));
            self.tail.push_back((seq, encoded));
            fold(&mut self.task, entry);
        }
        while self.tail.len() > TAIL_ENTRIES {
            self.tail.pop_front();
        }
        let index = TaskIndex {
            agent: self.head.agent.clone(),
            owner: self.head.principal.clone(),
            context: self.head.context.clone(),
            status: state_byte(&self.head.state),
            updated_ms: self.head.status_ms,
        };
        let replaces_updated_ms = self.indexed_ms.replace(self.head.status_ms);
        Ok(TaskWrite {
            task: id,
            head: serde_json::to_vec(&self.head)?,
            open: self.head.is_open(),
            index,
            replaces_updated_ms,
            events,
            state: change.state,
            records: change.records,
        })
    }
}

fn check(value: u64, limit: u64, what: &'static str) -> Result<(), TaskError> {
    if value > limit {
        Err(TaskError::Limit { what, limit })
    } else {
        Ok(())
    }
}

const SHARDS: usize = 32;

/// The tasks in memory, so that whoever asks for one meets the same log. Entries live as long as
/// somebody (a call, a reader, a write on its way) holds the task.
pub(crate) struct Shelf {
    shards: [Mutex<HashMap<TaskId, Weak<LiveTask>>>; SHARDS],
    /// Tasks with push notification configurations that have grown.
    pub(crate) wakes: Wakes,
}

impl Shelf {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            wakes: Wakes::default(),
        })
    }

    /// The task, if it is in memory.
    pub(crate) fn find(&self, id: TaskId) -> Option<Arc<LiveTask>> {
        self.shard(id).get(&id).and_then(Weak::upgrade)
    }

    fn shard(&self, id: TaskId) -> MutexGuard<'_, HashMap<TaskId, Weak<LiveTask>>> {
        // The last byte of a UUIDv7 is random.
        let slot = usize::from(id.as_bytes()[15]) % SHARDS;
        self.shards[slot]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn insert(&self, live: &Arc<LiveTask>) {
        self.shard(live.id).insert(live.id, Arc::downgrade(live));
    }

    fn forget(&self, id: TaskId) {
        let mut shard = self.shard(id);
        if shard.get(&id).is_some_and(|live| live.strong_count() == 0) {
            shard.remove(&id);
        }
    }

    /// The task in memory, or the one that `load` makes of the store's record. The shard stays
    /// locked meanwhile: two loads of one task must not both believe that theirs is the log.
    pub(crate) fn find_or_load(
        &self,
        id: TaskId,
        load: impl FnOnce() -> Result<Option<Arc<LiveTask>>, TaskError>,
    ) -> Result<Option<Arc<LiveTask>>, TaskError> {
        let mut shard = self.shard(id);
        if let Some(live) = shard.get(&id).and_then(Weak::upgrade) {
            return Ok(Some(live));
        }
        let loaded = load()?;
        if let Some(live) = &loaded {
            shard.insert(id, Arc::downgrade(live));
        }
        Ok(loaded)
    }
}
