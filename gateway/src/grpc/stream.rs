//! Streams of events: the same reader of the task's log that server-sent events have. A client that
//! resets its stream drops only that. HTTP/2 pings notice a client that is gone.

use super::{convert, status, wire};
use crate::errors::{A2aError, Kind};
use crate::ops::Opening;
use crate::respond::{Body, Reply};
use crate::sse::StreamRules;
use bytes::Bytes;
use dormouse_services::model::StreamResponse;
use dormouse_services::{TaskEvent, TaskReader};
use futures_util::stream;
use hyper::HeaderMap;
use hyper::body::Frame;
use std::future::pending;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// A stream's progress.
struct Streaming {
    first: Option<Bytes>,
    /// What the reader has said already.
    next: Option<TaskEvent>,
    /// `None` when nothing can follow.
    reader: Option<TaskReader>,
    /// Ends every stream, for drain.
    end: CancellationToken,
    deadline: Option<Instant>,
    has_ended: bool,
}

pub(super) fn reply(opening: Opening, rules: StreamRules, deadline: Option<Instant>) -> Reply {
    let Opening {
        first,
        next,
        reader,
        ..
    } = opening;
    let streaming = Streaming {
        first: first.map(|first| wire::frame(&convert::event(first))),
        next,
        reader,
        end: rules.end,
        deadline,
        has_ended: false,
    };
    let frames = stream::unfold(streaming, |mut streaming| async {
        streaming.frame().await.map(|frame| (frame, streaming))
    });
    wire::with_head(Body::Frames(Box::pin(frames)))
}

impl Streaming {
    async fn frame(&mut self) -> Option<Frame<Bytes>> {
        if self.has_ended {
            return None;
        }
        if let Some(event) = self.first.take() {
            return Some(Frame::data(event));
        }
        let event = match self.next.take() {
            Some(event) => Ok(Some(event)),
            None => self.read().await,
        };
        let ending = match event.and_then(|event| event.map(framed).transpose()) {
            Ok(Some(event)) => return Some(Frame::data(event)),
            Ok(None) => status::ok(),
            Err(error) => status::trailers(&error),
        };
        Some(self.ended(ending))
    }

    fn ended(&mut self, trailers: HeaderMap) -> Frame<Bytes> {
        self.has_ended = true;
        self.reader = None;
        Frame::trailers(trailers)
    }

    async fn read(&mut self) -> Result<Option<TaskEvent>, A2aError> {
        let Some(reader) = &mut self.reader else {
            return Ok(None);
        };
        let late = async {
            match self.deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            next = reader.next() => Ok(next?),
            () = self.end.cancelled() => Err(A2aError::new(
                Kind::Unavailable,
                "the server is stopping; subscribe to the task again",
            )),
            () = late => Err(wire::too_late()),
        }
    }
}

/// An event of the log as a message.
fn framed(event: TaskEvent) -> Result<Bytes, A2aError> {
    let event: StreamResponse = serde_json::from_slice(&event.json)
        .map_err(|error| A2aError::internal("an event of the task could not be read", &error))?;
    Ok(wire::frame(&convert::event(event)))
}
