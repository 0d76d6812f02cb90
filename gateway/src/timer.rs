//! The clock of an HTTP/1.1 connection. hyper sets a timer before every request and drops it with the
//! request's head. In the runtime's wheel each would be a lock or two and often a wake-up of the thread that
//! waits for the next timer; here a connection has one entry there, which is moved when it rings too
//! early, once per period at most.

use hyper::rt::{Sleep, Timer};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// The timer of one connection, whose task is the only one to wait for it.
#[derive(Clone, Default)]
pub(crate) struct ConnectionTimer(Arc<Mutex<Option<Pin<Box<tokio::time::Sleep>>>>>);

impl Timer for ConnectionTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(Instant::now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(Until {
            deadline: deadline.into(),
            timer: self.clone(),
        })
    }
}

struct Until {
    deadline: tokio::time::Instant,
    timer: ConnectionTimer,
}

impl Sleep for Until {}

impl Future for Until {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut entry = self.timer.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = entry.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(self.deadline)));
        loop {
            if entry.deadline() > self.deadline {
                entry.as_mut().reset(self.deadline);
            }
            if entry.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if entry.deadline() >= self.deadline {
                return Poll::Ready(());
            }
            // It was set for an earlier request.
            entry.as_mut().reset(self.deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The paused clock goes on by itself when nothing else can.
    #[tokio::test(start_paused = true)]
    async fn deadlines_pass_in_any_order() {
        let timer = ConnectionTimer::default();
        let begun = tokio::time::Instant::now();
        let at = |ms| (begun + Duration::from_millis(ms)).into_std();
        // Forgotten before it rings, as that of a request whose head has come.
        let mut first = timer.sleep_until(at(50));
        assert!(futures_util::poll!(&mut first).is_pending());
        drop(first);
        timer.sleep_until(at(120)).await;
        assert_eq!(begun.elapsed(), Duration::from_millis(120));
        let mut late = timer.sleep_until(at(500));
        assert!(futures_util::poll!(&mut late).is_pending());
        drop(late);
        timer.sleep_until(at(200)).await;
        assert_eq!(begun.elapsed(), Duration::from_millis(200));
        timer.sleep_until(at(100)).await;
        assert_eq!(begun.elapsed(), Duration::from_millis(200));
    }
}
