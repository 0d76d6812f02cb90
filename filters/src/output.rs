//! An agent's stdout and stderr: its lines become records of the log, once its call has ended. They are kept until then, so
//! that none is made in the middle of what the agent does, and none is joined with what the next call prints.

use crate::print::{Print, Printer, WINDOW};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use thiserror::Error;
use tracing::{info, warn};

/// Lines of a call that are logged: enough for a decision and its reasons, few enough to be written at once.
const MAX_LINES: usize = 100;

/// What an agent is stopped with that writes more than it may.
#[derive(Debug, Error)]
#[error("more bytes were written to stdout and stderr than one call may")]
pub(crate) struct Flood;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// What the running call of an agent has printed.
#[derive(Debug, Clone)]
pub(crate) struct Printed(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    agent: Arc<str>,
    /// Whether there is anything: most calls print nothing, and take no lock.
    any: AtomicBool,
    lines: Mutex<Lines>,
}

#[derive(Debug, Default)]
struct Lines {
    /// Bytes that the call may still write.
    left: usize,
    /// Without their ends, in their order.
    whole: Vec<(Stream, Vec<u8>)>,
    /// Those that have no end yet.
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    /// Lines that are not logged.
    surplus: usize,
}

/// Logs what a call has printed when it is dropped, because the call may be, too.
pub(crate) struct Ending<'a> {
    printed: &'a Printed,
    correlation_id: Option<&'a str>,
}

impl Printed {
    pub(crate) fn of(agent: &Arc<str>) -> Self {
        Self(Arc::new(Inner {
            agent: Arc::clone(agent),
            any: AtomicBool::new(false),
            lines: Mutex::default(),
        }))
    }

    /// To be held while a call may print. `correlation_id`: what the call is about.
    pub(crate) fn begin<'a>(&'a self, correlation_id: Option<&'a str>) -> Ending<'a> {
        Ending {
            printed: self,
            correlation_id,
        }
    }

    /// `max_output`: bytes of one call.
    pub(crate) fn stream(&self, stream: Stream, max_output: usize) -> Printer<Output> {
        Printer(Output {
            printed: self.clone(),
            stream,
            max_output,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.0.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, stream: Stream, bytes: &[u8], max_output: usize) -> Result<(), Flood> {
        let mut lines = self.lock();
        if !self.0.any.swap(true, Ordering::Relaxed) {
            lines.left = max_output;
        }
        lines.left = lines.left.checked_sub(bytes.len()).ok_or(Flood)?;
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            lines.add(stream, piece);
        }
        Ok(())
    }
}

impl Lines {
    fn open(&mut self, stream: Stream) -> &mut Vec<u8> {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }

    /// Up to the end of a line, or a part of one.
    fn add(&mut self, stream: Stream, piece: &[u8]) {
        let open = self.open(stream);
        open.extend_from_slice(piece);
        if open.ends_with(b"\n") || open.len() >= WINDOW {
            self.end_line(stream);
        }
    }

    fn end_line(&mut self, stream: Stream) {
        if self.whole.len() < MAX_LINES {
            let line = std::mem::take(self.open(stream));
            self.whole.push((stream, line));
        } else {
            self.open(stream).clear();
            self.surplus += 1;
        }
    }
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if !self.printed.0.any.swap(false, Ordering::Relaxed) {
            return;
        }
        let mut lines = std::mem::take(&mut *self.printed.lock());
        for stream in [Stream::Stdout, Stream::Stderr] {
            if !lines.open(stream).is_empty() {
                lines.end_line(stream);
            }
        }
        let (filter, correlation_id) = (&*self.printed.0.agent, self.correlation_id);
        for (stream, line) in lines.whole {
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end();
            // Whoever writes the log knows them by this name, and can give them a share of their own.
            match stream {
                Stream::Stdout => info!(target: "filter", filter, correlation_id, "{line}"),
                Stream::Stderr => warn!(target: "filter", filter, correlation_id, "{line}"),
            }
        }
        if lines.surplus > 0 {
            let more = lines.surplus;
            warn!(target: "filter", filter, correlation_id, "{more} further lines are not shown");
        }
    }
}

/// One of the two.
#[derive(Clone)]
pub(crate) struct Output {
    printed: Printed,
    stream: Stream,
    max_output: usize,
}

impl Print for Output {
    type Flood = Flood;

    fn print(&self, bytes: &[u8]) -> Result<(), Flood> {
        self.printed.take(self.stream, bytes, self.max_output)
    }
}
