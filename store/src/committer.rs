//! Group commit: one thread takes every task write that is waiting and makes them durable together.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use prometheus::Histogram;

use crate::{Done, Record, StoreError, TaskWrite};

/// Writes that may wait. At 1 KiB each this is 64 MiB.
const MAX_QUEUED_WRITES: usize = 65_536;
/// Bytes that may wait, so that a few huge writes cannot fill the memory either.
const MAX_QUEUED_BYTES: usize = 256 << 20;
/// Writes in one commit. sled holds readers back while it applies a batch, so a batch must stay short.
const MAX_GROUP_WRITES: usize = 256;
/// How long the queue must be empty before [`Apply::idle`] runs.
const IDLE_AFTER: Duration = Duration::from_millis(100);

/// What becomes durable as a whole.
pub(crate) enum Write {
    Task(TaskWrite),
    Records(Vec<Record>),
}

/// Where a group of writes goes. Called from the committer thread only.
pub(crate) trait Apply: Send + 'static {
    /// Makes all of the writes durable, or none.
    fn apply(&mut self, writes: &[Write]) -> Result<(), StoreError>;
    /// Nothing has been written for a moment.
    fn idle(&mut self);
}

/// The queue and its thread.
pub(crate) struct Committer {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    max_writes: usize,
    max_bytes: usize,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    closed: bool,
}

struct Waiting {
    write: Write,
    done: Done,
    bytes: usize,
    since: Instant,
}

impl Committer {
    pub(crate) fn start(apply: impl Apply, commit_seconds: Histogram) -> Result<Self, StoreError> {
        Self::with_bounds(apply, commit_seconds, MAX_QUEUED_WRITES, MAX_QUEUED_BYTES)
    }

    fn with_bounds(
        apply: impl Apply,
        commit_seconds: Histogram,
        max_writes: usize,
        max_bytes: usize,
    ) -> Result<Self, StoreError> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            wake: Condvar::new(),
            max_writes,
            max_bytes,
        });
        let thread = std::thread::Builder::new()
            .name("store-commit".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || run(&shared, apply, &commit_seconds)
            })
            .map_err(StoreError::io(|| "start the commit thread"))?;
        Ok(Self {
            shared,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Queues a write, or refuses it at once by calling `done`.
    pub(crate) fn submit(&self, write: Write, done: Done) {
        let bytes = size_of_write(&write);
        let mut queue = self.shared.lock();
        // A write larger than the whole bound is still taken when it is alone: it was within the limits of a write.
        let full = queue.waiting.len() >= self.shared.max_writes
            || (queue.bytes + bytes > self.shared.max_bytes && !queue.waiting.is_empty());
        if queue.closed || full {
            let refusal = if queue.closed {
                StoreError::Closed
            } else {
                StoreError::Busy
            };
            drop(queue);
            done(Err(refusal));
            return;
        }
        queue.bytes += bytes;
        queue.waiting.push_back(Waiting {
            write,
            done,
            bytes,
            since: Instant::now(),
        });
        drop(queue);
        self.shared.wake.notify_one();
    }

    /// Refuses new writes, finishes those that wait, and ends the thread.
    pub(crate) fn stop(&self) {
        self.shared.lock().closed = true;
        self.shared.wake.notify_one();
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread
            && thread.thread().id() != std::thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("the commit thread panicked");
        }
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // No code that can panic runs while the queue is locked, so it is whole even when poisoned.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next group; empty after [`IDLE_AFTER`] without a write; `None` when closed and drained.
    fn next_group(&self, may_idle: bool) -> Option<Vec<Waiting>> {
        let mut queue = self.lock();
        while queue.waiting.is_empty() {
            if queue.closed {
                return None;
            }
            if may_idle {
                let (guard, timeout) = self
                    .wake
                    .wait_timeout(queue, IDLE_AFTER)
                    .unwrap_or_else(PoisonError::into_inner);
                queue = guard;
                if timeout.timed_out() && queue.waiting.is_empty() && !queue.closed {
                    return Some(Vec::new());
                }
            } else {
                queue = self
                    .wake
                    .wait(queue)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        }
        let count = queue.waiting.len().min(MAX_GROUP_WRITES);
        let group: Vec<_> = queue.waiting.drain(..count).collect();
        queue.bytes -= group.iter().map(|waiting| waiting.bytes).sum::<usize>();
        Some(group)
    }
}

fn run(shared: &Shared, mut apply: impl Apply, commit_seconds: &Histogram) {
    let mut dirty = false;
    while let Some(group) = shared.next_group(dirty) {
        if group.is_empty() {
            apply.idle();
            dirty = false;
            continue;
        }
        dirty = true;
        commit_group(group, &mut apply, commit_seconds);
    }
}

fn commit_group(group: Vec<Waiting>, apply: &mut impl Apply, commit_seconds: &Histogram) {
    let mut writes = Vec::with_capacity(group.len());
    let mut waiters = Vec::with_capacity(group.len());
    for waiting in group {
        writes.push(waiting.write);
        waiters.push((waiting.done, waiting.since));
    }
    let results = commit_writes(&writes, apply);
    for ((done, since), result) in waiters.into_iter().zip(results) {
        commit_seconds.observe(since.elapsed().as_secs_f64());
        if catch_unwind(AssertUnwindSafe(|| done(result))).is_err() {
            tracing::error!("a commit callback panicked");
        }
    }
}

/// One result for each write. When the group fails its writes are tried one by one, so that a write that meets a
/// damaged record fails alone; when the disk failed they all fail.
fn commit_writes(writes: &[Write], apply: &mut impl Apply) -> Vec<Result<(), StoreError>> {
    // sled panics on some I/O errors. A dead commit thread would leave every caller waiting for ever.
    let mut attempt = |writes: &[Write]| {
        catch_unwind(AssertUnwindSafe(|| apply.apply(writes)))
            .unwrap_or(Err(StoreError::Stopped { database: "tasks" }))
    };
    match attempt(writes) {
        Ok(()) => writes.iter().map(|_| Ok(())).collect(),
        Err(error) => {
            tracing::error!(%error, writes = writes.len(), "a commit failed");
            if writes.len() == 1 {
                return vec![Err(error)];
            }
            writes
                .iter()
                .map(|write| attempt(std::slice::from_ref(write)))
                .collect()
        }
    }
}

fn size_of_write(write: &Write) -> usize {
    let content = match write {
        Write::Task(write) => {
            let events: usize = write.events.iter().map(|(_, event)| event.len()).sum();
            let records = size_of_records(&write.state) + size_of_records(&write.records);
            write.head.len() + events + records
        }
        Write::Records(records) => size_of_records(records),
    };
    size_of::<Waiting>() + content
}

fn size_of_records(records: &[Record]) -> usize {
    let sizes = records
        .iter()
        .map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len));
    sizes.sum()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::{StoreMetrics, TaskId, TaskIndex};

    struct Scripted(Vec<Result<(), &'static str>>);

    impl Apply for Scripted {
        fn apply(&mut self, _writes: &[Write]) -> Result<(), StoreError> {
            match self.0.pop() {
                None | Some(Ok(())) => Ok(()),
                Some(Err("panic")) => panic!("scripted"),
                Some(Err(what)) => Err(StoreError::Corrupt {
                    what: what.to_owned(),
                }),
            }
        }

        fn idle(&mut self) {}
    }

    fn write(head: usize) -> Write {
        Write::Task(TaskWrite {
            task: TaskId::nil(),
            head: vec![0; head],
            open: false,
            index: TaskIndex {
                agent: String::new(),
                owner: String::new(),
                context: String::new(),
                status: 0,
                updated_ms: 0,
            },
            replaces_updated_ms: None,
            events: Vec::new(),
            state: Vec::new(),
            records: Vec::new(),
        })
    }

    fn start(script: Vec<Result<(), &'static str>>, writes: usize, bytes: usize) -> Committer {
        Committer::with_bounds(
            Scripted(script),
            StoreMetrics::new().commit_seconds,
            writes,
            bytes,
        )
        .unwrap()
    }

    /// Holds the commit thread inside a callback until the returned sender is dropped.
    fn hold(committer: &Committer) -> mpsc::Sender<()> {
        let (entered, is_entered) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        committer.submit(
            write(0),
            Box::new(move |_| {
                entered.send(()).unwrap();
                let _ = released.recv();
            }),
        );
        is_entered.recv().unwrap();
        release
    }

    fn submit(committer: &Committer, head: usize) -> mpsc::Receiver<Result<(), StoreError>> {
        let (sender, receiver) = mpsc::channel();
        committer.submit(
            write(head),
            Box::new(move |result| sender.send(result).unwrap()),
        );
        receiver
    }

    #[test]
    fn busy_over_either_bound_and_free_again() {
        for (writes, bytes, head) in [
            (3, usize::MAX, 0),
            (100, 3 * (1000 + size_of::<Waiting>()), 1000),
        ] {
            let committer = start(Vec::new(), writes, bytes);
            let release = hold(&committer);
            let queued: Vec<_> = (0..3).map(|_| submit(&committer, head)).collect();
            let refused = submit(&committer, head).try_recv().unwrap();
            assert!(matches!(refused, Err(StoreError::Busy)), "{refused:?}");
            drop(release);
            for done in queued {
                done.recv().unwrap().unwrap();
            }
            submit(&committer, head).recv().unwrap().unwrap();
        }
    }

    #[test]
    fn a_failed_write_fails_alone_and_every_waiter_hears() {
        for script in ["disk", "panic"] {
            // Last first: the held write, the group of two, then each of the two.
            let committer = start(
                vec![Ok(()), Err(script), Err(script), Ok(())],
                10,
                usize::MAX,
            );
            let release = hold(&committer);
            let queued = [submit(&committer, 0), submit(&committer, 0)];
            drop(release);
            assert!(queued[0].recv().unwrap().is_err());
            queued[1].recv().unwrap().unwrap();
        }
    }

    #[test]
    fn stop_finishes_what_waits_and_refuses_the_rest() {
        let committer = start(Vec::new(), 10, usize::MAX);
        let release = hold(&committer);
        let queued = submit(&committer, 0);
        committer.shared.lock().closed = true;
        assert!(matches!(
            submit(&committer, 0).try_recv().unwrap(),
            Err(StoreError::Closed)
        ));
        drop(release);
        committer.stop();
        queued.try_recv().unwrap().unwrap();
    }

    #[test]
    fn a_panicking_callback_harms_nobody_else() {
        let committer = start(Vec::new(), 10, usize::MAX);
        committer.submit(write(0), Box::new(|_| panic!("callback")));
        submit(&committer, 0).recv().unwrap().unwrap();
    }
}
