//! The server's log, on stderr. A thread of its own writes it: whoever reads it may be slow, or stand still, and that
//! must hold up no request. (`tracing-appender` does the same, but says on stdout when it cannot end in time.)

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use prometheus::{IntCounter, Opts};
use rustix::process::setpriority_process;
use tracing::Metadata;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::LogFormat;

/// Lines that wait to be written; further ones are dropped. As many as a few calls may log.
const LINES: usize = 4_096;
/// Bytes of them.
const BYTES: usize = 16 << 20;
/// What agents say may have the half of both, and what filters print a quarter, so that the server's own lines, and what it
/// says of filters, find room beside a flood of theirs.
const AGENTS: (&str, usize) = ("agent", 2);
const FILTERS: (&str, usize) = ("filter", 4);

/// How long the end of the process waits for the last lines.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The log of this process. What waits is still written when it is dropped, if somebody reads it.
pub(crate) struct Log(Sender);

enum Entry {
    Line {
        text: Vec<u8>,
        speaker: Speaker,
    },
    /// All before it is written when the other end is dropped.
    End(SyncSender<()>),
}

/// Whose line it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaker {
    Server,
    Agent,
    Filter,
}

impl Speaker {
    fn of(target: &str) -> Self {
        match target {
            _ if target == AGENTS.0 => Self::Agent,
            _ if target == FILTERS.0 => Self::Filter,
            _ => Self::Server,
        }
    }
}

/// What events are written to.
#[derive(Clone)]
struct Sender {
    entries: SyncSender<Entry>,
    waiting: Arc<Waiting>,
    dropped: IntCounter,
}

/// What waits to be written.
#[derive(Default)]
struct Waiting {
    all: Amount,
    of_agents: Amount,
    of_filters: Amount,
}

#[derive(Default)]
struct Amount {
    lines: AtomicUsize,
    bytes: AtomicUsize,
}

impl Amount {
    /// False if there is no room for another line.
    fn add(&self, bytes: usize, share: usize) -> bool {
        let lines = self.lines.fetch_add(1, Ordering::Relaxed) + 1;
        let all = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let has_room = lines <= LINES / share && all <= BYTES / share;
        if !has_room {
            self.remove(bytes);
        }
        has_room
    }

    fn remove(&self, bytes: usize) {
        self.lines.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Waiting {
    /// What of it is bounded for a speaker: one of so many parts.
    fn share(&self, speaker: Speaker) -> Option<(&Amount, usize)> {
        match speaker {
            Speaker::Server => None,
            Speaker::Agent => Some((&self.of_agents, AGENTS.1)),
            Speaker::Filter => Some((&self.of_filters, FILTERS.1)),
        }
    }

    fn add(&self, bytes: usize, speaker: Speaker) -> bool {
        let share = self.share(speaker);
        if share.is_some_and(|(amount, share)| !amount.add(bytes, share)) {
            return false;
        }
        let has_room = self.all.add(bytes, 1);
        if let (Some((amount, _)), false) = (share, has_room) {
            amount.remove(bytes);
        }
        has_room
    }

    fn remove(&self, bytes: usize, speaker: Speaker) {
        self.all.remove(bytes);
        if let Some((amount, _)) = self.share(speaker) {
            amount.remove(bytes);
        }
    }
}

/// Writes one line.
struct Line<'a> {
    sender: &'a Sender,
    speaker: Speaker,
}

impl Log {
    /// # Errors
    /// When there are no more threads.
    pub(crate) fn start(format: LogFormat) -> io::Result<Self> {
        let (sender, receiver) = Sender::new();
        let waiting = Arc::clone(&sender.waiting);
        std::thread::Builder::new()
            .name("log".into())
            .spawn(move || write(&receiver, &waiting))?;
        let filter = EnvFilter::builder()
            .with_default_directive(LevelFilter::INFO.into())
            .from_env_lossy();
        let log = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(sender.clone())
            .with_ansi(io::stderr().is_terminal());
        match format {
            LogFormat::Text => log.init(),
            LogFormat::Json => log.json().flatten_event(true).init(),
        }
        Ok(Self(sender))
    }

    /// How many lines were dropped because the reader was too slow.
    pub(crate) fn dropped(&self) -> IntCounter {
        self.0.dropped.clone()
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

fn write(entries: &Receiver<Entry>, waiting: &Waiting) {
    // On Linux this is the priority of the thread that asks, not of its process. Without it all works, too.
    let _as_before = setpriority_process(None, NICE);
    let mut stderr = io::stderr();
    for entry in entries {
        match entry {
            Entry::Line { text, speaker } => {
                // There is nowhere to say that it failed.
                drop(stderr.write_all(&text));
                waiting.remove(text.len(), speaker);
            }
            Entry::End(end) => drop(end),
        }
    }
}

impl Sender {
    fn new() -> (Self, Receiver<Entry>) {
        // One place more, for the end.
        let (entries, receiver) = sync_channel(LINES + 1);
        let opts = Opts::new(
            "dormouse_log_dropped_total",
            "Lines of the log that were dropped, because whoever reads it is too slow",
        );
        let sender = Self {
            entries,
            waiting: Arc::default(),
            dropped: IntCounter::with_opts(opts).expect("the name is constant and valid"),
        };
        (sender, receiver)
    }

    fn line(&self, speaker: Speaker) -> Line<'_> {
        Line {
            sender: self,
            speaker,
        }
    }
}

impl<'a> MakeWriter<'a> for Sender {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        self.line(Speaker::Server)
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> Line<'a> {
        self.line(Speaker::of(event.target()))
    }
}

impl Write for Line<'_> {
    /// An event is one write.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let Sender {
            entries,
            waiting,
            dropped,
        } = self.sender;
        let (bytes, speaker) = (line.len(), self.speaker);
        if !waiting.add(bytes, speaker) {
            dropped.inc();
            return Ok(bytes);
        }
        let entry = Entry::Line {
            text: line.to_vec(),
            speaker,
        };
        if entries.try_send(entry).is_err() {
            waiting.remove(bytes, speaker);
            dropped.inc();
        }
        Ok(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_flood_of_agents_leaves_the_server_its_half() {
        let (sender, receiver) = Sender::new();
        for _ in 0..2 * LINES {
            sender.line(Speaker::Agent).write_all(b"agent\n").unwrap();
        }
        assert_eq!(sender.dropped.get(), (LINES + LINES / 2) as u64);
        for _ in 0..LINES {
            sender.line(Speaker::Server).write_all(b"server\n").unwrap();
        }
        assert_eq!(sender.dropped.get(), 2 * LINES as u64);
        let waiting: Vec<Entry> = receiver.try_iter().collect();
        let of = |whose| {
            let of =
                |entry: &&Entry| matches!(entry, Entry::Line { speaker, .. } if *speaker == whose);
            waiting.iter().filter(of).count()
        };
        let (agents, server) = (of(Speaker::Agent), of(Speaker::Server));
        assert_eq!((agents, server), (LINES / 2, LINES / 2));
    }

    #[test]
    fn floods_of_filters_and_agents_leave_it_a_quarter() {
        let (sender, receiver) = Sender::new();
        for target in ["filter", "agent"] {
            for _ in 0..LINES {
                let speaker = Speaker::of(target);
                sender.line(speaker).write_all(b"guest\n").unwrap();
            }
        }
        assert_eq!(sender.dropped.get(), (LINES + LINES / 4) as u64);
        // What the server says of a filter is its own.
        let speaker = Speaker::of("dormouse_gateway::filters::audit");
        for _ in 0..LINES / 4 {
            sender.line(speaker).write_all(b"audit\n").unwrap();
        }
        assert_eq!(sender.dropped.get(), (LINES + LINES / 4) as u64);
        // What is written makes room for whoever wrote it.
        for entry in receiver.try_iter() {
            let Entry::Line { text, speaker } = entry else {
                panic!("there is no end")
            };
            sender.waiting.remove(text.len(), speaker);
        }
        for amount in [&sender.waiting.all, &sender.waiting.of_filters] {
            assert_eq!(amount.lines.load(Ordering::Relaxed), 0);
            assert_eq!(amount.bytes.load(Ordering::Relaxed), 0);
        }
    }

    #[test]
    fn long_lines_of_agents_leave_it_its_half_of_the_bytes() {
        let (sender, _receiver) = Sender::new();
        let long = vec![b'x'; BYTES / 4];
        for _ in 0..8 {
            sender.line(Speaker::Agent).write_all(&long).unwrap();
        }
        assert_eq!(sender.dropped.get(), 6);
        for _ in 0..2 {
            sender.line(Speaker::Server).write_all(&long).unwrap();
        }
        assert_eq!(sender.dropped.get(), 6);
        sender.line(Speaker::Server).write_all(b"x").unwrap();
        assert_eq!(sender.dropped.get(), 7, "all of it is taken");
    }
}
