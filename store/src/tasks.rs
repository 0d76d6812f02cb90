//! Tasks in sled.
//!
//! | key | value |
//! |---|---|
//! | `h` task | head |
//! | `o` task | nothing: a call of the task is running |
//! | `e` task, sequence number | event |
//! | `i` agent, owner, !updated_ms, !task | status, context |
//! | `s` key | state |
//! | `r` key | record; the key as it is, so that it is found by prefix |
//!
//! Time and task are inverted in `i`, so that a scan meets the newest first.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::Histogram;

use crate::committer::{Apply, Committer, Write};
use crate::database::{Changes, Database};
use crate::keys::Key;
use crate::limits::{check_records, check_write};
use crate::{
    Done, KeptRecord, Record, StoreError, TaskId, TaskPage, TaskQuery, TaskStore, TaskWrite,
};

const HEAD: u8 = b'h';
const OPEN: u8 = b'o';
const EVENT: u8 = b'e';
const INDEX: u8 = b'i';
const STATE: u8 = b's';
const RECORD: u8 = b'r';
/// `!updated_ms` and `!task` at the end of an index key.
const POSITION_BYTES: usize = 8 + 16;

type Counts = BTreeMap<u8, u64>;

pub(crate) struct SledTasks {
    database: Arc<Database>,
    counts: Arc<Mutex<Counts>>,
    committer: Committer,
}

impl SledTasks {
    pub(crate) fn open(
        database: Arc<Database>,
        commit_seconds: Histogram,
    ) -> Result<Self, StoreError> {
        let mut counts = Counts::new();
        for entry in database.scan(&[INDEX], None) {
            let (_, value) = entry?;
            *counts.entry(status_in(&database, &value)?).or_default() += 1;
        }
        let counts = Arc::new(Mutex::new(counts));
        let writer = Writer {
            database: Arc::clone(&database),
            counts: Arc::clone(&counts),
        };
        let committer = Committer::start(writer, commit_seconds)?;
        Ok(Self {
            database,
            counts,
            committer,
        })
    }

    /// Finishes the writes that wait; later ones are refused.
    pub(crate) fn stop(&self) {
        self.committer.stop();
    }
}

struct Writer {
    database: Arc<Database>,
    counts: Arc<Mutex<Counts>>,
}

impl Apply for Writer {
    fn apply(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        let mut changes = self.database.begin()?;
        let mut moves = Vec::with_capacity(writes.len());
        for write in writes {
            match write {
                Write::Task(write) => moves.push((
                    stage(&self.database, &mut changes, write)?,
                    write.index.status,
                )),
                Write::Records(records) => stage_records(&mut changes, records)?,
            }
        }
        changes.commit()?;
        let mut counts = lock(&self.counts);
        for (from, to) in moves {
            *counts.entry(to).or_default() += 1;
            if let Some(from) = from
                && let Some(count) = counts.get_mut(&from)
            {
                *count -= 1;
                if *count == 0 {
                    counts.remove(&from);
                }
            }
        }
        Ok(())
    }

    fn idle(&mut self) {
        if let Err(error) = self.database.settle() {
            tracing::error!(%error, "the commit counter of the tasks database is not durable");
        }
    }
}

/// Adds one write to the changes and returns the status the task had.
fn stage(
    database: &Database,
    changes: &mut Changes<'_>,
    write: &TaskWrite,
) -> Result<Option<u8>, StoreError> {
    let index = &write.index;
    changes.put(task_key(HEAD, write.task).done(), &write.head)?;
    let open = task_key(OPEN, write.task).done();
    if write.open {
        changes.put(open, &[])?;
    } else {
        changes.remove(open)?;
    }
    let entry = |updated_ms| {
        index_key(&index.agent, &index.owner)
            .raw(&position(updated_ms, write.task))
            .done()
    };
    let before = entry(write.replaces_updated_ms.unwrap_or(index.updated_ms));
    let status = changes
        .get(&before)?
        .map(|value| status_in(database, &value))
        .transpose()?;
    changes.remove(before)?;
    let value = [&[index.status], index.context.as_bytes()].concat();
    changes.put(entry(index.updated_ms), &value)?;
    for (seq, event) in &write.events {
        changes.put(event_key(write.task, *seq), event)?;
    }
    for (key, value) in &write.state {
        match value {
            Some(value) => changes.put(state_key(key), value)?,
            None => changes.remove(state_key(key))?,
        }
    }
    stage_records(changes, &write.records)?;
    Ok(status)
}

fn stage_records(changes: &mut Changes<'_>, records: &[Record]) -> Result<(), StoreError> {
    for (key, value) in records {
        match value {
            Some(value) => changes.put(record_key(key), value)?,
            None => changes.remove(record_key(key))?,
        }
    }
    Ok(())
}

impl TaskStore for SledTasks {
    fn commit(&self, write: TaskWrite, done: Done) {
        match check_write(&write) {
            Ok(()) => self.committer.submit(Write::Task(write), done),
            Err(error) => done(Err(error)),
        }
    }

    fn keep(&self, records: Vec<Record>, done: Done) {
        match check_records(&records) {
            Ok(_) => self.committer.submit(Write::Records(records), done),
            Err(error) => done(Err(error)),
        }
    }

    fn head(&self, task: TaskId) -> Result<Option<Vec<u8>>, StoreError> {
        self.database.get(&task_key(HEAD, task).done())
    }

    fn events(
        &self,
        task: TaskId,
        from: u64,
        limit: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        let prefix = task_key(EVENT, task).done();
        let after = from.checked_sub(1).map(|before| event_key(task, before));
        let mut events = Vec::new();
        for entry in self.database.scan(&prefix, after.as_deref()).take(limit) {
            let (key, event) = entry?;
            let seq = key[prefix.len()..]
                .try_into()
                .map_err(|_| self.database.corrupt("an event's key"))?;
            events.push((u64::from_be_bytes(seq), event));
        }
        Ok(events)
    }

    fn state(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.database.get(&state_key(key))
    }

    fn records(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<KeptRecord>, StoreError> {
        let (prefix, after) = (record_key(prefix), after.map(record_key));
        let found = self.database.scan(&prefix, after.as_deref());
        let entries = found.take(limit).map(|entry| {
            let (key, value) = entry?;
            Ok((key[1..].to_vec(), value))
        });
        entries.collect()
    }

    fn list(&self, query: &TaskQuery) -> Result<TaskPage, StoreError> {
        let prefix = index_key(&query.agent, &query.owner).done();
        let mut page = TaskPage::default();
        for entry in self.database.scan(&prefix, None) {
            let (key, value) = entry?;
            let (updated_ms, task) = parse_position(&self.database, &key[prefix.len()..])?;
            if query
                .updated_after_ms
                .is_some_and(|after| updated_ms < after)
            {
                break;
            }
            let context_differs = query
                .context
                .as_ref()
                .is_some_and(|context| context.as_bytes() != &value[1..]);
            let status = status_in(&self.database, &value)?;
            if context_differs || query.status.is_some_and(|wanted| wanted != status) {
                continue;
            }
            page.total += 1;
            if query.after.is_some_and(|after| (updated_ms, task) >= after) {
                continue;
            }
            if page.tasks.len() < query.limit {
                page.tasks.push((task, updated_ms));
            } else {
                page.next = page
                    .tasks
                    .last()
                    .map(|(task, updated_ms)| (*updated_ms, *task));
            }
        }
        Ok(page)
    }

    fn found_damage(&self) {
        self.database.found_damage();
    }

    fn open_tasks(&self) -> Result<Vec<TaskId>, StoreError> {
        let parse = |entry: Result<(sled::IVec, Vec<u8>), StoreError>| {
            let (key, _) = entry?;
            TaskId::from_slice(&key[1..]).map_err(|_| self.database.corrupt("an open task's key"))
        };
        self.database.scan(&[OPEN], None).map(parse).collect()
    }

    fn counts(&self) -> BTreeMap<u8, u64> {
        lock(&self.counts).clone()
    }
}

fn lock(counts: &Mutex<Counts>) -> MutexGuard<'_, Counts> {
    // Counters are only counted up and down; they are whole even when a panic poisoned them.
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

fn task_key(kind: u8, task: TaskId) -> Key {
    Key::new(kind).raw(task.as_bytes())
}

fn event_key(task: TaskId, seq: u64) -> Vec<u8> {
    task_key(EVENT, task).raw(&seq.to_be_bytes()).done()
}

fn state_key(key: &[u8]) -> Vec<u8> {
    Key::new(STATE).part(key).done()
}

fn record_key(key: &[u8]) -> Vec<u8> {
    Key::new(RECORD).raw(key).done()
}

fn index_key(agent: &str, owner: &str) -> Key {
    Key::new(INDEX)
        .part(agent.as_bytes())
        .part(owner.as_bytes())
}

fn position(updated_ms: u64, task: TaskId) -> [u8; POSITION_BYTES] {
    let mut position = [0; POSITION_BYTES];
    position[..8].copy_from_slice(&(!updated_ms).to_be_bytes());
    position[8..].copy_from_slice(&(!task.as_u128()).to_be_bytes());
    position
}

fn parse_position(database: &Database, position: &[u8]) -> Result<(u64, TaskId), StoreError> {
    let damaged = || database.corrupt("a task's index key");
    let (updated_ms, task) = position.split_first_chunk::<8>().ok_or_else(damaged)?;
    let task = task.try_into().map_err(|_| damaged())?;
    Ok((
        !u64::from_be_bytes(*updated_ms),
        TaskId::from_u128(!u128::from_be_bytes(task)),
    ))
}

fn status_in(database: &Database, value: &[u8]) -> Result<u8, StoreError> {
    value
        .first()
        .copied()
        .ok_or_else(|| database.corrupt("a task's index entry"))
}
