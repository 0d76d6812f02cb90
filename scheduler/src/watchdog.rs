//! Notices when the event loops stand still: a task that should run several times a second has not run for long.
//! It looks from a thread of its own, because a server in that state can answer nobody, `/healthz` included.

use crate::metrics::Metrics;
use dormouse_filters::spent::nanos;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Looks, and heartbeats, within the time after which a silence is a stall.
const LOOKS: u32 = 4;

/// The thread that looks. Dropping it ends the thread.
pub(crate) struct Watchdog {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    begun: Instant,
    /// Nanoseconds from `begun` to the last heartbeat.
    beat: AtomicU64,
    stop: AtomicBool,
    stall_after: Duration,
}

impl Watchdog {
    /// Watches the runtime that this is called on.
    ///
    /// # Errors
    /// When the system gives no more threads.
    pub(crate) fn start(stall_after: Duration, metrics: Arc<Metrics>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            begun: Instant::now(),
            beat: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            stall_after,
        });
        tokio::spawn(beat(Arc::downgrade(&shared), stall_after / LOOKS));
        let watched = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("watchdog".into())
            .spawn(move || watched.watch(&metrics))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }
}

async fn beat(shared: Weak<Shared>, every: Duration) {
    let mut tick = tokio::time::interval(every);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let Some(shared) = shared.upgrade() else {
            return;
        };
        let now = nanos(shared.begun.elapsed());
        shared.beat.store(now, Ordering::Relaxed);
    }
}

impl Shared {
    fn watch(&self, metrics: &Metrics) {
        let mut pulse = Pulse::default();
        let mut looked = Instant::now();
        while !self.stop.load(Ordering::SeqCst) {
            thread::park_timeout(self.stall_after / LOOKS);
            let since_look = looked.elapsed();
            looked = Instant::now();
            let beat = Duration::from_nanos(self.beat.load(Ordering::Relaxed));
            let silent = self.begun.elapsed().saturating_sub(beat);
            match pulse.look(silent, since_look, self.stall_after) {
                Some(Change::Stalled) => {
                    metrics.stalls.inc();
                    tracing::error!(
                        silent_ms = silent.as_millis() as u64,
                        busy = metrics.busy(),
                        queued = metrics.queue_depth.get(),
                        "the event loops stand still: nothing is served until they go on. Something blocks \
                         their threads, or the machine does not run them"
                    );
                }
                Some(Change::Recovered(after)) => {
                    tracing::warn!(after_ms = after.as_millis() as u64, "the event loops go on");
                }
                None => {}
            }
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It sleeps no more, and does not panic.
            let _ended = thread.join();
        }
    }
}

/// Whether the loops were standing still at the last look, and for how long. Pure.
#[derive(Debug, Default)]
struct Pulse {
    stalled: Option<Duration>,
}

#[derive(Debug, PartialEq, Eq)]
enum Change {
    Stalled,
    /// After a silence of about so long.
    Recovered(Duration),
}

impl Pulse {
    /// One stall is told once, and its end once. If the watchdog itself was not run since its last look, the whole
    /// process was suspended, and the loops have had no chance to beat.
    fn look(
        &mut self,
        silent: Duration,
        since_look: Duration,
        stall_after: Duration,
    ) -> Option<Change> {
        if since_look >= stall_after {
            return None;
        }
        if silent >= stall_after {
            let is_new = self.stalled.replace(silent).is_none();
            return is_new.then_some(Change::Stalled);
        }
        self.stalled.take().map(Change::Recovered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_is_told_once_and_so_is_its_end() {
        let ms = Duration::from_millis;
        let mut pulse = Pulse::default();
        let mut look = |silent, since_look| pulse.look(ms(silent), ms(since_look), ms(2_000));
        assert_eq!(look(500, 500), None);
        assert_eq!(look(1_999, 500), None);
        assert_eq!(look(2_000, 500), Some(Change::Stalled));
        assert_eq!(look(2_500, 500), None);
        assert_eq!(look(400, 500), Some(Change::Recovered(ms(2_500))));
        assert_eq!(look(400, 500), None);
        // A laptop was closed for a minute.
        assert_eq!(look(60_000, 60_000), None);
        assert_eq!(look(100, 500), None);
    }
}
