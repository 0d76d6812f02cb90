//! What agents have logged lately, in memory and within bounds, for who asks. The lasting record is the
//! process's own log.

use crate::logs::Level;
use serde::Serialize;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::Notify;

/// Records that are kept of one agent.
const MAX_RECORDS: usize = 1_000;
/// Bytes of the records of all agents. Over that, the oldest of the agent with the most bytes go: who says much pushes out
/// what it has said itself.
const MAX_BYTES: usize = 32 << 20;
/// What a record takes besides its texts.
const OVERHEAD: usize = 200;

/// The latest records of all agents.
#[derive(Debug, Default)]
pub struct LogBook {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    agents: HashMap<Arc<str>, Kept>,
    /// Every agent in `agents` with its bytes, the most last.
    by_bytes: BTreeSet<(usize, Arc<str>)>,
    bytes: usize,
    last: u64,
    /// The agents that somebody follows.
    followed: HashMap<String, Followed>,
}

#[derive(Debug, Default)]
struct Followed {
    followers: usize,
    grown: Arc<Notify>,
}

/// Somebody who follows an agent.
struct Follower<'a> {
    book: &'a LogBook,
    agent: &'a str,
    grown: Arc<Notify>,
}

impl Drop for Follower<'_> {
    fn drop(&mut self) {
        let mut state = self.book.lock();
        if let Some(followed) = state.followed.get_mut(self.agent) {
            followed.followers -= 1;
            if followed.followers == 0 {
                state.followed.remove(self.agent);
            }
        }
    }
}

/// What is kept of one agent.
#[derive(Debug, Default)]
struct Kept {
    /// In the order of their numbers, so of time.
    records: VecDeque<Arc<LogRecord>>,
    bytes: usize,
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
    pub records: Vec<Arc<LogRecord>>,
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
        let followed = state.followed.get(&record.agent);
        let grown = followed.map(|followed| Arc::clone(&followed.grown));
        state.add(record);
        drop(state);
        if let Some(grown) = grown {
            grown.notify_waiters();
        }
    }

    /// The agent's records after a number, at most `limit`: the first of them, or without a number the latest.
    pub fn read(&self, agent: &str, after: Option<u64>, limit: usize) -> LogPage {
        let state = self.lock();
        let kept = state.agents.get(agent).map(|kept| &kept.records);
        let skipped = match (after, kept) {
            (Some(after), Some(kept)) => kept.partition_point(|record| record.number <= after),
            _ => kept.map_or(0, VecDeque::len).saturating_sub(limit),
        };
        // Pointers only: everybody who logs waits meanwhile.
        let records: Vec<_> = kept
            .into_iter()
            .flat_map(|kept| kept.range(skipped..).take(limit).cloned())
            .collect();
        // Without records the next question is about what comes from now on.
        let next = records.last().map_or(state.last, |record| record.number);
        LogPage { records, next }
    }

    /// The same, when there is something to say.
    pub async fn next(&self, agent: &str, after: Option<u64>, limit: usize) -> LogPage {
        let follower = self.follow(agent);
        loop {
            let mut grown = std::pin::pin!(follower.grown.notified());
            grown.as_mut().enable();
            let page = self.read(agent, after, limit);
            if !page.records.is_empty() {
                return page;
            }
            grown.await;
        }
    }

    fn follow<'a>(&'a self, agent: &'a str) -> Follower<'a> {
        let mut state = self.lock();
        let followed = state.followed.entry(agent.to_owned()).or_default();
        followed.followers += 1;
        let grown = Arc::clone(&followed.grown);
        Follower {
            book: self,
            agent,
            grown,
        }
    }

    /// Drops the records of an agent.
    pub fn forget(&self, agent: &str) {
        let mut state = self.lock();
        let forgotten = state.agents.get(agent).map_or(0, |kept| kept.records.len());
        for _ in 0..forgotten {
            state.drop_oldest_of(agent);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, record: LogRecord) {
        let size = record.size();
        let agent = match self.agents.get_key_value(&*record.agent) {
            Some((agent, _)) => Arc::clone(agent),
            None => record.agent.as_str().into(),
        };
        self.change(&agent, |kept| {
            kept.records.push_back(Arc::new(record));
            kept.bytes += size;
        });
        self.bytes += size;
        if self
            .agents
            .get(&agent)
            .is_some_and(|kept| kept.records.len() > MAX_RECORDS)
        {
            self.drop_oldest_of(&agent);
        }
        while self.bytes > MAX_BYTES {
            let Some((_, largest)) = self.by_bytes.last().cloned() else {
                return;
            };
            self.drop_oldest_of(&largest);
        }
    }

    fn drop_oldest_of(&mut self, agent: &str) {
        let Some((agent, _)) = self.agents.get_key_value(agent) else {
            return;
        };
        let agent = Arc::clone(agent);
        let mut freed = 0;
        self.change(&agent, |kept| {
            let oldest = kept.records.pop_front();
            freed = oldest.map_or(0, |record| record.size());
            kept.bytes -= freed;
        });
        self.bytes -= freed;
    }

    /// Changes what is kept of an agent, and its place among the others with it.
    fn change(&mut self, agent: &Arc<str>, change: impl FnOnce(&mut Kept)) {
        let kept = self.agents.entry(Arc::clone(agent)).or_default();
        self.by_bytes.remove(&(kept.bytes, Arc::clone(agent)));
        change(kept);
        if kept.records.is_empty() {
            self.agents.remove(agent);
        } else {
            self.by_bytes.insert((kept.bytes, Arc::clone(agent)));
        }
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
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Wake, Waker};

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
        let left = |agent: &str| book.read(agent, Some(0), MAX_RECORDS).records.len();
        // Those with one large record each go, and not the many small ones of another.
        assert_eq!(left("ada"), MAX_RECORDS);
        let kept = (0..40).map(|number| left(&format!("agent-{number}")));
        assert_eq!(kept.sum::<usize>(), 31);
    }

    #[test]
    fn who_says_much_pushes_out_its_own() {
        let book = LogBook::default();
        for message in ["one", "two", "three"] {
            book.add(record("quiet", message));
        }
        let large = "x".repeat(256 << 10);
        for _ in 0..500 {
            book.add(record("loud", &large));
        }
        assert_eq!(
            texts(&book.read("quiet", Some(0), 10)),
            ["one", "two", "three"]
        );
        let loud = book.read("loud", Some(0), MAX_RECORDS);
        assert_eq!(loud.records.len(), (MAX_BYTES >> 18) - 1);
        assert_eq!(loud.next, 503);
        // A second one shares with the first.
        for _ in 0..500 {
            book.add(record("louder", &large));
        }
        let kept = |agent: &str| book.read(agent, Some(0), MAX_RECORDS).records.len();
        assert_eq!(kept("quiet"), 3);
        assert!(kept("loud").abs_diff(kept("louder")) <= 1);
        assert!(book.lock().bytes <= MAX_BYTES);
        book.forget("loud");
        book.forget("louder");
        let sizes = book.sizes();
        assert_eq!(book.lock().bytes, sizes);
    }

    impl LogBook {
        /// The sizes of all records, added up, and held against the other sums.
        fn sizes(&self) -> usize {
            let state = self.lock();
            let sum = |kept: &Kept| {
                kept.records
                    .iter()
                    .map(|record| record.size())
                    .sum::<usize>()
            };
            assert!(state.agents.values().all(|kept| sum(kept) == kept.bytes));
            assert_eq!(state.agents.len(), state.by_bytes.len());
            state.agents.values().map(sum).sum()
        }
    }

    #[test]
    fn reading_copies_no_record() {
        let book = LogBook::default();
        book.add(record("ada", "hello"));
        let (one, other) = (book.read("ada", None, 1), book.read("ada", None, 1));
        assert!(Arc::ptr_eq(&one.records[0], &other.records[0]));
    }

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn who_follows_one_agent_is_not_woken_by_others() {
        let book = LogBook::default();
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let mut waiting = Box::pin(book.next("ada", Some(0), 10));
        assert!(
            waiting
                .as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        );
        book.add(record("bob", "not for ada"));
        assert_eq!(wakes.0.load(Ordering::SeqCst), 0);
        book.add(record("ada", "hello"));
        assert_eq!(wakes.0.load(Ordering::SeqCst), 1);
        drop(waiting);
        assert!(book.lock().followed.is_empty());
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
