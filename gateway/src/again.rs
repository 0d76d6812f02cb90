//! A connection that wakes itself while it is polled is polled once more, at once.
//!
//! hyper hands the body of a request over HTTP/1.1 to its reader through a channel inside of one task, and wakes that task for
//! each. To tokio this is a task that yields: it goes to the end of a queue, and an idle thread is woken to look for it. That is
//! a system call, a wake-up of another core and often a move of the connection, for each request, and there is nothing to do.

use futures_util::task::AtomicWaker;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// Work that may wake itself in vain once in each poll. Whoever does so again gives way to others, as without this.
pub(crate) struct OnceMore<F> {
    /// In a box, so that it can be polled wherever this is.
    work: Pin<Box<F>>,
    signal: Arc<Signal>,
    /// To the signal.
    waker: Waker,
}

#[derive(Default)]
struct Signal {
    polling: AtomicBool,
    woken: AtomicBool,
    task: AtomicWaker,
}

impl<F: Future> OnceMore<F> {
    pub(crate) fn new(work: F) -> Self {
        let signal = Arc::<Signal>::default();
        Self {
            work: Box::pin(work),
            waker: Arc::clone(&signal).into(),
            signal,
        }
    }

    /// Whether it was woken is asked after `polling` has ended: who wakes it later wakes the task.
    fn poll_once(&mut self) -> (Poll<F::Output>, bool) {
        self.signal.woken.store(false, Ordering::SeqCst);
        self.signal.polling.store(true, Ordering::SeqCst);
        let poll = self
            .work
            .as_mut()
            .poll(&mut Context::from_waker(&self.waker));
        self.signal.polling.store(false, Ordering::SeqCst);
        (poll, self.signal.woken.load(Ordering::SeqCst))
    }
}

impl<F: Future> Future for OnceMore<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.signal.task.register(cx.waker());
        let (mut poll, mut woken) = self.poll_once();
        if poll.is_pending() && woken {
            (poll, woken) = self.poll_once();
        }
        if poll.is_pending() && woken {
            cx.waker().wake_by_ref();
        }
        poll
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::SeqCst);
        if !self.polling.load(Ordering::SeqCst) {
            self.task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::task::noop_waker_ref;
    use std::future::poll_fn;
    use std::pin::pin;
    use std::sync::Mutex;
    use std::sync::atomic::AtomicUsize;

    #[derive(Default)]
    struct Counter(AtomicUsize);

    impl Counter {
        fn count(&self) -> usize {
            self.0.load(Ordering::SeqCst)
        }
    }

    impl Wake for Counter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Polls work that wakes itself in its first polls, so many times: how often it was polled, and the task woken.
    fn poll_what_wakes_itself(times: usize) -> (usize, usize) {
        let mut polls = 0;
        let task = Arc::new(Counter::default());
        {
            let work = poll_fn(|cx| {
                polls += 1;
                if polls <= times {
                    cx.waker().wake_by_ref();
                }
                Poll::<()>::Pending
            });
            let work = pin!(OnceMore::new(work));
            let waker = Waker::from(Arc::clone(&task));
            assert!(work.poll(&mut Context::from_waker(&waker)).is_pending());
        }
        (polls, task.count())
    }

    #[test]
    fn what_wakes_itself_is_polled_once_more_and_then_gives_way() {
        assert_eq!(poll_what_wakes_itself(0), (1, 0));
        assert_eq!(poll_what_wakes_itself(1), (2, 0));
        assert_eq!(poll_what_wakes_itself(2), (2, 1));
        assert_eq!(poll_what_wakes_itself(9), (2, 1));
    }

    #[test]
    fn who_wakes_it_between_polls_wakes_the_task() {
        let kept = Mutex::new(None);
        let work = poll_fn(|cx| {
            *kept.lock().expect("nobody panics") = Some(cx.waker().clone());
            Poll::<()>::Pending
        });
        let mut work = pin!(OnceMore::new(work));
        let task = Arc::new(Counter::default());
        let waker = Waker::from(Arc::clone(&task));
        let mut cx = Context::from_waker(&waker);
        for woken in 1..=2 {
            assert!(work.as_mut().poll(&mut cx).is_pending());
            let kept = kept.lock().expect("nobody panics").take();
            kept.expect("it was polled").wake();
            assert_eq!(task.count(), woken);
        }
        // The task may be another one the next time.
        let mut cx = Context::from_waker(noop_waker_ref());
        assert!(work.as_mut().poll(&mut cx).is_pending());
        let kept = kept.lock().expect("nobody panics").take();
        kept.expect("it was polled").wake();
        assert_eq!(task.count(), 2);
    }

    #[test]
    fn what_is_ready_the_second_time_is_ready() {
        let mut is_first = true;
        let work = poll_fn(|cx| {
            if std::mem::take(&mut is_first) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(7)
        });
        let work = pin!(OnceMore::new(work));
        let poll = work.poll(&mut Context::from_waker(noop_waker_ref()));
        assert_eq!(poll, Poll::Ready(7));
    }
}
