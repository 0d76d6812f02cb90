//! Calls of those who do not wait asynchronously. The calling thread runs the agent itself; timers are those of a
//! runtime with one thread, which is started by the first such call.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use tokio::runtime::{Builder, Runtime};

#[derive(Default)]
pub(crate) struct Blocking(OnceLock<Runtime>);

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

impl Blocking {
    /// Runs the future to its end on this thread.
    pub(crate) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        let runtime = self.0.get_or_init(|| {
            let mut builder = Builder::new_multi_thread();
            let builder = builder.worker_threads(1).thread_name("filter-timer");
            let started = builder.enable_time().build();
            started.expect("a process that cannot start one thread cannot serve")
        });
        let _timers = runtime.enter();
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut context = Context::from_waker(&waker);
        let mut future = pin!(future);
        loop {
            if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
                return value;
            }
            std::thread::park();
        }
    }
}

impl Drop for Blocking {
    fn drop(&mut self) {
        // Any other way of ending it waits for its thread, which an event loop must not.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
