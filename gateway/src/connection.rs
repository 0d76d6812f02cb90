//! One connection: HTTP/1.1, or HTTP/2 if its client begins with that (h2c, with prior knowledge) or asks for it in the
//! handshake of TLS.

use crate::config::GatewayConfig;
use crate::errors::{A2aError, ApiError, Kind};
use crate::grpc;
use crate::handle::{Face, Shared, handle};
use crate::respond::Reply;
use crate::stall::{Pieces, Socket, unless_stalled};
use crate::timer::ConnectionTimer;
use crate::tls::{self, Tls, Wire};
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use rustix::net::{RecvFlags, recv};
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

/// An HTTP/2 connection begins with a request line of this method, which is none (RFC 9113 §3.4).
const HTTP2: &[u8] = b"PRI";
/// A ping that is not answered for so long ends an HTTP/2 connection.
const PING_PATIENCE: Duration = Duration::from_secs(20);
/// Bytes of a frame that a client may send; RFC 9113's own default and least.
const MAX_FRAME_BYTES: u32 = 16 << 10;
/// Bytes that all requests of a connection may have sent without being read.
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
/// The same of one request.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
/// Answers that wait in memory for a client to read, per stream.
const SEND_BUFFER_BYTES: usize = 256 << 10;
/// Streams that a client has reset before anybody looked at them (CVE-2023-44487), and streams that
/// were reset here because their client had broken a rule (RUSTSEC-2024-0003), which it does innocently
/// when it opens many before it knows how many it may. More of either ends the connection.
const MAX_RESET_STREAMS: usize = 20;
const MAX_FAULTY_STREAMS: usize = 1024;

/// How connections of one listener are served.
pub(crate) struct Protocols {
    http1: http1::Builder,
    http2: http2::Builder<Streams>,
    header_timeout: Duration,
    stall_timeout: Duration,
    /// For every request in progress over HTTP/2.
    streams: Arc<Semaphore>,
    tls: Option<Arc<Tls>>,
}

impl Protocols {
    /// `tasks` counts the requests of HTTP/2 connections, which run as tasks of their own. Only the public face has TLS.
    pub(crate) fn new(config: &GatewayConfig, face: Face, tasks: &TaskTracker) -> Self {
        let mut http1 = http1::Builder::new();
        // It needs a timer, which each connection brings.
        http1
            .header_read_timeout(config.header_timeout)
            .max_header_size(config.max_header_bytes)
            .keep_alive(true);
        let mut http2 = http2::Builder::new(Streams {
            tasks: tasks.clone(),
            stall_timeout: config.stall_timeout,
        });
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(config.max_streams_per_connection)
            .max_header_list_size(u32::try_from(config.max_header_bytes).unwrap_or(u32::MAX))
            .max_frame_size(MAX_FRAME_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .max_send_buf_size(SEND_BUFFER_BYTES)
            .max_pending_accept_reset_streams(MAX_RESET_STREAMS)
            .max_local_error_reset_streams(MAX_FAULTY_STREAMS)
            .keep_alive_interval(config.stream_keep_alive)
            .keep_alive_timeout(PING_PATIENCE);
        Self {
            http1,
            http2,
            header_timeout: config.header_timeout,
            stall_timeout: config.stall_timeout,
            streams: Arc::new(Semaphore::new(config.max_streams)),
            tls: config.tls.clone().filter(|_| face == Face::Public),
        }
    }

    /// Serves until the connection ends; `draining` makes it end with the requests in progress.
    pub(crate) async fn serve(
        &self,
        stream: TcpStream,
        shared: Arc<Shared>,
        face: Face,
        draining: CancellationToken,
    ) {
        let greeting = async {
            let wire = timeout(self.header_timeout, self.wire(stream)).await?;
            let wire = wire?;
            match timeout(self.header_timeout, speaks_http2(&wire)).await {
                Ok(is_http2) => Ok((is_http2?, wire)),
                Err(elapsed) => {
                    // What is not read would make of the connection's end a reset.
                    let _ = recv(wire.tcp(), &mut [0; HTTP2.len()][..], RecvFlags::DONTWAIT);
                    Err(io::Error::from(elapsed))
                }
            }
        };
        let greeted = tokio::select! {
            greeted = greeting => greeted,
            // Nothing has been asked yet.
            () = draining.cancelled() => return,
        };
        let ended = match greeted {
            Err(error) => return debug!(%error, "a connection broke at once, or said nothing"),
            Ok((true, wire)) => self.http2(wire, shared, face, draining).await,
            Ok((false, wire)) => self.http1(wire, shared, face, draining).await,
        };
        if let Err(error) = ended {
            debug!(%error, "a connection broke");
        }
    }

    async fn wire(&self, stream: TcpStream) -> io::Result<Wire> {
        let stream = Socket::new(stream, self.stall_timeout);
        match &self.tls {
            None => Ok(Wire::Plain(stream)),
            Some(tls) => Ok(Wire::Tls(Box::new(tls.accept(stream).await?))),
        }
    }

    async fn http1(
        &self,
        wire: Wire,
        shared: Arc<Shared>,
        face: Face,
        draining: CancellationToken,
    ) -> hyper::Result<()> {
        let peer = wire.peer();
        let service = service_fn(move |request| {
            let shared = Arc::clone(&shared);
            async move { Ok::<_, Infallible>(handle(shared, face, peer, request).await) }
        });
        let mut http1 = self.http1.clone();
        http1.timer(ConnectionTimer::default());
        let io = TokioIo::new(wire);
        let connection = http1.serve_connection(io, service);
        until(connection, draining.cancelled()).await
    }

    async fn http2(
        &self,
        wire: Wire,
        shared: Arc<Shared>,
        face: Face,
        draining: CancellationToken,
    ) -> hyper::Result<()> {
        let activity = Arc::new(Activity::default());
        let peer = wire.peer();
        let (streams, requests) = (Arc::clone(&self.streams), Arc::clone(&activity));
        let service = service_fn(move |request| {
            let held = Held::new(&requests, &streams);
            let shared = Arc::clone(&shared);
            async move {
                let reply = match held.permit {
                    Some(_) => handle(shared, face, peer, request).await,
                    None => too_many(&request),
                };
                Ok::<_, Infallible>(reply.map(|body| HeldBody {
                    body: Pieces::of(body),
                    _held: held,
                }))
            }
        });
        let io = TokioIo::new(wire);
        let connection = self.http2.serve_connection(io, service);
        let idle = || activity.idle(self.header_timeout);
        let ending = async {
            tokio::select! {
                () = draining.cancelled() => {}
                () = idle() => {}
            }
        };
        tokio::select! {
            ended = until(connection, ending) => ended,
            // The client does not answer the farewell, or never said anything whole.
            () = async { idle().await; idle().await } => Ok(()),
        }
    }
}

/// Lets a connection end with the requests in progress once `ending` is over.
async fn until<C: GracefulConnection>(
    connection: C,
    ending: impl Future<Output = ()>,
) -> Result<(), C::Error> {
    let mut connection = pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = ending => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}

/// With TLS it was agreed. Without, looks at the first bytes and leaves them where they are, so that HTTP/1.1 costs nothing
/// more.
async fn speaks_http2(wire: &Wire) -> io::Result<bool> {
    let stream = match wire {
        Wire::Plain(stream) => stream.tcp(),
        Wire::Tls(stream) => {
            return Ok(stream.get_ref().1.alpn_protocol() == Some(tls::HTTP2));
        }
    };
    let peek = || {
        let mut seen = [0; HTTP2.len()];
        let (count, _) = recv(stream, &mut seen[..], RecvFlags::PEEK)?;
        match &seen[..count] {
            HTTP2 => Ok(true),
            // The next byte wakes us.
            [_, ..] if HTTP2.starts_with(&seen[..count]) => Err(io::ErrorKind::WouldBlock.into()),
            _ => Ok(false),
        }
    };
    loop {
        let ready = stream.ready(Interest::READABLE).await?;
        match stream.try_io(Interest::READABLE, peek) {
            // Always ready from now on, and no byte follows.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && ready.is_read_closed() => {
                return Ok(false);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            seen => return seen,
        }
    }
}

fn too_many(request: &Request<Incoming>) -> Reply {
    let sentence = "the server has as many requests as it can take; try again";
    if grpc::is_grpc(request.headers()) {
        return grpc::refusal(&A2aError::new(Kind::Unavailable, sentence));
    }
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "busy", sentence).reply()
}

/// What happens on one HTTP/2 connection.
#[derive(Default)]
struct Activity {
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Activity {
    /// Returns when no request was begun or in progress for `period`, at the latest after twice of it.
    async fn idle(&self, period: Duration) {
        let mut seen = self.begun.load(Ordering::SeqCst);
        loop {
            sleep(period).await;
            let ended = self.ended.load(Ordering::SeqCst);
            let begun = self.begun.load(Ordering::SeqCst);
            if begun == seen && ended == begun {
                return;
            }
            seen = begun;
        }
    }
}

/// Kept as long as a request is in progress, which is until its answer has been taken.
struct Held {
    activity: Arc<Activity>,
    /// `None` if there are too many.
    permit: Option<OwnedSemaphorePermit>,
}

impl Held {
    fn new(activity: &Arc<Activity>, streams: &Arc<Semaphore>) -> Self {
        activity.begun.fetch_add(1, Ordering::SeqCst);
        Self {
            activity: Arc::clone(activity),
            permit: Arc::clone(streams).try_acquire_owned().ok(),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.activity.ended.fetch_add(1, Ordering::SeqCst);
    }
}

struct HeldBody {
    body: Pieces,
    _held: Held,
}

impl HttpBody for HeldBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Spawns what hyper does for each request of an HTTP/2 connection, so that drain waits for it, and
/// ends it when its client stops reading.
#[derive(Clone)]
struct Streams {
    tasks: TaskTracker,
    stall_timeout: Duration,
}

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, work: F) {
        self.tasks.spawn(unless_stalled(work, self.stall_timeout));
    }
}
