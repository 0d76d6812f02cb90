//! `/v1/filters`: the platform API's part about filters.

use super::book::{Filters, kept, refused};
use super::filter::Filter;
use super::limits::Overrides;
use super::stored::{BodyMode, Record, Settings};
use crate::body;
use crate::errors::ApiError;
use crate::handle::{Shared, method_not_allowed};
use crate::ops::Detached;
use crate::platform::{blocking, no_module, permit};
use crate::respond::{self, Reply};
use crate::route::Route;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dormouse_scheduler::is_label;
use dormouse_store::Digest;
use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;
use tracing::{info, warn};

/// Instances of one filter.
const MAX_INSTANCES: usize = 8;
/// Bytes of a request apart from the module.
const SETTINGS_BYTES: usize = 64 << 10;

/// The member with the module's bytes.
const MODULE: &str = "wasm";
/// The member with what its calls may use.
const LIMITS: &str = "limits";
/// All that a request may say.
const MEMBERS: [&str; 10] = [
    MODULE,
    "digest",
    "config",
    "order",
    "fail",
    "agents",
    "body",
    "max_body_bytes",
    "instances",
    LIMITS,
];

/// A filter, by its bytes or by the digest of what is stored. With neither, the one that is there keeps its own.
#[derive(Deserialize)]
struct Put {
    /// Base64.
    wasm: Option<String>,
    digest: Option<String>,
    #[serde(flatten)]
    settings: Settings,
}

pub(crate) async fn answer(
    shared: &Arc<Shared>,
    route: Route<'_>,
    parts: &Parts,
    body: Incoming,
) -> Result<Reply, ApiError> {
    match (route, &parts.method) {
        (Route::Filters, &Method::GET | &Method::HEAD) => Ok(list(shared)),
        (Route::Filters, _) => Ok(method_not_allowed("GET, HEAD")),
        (Route::Filter(name), &Method::GET | &Method::HEAD) => get(shared, name),
        (Route::Filter(name), &Method::PUT) => put(shared, name, body).await,
        (Route::Filter(name), &Method::DELETE) => delete(shared, name).await,
        (Route::FilterHealth(name), &Method::POST) => health(shared, name).await,
        (Route::FilterHealth(_), _) => Ok(method_not_allowed("POST")),
        _ => Ok(method_not_allowed("GET, HEAD, PUT, DELETE")),
    }
}

fn list(shared: &Shared) -> Reply {
    let filters = &shared.filters;
    let all = filters.all();
    let filters: Vec<Value> = all.iter().map(|one| entry(filters, one)).collect();
    respond::json(StatusCode::OK, &json!({"filters": filters}))
}

fn get(shared: &Shared, name: &str) -> Result<Reply, ApiError> {
    let filter = shared.filters.find(name).ok_or_else(|| no_filter(name))?;
    Ok(respond::json(
        StatusCode::OK,
        &entry(&shared.filters, &filter),
    ))
}

fn entry(filters: &Filters, filter: &Filter) -> Value {
    let record = &filter.record;
    let info = filter.instances.first().map(|instance| {
        let info = instance.info();
        json!({
            "world": instance.world().as_str(),
            "id": info.agent_id,
            "name": info.name,
            "version": info.version,
            "events": info.supported_events,
            "max_body_bytes": info.max_body_size,
            "streaming": info.supports_streaming,
        })
    });
    let settings = &record.settings;
    let (limits, counts_fuel) = (filters.limits(record), filters.counts_fuel());
    json!({
        "name": record.name,
        "digest": record.digest,
        "config": settings.config,
        "order": settings.order,
        "fail": settings.fail,
        "agents": settings.agents,
        "instances": settings.instances,
        "body": settings.body,
        "max_body_bytes": settings.max_body_bytes,
        "limits": settings.limits.shown(&limits, counts_fuel),
        "overrides": settings.limits,
        "breaker": filter.breaker(),
        "component": info,
    })
}

/// Asks its instances now.
async fn health(shared: &Shared, name: &str) -> Result<Reply, ApiError> {
    let filter = shared.filters.find(name).ok_or_else(|| no_filter(name))?;
    let checked = shared.filters.check(&filter).await;
    // One that did not start has none, and is not well.
    let is_healthy = !checked.is_empty() && checked.iter().all(|one| one.said.is_ok());
    let instances = checked.iter().map(|one| {
        let (is_healthy, said) = match &one.said {
            Ok(said) => (true, said.clone()),
            Err(error) => (false, error.to_string()),
        };
        json!({"instance": one.instance, "healthy": is_healthy, "said": said})
    });
    let instances: Vec<Value> = instances.collect();
    let body = json!({"name": name, "healthy": is_healthy, "instances": instances});
    Ok(respond::json(StatusCode::OK, &body))
}

async fn put(shared: &Arc<Shared>, name: &str, body: Incoming) -> Result<Reply, ApiError> {
    if !is_label(name) {
        let sentence = "a filter's name has lower-case letters, digits and hyphens, at most 63";
        return Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "invalid_name",
            sentence,
        ));
    }
    let permit = permit(shared).await?;
    // Base64 takes four bytes for three.
    let limit = shared.config.max_module_bytes / 3 * 4 + SETTINGS_BYTES;
    let body = body::read(body, &shared.config, limit).await?;
    check_members(&shared.filters, &body)?;
    let put: Put = serde_json::from_slice(&body).map_err(|error| invalid(&error.to_string()))?;
    if !(1..=MAX_INSTANCES).contains(&put.settings.instances) {
        return Err(invalid(&format!("instances is 1 to {MAX_INSTANCES}")));
    }
    let agents = put.settings.agents.iter().flatten();
    if let Some(agent) = agents.into_iter().find(|agent| !is_label(agent)) {
        return Err(invalid(&format!(
            "{agent:?} can be no agent's name, so the filter would stand before nobody"
        )));
    }
    // All of it or nothing, also when the client leaves from here on.
    let taking = take(Arc::clone(shared), name.to_owned(), put, permit);
    Detached::new(&shared.operations.calls, taking).await
}

/// Looks at what serde takes without a word: members that nobody knows, settings of any length, and limits of any size.
fn check_members(filters: &Filters, body: &[u8]) -> Result<(), ApiError> {
    let members: BTreeMap<Cow<'_, str>, &RawValue> =
        serde_json::from_slice(body).map_err(|error| invalid(&error.to_string()))?;
    let known = |name: &str| MEMBERS.contains(&name);
    if let Some(name) = members.keys().find(|name| !known(name)) {
        let known = MEMBERS.join(", ");
        return Err(invalid(&format!(
            "{name:?} is no member of a filter: {known} are"
        )));
    }
    let settings = members.iter().filter(|(name, _)| *name != MODULE);
    let bytes: usize = settings.map(|(_, value)| value.get().len()).sum();
    if bytes > SETTINGS_BYTES {
        return Err(invalid(&format!(
            "all but the module may have {SETTINGS_BYTES} bytes and has {bytes}"
        )));
    }
    let Some(limits) = members.get(LIMITS) else {
        return Ok(());
    };
    let (ceiling, counts_fuel) = (filters.ceiling(), filters.counts_fuel());
    let parsed = Overrides::parse(limits.get().as_bytes(), &ceiling, counts_fuel);
    parsed.map(drop).map_err(|sentence| {
        ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_limits", sentence)
    })
}

/// Has a place among uploads until it is done.
async fn take(
    shared: Arc<Shared>,
    name: String,
    put: Put,
    _permit: OwnedSemaphorePermit,
) -> Result<Reply, ApiError> {
    let filters = &shared.filters;
    let _changing = filters.changes.lock().await;
    // Not the filter itself, which ends when nobody has it.
    let old = filters.find(&name).map(|old| old.record.clone());
    let (digest, bytes, uploaded) = module(&shared, put.wasm, put.digest, old.as_ref()).await?;
    let record = Record {
        name,
        digest: digest.to_string(),
        settings: put.settings,
    };
    let new = filters.start(record.clone(), bytes.clone()).await;
    let new = new.map_err(|error| refused(&error))?;
    let kept = match pieces(&new) {
        Ok(()) => keep(&shared, &record, uploaded.then_some(bytes)).await,
        Err(error) => Err(error),
    };
    if let Err(error) = kept {
        filters.give_up(&record, &new.instances).await;
        return Err(error);
    }
    let reply = entry(filters, &new);
    filters.change(&record.name, Some(new)).await;
    if let Some(old) = &old
        && old.digest != record.digest
    {
        remove_unused(&shared, old).await;
    }
    info!(filter = record.name, %digest, "filter deployed");
    let status = if old.is_some() {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    Ok(respond::json(status, &reply))
}

/// Whether it takes bodies as it is to get them.
fn pieces(new: &Filter) -> Result<(), ApiError> {
    if new.body_mode() == BodyMode::Buffer || new.streams() {
        return Ok(());
    }
    let sentence = "the component does not take bodies in pieces, so body must be \"buffer\"";
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    Err(ApiError::new(status, "invalid_filter", sentence))
}

/// The bytes that the request means, and whether it has brought them.
async fn module(
    shared: &Arc<Shared>,
    wasm: Option<String>,
    digest: Option<String>,
    old: Option<&Record>,
) -> Result<(Digest, Vec<u8>, bool), ApiError> {
    let named = match (wasm, digest, old) {
        (Some(wasm), None, _) => {
            let bytes = STANDARD.decode(wasm.as_bytes());
            let bytes = bytes.map_err(|error| invalid(&format!("wasm is not base64: {error}")))?;
            return Ok((Digest::of(&bytes), bytes, true));
        }
        (None, Some(digest), _) => digest,
        (None, None, Some(old)) => old.digest.clone(),
        _ => return Err(invalid("give either wasm (base64) or digest")),
    };
    let digest: Digest = named.parse().map_err(|_no_digest| no_module(&named))?;
    let modules = Arc::clone(&shared.filters.modules);
    let bytes = blocking(move || Ok(modules.get(&digest)?)).await?;
    let bytes = bytes.ok_or_else(|| no_module(&named))?;
    Ok((digest, bytes, false))
}

async fn keep(
    shared: &Arc<Shared>,
    record: &Record,
    bytes: Option<Vec<u8>>,
) -> Result<(), ApiError> {
    let modules = Arc::clone(&shared.filters.modules);
    if let Some(bytes) = bytes {
        blocking(move || Ok(modules.put(&bytes).map(drop)?)).await?;
    }
    kept(record.keep(&*shared.filters.store).await)
}

async fn delete(shared: &Arc<Shared>, name: &str) -> Result<Reply, ApiError> {
    let removing = remove(Arc::clone(shared), name.to_owned());
    Detached::new(&shared.operations.calls, removing).await
}

async fn remove(shared: Arc<Shared>, name: String) -> Result<Reply, ApiError> {
    let filters = &shared.filters;
    let _changing = filters.changes.lock().await;
    let old = filters.find(&name).map(|old| old.record.clone());
    let old = old.ok_or_else(|| no_filter(&name))?;
    kept(old.forget(&*filters.store).await)?;
    filters.change(&name, None).await;
    remove_unused(&shared, &old).await;
    info!(filter = name, "filter deleted");
    Ok(respond::json(StatusCode::OK, &json!({"deleted": name})))
}

/// What is stored belongs to an agent or a filter. That it cannot be removed harms nobody.
async fn remove_unused(shared: &Arc<Shared>, record: &Record) {
    let Some(digest) = record.digest() else {
        return;
    };
    let _changing = shared.changes.lock().await;
    if shared.filters.uses(&digest) {
        return;
    }
    let (modules, registry) = (Arc::clone(&shared.modules), Arc::clone(&shared.registry));
    let removed = blocking(move || {
        let unused = registry.references(&digest)? == 0;
        Ok(unused && modules.remove(&digest)?)
    });
    if let Err(error) = removed.await {
        warn!(%digest, error = error.sentence, "the module of a filter stays in the store");
    }
}

fn invalid(sentence: &str) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "invalid_body", sentence)
}

fn no_filter(name: &str) -> ApiError {
    let sentence = format!("there is no filter {name:?} here");
    ApiError::new(StatusCode::NOT_FOUND, "unknown_filter", sentence)
}
