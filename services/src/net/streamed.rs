//! One request whose bodies go piece by piece, over a connection of its own.

use super::client::{CONNECT_TIMEOUT, HttpClient, MAX_HEAD_BYTES};
use super::dial::{DialError, Target};
use bytes::Bytes;
use http_body_util::{LengthLimitError, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use thiserror::Error;
use tokio::time::{Instant, Sleep, sleep, timeout};

/// Bytes of a request's body.
pub(crate) const MAX_REQUEST_BYTES: usize = 8 << 20;
/// Bytes of an answer's body. It goes to its reader piece by piece, so this is not what the host holds.
pub(crate) const MAX_ANSWER_BYTES: u64 = 64 << 20;
/// From the connection to the answer's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// Between two pieces of an answer's body.
const PIECE_TIMEOUT: Duration = Duration::from_secs(60);
/// From the name to the end of the answer.
const WHOLE_TIMEOUT: Duration = Duration::from_secs(300);

/// What whoever sends allows; more than the platform does counts for nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Times {
    pub connect: Option<Duration>,
    pub head: Option<Duration>,
    pub piece: Option<Duration>,
}

/// Why there is no answer, or no more of one.
#[derive(Debug, Error)]
pub enum StreamError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("there was no connection in time")]
    ConnectTimeout,
    #[error("there was no answer in time")]
    AnswerTimeout,
    #[error("the connection broke")]
    Broken(#[source] hyper::Error),
    #[error("the answer broke off")]
    Incomplete,
    #[error("the request has more than {MAX_REQUEST_BYTES} bytes")]
    RequestTooLarge,
    #[error("the answer has more than {MAX_ANSWER_BYTES} bytes")]
    AnswerTooLarge,
}

/// What moves the bytes of an answer: it must be polled for as long as the answer is read. It ends in time.
pub type Driving = Pin<Box<dyn Future<Output = ()> + Send>>;

impl HttpClient {
    /// Sends `request`, whose URI is a path with its query. A redirect is an answer like others.
    pub(crate) async fn stream<B>(
        &self,
        target: &Target,
        mut request: Request<B>,
        times: Times,
    ) -> Result<(Response<Received>, Driving), StreamError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let at_most = |asked: Option<Duration>, most| asked.map_or(most, |asked| asked.min(most));
        let end = Instant::now() + WHOLE_TIMEOUT;
        let host = target.host_field().parse();
        let host = host.map_err(|_| StreamError::Dial(DialError::NoAddress))?;
        request.headers_mut().insert(HOST, host);
        // Bodies come from elsewhere and may be of any kind; in a box they can be held in one place.
        let request = request.map(|body| Box::pin(Limited::new(body, MAX_REQUEST_BYTES)));
        let connecting = self.open(target);
        let stream = timeout(at_most(times.connect, CONNECT_TIMEOUT), connecting)
            .await
            .map_err(|_elapsed| StreamError::ConnectTimeout)??;
        let (mut sender, mut connection) = http1::Builder::new()
            .max_buf_size(MAX_HEAD_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(StreamError::Broken)?;
        let mut ended = false;
        let answering = async {
            let mut answer = pin!(sender.send_request(request));
            tokio::select! {
                biased;
                answer = &mut answer => return answer,
                _reason = &mut connection => ended = true,
            }
            answer.await
        };
        let answer = timeout(at_most(times.head, HEAD_TIMEOUT), answering)
            .await
            .map_err(|_elapsed| StreamError::AnswerTimeout)?
            .map_err(broken)?;
        if answer.body().size_hint().lower() > MAX_ANSWER_BYTES {
            return Err(StreamError::AnswerTooLarge);
        }
        let piece = at_most(times.piece, PIECE_TIMEOUT);
        let answer = answer.map(|body| Received {
            left: MAX_ANSWER_BYTES,
            expected: body.size_hint().exact(),
            body,
            piece,
            waiting: Box::pin(sleep(piece)),
            end,
        });
        let driving = async move {
            if !ended {
                // How it ended is told by the body.
                let _ = tokio::time::timeout_at(end, connection).await;
            }
        };
        Ok((answer, Box::pin(driving)))
    }
}

/// The reason behind the connection's own words.
fn broken(error: hyper::Error) -> StreamError {
    let mut cause: Option<&dyn Error> = Some(&error);
    while let Some(error) = cause {
        if error.is::<LengthLimitError>() {
            return StreamError::RequestTooLarge;
        }
        cause = error.source();
    }
    StreamError::Broken(error)
}

/// The body of an answer: in time, and no more than its bound.
pub struct Received {
    body: Incoming,
    /// Bytes that may still come.
    left: u64,
    /// Bytes that should still come, if that was said.
    expected: Option<u64>,
    piece: Duration,
    waiting: Pin<Box<Sleep>>,
    end: Instant,
}

impl Received {
    /// Says that the next piece is waited for from now on.
    pub(crate) fn wait_anew(&mut self) {
        let next = (Instant::now() + self.piece).min(self.end);
        self.waiting.as_mut().reset(next);
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        let now = Instant::now();
        if now >= self.end {
            return Poll::Ready(Some(Err(StreamError::AnswerTimeout)));
        }
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) else {
            ready!(self.waiting.as_mut().poll(context));
            return Poll::Ready(Some(Err(StreamError::AnswerTimeout)));
        };
        let next = (now + self.piece).min(self.end);
        self.waiting.as_mut().reset(next);
        let Some(frame) = frame else {
            // A connection that was given up ends its body, too.
            let cut = self.expected.is_some_and(|expected| expected > 0);
            return Poll::Ready(cut.then_some(Err(StreamError::Incomplete)));
        };
        let frame = frame.map_err(StreamError::Broken)?;
        let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
        if bytes > self.left {
            return Poll::Ready(Some(Err(StreamError::AnswerTooLarge)));
        }
        self.left -= bytes;
        self.expected = self.expected.map(|expected| expected.saturating_sub(bytes));
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
