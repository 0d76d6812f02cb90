//! Outbound HTTP of agents: who may send where, with which secrets, and how much at a time.

use crate::desk::Services;
use crate::grants::{Grants, Origin, Service};
use crate::llm::Secret;
use crate::net::{
    AllowList, DialError, Driving, HttpClient, Received, StreamError, TargetError, Times,
};
use crate::trace::{Kind, Span, Trace};
use bytes::Bytes;
use hyper::body::Body;
use hyper::header::{HeaderName, HeaderValue, USER_AGENT};
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Request, Response, Uri};
use prometheus::{IntCounterVec, Opts};
use std::collections::{BTreeSet, HashMap};
use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use thiserror::Error;
use tokio::sync::Semaphore;

/// Requests of all agents that may be on their way; one more is refused.
const MAX_REQUESTS: usize = 512;
/// Requests of one agent, in all its instances: a server that is slow with one agent's does not keep out the others'.
const MAX_REQUESTS_OF_AGENT: usize = MAX_REQUESTS / 4;
/// Requests of one instance.
const MAX_REQUESTS_OF_ONE: usize = 32;
/// What an agent may set for a connection at least: names take some time to look up, and a lookup goes on when its request
/// has been given up.
const MIN_CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes of a path with its query.
const MAX_PATH_BYTES: usize = 8 << 10;

const AGENT: &str = concat!("dormouse/", env!("CARGO_PKG_VERSION"));

/// What the host puts into requests to one origin. No guest sees it; what an agent itself sets of that name is
/// replaced.
#[derive(Debug, Clone)]
pub struct Injected {
    pub origin: Origin,
    pub header: HeaderName,
    /// What comes before the secret, such as `Bearer `.
    pub prefix: String,
    pub secret: Secret,
    /// The agents whose requests it is put into; `None`: all that may send there.
    pub agents: Option<BTreeSet<String>>,
}

/// Why a secret cannot be put into a header.
#[derive(Debug, Error)]
#[error("it has bytes that no header may have")]
pub struct NotAHeader;

/// Why a request was not sent or has no answer.
#[derive(Debug, Error)]
pub enum EgressError {
    #[error("the agent has no grant for this destination")]
    Denied,
    #[error("the address is {0}, which agents must not send to")]
    Prohibited(&'static str),
    #[error("too many requests are on their way")]
    TooMany,
    #[error("this method is not sent")]
    Method,
    #[error("this is no URL of an HTTP request")]
    Url,
    #[error("the path has more than {MAX_PATH_BYTES} bytes")]
    PathTooLong,
    #[error(transparent)]
    Stream(StreamError),
}

impl From<StreamError> for EgressError {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::Dial(DialError::NotPublic(why)) => Self::Prohibited(why),
            other => Self::Stream(other),
        }
    }
}

/// The way out for agents.
pub struct Egress {
    client: HttpClient,
    secrets: Vec<(Injected, HeaderValue)>,
    requests: Arc<Semaphore>,
    agents: Agents,
    denied: IntCounterVec,
    outcomes: IntCounterVec,
}

/// How many requests each agent has on their way; only of those that have any.
type Agents = Arc<Mutex<HashMap<String, usize>>>;

/// One request of an agent, until it is dropped.
struct OfAgent {
    agents: Agents,
    name: String,
}

impl OfAgent {
    /// `None` if the agent has its share already.
    fn take(agents: &Agents, name: &str) -> Option<Self> {
        let mut counts = agents.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(name.to_owned()).or_default();
        if *count >= MAX_REQUESTS_OF_AGENT {
            return None;
        }
        *count += 1;
        Some(Self {
            agents: Arc::clone(agents),
            name: name.to_owned(),
        })
    }
}

impl Drop for OfAgent {
    fn drop(&mut self) {
        let mut counts = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.name);
            }
        }
    }
}

/// How many requests an instance has on their way.
#[derive(Debug, Clone)]
pub struct Share(Arc<Semaphore>);

/// How long a request whose answer was read may take to end.
const ENDING: Duration = Duration::from_millis(10);

impl Share {
    /// Whether none is on its way, or will be in a moment: an answer may be kept, and with it its connection.
    pub async fn is_idle(&self) -> bool {
        let all = self.0.acquire_many(MAX_REQUESTS_OF_ONE as u32);
        matches!(tokio::time::timeout(ENDING, all).await, Ok(Ok(_)))
    }
}

impl Default for Share {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_REQUESTS_OF_ONE)))
    }
}

/// Who sends: the agent, what it was granted, and its instance.
#[derive(Debug, Clone)]
pub struct Sender<'a> {
    pub agent: &'a str,
    pub grants: &'a Grants,
    pub share: &'a Share,
    /// Goes along with the request, and has a span of it.
    pub trace: Option<&'a Trace>,
}

impl Default for Egress {
    /// To the public internet, without secrets.
    fn default() -> Self {
        let client = HttpClient::new(AllowList::default());
        Self::new(client, Vec::new(), Services::default().denied)
            .expect("there are no secrets that could be wrong")
    }
}

impl fmt::Debug for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Egress").finish_non_exhaustive()
    }
}

impl Egress {
    /// `denied` counts requests without a grant, as for other services.
    ///
    /// # Errors
    /// If a secret is no header's value.
    pub fn new(
        client: HttpClient,
        secrets: Vec<Injected>,
        denied: IntCounterVec,
    ) -> Result<Self, NotAHeader> {
        let valued = secrets.into_iter().map(|injected| {
            let text = format!("{}{}", injected.prefix, injected.secret.expose());
            let mut value = HeaderValue::from_str(&text).map_err(|_| NotAHeader)?;
            value.set_sensitive(true);
            Ok((injected, value))
        });
        let options = Opts::new(
            "dormouse_http_requests_total",
            "HTTP requests of agents, by what came of them",
        );
        let outcomes =
            IntCounterVec::new(options, &["outcome"]).expect("the name is constant and valid");
        for outcome in ["ok", "denied", "prohibited", "refused", "failed"] {
            outcomes.with_label_values(&[outcome]);
        }
        Ok(Self {
            client,
            secrets: valued.collect::<Result<_, _>>()?,
            requests: Arc::new(Semaphore::new(MAX_REQUESTS)),
            agents: Agents::default(),
            denied,
            outcomes,
        })
    }

    /// `dormouse_http_requests_total`; whoever serves metrics registers it.
    pub fn outcomes(&self) -> IntCounterVec {
        self.outcomes.clone()
    }

    /// Sends one request of an agent. Whoever reads the answer must poll what comes with it; that ends in time, also if
    /// nobody reads.
    ///
    /// # Errors
    /// Denied without a grant for the destination: nothing was looked up. Prohibited if it leads inside: nothing was
    /// sent.
    pub async fn send<B>(
        &self,
        sender: Sender<'_>,
        request: Request<B>,
        times: Times,
    ) -> Result<(Response<Received>, Driving), EgressError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let span = sender.trace.map(|trace| span(trace, &request));
        let sent = self
            .send_uncounted(sender, request, times, span.as_ref())
            .await;
        if let Some(mut span) = span {
            match &sent {
                Ok((answer, _)) => span.set(
                    "http.response.status_code",
                    u32::from(answer.status().as_u16()),
                ),
                Err(error) => span.fail(error.to_string()),
            }
        }
        let outcome = match &sent {
            Ok(_) => "ok",
            Err(EgressError::Denied) => {
                self.denied.with_label_values(&["http"]).inc();
                "denied"
            }
            Err(EgressError::Prohibited(_)) => "prohibited",
            Err(EgressError::Stream(_)) => "failed",
            Err(_) => "refused",
        };
        self.outcomes.with_label_values(&[outcome]).inc();
        sent
    }

    async fn send_uncounted<B>(
        &self,
        sender: Sender<'_>,
        mut request: Request<B>,
        mut times: Times,
        span: Option<&Span>,
    ) -> Result<(Response<Received>, Driving), EgressError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        times.connect = times.connect.map(|asked| asked.max(MIN_CONNECT_TIMEOUT));
        let origin = origin(request.uri()).ok_or(EgressError::Url)?;
        if !sender.grants.has(&Service::Http(origin.clone())) {
            return Err(EgressError::Denied);
        }
        // A tunnel leads anywhere; an echo would show what was put in.
        if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
            return Err(EgressError::Method);
        }
        let path = request.uri().path_and_query().cloned();
        let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
        if path.as_str().len() > MAX_PATH_BYTES {
            return Err(EgressError::PathTooLong);
        }
        let target = self.client.target(&origin.to_string());
        let target = target.map_err(|error| match error {
            TargetError::NotPublic(why) => EgressError::Prohibited(why),
            _ => EgressError::Url,
        })?;
        let mine = Arc::clone(&sender.share.0).try_acquire_owned();
        let one = Arc::clone(&self.requests).try_acquire_owned();
        let of_agent = OfAgent::take(&self.agents, sender.agent);
        let (Ok(mine), Some(of_agent), Ok(one)) = (mine, of_agent, one) else {
            return Err(EgressError::TooMany);
        };
        *request.uri_mut() = Uri::from(path);
        if let Some(span) = span {
            span.trace().write(request.headers_mut());
        }
        self.inject(sender.agent, &origin, &mut request);
        let (answer, driving) = self.client.stream(&target, request, times).await?;
        let driving = async move {
            driving.await;
            drop((mine, of_agent, one));
        };
        Ok((answer, Box::pin(driving)))
    }

    fn inject<B>(&self, agent: &str, origin: &Origin, request: &mut Request<B>) {
        let headers = request.headers_mut();
        headers
            .entry(USER_AGENT)
            .or_insert(HeaderValue::from_static(AGENT));
        for (injected, value) in &self.secrets {
            let agents = injected.agents.as_ref();
            if injected.origin == *origin && agents.is_none_or(|agents| agents.contains(agent)) {
                headers.insert(injected.header.clone(), value.clone());
            }
        }
    }
}

/// Where to, without the path: there may be secrets in it.
fn span<B>(trace: &Trace, request: &Request<B>) -> Span {
    let mut span = trace.span("http", Kind::Client);
    if span.is_recorded() {
        span.set("http.request.method", request.method().as_str());
        if let Some(origin) = origin(request.uri()) {
            span.set("dormouse.origin", origin.to_string());
        }
    }
    span
}

fn origin(uri: &Uri) -> Option<Origin> {
    Origin::parse(&format!("{}://{}", uri.scheme_str()?, uri.authority()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn one_agent_leaves_room_for_others() {
        let agents = Agents::default();
        let take = |name| OfAgent::take(&agents, name);
        let mut mine: Vec<_> = (0..MAX_REQUESTS_OF_AGENT).map(|_| take("a")).collect();
        assert!(mine.iter().all(Option::is_some));
        assert!(take("a").is_none());
        assert!(take("b").is_some());
        mine.pop();
        assert!(take("a").is_some());
        drop(mine);
        assert!(agents.lock().unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_share_is_idle_when_its_last_request_has_ended() {
        let share = Share::default();
        assert!(share.is_idle().await);
        let kept = Arc::clone(&share.0).try_acquire_owned().unwrap();
        assert!(!share.is_idle().await);
        let (idle, ()) = tokio::join!(share.is_idle(), async move {
            tokio::time::sleep(ENDING / 2).await;
            drop(kept);
        });
        assert!(idle, "what has just been read ends in a moment");
    }
}
