//! Outbound HTTP of agents: who may send where, with which secrets, and how much at a time.

use crate::desk::Services;
use crate::grants::{Grants, Origin, Service};
use crate::llm::Secret;
use crate::net::{
    AllowList, DialError, Driving, HttpClient, Received, StreamError, TargetError, Times,
};
use bytes::Bytes;
use hyper::body::Body;
use hyper::header::{HeaderName, HeaderValue, USER_AGENT};
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Request, Response, Uri};
use prometheus::{IntCounterVec, Opts};
use std::collections::BTreeSet;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use thiserror::Error;
use tokio::sync::Semaphore;

/// Requests of all agents that may be on their way; one more is refused.
const MAX_REQUESTS: usize = 512;
/// Requests of one instance.
const MAX_REQUESTS_OF_ONE: usize = 32;
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
    denied: IntCounterVec,
    outcomes: IntCounterVec,
}

/// How many requests an instance has on their way.
#[derive(Debug, Clone)]
pub struct Share(Arc<Semaphore>);

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
        let sent = self.send_uncounted(sender, request, times).await;
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
        times: Times,
    ) -> Result<(Response<Received>, Driving), EgressError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
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
        let (Ok(mine), Ok(one)) = (mine, one) else {
            return Err(EgressError::TooMany);
        };
        *request.uri_mut() = Uri::from(path);
        self.inject(sender.agent, &origin, &mut request);
        let (answer, driving) = self.client.stream(&target, request, times).await?;
        let driving = async move {
            driving.await;
            drop((mine, one));
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

fn origin(uri: &Uri) -> Option<Origin> {
    Origin::parse(&format!("{}://{}", uri.scheme_str()?, uri.authority()?))
}
