//! gRPC over HTTP/2: every message has a prefix of five bytes, every answer ends with a status.

use super::status;
use crate::body::{self, Payload};
use crate::config::GatewayConfig;
use crate::errors::{A2aError, Kind};
use crate::respond::{Body, Reply};
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::stream;
use hyper::body::Frame;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, Response};
use prost::Message;
use std::time::Duration;
use tokio::time::Instant;

/// A flag (compressed or not) and the length of the message, big-endian.
const PREFIX_BYTES: usize = 5;
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// Whether the request says that it is gRPC. `application/grpc-web` is another protocol.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let essence = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map(str::trim);
    matches!(essence, Some("application/grpc" | "application/grpc+proto"))
}

/// When the client stops waiting: `grpc-timeout` counts from the arrival of the request's head.
pub(super) fn deadline(headers: &HeaderMap) -> Result<Option<Instant>, A2aError> {
    let Some(value) = headers.get("grpc-timeout") else {
        return Ok(None);
    };
    let timeout = value.to_str().ok().and_then(timeout);
    let Some(timeout) = timeout else {
        let sentence = format!("grpc-timeout is {value:?}, which is no timeout");
        return Err(A2aError::new(Kind::InvalidRequest, sentence));
    };
    // One that no clock reaches is none.
    Ok(Instant::now().checked_add(timeout))
}

/// At most eight digits and a unit.
fn timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|digit| digit.is_ascii_digit())
    {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

pub(super) fn too_late() -> A2aError {
    A2aError::new(
        Kind::DeadlineExceeded,
        "the client's deadline has passed; a task that was begun goes on",
    )
}

/// The one message of a request. The limit is that of the other bindings' bodies.
pub(super) async fn read(
    body: Payload,
    headers: &HeaderMap,
    config: &GatewayConfig,
) -> Result<Bytes, A2aError> {
    let limit = config.max_request_bytes;
    let mut message = body
        .read_in_stream(config, limit.saturating_add(PREFIX_BYTES))
        .await
        .map_err(|error| match error {
            body::BodyError::TooLarge { .. } => body::BodyError::TooLarge { limit },
            error => error,
        })?;
    let invalid = |why| Err(A2aError::new(Kind::InvalidRequest, why));
    let Some((&[compressed, ref length @ ..], _)) = message.split_first_chunk::<PREFIX_BYTES>()
    else {
        return invalid("the request has no message");
    };
    if compressed != 0 {
        let encoding = headers.get("grpc-encoding");
        let sentence =
            format!("messages must not be compressed, but grpc-encoding is {encoding:?}");
        return Err(A2aError::new(Kind::CompressionNotSupported, sentence));
    }
    let length = u32::from_be_bytes(*length) as usize;
    let message = message.split_off(PREFIX_BYTES);
    match message.len() {
        got if got < length => invalid("the request's message is incomplete"),
        got if got > length => invalid("the request has more than one message"),
        _ => Ok(message),
    }
}

/// A message as it is sent.
pub(super) fn frame(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + length);
    frame.put_u8(0);
    // Nothing that is kept here comes near 4 GiB.
    frame.put_u32(u32::try_from(length).expect("a message is smaller than 4 GiB"));
    message
        .encode(&mut frame)
        .expect("the buffer has room for the whole message");
    frame.freeze()
}

/// The answer that has one message.
pub(super) fn reply(message: Bytes) -> Reply {
    let frames = [Frame::data(message), Frame::trailers(status::ok())];
    with_head(Body::Frames(Box::pin(stream::iter(frames))))
}

/// An answer whose body ends with the status.
pub(super) fn with_head(body: Body) -> Reply {
    let mut reply = Response::new(body);
    reply.headers_mut().insert(CONTENT_TYPE, GRPC);
    reply
}

/// A refusal: a head with the status and no body.
pub(crate) fn refusal(error: &A2aError) -> Reply {
    let mut reply = with_head(Body::Full(None));
    reply.headers_mut().extend(status::trailers(error));
    if error.kind == Kind::CompressionNotSupported {
        let identity = HeaderValue::from_static("identity");
        reply.headers_mut().insert("grpc-accept-encoding", identity);
    }
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_grpc_writes_them() {
        for (text, expected) in [
            ("1H", Some(Duration::from_secs(3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("99999999S", Some(Duration::from_secs(99_999_999))),
            ("0m", Some(Duration::ZERO)),
            ("5u", Some(Duration::from_micros(5))),
            ("7n", Some(Duration::from_nanos(7))),
            ("", None),
            ("S", None),
            ("1", None),
            ("123456789S", None),
            ("-1S", None),
            ("+1S", None),
            ("1s", None),
            ("1é", None),
        ] {
            assert_eq!(timeout(text), expected, "{text:?}");
        }
    }
}
