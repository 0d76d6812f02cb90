//! Reading a request's body within its bounds; hyper leaves all three of them to us.

use crate::config::GatewayConfig;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use std::time::Duration;
use thiserror::Error;
use tokio::time::{Instant, timeout, timeout_at};

/// Reserved at most before a byte has arrived: a client that promises much must also send it.
const MAX_RESERVE: usize = 1 << 20;
/// How much of a body that is too large is taken in only to throw it away.
const MAX_DISCARD_BYTES: u64 = 128 << 20;
const DISCARD_TIME: Duration = Duration::from_secs(5);
const DISCARD_PAUSE: Duration = Duration::from_millis(200);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum BodyError {
    #[error("the body is larger than the limit of {limit} bytes")]
    TooLarge { limit: usize },
    #[error("the body did not arrive in time")]
    TooSlow,
    #[error("the connection broke in the middle of the body")]
    Broken,
}

/// A request's body: still arriving, or whole already, because a filter had to see it.
pub(crate) enum Payload {
    Arriving(Incoming),
    Whole(Bytes),
}

impl Payload {
    /// [`read`], unless it has been.
    pub(crate) async fn read(
        self,
        config: &GatewayConfig,
        limit: usize,
    ) -> Result<Bytes, BodyError> {
        match self {
            Self::Arriving(body) => read(body, config, limit).await,
            Self::Whole(bytes) => within(bytes, limit),
        }
    }

    /// [`read_in_stream`], unless it has been.
    pub(crate) async fn read_in_stream(
        self,
        config: &GatewayConfig,
        limit: usize,
    ) -> Result<Bytes, BodyError> {
        match self {
            Self::Arriving(body) => read_in_stream(body, config, limit).await,
            Self::Whole(bytes) => within(bytes, limit),
        }
    }
}

fn within(bytes: Bytes, limit: usize) -> Result<Bytes, BodyError> {
    if bytes.len() > limit {
        return Err(BodyError::TooLarge { limit });
    }
    Ok(bytes)
}

/// The whole body, at most `limit` bytes.
pub(crate) async fn read(
    mut body: Incoming,
    config: &GatewayConfig,
    limit: usize,
) -> Result<Bytes, BodyError> {
    let whole = whole(&mut body, config, limit).await;
    if matches!(whole, Err(BodyError::TooLarge { .. })) {
        discard(body).await;
    }
    whole
}

/// The same of a body that is a stream of its connection: what is left of it is reset, and the client
/// sees the answer all the same.
async fn read_in_stream(
    mut body: Incoming,
    config: &GatewayConfig,
    limit: usize,
) -> Result<Bytes, BodyError> {
    whole(&mut body, config, limit).await
}

async fn whole(
    body: &mut Incoming,
    config: &GatewayConfig,
    limit: usize,
) -> Result<Bytes, BodyError> {
    if body.size_hint().lower() > limit as u64 {
        return Err(BodyError::TooLarge { limit });
    }
    let mut body = Limited::new(body, limit);
    let Some(first) = frame(&mut body, config, limit).await? else {
        return Ok(Bytes::new());
    };
    // Most requests are one piece: no copy.
    if body.is_end_stream() {
        return Ok(first);
    }
    let rest = usize::try_from(body.size_hint().lower()).unwrap_or(MAX_RESERVE);
    let mut all = BytesMut::with_capacity(first.len() + rest.min(MAX_RESERVE));
    all.extend_from_slice(&first);
    let reading = async {
        while let Some(data) = frame(&mut body, config, limit).await? {
            all.extend_from_slice(&data);
        }
        Ok(())
    };
    timeout_at(Instant::now() + config.body_timeout, reading)
        .await
        .map_err(|_elapsed| BodyError::TooSlow)??;
    Ok(all.freeze())
}

/// The next piece of data; trailers are skipped.
async fn frame(
    body: &mut Limited<&mut Incoming>,
    config: &GatewayConfig,
    limit: usize,
) -> Result<Option<Bytes>, BodyError> {
    loop {
        let next = timeout(config.body_frame_timeout, body.frame())
            .await
            .map_err(|_elapsed| BodyError::TooSlow)?;
        match next {
            None => return Ok(None),
            Some(Err(error)) if error.is::<LengthLimitError>() => {
                return Err(BodyError::TooLarge { limit });
            }
            Some(Err(_broken)) => return Err(BodyError::Broken),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// A body as it arrives, within the same bounds as one that is [read](read) at once.
pub(crate) struct Arriving<'a> {
    body: Incoming,
    config: &'a GatewayConfig,
    limit: usize,
    taken: usize,
    deadline: Instant,
}

impl<'a> Arriving<'a> {
    pub(crate) fn new(body: Incoming, config: &'a GatewayConfig, limit: usize) -> Self {
        Self {
            body,
            config,
            limit,
            taken: 0,
            deadline: Instant::now() + config.body_timeout,
        }
    }

    /// The next piece; `None` after the last.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        let limit = self.limit;
        let left = limit - self.taken;
        if self.body.size_hint().lower() > left as u64 {
            return Err(BodyError::TooLarge { limit });
        }
        let mut body = Limited::new(&mut self.body, left);
        let next = frame(&mut body, self.config, limit);
        let next = timeout_at(self.deadline, next).await;
        let piece = next.map_err(|_elapsed| BodyError::TooSlow)??;
        self.taken += piece.as_ref().map_or(0, Bytes::len);
        Ok(piece)
    }

    /// As the function of this name.
    pub(crate) async fn discard(self) {
        discard(self.body).await;
    }
}

/// Takes in what a client is still sending. Closing the connection under it would reset it, and the
/// client would see that instead of the answer. A client that pauses is answered at once.
pub(crate) async fn discard(mut body: Incoming) {
    if body.size_hint().lower() > MAX_DISCARD_BYTES {
        return;
    }
    let deadline = Instant::now() + DISCARD_TIME;
    let mut discarded = 0;
    while discarded < MAX_DISCARD_BYTES && Instant::now() < deadline {
        let Ok(Some(Ok(frame))) = timeout(DISCARD_PAUSE, body.frame()).await else {
            return;
        };
        discarded += frame.data_ref().map_or(0, Bytes::len) as u64;
    }
}
