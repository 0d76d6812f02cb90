//! From a request's path to whoever answers it.

use crate::activity;
use crate::agents::{AgentEntry, Agents, AgentsError};
use crate::auth::{self, Auth, Caller, Denied};
use crate::body::{self, Payload};
use crate::config::GatewayConfig;
use crate::document::Document;
use crate::errors::{A2aError, ApiError, Kind};
use crate::filters::{Ask, Filters, Pipeline};
use crate::grpc;
use crate::jsonrpc;
use crate::metrics::{Metrics, Operation};
use crate::ops::Operations;
use crate::platform;
use crate::respond::{self, Reply};
use crate::rest;
use crate::route::{self, A2aPath, Base, Route, route};
use crate::sse::StreamRules;
use crate::trace::{self, Visit};
use crate::uri;
use dormouse_filters::World;
use dormouse_services::trace::Span;
use dormouse_store::{ModuleStore, Registry, TaskStore, TokenStore};
use hyper::body::Incoming;
use hyper::header::{EXPECT, HeaderValue, WWW_AUTHENTICATE};
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{Mutex, Semaphore};
use tokio_util::sync::CancellationToken;

/// What every request may need.
pub(crate) struct Shared {
    pub(crate) config: GatewayConfig,
    pub(crate) modules: Arc<dyn ModuleStore>,
    pub(crate) registry: Arc<dyn Registry>,
    pub(crate) tasks: Arc<dyn TaskStore>,
    pub(crate) tokens: Arc<dyn TokenStore>,
    pub(crate) operations: Arc<Operations>,
    pub(crate) agents: Agents,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) stream_rules: StreamRules,
    pub(crate) uploads: Arc<Semaphore>,
    /// Held while modules and registry change together, so that a deletion never takes the module
    /// from under a deployment.
    pub(crate) changes: Mutex<()>,
    pub(crate) filters: Arc<Filters>,
    pub(crate) auth: Auth,
    /// Held while tokens change and are read again.
    pub(crate) token_changes: Arc<Mutex<()>>,
    /// When this process began, in milliseconds since the Unix epoch.
    pub(crate) started_ms: u64,
    pub(crate) draining: CancellationToken,
    /// Metrics have a listener of their own and are not served on the public one.
    pub(crate) separate_metrics: bool,
}

/// Which listener a request came in on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Face {
    Public,
    /// Metrics and health only.
    Metrics,
}

/// The other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    /// `None` of one that has left already.
    pub(crate) address: Option<SocketAddr>,
    /// As OpenSSL calls it; `None` without TLS.
    pub(crate) tls_version: Option<&'static str>,
}

impl Peer {
    fn ip(self) -> Option<IpAddr> {
        self.address.map(|address| address.ip())
    }
}

pub(crate) async fn handle(
    shared: Arc<Shared>,
    face: Face,
    peer: Peer,
    request: Request<Incoming>,
) -> Reply {
    let (parts, body) = request.into_parts();
    let path = uri::decode(parts.uri.path());
    let route = route(&path);
    let need = auth::need(face, &route, &parts.method);
    let caller = match shared.auth.admit(&parts.uri, &parts.headers, need) {
        Ok(caller) => caller.at(peer.ip()),
        Err(denied) => return Box::pin(refuse(&shared, &route, denied, &parts, body)).await,
    };
    if face == Face::Public
        && matches!(route, Route::A2a { .. } | Route::Grpc(_) | Route::RootCard)
        && let Some(span) = shared.config.tracer.begin("request", &parts.headers)
    {
        let path = path.into_owned();
        return Box::pin(traced(&shared, span, &caller, peer, &path, parts, body)).await;
    }
    if face == Face::Public
        && matches!(route, Route::A2a { .. } | Route::Grpc(_) | Route::RootCard)
        && let Some(filters) = shared.filters.active()
        && filters.has(World::Http)
    {
        let path = path.into_owned();
        return Box::pin(filtered(
            &shared, &filters, &caller, peer, &path, parts, body,
        ))
        .await;
    }
    if face == Face::Public
        && let Route::AnyTask(id) = route
        && let Some(filters) = shared.filters.active()
        && filters.has(World::Http)
    {
        let id = id.to_owned();
        return Box::pin(filtered_task(
            &shared, &filters, &caller, peer, &id, parts, body,
        ))
        .await;
    }
    match route {
        Route::Healthz => only_get(&parts, || respond::text(StatusCode::OK, "ok\n")),
        Route::Readyz => only_get(&parts, || ready(&shared)),
        Route::Metrics if face == Face::Metrics || !shared.separate_metrics => {
            only_get(&parts, || metrics(&shared))
        }
        _ if face == Face::Metrics => not_found(&path),
        Route::Jwks => jwks(&shared, &parts),
        Route::AnyTask(id) => Box::pin(activity::task(&shared, &caller, id, &parts)).await,
        route @ (Route::A2a { .. } | Route::Grpc(_) | Route::RootCard) => {
            agents(&shared, &caller, route, &parts, Payload::Arriving(body)).await
        }
        Route::Unknown if grpc::is_grpc(&parts.headers) => grpc::unknown(&path),
        Route::Metrics | Route::Unknown => not_found(&path),
        route => Box::pin(platform::answer(shared.clone(), route, &parts, body)).await,
    }
}

/// The same as for others, filters included, for a request that is in a trace.
async fn traced(
    shared: &Shared,
    span: Span,
    caller: &Caller,
    peer: Peer,
    path: &str,
    mut parts: Parts,
    body: Incoming,
) -> Reply {
    let visit = Visit::new(span, &mut parts);
    let reply = if let Some(filters) = shared.filters.active()
        && filters.has(World::Http)
    {
        filtered(shared, &filters, caller, peer, path, parts, body).await
    } else {
        agents(shared, caller, route(path), &parts, Payload::Arriving(body)).await
    };
    visit.end(&reply);
    reply
}

/// What agents answer, themselves or the platform for them.
async fn agents(
    shared: &Shared,
    caller: &Caller,
    route: Route<'_>,
    parts: &Parts,
    body: Payload,
) -> Reply {
    match route {
        Route::A2a { base, what } => a2a(shared, caller, base, what, parts, body).await,
        Route::Grpc(method) => Box::pin(grpc::answer(shared, caller, method, parts, body)).await,
        Route::RootCard => Box::pin(root_card(shared, parts)).await,
        _ => not_found(parts.uri.path()),
    }
}

/// The same with filters before it and after. Which agent gRPC means is in the message, and that of the root card
/// in the registry, so filters that stand before some agents only are asked about all of them.
async fn filtered(
    shared: &Shared,
    filters: &Pipeline,
    caller: &Caller,
    peer: Peer,
    path: &str,
    mut parts: Parts,
    body: Incoming,
) -> Reply {
    let route = route(path);
    let uri = route::shown(&route, path, parts.uri.query());
    let ask = Ask {
        uri: &uri,
        agent: match &route {
            Route::A2a { base, .. } => Some(base.name),
            _ => None,
        },
        caller,
        peer,
        config: &shared.config,
    };
    match filters.enter(ask, &mut parts, body).await {
        Ok((passage, body)) => {
            let reply = agents(shared, caller, route, &parts, body).await;
            passage.leave(reply).await
        }
        Err(answered) => *answered,
    }
}

/// A task by its id alone, as if it were asked for at its agent.
async fn filtered_task(
    shared: &Shared,
    filters: &Pipeline,
    caller: &Caller,
    peer: Peer,
    id: &str,
    mut parts: Parts,
    body: Incoming,
) -> Reply {
    let engine = &shared.operations.engine;
    let agent = match engine.agent_of(&caller.principal, id).await {
        Ok(agent) => agent,
        // Not read again: it would be there then, and nobody has been asked about it.
        Err(error) => return activity::no_task(shared, id, error, &parts),
    };
    let ask = Ask {
        uri: &format!("/agents/{agent}/tasks/{id}"),
        agent: Some(&agent),
        caller,
        peer,
        config: &shared.config,
    };
    match filters.enter(ask, &mut parts, body).await {
        Ok((passage, _body)) => {
            let reply = activity::task(shared, caller, id, &parts).await;
            passage.leave(reply).await
        }
        Err(answered) => *answered,
    }
}

/// Before anything of the request but its head is looked at: strangers cost a hash.
async fn refuse(
    shared: &Shared,
    route: &Route<'_>,
    denied: Denied,
    parts: &Parts,
    body: Incoming,
) -> Reply {
    let started = Instant::now();
    let error = A2aError::from(denied);
    let mut reply = match route {
        Route::A2a { what, .. } if is_rpc(*what, parts) => jsonrpc::refusal(jsonrpc::NULL, &error),
        Route::A2a { .. } => rest::refusal(&parts.headers, &error),
        Route::Grpc(_) if grpc::is_grpc(&parts.headers) => grpc::refusal(&error),
        _ => ApiError::from(denied).reply(),
    };
    if let Some(challenge) = denied.challenge() {
        let challenge = HeaderValue::try_from(challenge);
        let challenge = challenge.expect("a challenge is made of plain words");
        reply.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    shared
        .metrics
        .platform
        .observe(Operation::Unknown, error.kind.code(), started);
    // A client that is still sending an upload would not see the answer. One that asks first does.
    if !parts.headers.contains_key(EXPECT) {
        body::discard(body).await;
    }
    reply
}

/// A base URL with another method than POST is REST's.
fn is_rpc(path: A2aPath<'_>, parts: &Parts) -> bool {
    path == A2aPath::JsonRpc && parts.method == Method::POST
}

async fn a2a(
    shared: &Shared,
    caller: &Caller,
    base: Base<'_>,
    path: A2aPath<'_>,
    parts: &Parts,
    body: Payload,
) -> Reply {
    // Each binding is refused in its own form.
    let is_rpc = is_rpc(path, parts);
    let agent = match shared.agents.find(base).await {
        Ok(Some(agent)) => agent,
        missing => {
            let error = match missing {
                Err(error) => A2aError::internal("the registry could not be read", &error),
                Ok(_) => A2aError::agent_not_found(base.key),
            };
            shared
                .metrics
                .platform
                .observe(Operation::Unknown, error.kind.code(), Instant::now());
            return if is_rpc {
                jsonrpc::refusal(jsonrpc::NULL, &error)
            } else {
                rest::refusal(&parts.headers, &error)
            };
        }
    };
    match path {
        _ if is_rpc => jsonrpc::answer(shared, caller, &agent, parts, body).await,
        A2aPath::Card => card(shared, &agent, parts),
        _ => rest::answer(shared, caller, &agent, path, parts, body).await,
    }
}

fn card(shared: &Shared, agent: &AgentEntry, parts: &Parts) -> Reply {
    let started = Instant::now();
    let reply = only_get(parts, || {
        agent.card(shared.auth.door()).reply(&parts.headers)
    });
    let code = if reply.status().is_client_error() {
        Kind::MethodNotAllowed.code()
    } else {
        "ok"
    };
    agent.metrics.observe(Operation::Card, code, started);
    trace::note(parts, Some(&agent.version.agent), Operation::Card, code);
    reply
}

/// The public half of the key that cards are signed with.
fn jwks(shared: &Shared, parts: &Parts) -> Reply {
    match &shared.config.card_key {
        Some(key) => only_get(parts, || Document::new(&key.jwks()).reply(&parts.headers)),
        None => not_found(parts.uri.path()),
    }
}

/// The card of the configured agent, or of the only one.
async fn root_card(shared: &Shared, parts: &Parts) -> Reply {
    match root_agent(shared).await {
        Ok(Some(agent)) => card(shared, &agent, parts),
        Ok(None) => ApiError::new(
            StatusCode::NOT_FOUND,
            "no_root_agent",
            "there is not exactly one agent here; its card is at /agents/{name}/.well-known/agent-card.json",
        )
        .reply(),
        Err(error) => ApiError::internal("the registry could not be read", &error).reply(),
    }
}

pub(crate) async fn root_agent(shared: &Shared) -> Result<Option<Arc<AgentEntry>>, AgentsError> {
    let name = match &shared.config.root_agent {
        Some(name) => name.clone(),
        None => {
            let registry = Arc::clone(&shared.registry);
            let first = tokio::task::spawn_blocking(move || registry.agents(None, 2));
            let mut first = first.await.map_err(|_died| AgentsError::Stopped)??;
            match (first.pop(), first.pop()) {
                (Some(only), None) => only.name,
                _ => return Ok(None),
            }
        }
    };
    shared
        .agents
        .find(Base {
            key: &name,
            name: &name,
            version: None,
        })
        .await
}

fn ready(shared: &Shared) -> Reply {
    if shared.draining.is_cancelled() {
        return respond::text(StatusCode::SERVICE_UNAVAILABLE, "draining\n");
    }
    respond::text(StatusCode::OK, "ready\n")
}

fn metrics(shared: &Shared) -> Reply {
    match shared.metrics.text(&*shared.modules, &*shared.tasks) {
        Ok(text) => {
            let format = "text/plain; version=0.0.4; charset=utf-8";
            respond::full(
                StatusCode::OK,
                hyper::header::HeaderValue::from_static(format),
                text,
            )
        }
        Err(error) => ApiError::internal("the metrics could not be written", &error).reply(),
    }
}

fn only_get(parts: &Parts, reply: impl FnOnce() -> Reply) -> Reply {
    if parts.method == Method::GET || parts.method == Method::HEAD {
        return reply();
    }
    method_not_allowed("GET, HEAD")
}

pub(crate) fn method_not_allowed(allowed: &'static str) -> Reply {
    let sentence = format!("this path takes {allowed}");
    let error = ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        sentence,
    );
    respond::allow(error.reply(), allowed)
}

fn not_found(path: &str) -> Reply {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "not_found",
        format!("there is nothing at {path:?}"),
    )
    .reply()
}
