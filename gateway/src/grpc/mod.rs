//! The gRPC binding (A2A 1.0 §10), on the port of the other bindings: an HTTP/2 request whose path names
//! a method of `lf.a2a.v1.A2AService`. The agent is the request's `tenant`.
//!
//! Reading order: `wire` (one message in, messages and a status out), `requests` (which method is what),
//! `push` (the operations on configurations, and the extended card), `stream`, `convert` and `value` (protobuf to our types
//! and back), `status` (errors).

mod card;
mod convert;
mod push;
mod requests;
mod status;
mod stream;
mod value;
mod wire;

/// The types of `proto/a2a.proto`.
#[allow(
    dead_code,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "made by prost-build, all that is defined"
)]
mod pb {
    include!(concat!(env!("OUT_DIR"), "/lf.a2a.v1.rs"));
}

use crate::agents::AgentEntry;
use crate::auth::Caller;
use crate::body::Payload;
use crate::errors::{A2aError, ApiError, Kind};
use crate::handle::{Shared, root_agent};
use crate::metrics::{AgentMetrics, Operation};
use crate::negotiate;
use crate::ops::Answer;
use crate::respond::Reply;
use crate::route;
use crate::trace;
use bytes::Bytes;
use hyper::http::request::Parts;
use hyper::{HeaderMap, StatusCode, Version};
use requests::Decoded;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Semaphore;

pub(crate) use wire::{is_grpc, refusal};

/// A request's tenant and what it asks, for those who have no agent to ask.
#[cfg(any(test, fuzzing))]
pub(crate) fn parse(
    method: &str,
    message: bytes::Bytes,
) -> Result<(String, Result<crate::ops::Request, A2aError>), A2aError> {
    let decode = requests::decoder(method).expect("a method of A2A 1.0");
    decode(message).map(|Decoded { tenant, request }| (tenant, request))
}

/// What the metrics of a request are told, as far as it got.
struct Progress {
    operation: Operation,
    metrics: Arc<AgentMetrics>,
    agent: Option<Arc<AgentEntry>>,
}

pub(crate) async fn answer(
    shared: &Shared,
    caller: &Caller,
    method: &str,
    parts: &Parts,
    body: Payload,
) -> Reply {
    if let Err(error) = speaks_grpc(parts) {
        return error.reply();
    }
    let started = Instant::now();
    let mut progress = Progress {
        operation: Operation::Unknown,
        metrics: Arc::clone(&shared.metrics.platform),
        agent: None,
    };
    let (reply, code) = match serve(shared, caller, method, parts, body, &mut progress).await {
        Ok(reply) => (reply, "ok"),
        Err(error) => (refusal(&error), error.kind.code()),
    };
    progress.metrics.observe(progress.operation, code, started);
    let agent = progress.agent.as_ref();
    let agent = agent.map(|agent| &*agent.version.agent);
    trace::note(parts, agent, progress.operation, code);
    reply
}

/// The answer to gRPC of a service that is not here.
pub(crate) fn unknown(path: &str) -> Reply {
    let sentence = format!("there is no method {path}; the service is lf.a2a.v1.A2AService");
    refusal(&A2aError::new(Kind::MethodNotFound, sentence))
}

/// How a stream ends that a filter has cut.
pub(crate) fn cut() -> HeaderMap {
    let sentence = "a filter of this agent does not let through what follows";
    status::trailers(&A2aError::new(Kind::Blocked, sentence))
}

/// Who does not speak gRPC is not answered in it.
fn speaks_grpc(parts: &Parts) -> Result<(), ApiError> {
    let (status, code, sentence) = if parts.version != Version::HTTP_2 {
        let status = StatusCode::HTTP_VERSION_NOT_SUPPORTED;
        (status, "http2_required", "gRPC needs HTTP/2")
    } else if !is_grpc(&parts.headers) {
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        (
            status,
            "not_grpc",
            "gRPC needs Content-Type: application/grpc",
        )
    } else {
        return Ok(());
    };
    Err(ApiError::new(status, code, sentence))
}

async fn serve(
    shared: &Shared,
    caller: &Caller,
    method: &str,
    parts: &Parts,
    body: Payload,
    progress: &mut Progress,
) -> Result<Reply, A2aError> {
    let deadline = wire::deadline(&parts.headers)?;
    let decode = requests::decoder(method).ok_or_else(|| {
        let sentence = format!("A2A 1.0 has no method {method:?}");
        A2aError::new(Kind::MethodNotFound, sentence)
    })?;
    negotiate::version(&parts.headers, None)?;
    let answering = async {
        let message = wire::read(body, &parts.headers, &shared.config).await?;
        let Decoded { tenant, request } = decoded(shared, decode, message).await?;
        let agent = find(shared, &tenant).await?;
        progress.metrics = Arc::clone(&agent.metrics);
        progress.agent = Some(Arc::clone(&agent));
        let extensions = negotiate::extensions(&parts.headers, &agent.definition.extensions)?;
        let mut request = request?;
        let activated = negotiate::named(&extensions);
        request.activate(extensions, trace::of(parts));
        progress.operation = request.operation();
        // A client that stops waiting gives up the answer, not the turn: the operations see to it.
        let answer = shared.operations.perform(caller, &agent, request).await?;
        Ok::<_, A2aError>((answer, activated))
    };
    let (answer, activated) = match deadline {
        None => answering.await?,
        Some(deadline) => tokio::time::timeout_at(deadline, answering)
            .await
            .map_err(|_elapsed| wire::too_late())??,
    };
    let mut reply = match answer {
        Answer::Stream(opening) => stream::reply(*opening, shared.stream_rules.clone(), deadline),
        answer => wire::reply(convert::answer(answer)),
    };
    negotiate::announce(activated, &mut reply);
    Ok(reply)
}

/// Messages of more bytes than this are decoded one at a time, off the event loops, and wait for their room in memory one
/// at a time: what they weigh is known when they are there.
const LARGE: usize = 64 << 10;
static DECODING: Semaphore = Semaphore::const_new(1);

async fn decoded(
    shared: &Shared,
    decode: requests::Decoder,
    message: Bytes,
) -> Result<Decoded, A2aError> {
    if message.len() <= LARGE {
        return with_room(shared, decode(message)?).await;
    }
    let _turn = DECODING.acquire().await.expect("it is never closed");
    let decoding = tokio::task::spawn_blocking(move || decode(message));
    let decoded = decoding.await.unwrap_or_else(|_died| {
        let sentence = "the message could not be decoded".to_owned();
        Err(A2aError::new(Kind::Parse, sentence))
    });
    with_room(shared, decoded?).await
}

async fn with_room(shared: &Shared, mut decoded: Decoded) -> Result<Decoded, A2aError> {
    if let Ok(request) = &mut decoded.request {
        let room = shared.operations.engine.room(request.weight()).await?;
        request.keep(room);
    }
    Ok(decoded)
}

/// The agent that a tenant names, in the words of the agent's URL; without one, the agent whose card
/// is at the root.
async fn find(shared: &Shared, tenant: &str) -> Result<Arc<AgentEntry>, A2aError> {
    let found = match route::tenant(tenant) {
        Some(base) => shared.agents.find(base).await,
        None if tenant.is_empty() => root_agent(shared).await,
        None => Ok(None),
    };
    match found {
        Ok(Some(agent)) => Ok(agent),
        Ok(None) if tenant.is_empty() => Err(A2aError::new(
            Kind::AgentNotFound,
            "the request names no tenant, and there is not exactly one agent here; \
             tenant is the agent's name",
        )),
        Ok(None) => Err(A2aError::agent_not_found(tenant)),
        Err(error) => Err(A2aError::internal("the registry could not be read", &error)),
    }
}
