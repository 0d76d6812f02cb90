//! From a span that has ended to a collector: a bounded queue, batches, and one task that sends them. Nobody waits for
//! it: what does not fit is dropped and counted.

use super::{Ended, otlp};
use crate::net::{Connection, HttpClient, NetError, Target};
use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, StatusCode};
use prometheus::{IntCounter, IntCounterVec, Opts};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Spans that wait, as many as OpenTelemetry's batch processor has, and spans of one request.
const QUEUE: usize = 2048;
const BATCH: usize = 512;
/// How long the first span of a batch waits for others.
const LINGER: Duration = Duration::from_secs(1);
/// Attempts for one batch, and the wait after the first, which doubles.
const ATTEMPTS: u32 = 3;
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// For what is left when the server stops.
const LAST: Duration = Duration::from_secs(3);

/// Takes spans that have ended. Cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    queue: mpsc::Sender<Ended>,
    dropped: IntCounter,
}

impl Recorder {
    pub(super) fn take(&self, ended: Ended) {
        if self.queue.try_send(ended).is_err() {
            self.dropped.inc();
        }
    }
}

#[cfg(test)]
pub(super) fn recorder(places: usize) -> (Recorder, mpsc::Receiver<Ended>) {
    let (queue, waiting) = mpsc::channel(places);
    let dropped = outcomes().with_label_values(&["dropped"]);
    (Recorder { queue, dropped }, waiting)
}

#[cfg(test)]
impl Recorder {
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.get()
    }
}

/// What sends spans, until it is closed.
pub struct Exporter {
    sending: JoinHandle<()>,
    stop: CancellationToken,
}

/// `dormouse_trace_spans_total`, by `outcome`; whoever serves metrics registers it.
pub fn outcomes() -> IntCounterVec {
    let options = Opts::new(
        "dormouse_trace_spans_total",
        "Spans of traces, by what became of them",
    );
    let outcomes =
        IntCounterVec::new(options, &["outcome"]).expect("the name is constant and valid");
    for outcome in ["exported", "dropped", "failed"] {
        outcomes.with_label_values(&[outcome]);
    }
    outcomes
}

impl Exporter {
    /// Sends to a collector at `target` (`…/v1/traces`) from now on. Needs a tokio runtime.
    pub fn start(
        client: HttpClient,
        target: Target,
        mut headers: HeaderMap,
        outcomes: &IntCounterVec,
    ) -> (Recorder, Self) {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let (queue, waiting) = mpsc::channel(QUEUE);
        let recorder = Recorder {
            queue,
            dropped: outcomes.with_label_values(&["dropped"]),
        };
        let stop = CancellationToken::new();
        let sender = Sender {
            waiting,
            client,
            target,
            headers,
            kept: None,
            exported: outcomes.with_label_values(&["exported"]),
            failed: outcomes.with_label_values(&["failed"]),
            is_down: false,
        };
        let sending = tokio::spawn(sender.run(stop.clone()));
        (recorder, Self { sending, stop })
    }

    /// Sends what is left, but does not wait long for it.
    pub async fn close(self) {
        self.stop.cancel();
        if let Err(error) = self.sending.await {
            warn!(%error, "spans were lost");
        }
    }
}

struct Sender {
    waiting: mpsc::Receiver<Ended>,
    client: HttpClient,
    target: Target,
    headers: HeaderMap,
    kept: Option<Connection>,
    exported: IntCounter,
    failed: IntCounter,
    /// Said once, not for each batch.
    is_down: bool,
}

impl Sender {
    async fn run(mut self, stop: CancellationToken) {
        let mut batch = Vec::new();
        let mut end = End { stop, last: None };
        while let Some(open) = end.stop.run_until_cancelled(self.gather(&mut batch)).await {
            if !open {
                return;
            }
            let spans = batch.len() as u64;
            let body = encoded(&batch);
            batch.clear();
            self.deliver(&body, spans, &mut end).await;
        }
        let last = end.last();
        loop {
            while batch.len() < BATCH
                && let Ok(ended) = self.waiting.try_recv()
            {
                batch.push(ended);
            }
            if batch.is_empty() {
                return;
            }
            let spans = batch.len() as u64;
            let body = encoded(&batch);
            batch.clear();
            self.send_last(&body, spans, last).await;
        }
    }

    async fn send_last(&mut self, body: &Bytes, spans: u64, last: Instant) {
        match timeout_at(last, self.attempt(body)).await {
            Ok(Ok(())) => self.exported.inc_by(spans),
            _ => self.failed.inc_by(spans),
        }
    }

    /// Fills a batch; false when nobody will record anything any more.
    async fn gather(&mut self, batch: &mut Vec<Ended>) -> bool {
        if self.waiting.recv_many(batch, BATCH).await == 0 {
            return false;
        }
        let fill = async {
            while batch.len() < BATCH {
                let room = BATCH - batch.len();
                if self.waiting.recv_many(batch, room).await == 0 {
                    return;
                }
            }
        };
        let _full_or_late = timeout(LINGER, fill).await;
        true
    }

    /// What is on its way when the server stops is not sent again beside: the collector may have it. Only the waits
    /// between attempts are cut short.
    async fn deliver(&mut self, body: &Bytes, spans: u64, end: &mut End) {
        let mut wait = FIRST_WAIT;
        let mut is_last = false;
        for attempt in 1..=ATTEMPTS {
            is_last |= attempt == ATTEMPTS;
            let attempted = tokio::select! {
                biased;
                attempted = self.attempt(body) => attempted,
                () = end.passed() => Err(Refused {
                    why: "it did not answer before the server stopped".to_owned(),
                    again: false,
                }),
            };
            let why = match attempted {
                Ok(()) => {
                    self.exported.inc_by(spans);
                    if std::mem::take(&mut self.is_down) {
                        info!(collector = self.target.authority(), "spans are taken again");
                    }
                    return;
                }
                Err(Refused { again: true, .. }) if !is_last => {
                    let waited = end.stop.run_until_cancelled(sleep(wait)).await;
                    is_last = waited.is_none();
                    wait *= 2;
                    continue;
                }
                Err(Refused { why, .. }) => why,
            };
            self.failed.inc_by(spans);
            if !std::mem::replace(&mut self.is_down, true) {
                let collector = self.target.authority();
                warn!(
                    collector,
                    why, "spans are lost; it is tried on, and said when it works again"
                );
            }
            return;
        }
    }

    async fn attempt(&mut self, body: &Bytes) -> Result<(), Refused> {
        let Self {
            client,
            target,
            headers,
            kept,
            ..
        } = self;
        match client.post(target, kept, headers, body).await {
            Ok(status) if status.is_success() => Ok(()),
            Ok(status) => Err(Refused {
                // Those that OTLP says to try again after.
                again: matches!(
                    status,
                    StatusCode::TOO_MANY_REQUESTS
                        | StatusCode::BAD_GATEWAY
                        | StatusCode::SERVICE_UNAVAILABLE
                        | StatusCode::GATEWAY_TIMEOUT
                ),
                why: format!("it answered {status}"),
            }),
            Err(error) => Err(Refused {
                again: !matches!(error, NetError::Target(_) | NetError::Unwritable(_)),
                why: error.to_string(),
            }),
        }
    }
}

/// The end of the sending: what is left has some time from the stop on.
struct End {
    stop: CancellationToken,
    last: Option<Instant>,
}

impl End {
    /// Until when something may still be sent. The first to ask does so when it has noticed the stop.
    fn last(&mut self) -> Instant {
        *self.last.get_or_insert_with(|| Instant::now() + LAST)
    }

    async fn passed(&mut self) {
        self.stop.cancelled().await;
        sleep_until(self.last()).await;
    }
}

/// Why a batch was not taken.
struct Refused {
    why: String,
    again: bool,
}

fn encoded(batch: &[Ended]) -> Bytes {
    otlp::request(batch).to_string().into()
}
