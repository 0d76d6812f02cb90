//! Moving cursors on: who is woken, what an earlier process left, and how much is sent at a time.

use super::book::MAX_CONFIGS;
use super::config::{CURSORS, Cursor, parse_key, record_key};
use super::metrics::PushMetrics;
use super::retry::RetryPolicy;
use super::wakes::Upto;
use super::worker::Worker;
use super::workers::Seat;
use crate::engine::{Inner, TaskEngine, blocking};
use crate::error::TaskError;
use crate::net::HttpClient;
use dormouse_store::TaskId;
use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::error;

/// Posts on their way at a time. Each holds one event in memory, and a socket.
const MAX_POSTS: usize = 64;
/// Of those, to one host and port: a slow receiver must leave room for others.
const MAX_POSTS_PER_HOST: usize = 4;
/// Configurations that are worked on at a time, those that wait to try again included. The others
/// wait in the store.
const MAX_WORKERS: usize = 4096;
/// Cursors read at a time when looking for those that are behind.
const PAGE: usize = 256;

/// Delivers a task engine's events to the receivers that its tasks name. Cheap to clone.
#[derive(Clone)]
pub struct Deliveries(Arc<Shared>);

pub(super) struct Shared {
    pub(super) engine: Arc<Inner>,
    pub(super) client: HttpClient,
    pub(super) policy: RetryPolicy,
    pub(super) metrics: PushMetrics,
    max_workers: usize,
    posts: Arc<Semaphore>,
    hosts: Mutex<HashMap<String, Weak<Semaphore>>>,
    /// A worker has ended while others had no room.
    pub(super) room: Notify,
    pub(super) stop: CancellationToken,
    tracker: TaskTracker,
}

impl Deliveries {
    /// Sends nothing until it [runs](Self::run).
    pub fn new(engine: &TaskEngine, client: HttpClient, policy: RetryPolicy) -> Self {
        Self::with_workers(engine, client, policy, MAX_WORKERS)
    }

    /// With room for this many configurations at a time, of which one task may take 10.
    pub fn with_workers(
        engine: &TaskEngine,
        client: HttpClient,
        policy: RetryPolicy,
        max_workers: usize,
    ) -> Self {
        Self(Arc::new(Shared {
            max_workers,
            engine: Arc::clone(&engine.0),
            client,
            policy,
            metrics: PushMetrics::new(),
            posts: Arc::new(Semaphore::new(MAX_POSTS)),
            hosts: Mutex::default(),
            room: Notify::new(),
            stop: CancellationToken::new(),
            tracker: TaskTracker::new(),
        }))
    }

    pub fn metrics(&self) -> &PushMetrics {
        &self.0.metrics
    }

    /// Delivers until [`stop`](Self::stop): first what an earlier process left, then what comes.
    pub async fn run(&self) {
        let shared = &self.0;
        let wakes = &shared.engine.shelf.wakes;
        wakes.listen();
        let mut search = Some(Vec::new());
        while !shared.stop.is_cancelled() {
            if !shared.is_full()
                && let Some(from) = search.take()
            {
                search = shared.search(from).await;
            }
            tokio::select! {
                biased;
                () = shared.stop.cancelled() => break,
                grown = wakes.next() => for (task, upto) in grown {
                    if shared.is_full() {
                        // Its cursor says enough to be found again.
                        search.get_or_insert_default();
                    } else {
                        shared.look(task, upto).await;
                    }
                },
                () = shared.room.notified(), if search.is_some() => {}
            }
        }
        wakes.stop();
        shared.tracker.close();
        shared.tracker.wait().await;
    }

    /// Ends every delivery, and then [`run`](Self::run). What was not acknowledged is delivered by the
    /// next process.
    pub fn stop(&self) {
        self.0.stop.cancel();
    }
}

impl Shared {
    /// Looks for cursors that are behind, from a key on. Returns where to go on when there is no room
    /// for more workers.
    async fn search(self: &Arc<Self>, mut from: Vec<u8>) -> Option<Vec<u8>> {
        loop {
            let (engine, after) = (Arc::clone(&self.engine), from.clone());
            let page = blocking(move || engine.behind(&after)).await;
            let page = match page {
                Ok(page) => page,
                Err(error) => {
                    let error = &error as &dyn Error;
                    error!(error, "the queued push notifications cannot be read");
                    return None;
                }
            };
            for (task, upto) in page.behind {
                if self.stop.is_cancelled() {
                    return None;
                }
                if self.is_full() {
                    return Some(from);
                }
                self.look(task, upto).await;
            }
            from = page.next?;
        }
    }

    /// Whether there might be no room for all configurations of one more task.
    fn is_full(&self) -> bool {
        self.engine.book.workers.count() + MAX_CONFIGS > self.max_workers
    }

    /// Sees to it that every configuration of the task that is behind has a worker.
    async fn look(self: &Arc<Self>, task: TaskId, upto: Upto) {
        let _turn = self.engine.book.turn(task).await;
        if let Err(error) = self.try_look(task, upto).await {
            let error = &error as &dyn Error;
            error!(%task, error, "the push notifications of a task cannot be read");
        }
    }

    async fn try_look(self: &Arc<Self>, task: TaskId, upto: Upto) -> Result<(), TaskError> {
        let workers = &self.engine.book.workers;
        let behind = |cursor: &Cursor| cursor.seq < upto.seq || upto.ended;
        let mut cursors = self.engine.cursors(task).await?;
        cursors.retain(|(id, cursor)| behind(cursor) && !workers.raise(task, id, upto));
        if cursors.is_empty() {
            return Ok(());
        }
        // A worker may have moved its cursor and left since these were read. Of those that have no
        // worker now none can get one before this turn ends, so this time they stay what they are.
        let idle: Vec<String> = cursors.into_iter().map(|(id, _)| id).collect();
        let mut cursors = self.engine.cursors(task).await?;
        cursors.retain(|(id, cursor)| behind(cursor) && idle.contains(id));
        let configs = self.engine.configs(task).await?;
        for (id, cursor) in cursors {
            let Some(config) = configs.iter().find(|config| config.id == id) else {
                // Left by a crash of an older server, or by damage: nobody is owed anything.
                self.engine
                    .keep(vec![(record_key(CURSORS, task, &id), None)])
                    .await?;
                continue;
            };
            let (seat, upto) = Seat::take(self, (task, id), upto);
            let worker = Worker::new(self, task, config.clone(), cursor, upto, seat);
            self.tracker.spawn(worker.run());
        }
        Ok(())
    }

    /// Waits for room, first at the host and then at all.
    pub(super) async fn permits(&self, host: &str) -> [OwnedSemaphorePermit; 2] {
        let host = self.host(host);
        let acquire = async |permits: Arc<Semaphore>| {
            permits
                .acquire_owned()
                .await
                .expect("the semaphores are never closed")
        };
        [acquire(host).await, acquire(Arc::clone(&self.posts)).await]
    }

    fn host(&self, name: &str) -> Arc<Semaphore> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = hosts.get(name).and_then(Weak::upgrade) {
            return known;
        }
        hosts.retain(|_, permits| permits.strong_count() > 0);
        let permits = Arc::new(Semaphore::new(MAX_POSTS_PER_HOST));
        hosts.insert(name.to_owned(), Arc::downgrade(&permits));
        permits
    }
}

/// Tasks with cursors that are behind, out of one page of cursors.
struct Behind {
    behind: Vec<(TaskId, Upto)>,
    /// The last key of the page; `None` if it was the last page.
    next: Option<Vec<u8>>,
}

impl Inner {
    /// Blocks on the disk.
    fn behind(&self, after: &[u8]) -> Result<Behind, TaskError> {
        let after = (!after.is_empty()).then_some(after);
        let page = self.store.records(CURSORS, after, PAGE)?;
        let mut behind: Vec<(TaskId, Upto)> = Vec::new();
        for (key, value) in &page {
            let (Some((task, _)), Some(cursor)) = (parse_key(key), Cursor::decode(value)) else {
                continue;
            };
            if behind.last().is_some_and(|(last, _)| *last == task) {
                continue;
            }
            if let Some(upto) = self.durable_upto(task)?
                && (cursor.seq < upto.seq || upto.ended)
            {
                behind.push((task, upto));
            }
        }
        let next = page.last().filter(|_| page.len() == PAGE);
        Ok(Behind {
            behind,
            next: next.map(|(key, _)| key.clone()),
        })
    }
}
