//! The platform API: modules, agents, versions.

use crate::activity;
use crate::agents::Agents;
use crate::agents::values::{self, Values};
use crate::auth;
use crate::body;
use crate::catalog;
use crate::configuration;
use crate::errors::ApiError;
use crate::filters::{self, Filters};
use crate::handle::{Shared, method_not_allowed};
use crate::limits::{self, Brought};
use crate::metrics::Operation;
use crate::naming::{self, Named};
use crate::ops::Detached;
use crate::probe::{self, Probe};
use crate::respond::{self, Body, Reply};
use crate::route::Route;
use crate::uri;
use crate::versions;
use bytes::Bytes;
use dormouse_scheduler::Prepared;
use dormouse_services::model::AgentDefinition;
use dormouse_store::{AgentRecord, Digest, ModuleStore, Registry, Split, VersionRecord};
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::spawn_blocking;
use tracing::{info, warn};

/// Bytes of a platform request other than an upload.
pub(crate) const MAX_BODY_BYTES: usize = 64 << 10;

const WASM: HeaderValue = HeaderValue::from_static("application/wasm");

pub(crate) async fn answer(
    shared: Arc<Shared>,
    route: Route<'_>,
    parts: &Parts,
    body: Incoming,
) -> Reply {
    let started = Instant::now();
    let operation = match route {
        Route::Modules => Operation::Deploy,
        Route::Module(_) => Operation::Module,
        Route::Tokens | Route::Token(_) => Operation::Tokens,
        _ => Operation::Registry,
    };
    let (reply, code) = match serve(&shared, route, parts, body).await {
        Ok(reply) => (reply, "ok"),
        Err(error) => (error.reply(), error.code),
    };
    let code = if reply.status() == StatusCode::METHOD_NOT_ALLOWED {
        "method_not_allowed"
    } else {
        code
    };
    shared.metrics.platform.observe(operation, code, started);
    reply
}

async fn serve(
    shared: &Arc<Shared>,
    route: Route<'_>,
    parts: &Parts,
    body: Incoming,
) -> Result<Reply, ApiError> {
    let method = &parts.method;
    match route {
        Route::Modules if method == Method::POST => upload(shared, parts, body).await,
        Route::Modules => Ok(method_not_allowed("POST")),
        Route::Module(digest) if method == Method::GET => module(shared, digest).await,
        Route::Module(digest) if method == Method::HEAD => module_head(shared, digest).await,
        Route::Module(_) => Ok(method_not_allowed("GET, HEAD")),
        Route::Agent(name) if method == Method::DELETE => delete(shared, name).await,
        Route::Agent(name) if is_read(method) => agent(shared, name).await,
        Route::Agent(name) if method == Method::PUT => naming::put(shared, name, body).await,
        Route::Agent(_) => Ok(method_not_allowed("GET, HEAD, PUT, DELETE")),
        Route::Active(name) if method == Method::POST => {
            versions::activate(shared, name, body).await
        }
        Route::Active(_) => Ok(method_not_allowed("POST")),
        Route::Limits(name) if method == Method::PUT => limits::put(shared, name, body).await,
        Route::Limits(name) if method == Method::DELETE => limits::delete(shared, name).await,
        Route::Limits(name) if is_read(method) => limits::get(shared, name).await,
        Route::Limits(_) => Ok(method_not_allowed("GET, HEAD, PUT, DELETE")),
        Route::Config(name) if method == Method::PUT => {
            configuration::put(shared, name, body).await
        }
        Route::Config(name) if method == Method::DELETE => {
            configuration::delete(shared, name).await
        }
        Route::Config(name) if is_read(method) => configuration::get(shared, name).await,
        Route::Config(_) => Ok(method_not_allowed("GET, HEAD, PUT, DELETE")),
        Route::Logs(name) if is_read(method) => {
            activity::logs(shared, name, parts.uri.query()).await
        }
        Route::Versions(name) if is_read(method) => versions::list(shared, name).await,
        route @ (Route::Filters | Route::Filter(_) | Route::FilterHealth(_)) => {
            filters::answer(shared, route, parts, body).await
        }
        route @ (Route::Tokens | Route::Token(_)) => auth::answer(shared, route, parts, body).await,
        Route::Agents if is_read(method) => catalog::agents(shared, parts.uri.query()).await,
        Route::AiCatalog if is_read(method) => catalog::ai_catalog(shared, parts).await,
        _ => Ok(method_not_allowed("GET, HEAD")),
    }
}

/// Stores a module and makes its agents' new versions the active ones.
async fn upload(shared: &Arc<Shared>, parts: &Parts, body: Incoming) -> Result<Reply, ApiError> {
    let permit = permit(shared).await?;
    let limit = shared.config.max_module_bytes;
    let bytes = body::read(body, &shared.config, limit)
        .await
        .map_err(|error| match error {
            body::BodyError::TooLarge { limit } => ApiError::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "module_too_large",
                format!("a module has at most {limit} bytes here"),
            ),
            error => error.into(),
        })?;
    // Not before the body is in: a client that is still sending would not see the answer.
    check_type(&parts.headers)?;
    let name = uri::parameter(parts.uri.query(), "name").map(|name| name.into_owned());
    name.as_deref().map_or(Ok(()), naming::check)?;
    let brought = limits::of_upload(&shared.operations.scheduler, &parts.headers)?;
    let probe = probe::of_upload(&parts.headers)?;
    if bytes.is_empty() {
        let sentence = "the body is empty; send the bytes of a WebAssembly module";
        return Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "empty_module",
            sentence,
        ));
    }
    // All of it or nothing, also when the client leaves from here on.
    let upload = Upload {
        bytes,
        name,
        brought,
        probe,
        permit,
    };
    let deploying = deploy(Arc::clone(shared), upload);
    Detached::new(&shared.operations.calls, deploying).await
}

/// The right to have a module looked at, to be held until that is done: whoever asked for it may leave before.
pub(crate) async fn permit(shared: &Shared) -> Result<OwnedSemaphorePermit, ApiError> {
    let permit = Arc::clone(&shared.uploads).acquire_owned();
    match tokio::time::timeout(shared.config.body_timeout, permit).await {
        Ok(permit) => Ok(permit.expect("the semaphore is never closed")),
        Err(_elapsed) => Err(ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "busy",
            "too many uploads are being compiled; try again shortly",
        )),
    }
}

fn check_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(given) = headers.get(CONTENT_TYPE) else {
        return Ok(());
    };
    let essence = given
        .to_str()
        .unwrap_or("?")
        .split(';')
        .next()
        .unwrap_or_default()
        .trim();
    let known = ["application/wasm", "application/octet-stream"];
    if known
        .iter()
        .any(|known| essence.eq_ignore_ascii_case(known))
    {
        return Ok(());
    }
    let sentence = format!("a module is sent as {}, not as {essence}", known[0]);
    Err(ApiError::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported_media_type",
        sentence,
    ))
}

/// A module, and what is to become of it.
struct Upload {
    bytes: Bytes,
    /// What to call its only agent.
    name: Option<String>,
    brought: Option<Brought>,
    probe: Option<Probe>,
    permit: OwnedSemaphorePermit,
}

async fn deploy(shared: Arc<Shared>, upload: Upload) -> Result<Reply, ApiError> {
    let Upload {
        bytes,
        name,
        brought,
        probe,
        permit: _until_the_end,
    } = upload;
    let scheduler = shared.operations.scheduler.clone();
    let Prepared {
        digest,
        definitions,
        ..
    } = match &brought {
        None => scheduler.prepare(bytes.clone()).await?,
        Some(Brought { limits, .. }) => scheduler.prepare_under(limits, bytes.clone()).await?,
    };
    let kept = brought.map(|brought| brought.kept);
    let mut chosen = match &name {
        None => Ok(definitions.into_iter().map(Named::as_declared).collect()),
        Some(name) => Named::choose(name, definitions, None).map(|named| vec![named]),
    };
    // Before the lock: it may take as long as a call may.
    if let (Some(probe), Ok(named)) = (&probe, &chosen)
        && let Err(failed) = Box::pin(probe.run(&shared, digest, named, kept.as_deref())).await
    {
        chosen = Err(failed);
    }
    let _changing = shared.changes.lock().await;
    if chosen.is_ok() {
        scheduler.keep_code(digest, bytes.clone()).await?;
    }
    let (modules, registry) = (Arc::clone(&shared.modules), Arc::clone(&shared.registry));
    let has_limits = kept.is_some();
    let (new, versions, chosen) = blocking(move || {
        let chosen: Vec<Named> = chosen.inspect_err(|_refused| {
            // What is stored belongs to an agent, and so does its code.
            if modules.size(&digest).is_ok_and(|size| size.is_none()) {
                scheduler.forget(&digest);
            }
        })?;
        let put = modules.put(&bytes)?;
        match naming::deploy(&*registry, digest, &chosen, kept.as_deref()) {
            Ok((_is_new, versions)) => Ok((put.new, versions, chosen)),
            Err(error) => {
                if put.new {
                    scheduler.forget(&digest);
                    if let Err(error) = modules.remove(&digest) {
                        warn!(%digest, %error, "a module of a failed deployment stays in the store");
                    }
                }
                Err(error)
            }
        }
    })
    .await?;
    if has_limits {
        for version in &versions {
            limits::changed(&shared, &version.agent).await?;
        }
    }
    Ok(deployed(&shared, digest, new, &versions, &chosen))
}

/// Makes new versions known, and answers with them.
pub(crate) fn deployed(
    shared: &Shared,
    digest: Digest,
    new: bool,
    versions: &[VersionRecord],
    named: &[Named],
) -> Reply {
    for version in versions {
        shared.agents.changed(&version.agent, [version.number]);
        let scheduler = &shared.operations.scheduler;
        scheduler.retire(&version.agent, Some(version.number));
        info!(agent = version.agent, version = version.number, %digest, "deployed");
    }
    let agents: Vec<Value> = versions
        .iter()
        .zip(named)
        .map(|(version, named)| summary(&shared.agents, version, &named.definition))
        .collect();
    let status = if new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    respond::json(status, &json!({"digest": digest, "agents": agents}))
}

fn summary(agents: &Agents, version: &VersionRecord, definition: &AgentDefinition) -> Value {
    let url = agents.url(&version.agent);
    let granted = agents.granted(&version.agent, definition);
    let skills: Vec<&str> = definition.skills.iter().map(|skill| &*skill.id).collect();
    json!({
        "name": version.agent,
        "version": version.number,
        "url": url,
        "card_url": format!("{url}/.well-known/agent-card.json"),
        "skills": skills,
        "needs": definition.needs,
        "granted": granted.services().collect::<Vec<_>>(),
    })
}

async fn module(shared: &Shared, digest: &str) -> Result<Reply, ApiError> {
    let (digest, modules) = (known_digest(digest)?, Arc::clone(&shared.modules));
    let bytes = blocking(move || Ok(modules.get(&digest)?)).await?;
    bytes
        .map(|bytes| respond::full(StatusCode::OK, WASM, bytes))
        .ok_or_else(|| no_module(&digest.to_string()))
}

async fn module_head(shared: &Shared, digest: &str) -> Result<Reply, ApiError> {
    let (digest, modules) = (known_digest(digest)?, Arc::clone(&shared.modules));
    let size = blocking(move || Ok(modules.size(&digest)?)).await?;
    let size = size.ok_or_else(|| no_module(&digest.to_string()))?;
    let mut reply = respond::full(StatusCode::OK, WASM, Bytes::new());
    reply.headers_mut().insert(CONTENT_LENGTH, size.into());
    *reply.body_mut() = Body::Full(None);
    Ok(reply)
}

fn known_digest(text: &str) -> Result<Digest, ApiError> {
    text.parse().map_err(|_no_digest| no_module(text))
}

pub(crate) fn no_module(digest: &str) -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "unknown_module",
        format!("no module {digest} is stored here"),
    )
}

async fn agent(shared: &Shared, name: &str) -> Result<Reply, ApiError> {
    let (record, mut details) = limits::details(shared, name).await?;
    let mut entry = entry(&shared.agents, &record);
    for member in ["limits", "overrides", "usage"] {
        entry[member] = details[member].take();
    }
    Ok(respond::json(StatusCode::OK, &entry))
}

pub(crate) fn entry(agents: &Agents, record: &AgentRecord) -> Value {
    let version = &record.active;
    // A definition that cannot be read is reported where the agent is called; its entry is still
    // needed here, to roll it back or delete it.
    let definition: Option<AgentDefinition> = serde_json::from_slice(&version.definition).ok();
    let mut entry = match &definition {
        Some(definition) => summary(agents, version, definition),
        None => json!({"name": record.name, "version": version.number}),
    };
    entry["declared"] = definition
        .as_ref()
        .map_or(Value::Null, |definition| definition.name.clone().into());
    entry["description"] = definition
        .map_or_else(String::new, |definition| definition.description)
        .into();
    entry["digest"] = version.digest.to_string().into();
    entry["created"] = time(version.created_ms).into();
    entry["versions"] = record.versions.into();
    entry["split"] = record.split.map_or(
        Value::Null,
        |Split { version, percent }| json!({"version": version, "percent": percent}),
    );
    entry
}

async fn delete(shared: &Arc<Shared>, name: &str) -> Result<Reply, ApiError> {
    let work = delete_agent(Arc::clone(shared), name.to_owned());
    Detached::new(&shared.operations.calls, work).await
}

async fn delete_agent(shared: Arc<Shared>, name: String) -> Result<Reply, ApiError> {
    let _changing = shared.changes.lock().await;
    // First, so that nothing of it is left for another agent of this name if the server dies in between.
    let engine = &shared.operations.engine;
    let forgotten = engine.forget_memory(&name).await;
    forgotten.map_err(|error| ApiError::internal("an agent's memory was not deleted", &error))?;
    values::write(&*shared.tasks, &name, &Values::new()).await?;
    let (modules, registry) = (Arc::clone(&shared.modules), Arc::clone(&shared.registry));
    let (owned, filters) = (name.clone(), Arc::clone(&shared.filters));
    let (versions, removed) = blocking(move || {
        let versions = registry.delete(&owned)?;
        let removed = remove_unreferenced(&*modules, &*registry, &filters, &versions)?;
        Ok((versions, removed))
    })
    .await?;
    if versions.is_empty() {
        return Err(no_agent(&name));
    }
    shared
        .agents
        .changed(&name, versions.iter().map(|version| version.number));
    shared.operations.scheduler.retire(&name, None);
    // What calls have kept that ran meanwhile.
    let forgotten = engine.forget_memory(&name).await;
    forgotten.map_err(|error| ApiError::internal("an agent's memory was not deleted", &error))?;
    shared.operations.scheduler.forget_usage(&name);
    shared.operations.scheduler.logs().forget(&name);
    for digest in &removed {
        shared.operations.scheduler.forget(digest);
    }
    info!(
        agent = name,
        versions = versions.len(),
        modules = removed.len(),
        "deleted"
    );
    Ok(respond::json(
        StatusCode::OK,
        &json!({"deleted": name, "versions": versions.len()}),
    ))
}

/// Removes the modules that no version of any agent, and no filter, names any more.
fn remove_unreferenced(
    modules: &dyn ModuleStore,
    registry: &dyn Registry,
    filters: &Filters,
    versions: &[VersionRecord],
) -> Result<Vec<Digest>, ApiError> {
    let mut removed = Vec::new();
    for version in versions {
        let is_used = registry.references(&version.digest)? > 0 || filters.uses(&version.digest);
        if !is_used && modules.remove(&version.digest)? {
            removed.push(version.digest);
        }
    }
    Ok(removed)
}

pub(crate) fn no_agent(name: &str) -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "unknown_agent",
        format!("no agent {name:?} is deployed here"),
    )
}

pub(crate) fn is_read(method: &Method) -> bool {
    method == Method::GET || method == Method::HEAD
}

/// Runs calls of the store off the event loop.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    spawn_blocking(work)
        .await
        .map_err(|died| ApiError::internal("the store could not be asked", &died))?
}

/// RFC 3339, in UTC.
pub(crate) fn time(ms: u64) -> String {
    let time = i64::try_from(ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}
