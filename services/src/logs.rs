//! What agents log: structured records with the agent, version and task they came from.

use crate::log_book::{LogBook, LogRecord};
use serde::Serialize;
use std::sync::Arc;
use thiserror::Error;
use tracing::{debug, error, info, trace, warn};

/// How much a call may log; more is counted and dropped, and ten times as much ends the call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLimits {
    /// Records of one call.
    pub records: u32,
    /// Bytes of all records of one call.
    pub bytes: u64,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self {
            records: 1_000,
            bytes: 256 << 10,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// A call that writes this many times its limit is not chatty but broken.
const FLOOD: u32 = 10;

/// A call has written ten times what it may log. It should be ended: every record costs the host
/// work, even one that is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the agent wrote more than {FLOOD} times what one call may log")]
pub struct LogFlood;

/// The log of one call.
#[derive(Debug)]
pub struct CallLog {
    agent: String,
    version: u32,
    task: String,
    limits: LogLimits,
    book: Arc<LogBook>,
    records: u32,
    bytes: u64,
    dropped: u64,
}

impl CallLog {
    pub fn new(
        agent: String,
        version: u32,
        task: String,
        limits: LogLimits,
        book: Arc<LogBook>,
    ) -> Self {
        Self {
            book,
            agent,
            version,
            task,
            limits,
            records: 0,
            bytes: 0,
            dropped: 0,
        }
    }

    /// A log of its own for what the same agent says of no call in particular.
    pub fn of_agent(&self) -> Self {
        let limits = self.limits.clone();
        let book = Arc::clone(&self.book);
        Self::new(
            self.agent.clone(),
            self.version,
            String::new(),
            limits,
            book,
        )
    }

    /// Writes one record, or drops it over the limit.
    ///
    /// # Errors
    /// [`LogFlood`] far over the limit.
    pub fn write(
        &mut self,
        level: Level,
        message: &str,
        fields: &[(String, String)],
    ) -> Result<(), LogFlood> {
        let size = message.len() + fields.iter().map(|(k, v)| k.len() + v.len()).sum::<usize>();
        self.records = self.records.saturating_add(1);
        self.bytes = self.bytes.saturating_add(size as u64);
        if self.records > self.limits.records || self.bytes > self.limits.bytes {
            self.dropped += 1;
            let flood = self.records / FLOOD > self.limits.records
                || self.bytes / u64::from(FLOOD) > self.limits.bytes;
            return if flood { Err(LogFlood) } else { Ok(()) };
        }
        let Self {
            agent,
            version,
            task,
            ..
        } = &*self;
        macro_rules! record {
            ($level:ident) => {
                $level!(target: "agent", agent, version, task, fields = ?fields, "{message}")
            };
        }
        match level {
            Level::Trace => record!(trace),
            Level::Debug => record!(debug),
            Level::Info => record!(info),
            Level::Warn => record!(warn),
            Level::Error => record!(error),
        }
        self.keep(level, message.to_owned(), fields);
        Ok(())
    }

    /// Adds a record to the book.
    fn keep(&self, level: Level, message: String, fields: &[(String, String)]) {
        self.book.add(LogRecord {
            number: 0,
            time_ms: 0,
            level,
            agent: self.agent.clone(),
            version: self.version,
            task: self.task.clone(),
            message,
            fields: fields.to_vec(),
        });
    }
}

impl Drop for CallLog {
    fn drop(&mut self) {
        if self.dropped > 0 {
            let Self {
                agent,
                version,
                task,
                dropped,
                ..
            } = &*self;
            warn!(target: "agent", agent, version, task, dropped, "log limit of the call reached");
            let message =
                format!("{dropped} records were dropped: the log limit of the call was reached");
            self.keep(Level::Warn, message, &[]);
        }
    }
}
