//! Following a task: one cursor into its log, and a bounded piece of that. A slow reader costs no more
//! than this piece and holds up nobody.

use crate::engine::{Inner, TaskEngine, TaskScope};
use crate::error::{TaskError, state_word};
use crate::live::{Committed, LiveTask};
use crate::model::Task;
use crate::record::Encoded;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::watch;

/// Entries fetched from the store at a time, at most.
const PAGE: usize = 64;
/// Bytes of entries that a reader holds until they are asked for, unless a single one has more. Whoever
/// stops reading holds no more of a task's log than this.
const HELD_BYTES: usize = 512 << 10;

/// One event of a task's log.
#[derive(Debug, Clone)]
pub struct TaskEvent {
    /// Its place in the log, counting from 1; the SSE `id`. Turns of the user have numbers too, so
    /// the numbers that a subscriber sees grow but may skip.
    pub seq: u64,
    /// The A2A `StreamResponse` as JSON; the same bytes for every reader.
    pub json: Bytes,
}

/// A subscriber's place in a task's log.
pub struct TaskReader {
    inner: Arc<Inner>,
    live: Arc<LiveTask>,
    watch: watch::Receiver<Committed>,
    next: u64,
    fetched: VecDeque<(u64, Encoded)>,
    /// How many entries to fetch next: as many as could be held the last time.
    page: usize,
}

/// What subscribers ask of the engine.
impl TaskEngine {
    /// The task as of now, and a reader of what follows, if anything can.
    ///
    /// # Errors
    /// NotFound.
    pub async fn follow(
        &self,
        scope: &TaskScope,
        id: &str,
    ) -> Result<(Task, u64, TaskReader), TaskError> {
        let live = self.0.find(scope, id).await?;
        let _room = self.0.rooms.take(live.weight()).await?;
        let mut reader = TaskReader::new(Arc::clone(&self.0), live, 0);
        let (task, seq) = reader.snapshot().await?;
        Ok((task, seq, reader))
    }

    /// A reader of everything after an event, for one who has seen that. The task may have ended.
    ///
    /// # Errors
    /// NotFound; NoSuchEvent if the task has not come that far.
    pub async fn follow_from(
        &self,
        scope: &TaskScope,
        id: &str,
        after: u64,
    ) -> Result<TaskReader, TaskError> {
        let live = self.0.find(scope, id).await?;
        let last = live.log().head.last_seq;
        live.durable(last).await?;
        if after > last {
            let id = id.to_owned();
            return Err(TaskError::NoSuchEvent { id, event: after });
        }
        Ok(TaskReader::new(Arc::clone(&self.0), live, after))
    }

    /// The task as of now, and a reader of all that follows.
    ///
    /// # Errors
    /// NotFound; Terminal if nothing can follow (A2A 1.0 §3.1.6).
    pub async fn subscribe(
        &self,
        scope: &TaskScope,
        id: &str,
    ) -> Result<(Task, u64, TaskReader), TaskError> {
        let (task, seq, reader) = self.follow(scope, id).await?;
        if task.status.state.is_terminal() {
            let state = state_word(&task.status.state);
            return Err(TaskError::Terminal {
                id: id.to_owned(),
                state,
            });
        }
        Ok((task, seq, reader))
    }
}

impl TaskReader {
    pub(crate) fn new(inner: Arc<Inner>, live: Arc<LiveTask>, after: u64) -> Self {
        let watch = live.watch();
        Self {
            inner,
            live,
            watch,
            next: after + 1,
            fetched: VecDeque::new(),
            page: PAGE,
        }
    }

    /// The next event, as soon as it is durable; `None` after the one that ended the task.
    ///
    /// Cancel safe: an event is never skipped.
    pub async fn next(&mut self) -> Result<Option<TaskEvent>, TaskError> {
        loop {
            while let Some((seq, entry)) = self.fetched.pop_front() {
                self.next = seq + 1;
                if let Some(json) = entry.event_json() {
                    return Ok(Some(TaskEvent { seq, json }));
                }
            }
            let next = self.next;
            let mark = self
                .watch
                .wait_for(|mark| mark.seq >= next || mark.ended || mark.failed.is_some())
                .await
                .map_err(|_closed| TaskError::Stopped)?
                .clone();
            if mark.seq >= next {
                self.fetch(mark.seq).await?;
            } else if let Some(error) = mark.failed {
                return Err(error);
            } else {
                return Ok(None);
            }
        }
    }

    /// The task as of now (durable), and the events that follow it.
    pub(crate) async fn snapshot(&mut self) -> Result<(Task, u64), TaskError> {
        let (task, seq) = self.live.snapshot().await?;
        self.next = seq + 1;
        Ok((task, seq))
    }

    async fn fetch(&mut self, upto: u64) -> Result<(), TaskError> {
        if let Some(entries) = self.live.tail_from(self.next, upto) {
            self.hold(entries);
            return Ok(());
        }
        let (inner, id, from) = (Arc::clone(&self.inner), self.live.id, self.next);
        let limit = self.page;
        let page = tokio::task::spawn_blocking(move || inner.store.events(id, from, limit))
            .await
            .map_err(|_died| TaskError::Stopped)??;
        if page.is_empty() {
            return Err(TaskError::Stopped);
        }
        let entries = page
            .into_iter()
            .map(|(seq, bytes)| (seq, Encoded::from_store(bytes)));
        self.page = match self.hold(entries) {
            held if held < limit => held,
            held => PAGE.min(held * 2),
        };
        Ok(())
    }

    /// Keeps as many of the entries as it may hold, at least one; the others are fetched again. Says how
    /// many it has kept.
    fn hold(&mut self, entries: impl IntoIterator<Item = (u64, Encoded)>) -> usize {
        let mut bytes = 0;
        for (seq, entry) in entries {
            bytes += entry.stored().len();
            if bytes > HELD_BYTES && !self.fetched.is_empty() {
                break;
            }
            self.fetched.push_back((seq, entry));
        }
        self.fetched.len()
    }
}
