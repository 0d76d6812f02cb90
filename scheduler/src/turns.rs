//! Threads that poll futures in turns: between those whom they belong to, and then between the futures of each. So who
//! has much to do there makes only its own wait longer. A turn is one poll; that of a guest ends at its next tick.

use crate::queue::FairQueue;
use futures_util::FutureExt;
use std::any::Any;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use tokio::sync::oneshot;

/// The threads. Dropping it ends them when they have ended the polls that they are in.
pub(crate) struct Turns(Handle);

/// Where futures are given to the threads.
#[derive(Clone)]
pub(crate) struct Handle(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    ready: Condvar,
}

#[derive(Default)]
struct State {
    queue: FairQueue<Arc<Task>>,
    stopped: bool,
}

/// A future waits to be woken, or for its turn, or is polled, or is polled and was woken meanwhile, or has ended.
const RESTS: u8 = 0;
const QUEUED: u8 = 1;
const POLLED: u8 = 2;
const WOKEN: u8 = 3;
const ENDED: u8 = 4;

struct Task {
    owner: Arc<str>,
    shared: Arc<Shared>,
    stage: AtomicU8,
    aborted: AtomicBool,
    /// Locked by whoever has its turn, so nobody ever waits for it.
    work: Mutex<Option<Work>>,
}

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What a future has come to: its value, or what it panicked with.
type Outcome<T> = Result<T, Box<dyn Any + Send>>;

/// A future that was given to the threads. Dropping it does not end that.
pub(crate) struct Joined<T> {
    told: oneshot::Receiver<Outcome<T>>,
    task: Arc<Task>,
}

impl Turns {
    /// # Errors
    /// When the system gives no more threads.
    pub(crate) fn start(name: &str, threads: usize, begin: fn()) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            ready: Condvar::new(),
        });
        // Those that have started end when it is dropped.
        let turns = Self(Handle(shared));
        for _ in 0..threads {
            let shared = Arc::clone(&turns.0.0);
            let thread = std::thread::Builder::new().name(name.to_owned());
            thread.spawn(move || {
                begin();
                let mut again = None;
                while let Some(task) = shared.next(again) {
                    again = task.take_turn().then_some(task);
                }
            })?;
        }
        Ok(turns)
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.0
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        let shared = &self.0.0;
        let left = {
            let mut state = shared.lock();
            state.stopped = true;
            std::mem::take(&mut state.queue)
        };
        shared.ready.notify_all();
        end_all(left);
    }
}

fn end_all(mut queue: FairQueue<Arc<Task>>) {
    while let Some((_, task)) = queue.next(|_| true) {
        task.end();
    }
}

impl Handle {
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        owner: &str,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Joined<T> {
        let (tell, told) = oneshot::channel();
        let work = async move {
            let outcome = AssertUnwindSafe(work).catch_unwind().await;
            // Who does not wait for it any more does not care.
            let _gone = tell.send(outcome);
        };
        let task = Arc::new(Task {
            owner: owner.into(),
            shared: Arc::clone(&self.0),
            stage: AtomicU8::new(RESTS),
            aborted: AtomicBool::new(false),
            work: Mutex::new(Some(Box::pin(work))),
        });
        task.wake_by_ref();
        Joined { told, task }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose turn it is, as soon as it is somebody's, after one that goes on was put at the end of its owner's line. `None`:
    /// there will be none.
    fn next(&self, mut again: Option<Arc<Task>>) -> Option<Arc<Task>> {
        let mut state = self.lock();
        loop {
            if state.stopped {
                drop(state);
                if let Some(task) = again {
                    task.end();
                }
                return None;
            }
            if let Some(task) = again.take() {
                let owner = Arc::clone(&task.owner);
                state.queue.push(&owner, task);
            }
            if let Some((_, task)) = state.queue.next(|_| true) {
                return Some(task);
            }
            state = self
                .ready
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Puts a future that was woken at the end of its owner's line.
    fn queue(&self, task: &Arc<Task>) {
        let mut state = self.lock();
        if state.stopped {
            drop(state);
            return task.end();
        }
        state.queue.push(&task.owner, Arc::clone(task));
        drop(state);
        self.ready.notify_one();
    }
}

impl Task {
    /// Whether it goes on at once.
    fn take_turn(self: &Arc<Self>) -> bool {
        if self.aborted.load(Ordering::SeqCst) {
            self.end();
            return false;
        }
        self.stage.store(POLLED, Ordering::SeqCst);
        let waker = Waker::from(Arc::clone(self));
        let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(future) = &mut *work else {
            return false;
        };
        let poll = future.as_mut().poll(&mut Context::from_waker(&waker));
        drop(work);
        if poll.is_ready() || self.aborted.load(Ordering::SeqCst) {
            self.end();
            return false;
        }
        let (success, failure) = (Ordering::SeqCst, Ordering::SeqCst);
        let rested = self.stage.compare_exchange(POLLED, RESTS, success, failure);
        if rested.is_err() {
            self.stage.store(QUEUED, Ordering::SeqCst);
        }
        rested.is_err()
    }

    /// Drops the future, which may hold much.
    fn end(&self) {
        self.stage.store(ENDED, Ordering::SeqCst);
        let work = self
            .work
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if catch_unwind(AssertUnwindSafe(|| drop(work))).is_err() {
            tracing::error!("a call that was given up panicked");
        }
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let next = |stage| match stage {
            RESTS => Some(QUEUED),
            POLLED => Some(WOKEN),
            _ => None,
        };
        let (set, get) = (Ordering::SeqCst, Ordering::SeqCst);
        if self.stage.fetch_update(set, get, next) == Ok(RESTS) {
            self.shared.queue(self);
        }
    }
}

impl<T> Joined<T> {
    /// Ends the future at the end of the poll that it is in, on one of the threads.
    pub(crate) fn abort(&self) {
        self.task.aborted.store(true, Ordering::SeqCst);
        self.task.wake_by_ref();
    }
}

impl<T> Future for Joined<T> {
    type Output = Outcome<T>;

    /// Never ready if it was aborted, or if the threads ended before.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome<T>> {
        match Pin::new(&mut self.told).poll(cx) {
            Poll::Ready(Ok(outcome)) => Poll::Ready(outcome),
            Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
        }
    }
}

#[cfg(test)]
#[path = "turns_tests.rs"]
mod tests;
