//! One POST over a kept connection: no redirects, no proxies, a deadline, and no more of an answer
//! than is needed.

use super::allow::AllowList;
use super::dial::{DialError, Lookup, Stream, Target, TargetError, Trust, dial, system_lookup};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue, USER_AGENT};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::time::{Instant, timeout, timeout_at};

/// From a name to a connection, TLS included.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// From the connection to the answer's head. The specification recommends 10 to 30 s (A2A 1.0 §4.3.3).
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// The rest of an answer is read so that the connection can be used again. Nobody looks at it.
const MAX_ANSWER_BYTES: usize = 16 << 10;
const REST_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes of an answer's head.
pub(super) const MAX_HEAD_BYTES: usize = 16 << 10;

const AGENT: &str = concat!("dormouse/", env!("CARGO_PKG_VERSION"));

/// Why a request has no answer.
#[derive(Debug, Error)]
pub enum NetError {
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("there was no connection in time")]
    ConnectTimeout,
    #[error("there was no answer in time")]
    AnswerTimeout,
    #[error("the connection broke")]
    Broken(#[source] hyper::Error),
    #[error("the answer has more than {0} bytes")]
    TooLarge(usize),
    #[error("the request cannot be written")]
    Unwritable(#[source] hyper::http::Error),
}

/// Sends to hosts that somebody else named. Cheap to clone.
#[derive(Clone)]
pub struct HttpClient {
    allow: Arc<AllowList>,
    lookup: Lookup,
    trust: Trust,
    pub(crate) answer_timeout: Duration,
}

impl HttpClient {
    /// With the system's resolver and certificates.
    pub fn new(allow: AllowList) -> Self {
        Self::with(allow, system_lookup(), Trust::system())
    }

    pub fn with(allow: AllowList, lookup: Lookup, trust: Trust) -> Self {
        Self {
            allow: Arc::new(allow),
            lookup,
            trust,
            answer_timeout: ANSWER_TIMEOUT,
        }
    }

    /// How long an answer may take, from the connection to the answer's head.
    #[must_use]
    pub fn answer_timeout(mut self, timeout: Duration) -> Self {
        self.answer_timeout = timeout;
        self
    }

    pub fn target(&self, url: &str) -> Result<Target, TargetError> {
        Target::parse(url, &self.allow)
    }

    /// Posts once. `kept` is the connection of the post before, if it is to the same target, and is
    /// left for the next one if it is still good.
    pub async fn post(
        &self,
        target: &Target,
        kept: &mut Option<Connection>,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<StatusCode, NetError> {
        let request = request(target, headers, body)?;
        if let Some(mut connection) = kept.take() {
            match connection.send(request.clone(), self.answer_timeout).await {
                Ok(status) => {
                    *kept = connection.reusable();
                    return Ok(status);
                }
                // Closed since the last request, as servers do: a new one tells whether they live.
                Err(NetError::Broken(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let mut connection = timeout(CONNECT_TIMEOUT, self.connect(target))
            .await
            .map_err(|_elapsed| NetError::ConnectTimeout)??;
        let status = connection.send(request, self.answer_timeout).await?;
        *kept = connection.reusable();
        Ok(status)
    }

    /// A stream to an address of the target that was checked, TLS included.
    pub(super) async fn open(&self, target: &Target) -> Result<Box<dyn Stream>, DialError> {
        dial(target, &self.allow, &self.lookup, &self.trust).await
    }

    pub(super) async fn connect(&self, target: &Target) -> Result<Connection, NetError> {
        let stream = self.open(target).await?;
        let (sender, driver) = http1::Builder::new()
            .max_buf_size(MAX_HEAD_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(NetError::Broken)?;
        Ok(Connection {
            sender,
            driver: Driver {
                connection: Box::pin(driver),
                ended: false,
            },
            usable: true,
        })
    }
}

fn request(
    target: &Target,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Request<Full<Bytes>>, NetError> {
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(target.path())
        .header(HOST, target.host_field())
        .body(Full::new(body.clone()))
        .map_err(NetError::Unwritable)?;
    request.headers_mut().extend(headers.clone());
    let agent = HeaderValue::from_static(AGENT);
    request.headers_mut().insert(USER_AGENT, agent);
    Ok(request)
}

/// An open connection. It is driven by whoever sends on it, so that none outlives its user.
pub struct Connection {
    pub(super) sender: http1::SendRequest<Full<Bytes>>,
    pub(super) driver: Driver,
    usable: bool,
}

type Http1 = http1::Connection<TokioIo<Box<dyn Stream>>, Full<Bytes>>;

pub(super) struct Driver {
    connection: Pin<Box<Http1>>,
    ended: bool,
}

impl Connection {
    async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
        answer_timeout: Duration,
    ) -> Result<StatusCode, NetError> {
        // Until the answer is read to its end.
        self.usable = false;
        let deadline = Instant::now() + answer_timeout;
        let sender = &mut self.sender;
        let answering = async {
            sender.ready().await?;
            sender.send_request(request).await
        };
        let answer = timeout_at(deadline, self.driver.drive(answering))
            .await
            .map_err(|_elapsed| NetError::AnswerTimeout)?
            .map_err(NetError::Broken)?;
        let status = answer.status();
        let reading = self.driver.drive(read_rest(answer));
        let whole = timeout(REST_TIMEOUT, reading).await.unwrap_or(false);
        self.usable = whole && !self.driver.ended;
        Ok(status)
    }

    fn reusable(self) -> Option<Self> {
        self.usable.then_some(self)
    }
}

impl Driver {
    /// Runs work that needs its connection to be driven.
    pub(super) async fn drive<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        if !self.ended {
            tokio::select! {
                biased;
                done = &mut work => return done,
                // What ends the connection ends the work, too, with the reason.
                _reason = &mut self.connection => self.ended = true,
            }
        }
        work.await
    }
}

/// Whether the whole answer has been read.
async fn read_rest(answer: Response<Incoming>) -> bool {
    let mut body = answer.into_body();
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        bytes += frame.data_ref().map_or(0, Bytes::len);
        if bytes > MAX_ANSWER_BYTES {
            return false;
        }
    }
    true
}
