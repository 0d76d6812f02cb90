//! Waiting for work for so long and no longer.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::time::Sleep;

/// Drives work that began at `started` for at most `limit`; `None` when it took longer. What is ready at once needs no
/// timer. Each poll polls the work once, so that what yields is not resumed before its thread has done something else.
pub async fn limited<F: Future>(
    started: Instant,
    limit: Duration,
    mut work: Pin<&mut F>,
) -> Option<F::Output> {
    let mut timer = pin!(None::<Sleep>);
    poll_fn(|cx| {
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(Some(done));
        }
        if timer.is_none() {
            let left = limit.saturating_sub(started.elapsed());
            timer.set(Some(tokio::time::sleep(left)));
        }
        let timer = timer.as_mut().as_pin_mut().expect("it is set above");
        // Also when the work has used up what a task may do in one go.
        pin!(tokio::task::unconstrained(timer))
            .poll(cx)
            .map(|()| None)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::poll;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn what_yields_is_polled_once_each_time() {
        let mut polls = 0;
        {
            let mut work = pin!(poll_fn(|cx| {
                polls += 1;
                cx.waker().wake_by_ref();
                if polls < 3 {
                    Poll::Pending
                } else {
                    Poll::Ready(polls)
                }
            }));
            let mut limited = pin!(limited(Instant::now(), LONG, work.as_mut()));
            assert!(poll!(limited.as_mut()).is_pending());
            assert!(poll!(limited.as_mut()).is_pending());
            assert_eq!(poll!(limited.as_mut()), Poll::Ready(Some(3)));
        }
        assert_eq!(polls, 3);
    }

    #[tokio::test]
    async fn what_is_never_ready_ends_at_its_limit() {
        let limit = Duration::from_millis(1);
        let never = pin!(std::future::pending::<()>());
        assert_eq!(limited(Instant::now(), limit, never).await, None);
        // The time before the first poll counts, and what is ready all the same is taken.
        let ready = pin!(std::future::ready(1));
        let past = Instant::now().checked_sub(LONG);
        let past = past.expect("the machine runs for longer than that");
        assert_eq!(limited(past, limit, ready).await, Some(1));
        let never = pin!(std::future::pending::<()>());
        assert_eq!(limited(past, LONG, never).await, None);
    }
}
