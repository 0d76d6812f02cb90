//! Server-sent events (WHATWG HTML §9.2): one JSON document per event, the task log's number as its
//! id. A stream holds nothing but a reader: when its client leaves, only that is dropped.

use crate::errors::A2aError;
use crate::ops::Opening;
use crate::respond::{Body, Reply};
use bytes::Bytes;
use dormouse_services::TaskReader;
use dormouse_services::model::StreamResponse;
use futures_util::stream;
use hyper::Response;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use serde_json::Value;
use std::collections::VecDeque;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What a binding puts around each event.
#[derive(Debug, Clone)]
pub(crate) enum Framing {
    /// The bare StreamResponse (A2A 1.0 §11.7).
    Bare,
    /// A JSON-RPC response with this id (A2A 1.0 §9.4.2). The id is JSON.
    Rpc { id: Box<str> },
}

/// What all streams of a server share.
#[derive(Debug, Clone)]
pub(crate) struct StreamRules {
    pub(crate) keep_alive: Duration,
    /// Ends every stream, for drain.
    pub(crate) end: CancellationToken,
}

/// A stream's progress.
struct Streaming {
    framing: Framing,
    rules: StreamRules,
    /// Framed events that are known already.
    ready: VecDeque<Bytes>,
    /// `None` once nothing can follow.
    reader: Option<TaskReader>,
}

pub(crate) fn reply(opening: Opening, framing: Framing, rules: StreamRules) -> Reply {
    let Opening {
        first,
        seq,
        next,
        reader,
    } = opening;
    let mut ready = VecDeque::with_capacity(2);
    ready.extend(first.map(|first| framing.event(seq, &sorted(first))));
    ready.extend(next.map(|event| framing.event(Some(event.seq), &event.json)));
    let streaming = Streaming {
        framing,
        rules,
        ready,
        reader,
    };
    let events = stream::unfold(streaming, |mut streaming| async {
        streaming.next().await.map(|event| (event, streaming))
    });
    let mut reply = Response::new(Body::Stream(Box::pin(events)));
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

impl Streaming {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(event) = self.ready.pop_front() {
            return Some(event);
        }
        let reader = self.reader.as_mut()?;
        let next = tokio::select! {
            biased;
            next = reader.next() => next,
            () = self.rules.end.cancelled() => return None,
            () = tokio::time::sleep(self.rules.keep_alive) => {
                return Some(Bytes::from_static(b": keep-alive\n\n"));
            }
        };
        match next {
            Ok(Some(event)) => Some(self.framing.event(Some(event.seq), &event.json)),
            Ok(None) => None,
            Err(error) => {
                self.reader = None;
                Some(self.framing.error(&error.into()))
            }
        }
    }
}

impl Framing {
    /// One event. `json` has no line breaks: it was written compactly.
    fn event(&self, seq: Option<u64>, json: &[u8]) -> Bytes {
        let mut event = Vec::with_capacity(json.len() + 96);
        if let Some(seq) = seq {
            event.extend_from_slice(format!("id: {seq}\n").as_bytes());
        }
        event.extend_from_slice(b"data: ");
        match self {
            Self::Bare => event.extend_from_slice(json),
            Self::Rpc { id } => {
                event.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
                event.extend_from_slice(id.as_bytes());
                event.extend_from_slice(b",\"result\":");
                event.extend_from_slice(json);
                event.push(b'}');
            }
        }
        event.extend_from_slice(b"\n\n");
        event.into()
    }

    /// The last event of a stream that broke.
    fn error(&self, error: &A2aError) -> Bytes {
        let json = match self {
            Self::Bare => error.rest().to_string(),
            Self::Rpc { id } => {
                format!(
                    "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{}}}",
                    error.rpc()
                )
            }
        };
        format!("data: {json}\n\n").into()
    }
}

/// By way of a Value, whose maps are sorted: every subscriber is sent the same bytes.
fn sorted(event: StreamResponse) -> Vec<u8> {
    let value: Value = serde_json::to_value(event).expect("A2A types have string keys only");
    value.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errors::Kind;

    #[test]
    fn events_are_framed_for_each_binding() {
        let rpc = Framing::Rpc { id: "\"a\"".into() };
        assert_eq!(Framing::Bare.event(Some(7), b"{}"), "id: 7\ndata: {}\n\n");
        assert_eq!(
            rpc.event(None, b"{}"),
            "data: {\"jsonrpc\":\"2.0\",\"id\":\"a\",\"result\":{}}\n\n"
        );
        let error = A2aError::new(Kind::Internal, "why");
        let framed = rpc.error(&error);
        let json: Value = serde_json::from_slice(&framed[6..]).expect("an event is JSON");
        assert_eq!(
            (&json["id"], &json["error"]["code"]),
            (&"a".into(), &(-32603).into())
        );
    }
}
