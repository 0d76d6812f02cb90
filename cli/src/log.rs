//! The server's log, on stderr. A thread of its own writes it: whoever reads it may be slow, or stand still, and that
//! must hold up no request. (`tracing-appender` does the same, but says on stdout when it cannot end in time.)

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, Opts};
use rustix::process::setpriority_process;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

/// Lines that wait to be written; further ones are dropped. As many as a few calls may log.
const LINES: usize = 4_096;
/// Bytes of them.
const BYTES: usize = 16 << 20;

/// How long the end of the process waits for the last lines.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The log of this process. What waits is still written when it is dropped, if somebody reads it.
pub(crate) struct Log(Sender);

enum Entry {
    Line(Vec<u8>),
    /// All before it is written when the other end is dropped.
    End(SyncSender<()>),
}

/// What events are written to.
#[derive(Clone)]
struct Sender {
    entries: SyncSender<Entry>,
    waiting: Arc<AtomicUsize>,
    dropped: Arc<AtomicU64>,
}

impl Log {
    /// # Errors
    /// When there are no more threads.
    pub(crate) fn start(format: LogFormat) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(LINES);
        let sender = Sender {
            entries: sender,
            waiting: Arc::default(),
            dropped: Arc::default(),
        };
        let waiting = Arc::clone(&sender.waiting);
        std::thread::Builder::new()
            .name("log".into())
            .spawn(move || write(&receiver, &waiting))?;
        let filter = EnvFilter::builder()
            .with_default_directive(LevelFilter::INFO.into())
            .from_env_lossy();
        let writer = sender.clone();
        let log = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(move || writer.clone())
            .with_ansi(io::stderr().is_terminal());
        match format {
            LogFormat::Text => log.init(),
            LogFormat::Json => log.json().flatten_event(true).init(),
        }
        Ok(Self(sender))
    }

    /// How many lines were dropped because the reader was too slow.
    pub(crate) fn dropped(&self) -> prometheus::Result<impl Collector + 'static> {
        let opts = Opts::new(
            "dormouse_log_dropped_total",
            "Lines of the log that were dropped, because whoever reads it is too slow",
        );
        Ok(Dropped {
            lines: Arc::clone(&self.0.dropped),
            counter: IntCounter::with_opts(opts)?,
        })
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let (end, ended) = sync_channel(0);
        // A queue that is full now is one that nobody reads.
        if self.0.entries.try_send(Entry::End(end)).is_ok() {
            let _written_or_late = ended.recv_timeout(LAST_LINES);
        }
    }
}

/// Behind those who answer requests: an agent that floods its log must not take their time.
const NICE: i32 = 10;

fn write(entries: &Receiver<Entry>, waiting: &AtomicUsize) {
    // On Linux this is the priority of the thread that asks, not of its process. Without it all works, too.
    let _as_before = setpriority_process(None, NICE);
    let mut stderr = io::stderr();
    for entry in entries {
        match entry {
            Entry::Line(line) => {
                // There is nowhere to say that it failed.
                drop(stderr.write_all(&line));
                waiting.fetch_sub(line.len(), Ordering::Relaxed);
            }
            Entry::End(end) => drop(end),
        }
    }
}

impl Write for Sender {
    /// An event is one write.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let before = self.waiting.fetch_add(line.len(), Ordering::Relaxed);
        let has_room = before + line.len() <= BYTES;
        let sent = has_room && self.entries.try_send(Entry::Line(line.to_vec())).is_ok();
        if !sent {
            self.waiting.fetch_sub(line.len(), Ordering::Relaxed);
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Dropped {
    lines: Arc<AtomicU64>,
    counter: IntCounter,
}

impl Collector for Dropped {
    fn desc(&self) -> Vec<&Desc> {
        self.counter.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let lines = self.lines.load(Ordering::Relaxed);
        self.counter
            .inc_by(lines.saturating_sub(self.counter.get()));
        self.counter.collect()
    }
}
