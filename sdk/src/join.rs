//! Waiting for several things at once.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

/// Runs futures at once and waits for all of them. Their values come in the order of the futures.
///
/// On the platform they wait together: three calls of a model, of another agent or of
/// [`sleep`](crate::Runtime::sleep) take as long as the longest of them. Futures of different types are boxed, or
/// joined with `futures::join!`, which does the same.
///
/// ```
/// use std::time::{Duration, Instant};
/// use dormouse_sdk::join_all;
/// # use dormouse_sdk::prelude::*;
/// # #[skill(id = "wait", name = "Wait", description = "Waits.")]
/// # struct Wait;
/// # impl SkillHandler for Wait {
/// #     async fn on_request(&self, _: &mut State, _: &ProgressSender, runtime: &Runtime, _: Content)
/// #         -> Result<OnRequestResult, AgentError> {
/// let waits = [30, 20, 10].map(|ms| async move {
///     runtime.sleep(Duration::from_millis(ms)).await;
///     ms
/// });
/// assert_eq!(join_all(waits).await, [30, 20, 10]);
/// # Ok(OnRequestResult::completed("ok")) } }
/// # assert_eq!(dormouse_sdk::testing::Conversation::new(Wait).send("").text(), "ok");
/// ```
pub async fn join_all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut running: Vec<Pin<Box<F>>> = futures.into_iter().map(Box::pin).collect();
    let mut values: Vec<Option<F::Output>> = running.iter().map(|_| None).collect();
    poll_fn(|cx| {
        for (future, value) in running.iter_mut().zip(&mut values) {
            if value.is_none()
                && let Poll::Ready(ready) = future.as_mut().poll(cx)
            {
                *value = Some(ready);
            }
        }
        if values.iter().all(Option::is_some) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    values.into_iter().flatten().collect()
}

/// Two futures at once.
#[cfg(target_family = "wasm")]
pub(crate) async fn both<A: Future, B: Future>(left: A, right: B) -> (A::Output, B::Output) {
    let (mut left, mut right) = (std::pin::pin!(left), std::pin::pin!(right));
    let (mut one, mut other) = (None, None);
    poll_fn(move |cx| {
        if one.is_none()
            && let Poll::Ready(value) = left.as_mut().poll(cx)
        {
            one = Some(value);
        }
        if other.is_none()
            && let Poll::Ready(value) = right.as_mut().poll(cx)
        {
            other = Some(value);
        }
        match (one.take(), other.take()) {
            (Some(one), Some(other)) => Poll::Ready((one, other)),
            (left, right) => {
                (one, other) = (left, right);
                Poll::Pending
            }
        }
    })
    .await
}
