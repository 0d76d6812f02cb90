//! The processor time of a call. Until the first time that it waits or lets others run, it is the time since it began:
//! that is over soon, and most calls are then, too. From there on it is that of the threads that it runs on, so that a
//! call is not held to what others do beside it.

use rustix::time::{ClockId, clock_gettime};
use std::future::Future;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What a call has used. The call and the callback of the engine's clock share it.
#[derive(Debug, Default, Clone)]
pub(crate) struct Spent(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// The first poll has ended.
    has_waited: AtomicBool,
    /// Nanoseconds of the polls that have ended.
    used: AtomicU64,
    /// Nanoseconds of its thread's processor time at which the poll in progress has begun.
    polled_at: AtomicU64,
}

impl Spent {
    /// Another call begins.
    pub(crate) fn reset(&self) {
        self.0.has_waited.store(false, Ordering::Relaxed);
    }

    /// For the thread that is in the call, which began so long ago.
    pub(crate) fn so_far(&self, since: Duration) -> Duration {
        if !self.0.has_waited.load(Ordering::Relaxed) {
            return since;
        }
        let used = self.0.used.load(Ordering::Relaxed);
        let begun = self.0.polled_at.load(Ordering::Relaxed);
        Duration::from_nanos(used + nanos(processor_time()).saturating_sub(begun))
    }

    /// Drives a call that began at `started`.
    pub(crate) async fn over<F: Future>(
        &self,
        started: Instant,
        mut work: Pin<&mut F>,
    ) -> F::Output {
        let inner = &*self.0;
        poll_fn(|cx| {
            let has_waited = inner.has_waited.load(Ordering::Relaxed);
            if has_waited {
                let now = nanos(processor_time());
                inner.polled_at.store(now, Ordering::Relaxed);
            }
            let poll = work.as_mut().poll(cx);
            if poll.is_pending() {
                let used = self.so_far(if has_waited {
                    Duration::ZERO
                } else {
                    started.elapsed()
                });
                inner.used.store(nanos(used), Ordering::Relaxed);
                inner.has_waited.store(true, Ordering::Relaxed);
            }
            poll
        })
        .await
    }
}

/// The processor time of the calling thread.
pub fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32)
}

/// A time in nanoseconds, as atomic counters have it.
pub fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::poll;
    use std::pin::pin;
    use std::task::Poll;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn waiting_costs_nothing_and_computing_does() {
        let spent = Spent::default();
        assert_eq!(spent.so_far(LONG), LONG, "the first poll is wall time");
        let mut polls = 0;
        let work = pin!(poll_fn(|cx| {
            polls += 1;
            if polls == 3 {
                let begun = processor_time();
                while processor_time() - begun < Duration::from_millis(2) {}
                return Poll::Ready(spent.so_far(LONG));
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        }));
        // The first poll ends a minute after the beginning, as it says.
        let started = Instant::now().checked_sub(LONG);
        let started = started.expect("the machine runs for longer than that");
        let mut call = pin!(spent.over(started, work));
        assert!(poll!(call.as_mut()).is_pending());
        let after_first = spent.0.used.load(Ordering::Relaxed);
        assert!(after_first >= nanos(LONG));
        std::thread::sleep(Duration::from_millis(5));
        assert!(poll!(call.as_mut()).is_pending());
        let Poll::Ready(used) = poll!(call.as_mut()) else {
            panic!("it is ready at the third")
        };
        let more = nanos(used) - after_first;
        assert!(more >= 2_000_000, "{more}");
        spent.reset();
        assert_eq!(spent.so_far(Duration::ZERO), Duration::ZERO);
    }
}
