//! Clients that stop reading: what waits for one is given up after a while, so that it holds neither
//! memory nor a place. Over HTTP/1.1 that is its connection. Over HTTP/2 it is one stream, whose window
//! the client leaves shut, or the connection, when nothing is read from that.

use crate::respond::Body;
use crate::tls::Wire;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};
use tracing::debug;

/// Bytes that a stream of HTTP/2 gives away at a time: all that can be left of it in the connection when
/// its client stops reading. A frame of the size that every client takes (RFC 9113 §4.2).
const PIECE_BYTES: usize = 16 << 10;

/// A connection whose writes fail once its client has taken nothing for `limit` although bytes wait.
pub(crate) struct Socket {
    stream: Wire,
    limit: Duration,
    /// Runs while a write waits.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Socket {
    pub(crate) fn new(stream: Wire, limit: Duration) -> Self {
        Self {
            stream,
            limit,
            waiting: None,
        }
    }

    fn within_limit(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let limit = self.limit;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(waiting.as_mut().poll(cx));
        // Without this the kernel would go on holding what it has for this client.
        if let Err(error) = self.stream.tcp().set_zero_linger() {
            debug!(%error, "a connection that is not read cannot be reset");
        }
        let why = "the client has stopped reading";
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, why)))
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.within_limit(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.within_limit(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

tokio::task_local! {
    static FLOW: Arc<Flow>;
}

/// The number of the piece that waits for the client's window, 0 while none does. Only the task of one
/// stream has it: its body says so, and [`unless_stalled`] looks.
#[derive(Default)]
struct Flow(AtomicU64);

/// What hyper does for one request of HTTP/2, until the client has left a piece of the answer waiting for
/// `limit`. Dropping the work resets the stream.
pub(crate) async fn unless_stalled(work: impl Future, limit: Duration) {
    let flow = Arc::new(Flow::default());
    let mut work = pin!(FLOW.scope(Arc::clone(&flow), work));
    let mut waiting: Option<(u64, Pin<Box<Sleep>>)> = None;
    poll_fn(|cx| {
        if work.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let piece = flow.0.load(Ordering::Relaxed);
        if piece == 0 {
            waiting = None;
            return Poll::Pending;
        }
        let (_, time) = match &mut waiting {
            Some(known) if known.0 == piece => known,
            other => other.insert((piece, Box::pin(sleep(limit)))),
        };
        ready!(time.as_mut().poll(cx));
        debug!("a client has stopped reading a stream");
        Poll::Ready(())
    })
    .await;
}

/// The body of an answer over HTTP/2, in pieces. hyper asks for one when the client has room for the one
/// before, so a body that is not asked is one that is not read.
pub(crate) struct Pieces {
    body: Body,
    rest: Bytes,
    given: u64,
    flow: Arc<Flow>,
}

impl Pieces {
    /// Made within [`unless_stalled`].
    pub(crate) fn of(body: Body) -> Self {
        Self {
            body,
            rest: Bytes::new(),
            given: 0,
            flow: FLOW.try_with(Arc::clone).unwrap_or_default(),
        }
    }
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.flow.0.store(0, Ordering::Relaxed);
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                None => return Poll::Ready(None),
                Some(Err(never)) => match never {},
            }
        }
        let length = self.rest.len().min(PIECE_BYTES);
        let piece = self.rest.split_to(length);
        self.given += 1;
        self.flow.0.store(self.given, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, of_body) = (self.rest.len() as u64, self.body.size_hint());
        let mut hint = SizeHint::new();
        if let Some(upper) = of_body.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(of_body.lower() + rest);
        hint
    }
}
