//! What agents have logged lately, in memory and within bounds, for who asks. The lasting record is the
//! process's own log.

use crate::logs::Level;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::Notify;

/// Records that are kept of one agent.
const MAX_RECORDS: usize = 1_000;
/// Bytes of the records of all agents; the oldest go first.
const MAX_BYTES: usize = 32 << 20;
/// What a record takes besides its texts.
const OVERHEAD: usize = 200;

/// The latest records of all agents.
#[derive(Debug, Default)]
pub struct LogBook {
    state: Mutex<State>,
    grown: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// By number, so in the order of time.
    records: BTreeMap<u64, LogRecord>,
    by_agent: HashMap<String, VecDeque<u64>>,
    bytes: usize,
    last: u64,
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogRecord {
    /// Counts up over all agents, from 1, while the process lives.
    pub number: u64,
    /// Milliseconds since the Unix epoch.
    pub time_ms: u64,
    pub level: Level,
    pub agent: String,
    pub version: u32,
    /// Empty for what belongs to no task.
    pub task: String,
    pub message: String,
    pub fields: Vec<(String, String)>,
}

/// Some records of an agent, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPage {
    pub records: Vec<LogRecord>,
    /// What to ask after next.
    pub next: u64,
}

impl LogBook {
    /// Adds a record; its number and time are set here.
    pub fn add(&self, mut record: LogRecord) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        record.time_ms = now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
        let mut state = self.lock();
        state.last += 1;
        record.number = state.last;
        state.add(record);
        drop(state);
        self.grown.notify_waiters();
    }

    /// The agent's records after a number, at most `limit`: the first of them, or without a number the latest.
    pub fn read(&self, agent: &str, after: Option<u64>, limit: usize) -> LogPage {
        let state = self.lock();
        let numbers = state.by_agent.get(agent);
        let kept = numbers.map_or(0, VecDeque::len);
        let skipped = match (after, numbers) {
            (Some(after), Some(numbers)) => numbers.partition_point(|number| *number <= after),
            _ => kept.saturating_sub(limit),
        };
        let numbers = numbers.into_iter().flatten().skip(skipped).take(limit);
        let records: Vec<LogRecord> = numbers
            .filter_map(|number| state.records.get(number).cloned())
            .collect();
        // Without records the next question is about what comes from now on.
        let next = records.last().map_or(state.last, |record| record.number);
        LogPage { records, next }
    }

    /// The same, when there is something to say.
    pub async fn next(&self, agent: &str, after: Option<u64>, limit: usize) -> LogPage {
        loop {
            let mut grown = std::pin::pin!(self.grown.notified());
            grown.as_mut().enable();
            let page = self.read(agent, after, limit);
            if !page.records.is_empty() {
                return page;
            }
            grown.await;
        }
    }

    /// Drops the records of an agent.
    pub fn forget(&self, agent: &str) {
        let mut state = self.lock();
        while state.drop_oldest_of(agent) {}
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, record: LogRecord) {
        self.bytes += record.size();
        let numbers = self.by_agent.entry(record.agent.clone()).or_default();
        numbers.push_back(record.number);
        let is_full = numbers.len() > MAX_RECORDS;
        let agent = record.agent.clone();
        self.records.insert(record.number, record);
        if is_full {
            self.drop_oldest_of(&agent);
        }
        while self.bytes > MAX_BYTES {
            let Some(oldest) = self.records.values().next() else {
                return;
            };
            let agent = oldest.agent.clone();
            self.drop_oldest_of(&agent);
        }
    }

    fn drop_oldest_of(&mut self, agent: &str) -> bool {
        let Some(numbers) = self.by_agent.get_mut(agent) else {
            return false;
        };
        let number = numbers.pop_front();
        if numbers.is_empty() {
            self.by_agent.remove(agent);
        }
        if let Some(record) = number.and_then(|number| self.records.remove(&number)) {
            self.bytes -= record.size();
        }
        true
    }
}

impl LogRecord {
    fn size(&self) -> usize {
        let fields = self
            .fields
            .iter()
            .map(|(name, value)| name.len() + value.len() + 48);
        OVERHEAD
            + 2 * self.agent.len()
            + self.task.len()
            + self.message.len()
            + fields.sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(agent: &str, message: &str) -> LogRecord {
        LogRecord {
            number: 0,
            time_ms: 0,
            level: Level::Info,
            agent: agent.to_owned(),
            version: 1,
            task: String::new(),
            message: message.to_owned(),
            fields: Vec::new(),
        }
    }

    fn texts(page: &LogPage) -> Vec<&str> {
        page.records.iter().map(|record| &*record.message).collect()
    }

    #[test]
    fn records_are_read_in_order_and_by_agent() {
        let book = LogBook::default();
        for message in ["one", "two", "three"] {
            book.add(record("ada", message));
            book.add(record("bob", message));
        }
        let latest = book.read("ada", None, 2);
        assert_eq!(texts(&latest), ["two", "three"]);
        assert!(book.read("ada", Some(latest.next), 10).records.is_empty());
        let first = book.read("ada", Some(0), 1);
        assert_eq!(texts(&first), ["one"]);
        assert_eq!(
            texts(&book.read("ada", Some(first.next), 10)),
            ["two", "three"]
        );
        book.forget("ada");
        assert!(book.read("ada", Some(0), 10).records.is_empty());
        assert_eq!(book.read("bob", Some(0), 10).records.len(), 3);
    }

    #[test]
    fn what_is_kept_is_bounded_per_agent_and_in_all() {
        let book = LogBook::default();
        for number in 0..MAX_RECORDS + 5 {
            book.add(record("ada", &number.to_string()));
        }
        let kept = book.read("ada", Some(0), usize::MAX);
        assert_eq!(kept.records.len(), MAX_RECORDS);
        assert_eq!(kept.records[0].message, "5");
        let large = "x".repeat(1 << 20);
        for number in 0..40 {
            book.add(record(&format!("agent-{number}"), &large));
        }
        assert!(book.lock().bytes <= MAX_BYTES);
        assert!(
            book.read("ada", Some(0), 10).records.is_empty(),
            "the oldest go first"
        );
        assert!(book.read("agent-0", Some(0), 10).records.is_empty());
        assert_eq!(book.read("agent-39", Some(0), 10).records.len(), 1);
    }

    #[tokio::test]
    async fn who_waits_is_told() {
        let book = std::sync::Arc::new(LogBook::default());
        let waiting = tokio::spawn({
            let book = std::sync::Arc::clone(&book);
            async move { book.next("ada", Some(0), 10).await }
        });
        book.add(record("bob", "not for ada"));
        tokio::task::yield_now().await;
        book.add(record("ada", "hello"));
        assert_eq!(texts(&waiting.await.expect("it is told")), ["hello"]);
    }
}
