//! Work that its client waits for but does not own.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TrackedFuture;

/// Runs a future in place, without the cost of a task of its own. If it is dropped because the
/// client has left, the rest of the future goes on as a task.
pub(crate) struct Detached<F: Future<Output: Send> + Send + 'static> {
    /// `None` once it is done.
    running: Option<Pin<Box<TrackedFuture<F>>>>,
    runtime: Handle,
}

impl<F: Future<Output: Send> + Send + 'static> Detached<F> {
    /// To be called on the runtime. `tracker` counts the work wherever it runs.
    pub(crate) fn new(tracker: &TaskTracker, work: F) -> Self {
        Self {
            running: Some(Box::pin(tracker.track_future(work))),
            runtime: Handle::current(),
        }
    }
}

impl<F: Future<Output: Send> + Send + 'static> Future for Detached<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let running = self
            .running
            .as_mut()
            .expect("not polled again after it was ready");
        let poll = running.as_mut().poll(cx);
        if poll.is_ready() {
            self.running = None;
        }
        poll
    }
}

impl<F: Future<Output: Send> + Send + 'static> Drop for Detached<F> {
    fn drop(&mut self) {
        // A panic inside the work drops it too; what is left of it must not be polled again.
        if let Some(rest) = self.running.take().filter(|_| !std::thread::panicking()) {
            self.runtime.spawn(rest);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn work_goes_on_after_its_client_has_left() {
        let tracker = TaskTracker::new();
        let (go, wait) = oneshot::channel::<()>();
        let (done, finished) = oneshot::channel();
        let mut work = Box::pin(Detached::new(&tracker, async move {
            wait.await.unwrap();
            done.send(()).unwrap();
        }));
        assert!(futures_util::poll!(work.as_mut()).is_pending());
        drop(work);
        assert_eq!(tracker.len(), 1);
        go.send(()).unwrap();
        finished.await.unwrap();
        tracker.close();
        tracker.wait().await;
    }
}
