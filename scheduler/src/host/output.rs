//! What a guest prints: its lines become log records of the running call.

use dormouse_filters::print::{Print, Printer, WINDOW};
use dormouse_services::logs::{CallLog, Level, LogFlood};
use std::sync::{Arc, Mutex, PoisonError};

/// The log of the running call, and what its guest has printed of a line. However many handles of its output a guest has, it
/// has one line of each stream.
#[derive(Default)]
pub(super) struct Output {
    /// None while parked and during discovery.
    log: Option<CallLog>,
    lines: [Vec<u8>; 2],
}

pub(super) type SharedLog = Arc<Mutex<Output>>;

#[derive(Debug, Clone, Copy)]
pub(super) enum Stream {
    Out,
    Err,
}

impl Stream {
    fn level(self) -> Level {
        match self {
            Self::Out => Level::Info,
            Self::Err => Level::Warn,
        }
    }
}

impl Output {
    pub(super) fn of_call(&mut self) -> Option<&mut CallLog> {
        self.log.as_mut()
    }

    /// Whose records follow from now on. A line that has no end yet is a record of the call before.
    pub(super) fn change(&mut self, log: Option<CallLog>) {
        for stream in [Stream::Out, Stream::Err] {
            if !self.lines[stream as usize].is_empty() {
                // Nothing is left to stop.
                let _flood = self.end_line(stream);
            }
            self.lines[stream as usize] = Vec::new();
        }
        self.log = log;
    }

    fn take(&mut self, stream: Stream, bytes: &[u8]) -> Result<(), LogFlood> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            for piece in piece.chunks(WINDOW) {
                let line = &mut self.lines[stream as usize];
                line.extend_from_slice(piece);
                // A line without an end is cut, so that it cannot grow for ever.
                if line.ends_with(b"\n") || line.len() >= WINDOW {
                    self.end_line(stream)?;
                }
            }
        }
        Ok(())
    }

    fn end_line(&mut self, stream: Stream) -> Result<(), LogFlood> {
        let line = &mut self.lines[stream as usize];
        let text = String::from_utf8_lossy(line);
        let written = match &mut self.log {
            Some(log) => log.write(stream.level(), text.trim_end(), &[]),
            None => Ok(()),
        };
        line.clear();
        written
    }
}

/// A guest's stdout or stderr.
#[derive(Clone)]
pub(super) struct GuestOutput {
    log: SharedLog,
    stream: Stream,
}

impl GuestOutput {
    pub(super) fn stream(log: &SharedLog, stream: Stream) -> Printer<Self> {
        let log = Arc::clone(log);
        Printer(Self { log, stream })
    }
}

impl Print for GuestOutput {
    type Flood = LogFlood;

    fn print(&self, bytes: &[u8]) -> Result<(), LogFlood> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.take(self.stream, bytes)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use bytes::Bytes;
    use dormouse_services::LogBook;
    use dormouse_services::logs::LogLimits;
    use wasmtime_wasi::cli::StdoutStream;

    fn log(book: &Arc<LogBook>, task: &str) -> Option<CallLog> {
        let limits = LogLimits::default();
        let book = Arc::clone(book);
        Some(CallLog::new("ada".into(), 1, task.into(), limits, book))
    }

    fn said(book: &LogBook) -> Vec<(String, String)> {
        let records = book.read("ada", Some(0), 1_000).records;
        let said = records.iter().map(|record| {
            assert!(record.message.len() <= WINDOW);
            (record.task.clone(), record.message.clone())
        });
        said.collect()
    }

    #[test]
    fn a_thousand_handles_have_one_line() {
        let (shared, book) = (SharedLog::default(), Arc::default());
        shared.lock().unwrap().change(log(&book, "one"));
        let stdout = GuestOutput::stream(&shared, Stream::Out);
        let part = Bytes::from(vec![b'x'; WINDOW - 1]);
        let mut handles: Vec<_> = (0..1_000).map(|_| stdout.p2_stream()).collect();
        let mut floods = 0;
        for handle in &mut handles {
            // In the end it is a flood, for which the guest is stopped.
            floods += usize::from(handle.write(part.clone()).is_err());
            let lines = &shared.lock().unwrap().lines;
            let kept: usize = lines.iter().map(Vec::capacity).sum();
            assert!(kept <= 4 * WINDOW, "{kept}");
        }
        assert!(floods > 0, "what is printed without an end counts");
        shared.lock().unwrap().change(None);
        let kept = shared
            .lock()
            .unwrap()
            .lines
            .iter()
            .map(Vec::capacity)
            .sum::<usize>();
        assert_eq!(kept, 0, "a parked instance holds nothing of it");
    }

    #[test]
    fn half_a_line_is_of_the_call_that_printed_it() {
        let (shared, book) = (SharedLog::default(), Arc::default());
        let stdout = GuestOutput::stream(&shared, Stream::Out);
        let stderr = GuestOutput::stream(&shared, Stream::Err);
        // Before any call nobody is told.
        stdout.0.print(b"at deploy").unwrap();
        shared.lock().unwrap().change(log(&book, "one"));
        stdout.0.print(b"whole\nha").unwrap();
        stderr.0.print(b"wrong\n").unwrap();
        stdout.0.print(b"lf").unwrap();
        shared.lock().unwrap().change(None);
        shared.lock().unwrap().change(log(&book, "two"));
        stdout.0.print(b"next\n").unwrap();
        let expected = [
            ("one", "whole"),
            ("one", "wrong"),
            ("one", "half"),
            ("two", "next"),
        ];
        let expected = expected.map(|(task, text)| (task.to_owned(), text.to_owned()));
        assert_eq!(said(&book), expected);
        // A line without an end is cut.
        stdout.0.print(&vec![b'y'; 3 * WINDOW + 1]).unwrap();
        assert_eq!(said(&book).len(), 7);
    }
}
