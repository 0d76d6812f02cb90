//! The two loops, closed and open, over a set of keep-alive connections.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use tokio::{
    task::JoinSet,
    time::{Instant, timeout_at},
};

use crate::{
    a2a::Call,
    connection::{Connection, Fault},
    schedule::{Alarm, Schedule},
    stats::Latencies,
};

/// How long after the end of a phase an answer may still come; what is missing then is an error.
const GRACE: Duration = Duration::from_secs(15);

/// Error texts kept per phase.
const MAX_SAMPLES: usize = 3;

/// Connections that have each made one call, so that what follows meets a server that has woken up.
pub struct Connections {
    call: Arc<Call>,
    open: Vec<Connection>,
}

/// How the calls of a phase follow each other.
#[derive(Debug)]
pub enum Pace {
    /// Closed loop: each connection calls again as soon as it has its answer.
    BackToBack(Duration),
    /// Open loop: calls are due when the schedule says, whether or not earlier ones are answered. Latency counts
    /// from then, also for a call that had to wait for a free connection.
    Due(Schedule),
    /// Closed loop over so many calls, or until the time is over; what is not called by then is an error.
    Count(u64, Duration),
    /// So many calls that are all due at the start: a burst. Latency counts from then.
    AtOnce(u64),
}

/// What came of a phase.
#[derive(Debug)]
pub struct Tally {
    pub latencies: Latencies,
    pub replies: u64,
    pub errors: u64,
    /// The first few errors in words.
    pub samples: Vec<String>,
    /// From the start to the last answer.
    pub elapsed: Duration,
}

impl Connections {
    /// Opens `count` connections and makes one call on each.
    pub async fn open(call: &Arc<Call>, count: usize) -> anyhow::Result<Self> {
        let mut opening = JoinSet::new();
        for _ in 0..count {
            let call = Arc::clone(call);
            opening.spawn(async move {
                let mut connection = call.connect().await?;
                call.make(&mut connection).await?;
                Ok::<_, Fault>(connection)
            });
        }
        let mut open = Vec::with_capacity(count);
        let by = Instant::now() + GRACE;
        while let Some(joined) = timeout_at(by, opening.join_next())
            .await
            .context("no answer to a first call")?
        {
            open.push(joined?.context("the first call failed")?);
        }
        Ok(Connections {
            call: Arc::clone(call),
            open,
        })
    }

    /// Opens `count` connections without a call, where a first call would change what is measured.
    pub async fn unused(call: &Arc<Call>, count: usize) -> anyhow::Result<Self> {
        let mut open = Vec::with_capacity(count);
        for _ in 0..count {
            open.push(call.connect().await?);
        }
        Ok(Connections {
            call: Arc::clone(call),
            open,
        })
    }

    /// Makes calls at the given pace until it is over.
    pub async fn drive(self, pace: Pace) -> anyhow::Result<Tally> {
        let start = Instant::now();
        let (clock, end) = Clock::start(start, pace)?;
        let clock = Arc::new(clock);
        let mut workers = JoinSet::new();
        for connection in self.open {
            let worker = Worker {
                call: Arc::clone(&self.call),
                clock: Arc::clone(&clock),
                connection,
                tally: Tally::new(),
            };
            workers.spawn(worker.run(end + GRACE));
        }
        let mut total = Tally::new();
        while let Some(joined) = workers.join_next().await {
            total.merge(joined?);
        }
        total.elapsed = start.elapsed();
        total.count_unsent(&clock).await;
        Ok(total)
    }
}

/// Hands out the next due time to whichever connection is free.
enum Clock {
    Until(Instant),
    Due(tokio::sync::Mutex<Dues>),
    Count { left: AtomicU64, end: Instant },
    AtOnce { left: AtomicU64, start: Instant },
}

/// The free connections queue for this: the first one waits for the next due time while it holds the lock, so that
/// only one timer runs. Tokio's lock is meant to be held so, and it is fair.
struct Dues {
    start: Instant,
    schedule: Schedule,
    alarm: Alarm,
}

impl Clock {
    /// The clock, and when its last call is due.
    fn start(start: Instant, pace: Pace) -> io::Result<(Self, Instant)> {
        match pace {
            Pace::BackToBack(length) => Ok((Clock::Until(start + length), start + length)),
            Pace::Due(schedule) => {
                let end = start + schedule.length();
                let dues = Dues {
                    start,
                    schedule,
                    alarm: Alarm::new()?,
                };
                Ok((Clock::Due(tokio::sync::Mutex::new(dues)), end))
            }
            Pace::Count(calls, length) => {
                let (left, end) = (AtomicU64::new(calls), start + length);
                Ok((Clock::Count { left, end }, end))
            }
            Pace::AtOnce(calls) => {
                let left = AtomicU64::new(calls);
                Ok((Clock::AtOnce { left, start }, start))
            }
        }
    }

    /// Waits until a call is due and answers since when it is; `None` when there are no more.
    async fn next(&self) -> io::Result<Option<Instant>> {
        match self {
            Clock::Until(end) => Ok(Some(Instant::now()).filter(|now| now < end)),
            Clock::Due(dues) => {
                let mut dues = dues.lock().await;
                let Some(offset) = dues.schedule.next() else {
                    return Ok(None);
                };
                let due = dues.start + offset;
                dues.alarm.wait_until(due).await?;
                Ok(Some(due))
            }
            Clock::Count { left, end } => {
                let now = Instant::now();
                Ok(Some(now).filter(|now| now < end && take_one(left)))
            }
            Clock::AtOnce { left, start } => Ok(Some(*start).filter(|_| take_one(left))),
        }
    }

    /// Calls that were due but never made.
    async fn unsent(&self) -> u64 {
        match self {
            Clock::Until(_) => 0,
            Clock::Due(dues) => dues.lock().await.schedule.by_ref().count() as u64,
            Clock::Count { left, .. } | Clock::AtOnce { left, .. } => left.load(Ordering::Relaxed),
        }
    }
}

fn take_one(left: &AtomicU64) -> bool {
    left.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
        left.checked_sub(1)
    })
    .is_ok()
}

struct Worker {
    call: Arc<Call>,
    clock: Arc<Clock>,
    connection: Connection,
    tally: Tally,
}

impl Worker {
    /// Calls until the clock ends, or until `by` if answers do not come.
    async fn run(mut self, by: Instant) -> Tally {
        if timeout_at(by, self.call_when_due()).await.is_err() {
            let waited = format!(
                "no answer within {} s after the end of the phase",
                GRACE.as_secs()
            );
            self.tally.error(waited);
        }
        self.tally
    }

    async fn call_when_due(&mut self) {
        loop {
            let due = match self.clock.next().await {
                Ok(Some(due)) => due,
                Ok(None) => return,
                Err(problem) => return self.tally.error(format!("the timer failed: {problem}")),
            };
            let outcome = self.call.make(&mut self.connection).await;
            match outcome {
                Ok(()) => self.tally.reply(due.elapsed()),
                Err(Fault::Answer(wrong)) => self.tally.error(wrong),
                Err(lost) => {
                    self.tally.error(lost.to_string());
                    match self.call.connect().await {
                        Ok(connection) => self.connection = connection,
                        // The server is gone: one error per connection says so well enough.
                        Err(_) => return,
                    }
                }
            }
        }
    }
}

impl Tally {
    fn new() -> Self {
        Tally {
            latencies: Latencies::new(),
            replies: 0,
            errors: 0,
            samples: Vec::new(),
            elapsed: Duration::ZERO,
        }
    }

    fn reply(&mut self, latency: Duration) {
        self.replies += 1;
        self.latencies.record(latency);
    }

    fn error(&mut self, sample: String) {
        self.errors += 1;
        self.sample(sample);
    }

    fn sample(&mut self, sample: String) {
        if self.samples.len() < MAX_SAMPLES {
            self.samples.push(sample);
        }
    }

    fn merge(&mut self, other: Tally) {
        self.latencies.merge(&other.latencies);
        self.replies += other.replies;
        self.errors += other.errors;
        other
            .samples
            .into_iter()
            .for_each(|sample| self.sample(sample));
    }

    /// Calls that were due but found no connection in time are errors, not absent.
    async fn count_unsent(&mut self, clock: &Clock) {
        let unsent = clock.unsent().await;
        if unsent > 0 {
            self.errors += unsent;
            self.sample(format!(
                "{unsent} calls were due but could not be sent in time"
            ));
        }
    }
}
