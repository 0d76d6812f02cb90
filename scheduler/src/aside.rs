//! Work for a guest that takes long in one go, and that no clock stops: it is not done on an event loop.

use crate::lane::may_be_held_up;
use futures_util::future::{Either, ready};
use std::future::{Future, pending};
use tokio::sync::Semaphore;

/// Bytes of JSON that are parsed where they are: about a millisecond's work.
const HERE: usize = 256 << 10;

/// Pieces of work at a time; more wait. They have the priority of the event loops, and no agent is to have all cores.
static TURNS: Semaphore = Semaphore::const_new(2);

/// Does work on so many bytes: here if they are few, or this is a thread that may be held up.
pub(crate) fn aside<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> impl Future<Output = T> + Send {
    if bytes <= HERE || may_be_held_up() {
        return Either::Left(ready(work()));
    }
    // In a box: it is seldom.
    Either::Right(Box::pin(async move {
        let _turn = TURNS.acquire().await;
        match tokio::task::spawn_blocking(work).await {
            Ok(done) => done,
            Err(died) => match died.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // Only the end of the process ends it.
                Err(_cancelled) => pending().await,
            },
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[tokio::test]
    async fn little_work_is_done_where_it_is_and_much_elsewhere() {
        let here = thread::current().id();
        let who = || thread::current().id();
        assert_eq!(aside(HERE, who).await, here);
        assert_ne!(aside(HERE + 1, who).await, here);
    }
}
