//! Moving cursors on: one worker for each configuration that is behind, and a post for each event.

use super::book::MAX_CONFIGS;
use super::config::{CURSORS, Cursor, PushConfig, parse_key, record_key};
use super::metrics::PushMetrics;
use super::retry::RetryPolicy;
use super::wakes::Upto;
use crate::engine::{Inner, TaskEngine, blocking};
use crate::error::TaskError;
use crate::net::{Connection, HttpClient, NetError};
use crate::record::Encoded;
use dormouse_store::TaskId;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::StatusCode;
use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::{debug, error, warn};
use uuid::Uuid;

/// Posts on their way at a time. Each holds one event in memory, and a socket.
const MAX_POSTS: usize = 64;
/// Of those, to one host and port: a slow receiver must leave room for others.
const MAX_POSTS_PER_HOST: usize = 4;
/// Configurations that are worked on at a time, those that wait to try again included. The others
/// wait in the store.
const MAX_WORKERS: usize = 4096;
/// Cursors read at a time when looking for those that are behind.
const PAGE: usize = 256;
/// A worker that has caught up waits this long for the next event, so that a stream of them shares a
/// connection.
const LINGER: Duration = Duration::from_secs(2);
/// The store takes no writes for now.
const STORE_WAIT: Duration = Duration::from_secs(1);

const TOKEN: HeaderName = HeaderName::from_static("x-a2a-notification-token");
/// The number of the event in its task's log, as SSE ids are: a receiver can tell a repetition by it.
const EVENT: HeaderName = HeaderName::from_static("x-dormouse-event");

/// Delivers a task engine's events to the receivers that its tasks name. Cheap to clone.
#[derive(Clone)]
pub struct Deliveries(Arc<Shared>);

struct Shared {
    engine: Arc<Inner>,
    client: HttpClient,
    policy: RetryPolicy,
    metrics: PushMetrics,
    posts: Arc<Semaphore>,
    hosts: Mutex<HashMap<String, Weak<Semaphore>>>,
    /// A worker has ended while others had no room.
    room: Notify,
    stop: CancellationToken,
    tracker: TaskTracker,
}

impl Deliveries {
    /// Sends nothing until it [runs](Self::run).
    pub fn new(engine: &TaskEngine, client: HttpClient, policy: RetryPolicy) -> Self {
        Self(Arc::new(Shared {
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
            if let Some(from) = search.take() {
                search = shared.search(from).await;
            }
            tokio::select! {
                biased;
                () = shared.stop.cancelled() => break,
                grown = wakes.next() => for (task, upto) in grown {
                    shared.look(task, upto).await;
                },
                () = shared.room.notified(), if search.is_some() => {}
            }
        }
        wakes.stop();
    }

    /// Ends every delivery; what was not acknowledged is delivered by the next process. To be called
    /// when [`run`](Self::run) is not needed any more: it ends, too.
    pub async fn stop(&self) {
        self.0.stop.cancel();
        self.0.tracker.close();
        self.0.tracker.wait().await;
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
                if self.engine.book.workers.count() + MAX_CONFIGS > MAX_WORKERS {
                    return Some(from);
                }
                self.look(task, upto).await;
            }
            from = page.next?;
        }
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
        let mut cursors = self.engine.cursors(task).await?;
        cursors.retain(|(id, cursor)| {
            let behind = cursor.seq < upto.seq || upto.ended;
            behind && !workers.raise(task, id, upto)
        });
        if cursors.is_empty() {
            return Ok(());
        }
        let configs = self.engine.configs(task).await?;
        for (id, cursor) in cursors {
            let Some(config) = configs.iter().find(|config| config.id == id) else {
                // Left by a crash of an older server, or by damage: nobody is owed anything.
                self.engine
                    .keep(vec![(record_key(CURSORS, task, &id), None)])
                    .await?;
                continue;
            };
            let (seat, upto) = self.seat(task, &id, upto);
            self.metrics.queued.inc();
            let worker = Worker {
                shared: Arc::clone(self),
                headers: headers(config),
                config: config.clone(),
                task,
                cursor,
                kept: None,
                upto,
                seat,
            };
            self.tracker.spawn(worker.run());
        }
        Ok(())
    }

    fn seat(self: &Arc<Self>, task: TaskId, id: &str, upto: Upto) -> (Seat, watch::Receiver<Upto>) {
        let (upto, follow) = watch::channel(upto);
        let (cancel, ended) = (self.stop.child_token(), CancellationToken::new());
        let slot = Slot {
            upto,
            cancel: cancel.clone(),
            ended: ended.clone(),
        };
        let key = (task, id.to_owned());
        self.engine.book.workers.lock().insert(key.clone(), slot);
        let seat = Seat {
            shared: Arc::clone(self),
            key,
            cancel,
            left: false,
            _ended: ended.drop_guard(),
        };
        (seat, follow)
    }

    /// Waits for room, first at the host and then at all.
    async fn permits(&self, host: &str) -> [OwnedSemaphorePermit; 2] {
        let host = self.host(host);
        let acquire = async |permits: Arc<Semaphore>| {
            permits
                .acquire_owned()
                .await
                .expect("the semaphores are never closed")
        };
        [
            acquire(host).await,
            acquire(Arc::clone(&self.posts)).await,
        ]
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

/// Who is working on what.
#[derive(Default)]
pub(crate) struct Workers(Mutex<HashMap<(TaskId, String), Slot>>);

struct Slot {
    upto: watch::Sender<Upto>,
    cancel: CancellationToken,
    ended: CancellationToken,
}

impl Workers {
    /// Tells the worker of a configuration how far to go; false if it has none.
    fn raise(&self, task: TaskId, id: &str, upto: Upto) -> bool {
        let workers = self.lock();
        let Some(slot) = workers.get(&(task, id.to_owned())) else {
            return false;
        };
        slot.upto.send_if_modified(|known| {
            let more = upto.seq > known.seq || upto.ended && !known.ended;
            if more {
                *known = upto;
            }
            more
        });
        true
    }

    /// Ends the worker of a configuration, if it has one.
    pub(crate) async fn stop(&self, task: TaskId, id: &str) {
        let ended = {
            let workers = self.lock();
            let Some(slot) = workers.get(&(task, id.to_owned())) else {
                return;
            };
            slot.cancel.cancel();
            slot.ended.clone()
        };
        ended.cancelled().await;
    }

    fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(TaskId, String), Slot>> {
        // A plain map, whole even when a panic poisoned it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to work on one configuration.
struct Seat {
    shared: Arc<Shared>,
    key: (TaskId, String),
    cancel: CancellationToken,
    left: bool,
    /// After the slot is free: whoever waits for the end may begin again at once.
    _ended: DropGuard,
}

impl Seat {
    /// Leaves, unless there is more to do than up to `seq`.
    fn leave(&mut self, seq: u64) -> bool {
        let mut workers = self.shared.engine.book.workers.lock();
        let more = workers
            .get(&self.key)
            .is_some_and(|slot| slot.upto.borrow().seq > seq);
        if !more {
            workers.remove(&self.key);
            self.left = true;
        }
        !more
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if !self.left {
            self.shared.engine.book.workers.lock().remove(&self.key);
        }
        self.shared.metrics.queued.dec();
        self.shared.room.notify_one();
    }
}

/// Brings one receiver up to date.
struct Worker {
    shared: Arc<Shared>,
    config: PushConfig,
    headers: HeaderMap,
    task: TaskId,
    cursor: Cursor,
    kept: Option<Connection>,
    upto: watch::Receiver<Upto>,
    seat: Seat,
}

/// What one attempt came to.
enum Attempt {
    /// An entry that is no event: what the user said.
    Passed(u64),
    Posted(u64, Result<StatusCode, NetError>),
    /// The log does not have what it should.
    Missing,
}

impl Worker {
    async fn run(mut self) {
        let cancel = self.seat.cancel.clone();
        loop {
            let upto = *self.upto.borrow_and_update();
            if self.cursor.seq < upto.seq {
                let Some(more) = cancel.run_until_cancelled(self.next_event()).await else {
                    return;
                };
                match more {
                    Ok(Some(cursor)) => self.move_to(cursor).await,
                    Ok(None) => return self.close().await,
                    Err(error) => {
                        let why = chain(&error);
                        error!(task = %self.task, why, "a push notification cannot be read");
                        return;
                    }
                }
            } else if upto.ended {
                return self.close().await;
            } else {
                let more = timeout(LINGER, self.upto.changed());
                let Some(more) = cancel.run_until_cancelled(more).await else {
                    return;
                };
                if more.is_err() && self.seat.leave(self.cursor.seq) {
                    return;
                }
            }
        }
    }

    /// Delivers the event after the cursor, or gives it up. `None` to give the configuration up.
    async fn next_event(&mut self) -> Result<Option<Cursor>, TaskError> {
        let (shared, first) = (Arc::clone(&self.shared), Instant::now());
        let mut failed = 0;
        loop {
            let (seq, result) = match self.attempt().await? {
                Attempt::Passed(seq) => return Ok(Some(Cursor { seq, ..self.cursor })),
                Attempt::Posted(seq, result) => (seq, result),
                Attempt::Missing => return Err(TaskError::Stopped),
            };
            let why = match result {
                Ok(status) if status.is_success() => {
                    shared.metrics.delivered.inc();
                    return Ok(Some(Cursor::at(seq)));
                }
                Ok(status) => format!("the receiver answered {status}"),
                Err(error) => chain(&error),
            };
            failed += 1;
            let noise = Uuid::now_v7().as_u128() as u32;
            let (task, config) = (self.task, &*self.config.id);
            if let Some(wait) = shared.policy.wait(failed, first.elapsed(), noise) {
                shared.metrics.retried.inc();
                debug!(%task, config, seq, failed, why, ?wait, "a push notification will be tried again");
                sleep(wait).await;
                continue;
            }
            shared.metrics.given_up.inc();
            warn!(%task, config, seq, failed, why, "a push notification is given up");
            let given_up = self.cursor.given_up.saturating_add(1);
            if given_up < shared.policy.given_up_events {
                return Ok(Some(Cursor { seq, given_up }));
            }
            shared.metrics.disabled.inc();
            warn!(%task, config, "its receiver gets no more push notifications of this task");
            return Ok(None);
        }
    }

    /// The event is read for each attempt, so that those that wait hold none in memory.
    async fn attempt(&mut self) -> Result<Attempt, TaskError> {
        let Self {
            shared,
            config,
            headers,
            kept,
            ..
        } = self;
        let target = shared.client.target(&config.url);
        let host = target.as_ref().map_or_else(|_| String::new(), |target| target.authority());
        let _permits = shared.permits(&host).await;
        let (engine, task, from) = (Arc::clone(&shared.engine), self.task, self.cursor.seq + 1);
        let entry = blocking(move || Ok(engine.store.events(task, from, 1)?)).await?;
        let Some((seq, entry)) = entry.into_iter().next() else {
            return Ok(Attempt::Missing);
        };
        let Some(json) = Encoded::from_store(entry).event_json() else {
            return Ok(Attempt::Passed(seq));
        };
        let result = match target {
            Ok(target) => {
                headers.insert(EVENT, seq.into());
                shared.client.post(&target, kept, headers, &json).await
            }
            Err(error) => Err(error.into()),
        };
        Ok(Attempt::Posted(seq, result))
    }

    /// The receiver has the event; that is kept before the next one is sent.
    async fn move_to(&mut self, cursor: Cursor) {
        self.cursor = cursor;
        self.keep(Some(cursor.encode())).await;
    }

    /// Nothing more will come, or nothing more is to be sent.
    async fn close(mut self) {
        self.keep(None).await;
    }

    /// Not cancelled in the middle: whoever ends this worker may write the cursor next. If the store
    /// does not take it, the event may be sent again after a restart.
    async fn keep(&mut self, cursor: Option<Vec<u8>>) {
        let key = record_key(CURSORS, self.task, &self.config.id);
        if let Err(error) = self.shared.engine.keep(vec![(key, cursor)]).await {
            warn!(task = %self.task, why = chain(&error), "a push notification may be sent twice");
            let _cancelled = self.seat.cancel.run_until_cancelled(sleep(STORE_WAIT)).await;
        }
    }
}

/// The fields that are the same for each event.
fn headers(config: &PushConfig) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/a2a+json"));
    let mut secret = |name, text: &str| {
        // Checked when the configuration was made (`PushConfig::new`).
        if let Ok(mut value) = HeaderValue::from_str(text) {
            value.set_sensitive(true);
            headers.insert(name, value);
        }
    };
    if let Some(token) = &config.token {
        secret(TOKEN, token.reveal());
    }
    if let Some(authentication) = &config.authentication
        && let Some(credentials) = &authentication.credentials
    {
        let text = format!("{} {}", authentication.scheme, credentials.reveal());
        secret(AUTHORIZATION, &text);
    }
    headers
}

/// An error with its causes, in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
