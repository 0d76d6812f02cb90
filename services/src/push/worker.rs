//! One worker brings one receiver up to date: a post for each event, in order, again if it must be.

use super::config::{CURSORS, Cursor, PushConfig, record_key};
use super::delivery::Shared;
use super::wakes::Upto;
use super::workers::Seat;
use crate::engine::blocking;
use crate::error::TaskError;
use crate::net::{Connection, NetError};
use crate::record::Encoded;
use dormouse_store::TaskId;
use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, error, warn};
use uuid::Uuid;

/// A worker that has caught up waits this long for the next event, so that a stream of them shares a
/// connection.
const LINGER: Duration = Duration::from_secs(2);
/// The store takes no writes for now.
const STORE_WAIT: Duration = Duration::from_secs(1);

const TOKEN: HeaderName = HeaderName::from_static("x-a2a-notification-token");
/// The number of the event in its task's log, as SSE ids are: a receiver can tell a repetition by it.
const EVENT: HeaderName = HeaderName::from_static("x-dormouse-event");

/// Brings one receiver up to date.
pub(super) struct Worker {
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
    pub(super) fn new(
        shared: &Arc<Shared>,
        task: TaskId,
        config: PushConfig,
        cursor: Cursor,
        upto: watch::Receiver<Upto>,
        seat: Seat,
    ) -> Self {
        Self {
            shared: Arc::clone(shared),
            headers: headers(&config),
            config,
            task,
            cursor,
            kept: None,
            upto,
            seat,
        }
    }

    pub(super) async fn run(mut self) {
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
        let host = target
            .as_ref()
            .map_or_else(|_| String::new(), |target| target.authority());
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
            let _cancelled = self
                .seat
                .cancel
                .run_until_cancelled(sleep(STORE_WAIT))
                .await;
        }
    }
}

/// The fields that are the same for each event.
fn headers(config: &PushConfig) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/a2a+json"),
    );
    let trace = config.traceparent.as_deref();
    if let Some(trace) = trace.and_then(|trace| HeaderValue::from_str(trace).ok()) {
        headers.insert("traceparent", trace);
    }
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
