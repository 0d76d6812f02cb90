//! One keep-alive HTTP/1.1 connection.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, StatusCode, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

/// An answer larger than this is a fault of the server: the messages sent here are 300 bytes.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// A server that does not answer a single small request for so long has failed.
const ONCE_LIMIT: Duration = Duration::from_secs(30);

/// A connection. Its socket is driven only during `send`, by the task that waits for the answer: a second task would
/// cost the generator a switch for every call.
pub struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    driver: Pin<Box<http1::Connection<TokioIo<TcpStream>, Full<Bytes>>>>,
}

/// Why a call did not get the answer it should have.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("cannot connect: {0}")]
    Connect(#[source] std::io::Error),
    #[error("the connection failed: {0}")]
    Http(#[from] hyper::Error),
    #[error("the answer could not be read: {0}")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("no answer within {0:?}")]
    Late(Duration),
    /// The server answered, but with the wrong thing; the connection is still good.
    #[error("{0}")]
    Answer(String),
}

impl Connection {
    /// Connects to `host:port`.
    pub async fn open(authority: &str) -> Result<Self, Fault> {
        let stream = TcpStream::connect(authority)
            .await
            .map_err(Fault::Connect)?;
        stream.set_nodelay(true).map_err(Fault::Connect)?;
        let (sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
        let driver = Box::pin(driver);
        Ok(Connection { sender, driver })
    }

    /// The same as `send`, where nothing else bounds the time.
    pub async fn send_within(
        &mut self,
        limit: Duration,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, Bytes), Fault> {
        let answer = timeout(limit, self.send(request)).await;
        answer.unwrap_or(Err(Fault::Late(limit)))
    }

    /// Sends one request and reads the whole answer. After any fault but `Answer` the connection is spent.
    pub async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, Bytes), Fault> {
        let mut exchange = pin!(exchange(&mut self.sender, request));
        let mut open = true;
        poll_fn(|context| {
            if let Poll::Ready(answer) = exchange.as_mut().poll(context) {
                return Poll::Ready(answer);
            }
            // When the connection ends, the exchange learns why from hyper; a finished future is not polled again.
            open = open && self.driver.as_mut().poll(context).is_pending();
            exchange.as_mut().poll(context)
        })
        .await
    }
}

async fn exchange(
    sender: &mut http1::SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), Fault> {
    sender.ready().await?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES)
        .collect()
        .await
        .map_err(Fault::Body)?;
    Ok((status, body.to_bytes()))
}

/// One request on a connection of its own, for everything that is not measured.
pub async fn send_once(
    authority: &str,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), Fault> {
    let mut connection = Connection::open(authority).await?;
    connection.send_within(ONCE_LIMIT, request).await
}

/// What to show of an answer that is wrong: enough to act on, not more.
pub fn excerpt(status: StatusCode, body: &[u8]) -> String {
    const SHOWN: usize = 400;
    let shown = String::from_utf8_lossy(&body[..body.len().min(SHOWN)]);
    let more = if body.len() > SHOWN { "…" } else { "" };
    format!("HTTP {}: {}{more}", status.as_u16(), shown.trim())
}
