//! Configurations as requests see them: kept beside their task, owned by whoever owns it.

use super::config::{CONFIGS, CURSORS, Cursor, PushConfig, parse_key, record_key, task_prefix};
use super::wakes::Upto;
use super::workers::Workers;
use crate::engine::{Inner, TaskEngine, TaskScope, blocking};
use crate::error::TaskError;
use crate::live::{Change, LiveTask, Log};
use crate::record::TaskHead;
use dormouse_store::{Record, TaskId};
use std::sync::Arc;
use tokio::sync::{Mutex, MutexGuard, oneshot};

/// Configurations of one task. Each is sent every event.
pub(crate) const MAX_CONFIGS: usize = 10;

/// One page of a task's configurations, in the order of their ids.
#[derive(Debug)]
pub struct PushPage {
    pub configs: Vec<PushConfig>,
    /// Where the next page begins; `None` on the last one.
    pub next: Option<String>,
}

const SHARDS: usize = 32;

/// What a task engine knows of push notifications.
#[derive(Default)]
pub(crate) struct Book {
    /// Held while configurations of a task change or their deliveries begin, so that no delivery goes
    /// on with a configuration that is gone.
    turns: [Mutex<()>; SHARDS],
    pub(crate) workers: Workers,
}

impl Book {
    pub(crate) async fn turn(&self, task: TaskId) -> MutexGuard<'_, ()> {
        // The last byte of a UUIDv7 is random.
        self.turns[usize::from(task.as_bytes()[15]) % SHARDS]
            .lock()
            .await
    }
}

impl TaskEngine {
    /// Keeps a configuration, in place of the one with its id if there is one: then it goes on where
    /// that one was. A new one is told of what happens from now on. Durable when it returns.
    ///
    /// # Errors
    /// NotFound; Limit if the task has too many.
    pub async fn create_push(
        &self,
        scope: &TaskScope,
        task: &str,
        config: PushConfig,
    ) -> Result<(), TaskError> {
        let live = self.0.find(scope, task).await?;
        let _turn = self.0.book.turn(live.id).await;
        let new = self.0.new_config(&live, config).await?;
        self.0
            .keep_beside(&live, |log| new.records(live.id, log))
            .await
    }

    /// # Errors
    /// NotFound, PushConfigNotFound.
    pub async fn get_push(
        &self,
        scope: &TaskScope,
        task: &str,
        id: &str,
    ) -> Result<PushConfig, TaskError> {
        let live = self.0.find(scope, task).await?;
        let configs = self.0.configs(live.id).await?;
        configs
            .into_iter()
            .find(|config| config.id == id)
            .ok_or_else(|| TaskError::PushConfigNotFound(id.to_owned()))
    }

    /// Those after the page that `token` came with, at most `limit`.
    ///
    /// # Errors
    /// NotFound; BadPageToken if no page of this task came with it.
    pub async fn list_push(
        &self,
        scope: &TaskScope,
        task: &str,
        token: Option<&str>,
        limit: usize,
    ) -> Result<PushPage, TaskError> {
        let live = self.0.find(scope, task).await?;
        let after = token.map(|token| parse_token(live.id, token)).transpose()?;
        let mut configs = self.0.configs(live.id).await?;
        configs.retain(|config| after.is_none_or(|after| config.id.as_str() > after));
        let more = configs.len() > limit;
        configs.truncate(limit);
        let next = configs.last().filter(|_| more);
        Ok(PushPage {
            next: next.map(|config| page_token(live.id, &config.id)),
            configs,
        })
    }

    /// Forgets a configuration; fine if there is none. When it returns, nothing more is sent.
    pub async fn delete_push(
        &self,
        scope: &TaskScope,
        task: &str,
        id: &str,
    ) -> Result<(), TaskError> {
        let live = self.0.find(scope, task).await?;
        let _turn = self.0.book.turn(live.id).await;
        self.0.book.workers.stop(live.id, id).await;
        self.0
            .keep(vec![
                (record_key(CONFIGS, live.id, id), None),
                (record_key(CURSORS, live.id, id), None),
            ])
            .await
    }
}

/// Where a page ends, and what tells it from any other text. It stays good when its configuration is deleted.
fn page_token(task: TaskId, last: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(task.as_bytes()).update(last.as_bytes());
    let check = hasher.finalize().to_hex();
    format!("{}.{last}", &check[..16])
}

fn parse_token(task: TaskId, token: &str) -> Result<&str, TaskError> {
    let last = token.split_once('.').map(|(_, last)| last);
    last.filter(|last| page_token(task, last) == token)
        .ok_or(TaskError::BadPageToken)
}

/// A configuration on its way into the store.
pub(crate) struct NewConfig {
    config: PushConfig,
    encoded: Vec<u8>,
    /// Where the one that it replaces was.
    cursor: Option<Cursor>,
}

impl NewConfig {
    /// For a task that nobody knows of yet: its receiver is told everything.
    pub(crate) fn of_new_task(config: PushConfig) -> Result<Self, TaskError> {
        Ok(Self {
            encoded: serde_json::to_vec(&config)?,
            config,
            cursor: Some(Cursor::at(0)),
        })
    }

    /// What to write, given the log as it is then.
    pub(crate) fn records(&self, task: TaskId, log: &Log) -> Vec<Record> {
        let ended = log.head.state.is_terminal();
        let from_now = (!ended).then(|| Cursor::at(log.head.last_seq));
        let cursor = self.cursor.or(from_now).map(Cursor::encode);
        let id = &self.config.id;
        vec![
            (record_key(CONFIGS, task, id), Some(self.encoded.clone())),
            (record_key(CURSORS, task, id), cursor),
        ]
    }
}

impl Inner {
    /// Makes room for a configuration. The caller has the task's turn.
    pub(crate) async fn new_config(
        self: &Arc<Self>,
        live: &LiveTask,
        config: PushConfig,
    ) -> Result<NewConfig, TaskError> {
        let known = self.configs(live.id).await?;
        let replaces = known.iter().any(|known| known.id == config.id);
        if !replaces && known.len() >= MAX_CONFIGS {
            return Err(TaskError::Limit {
                what: "the push notification configurations of one task",
                limit: MAX_CONFIGS as u64,
            });
        }
        self.book.workers.stop(live.id, &config.id).await;
        let cursors = self.cursors(live.id).await?;
        let cursor = cursors.into_iter().find(|(id, _)| *id == config.id);
        Ok(NewConfig {
            encoded: serde_json::to_vec(&config)?,
            // A new receiver is a new chance.
            cursor: cursor.map(|(_, cursor)| Cursor::at(cursor.seq)),
            config,
        })
    }

    /// Writes records beside the log of a task, in the order of its entries. Durable when it returns.
    async fn keep_beside(
        &self,
        live: &Arc<LiveTask>,
        records: impl FnOnce(&Log) -> Vec<Record>,
    ) -> Result<(), TaskError> {
        let (told, done) = oneshot::channel();
        live.write_and_tell(&*self.store, &self.limits, told, |log| {
            Ok(Change {
                slot: log.head.slot.clone(),
                records: records(log),
                ..Change::default()
            })
        })?;
        done.await.map_err(|_dropped| TaskError::Stopped)?
    }

    /// Writes records. Durable when it returns.
    pub(crate) async fn keep(&self, records: Vec<Record>) -> Result<(), TaskError> {
        let (told, done) = oneshot::channel();
        self.store.keep(
            records,
            Box::new(move |result| {
                // Whoever asked may have left.
                let _ = told.send(result);
            }),
        );
        Ok(done.await.map_err(|_dropped| TaskError::Stopped)??)
    }

    /// The configurations of a task, in the order of their ids.
    pub(crate) async fn configs(
        self: &Arc<Self>,
        task: TaskId,
    ) -> Result<Vec<PushConfig>, TaskError> {
        let inner = Arc::clone(self);
        blocking(move || {
            let prefix = task_prefix(CONFIGS, task);
            let records = inner.store.records(&prefix, None, MAX_CONFIGS)?;
            let decode = |(_, json): (_, Vec<u8>)| Ok(serde_json::from_slice(&json)?);
            records.into_iter().map(decode).collect()
        })
        .await
    }

    /// The cursors of a task: of those configurations only that are still owed something.
    pub(crate) async fn cursors(
        self: &Arc<Self>,
        task: TaskId,
    ) -> Result<Vec<(String, Cursor)>, TaskError> {
        let inner = Arc::clone(self);
        blocking(move || {
            let prefix = task_prefix(CURSORS, task);
            let records = inner.store.records(&prefix, None, MAX_CONFIGS)?;
            let decode = |(key, value): (Vec<u8>, Vec<u8>)| {
                let (_, id) = parse_key(&key)?;
                Some((id, Cursor::decode(&value)?))
            };
            Ok(records.into_iter().filter_map(decode).collect())
        })
        .await
    }

    /// How far a task's log may be shown; `None` if there is no such task. Blocks on the disk.
    pub(crate) fn durable_upto(&self, id: TaskId) -> Result<Option<Upto>, TaskError> {
        if let Some(live) = self.shelf.find(id) {
            return Ok(Some(live.upto()));
        }
        // Not in memory: nothing of it is on its way to the disk.
        let Some(head) = self.store.head(id)? else {
            return Ok(None);
        };
        let head: TaskHead = serde_json::from_slice(&head)?;
        Ok(Some(Upto {
            seq: head.last_seq,
            ended: head.state.is_terminal(),
        }))
    }
}
