//! `/v1/agents/{name}/limits`, limits that come with an upload, and what is shown of them.

use crate::agents::Overrides;
use crate::body;
use crate::errors::ApiError;
use crate::handle::Shared;
use crate::platform::{MAX_BODY_BYTES, blocking, no_agent, time};
use crate::respond::{self, Reply};
use dormouse_scheduler::{CallLimits, Scheduler};
use dormouse_services::model::AgentDefinition;
use dormouse_store::AgentRecord;
use hyper::body::Incoming;
use hyper::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use std::sync::Arc;
use tracing::info;

/// Limits for the agents of an upload, as the JSON object that their own path takes.
const HEADER: &str = "dormouse-limits";

pub(crate) async fn get(shared: &Shared, name: &str) -> Result<Reply, ApiError> {
    let (record, kept) = read(shared, name).await?;
    let scheduler = &shared.operations.scheduler;
    Ok(respond::json(
        StatusCode::OK,
        &entry(scheduler, &record, &kept),
    ))
}

/// Replaces what was set before. It holds from the next call on; running calls go on under what they began with.
pub(crate) async fn put(shared: &Shared, name: &str, body: Incoming) -> Result<Reply, ApiError> {
    let body = body::read(body, &shared.config, MAX_BODY_BYTES).await?;
    let limits = checked(&shared.operations.scheduler, &body)?;
    set(shared, name, Some(encoded(&limits))).await
}

/// Back to what holds for every agent.
pub(crate) async fn delete(shared: &Shared, name: &str) -> Result<Reply, ApiError> {
    set(shared, name, None).await
}

async fn set(shared: &Shared, name: &str, limits: Option<Vec<u8>>) -> Result<Reply, ApiError> {
    let _changing = shared.changes.lock().await;
    let (registry, owned) = (Arc::clone(&shared.registry), name.to_owned());
    if !blocking(move || Ok(registry.set_limits(&owned, limits.as_deref())?)).await? {
        return Err(no_agent(name));
    }
    changed(shared, name).await?;
    info!(agent = name, "limits changed");
    get(shared, name).await
}

/// To be called after an agent's limits have changed: what was made under the old ones is not used again.
pub(crate) async fn changed(shared: &Shared, name: &str) -> Result<(), ApiError> {
    let (registry, owned) = (Arc::clone(&shared.registry), name.to_owned());
    let versions = blocking(move || Ok(registry.versions(&owned)?)).await?;
    let numbers = versions.iter().map(|version| version.number);
    shared.agents.changed(name, numbers);
    shared.operations.scheduler.retire(name, None);
    Ok(())
}

/// The limits that an upload brings for its agents: as they are kept, and what then holds.
pub(crate) struct Brought {
    pub(crate) kept: Vec<u8>,
    pub(crate) limits: CallLimits,
}

pub(crate) fn of_upload(
    scheduler: &Scheduler,
    headers: &HeaderMap,
) -> Result<Option<Brought>, ApiError> {
    let Some(json) = headers.get(HEADER) else {
        return Ok(None);
    };
    let overrides = checked(scheduler, json.as_bytes())?;
    Ok(Some(Brought {
        kept: encoded(&overrides),
        limits: overrides.limits(scheduler.limits(), scheduler.ceiling()),
    }))
}

fn checked(scheduler: &Scheduler, json: &[u8]) -> Result<Overrides, ApiError> {
    Overrides::parse(json, scheduler.ceiling()).map_err(|sentence| {
        ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_limits", sentence)
    })
}

fn encoded(overrides: &Overrides) -> Vec<u8> {
    serde_json::to_vec(overrides).expect("limits have string keys only")
}

async fn read(shared: &Shared, name: &str) -> Result<(AgentRecord, Overrides), ApiError> {
    let (registry, owned) = (Arc::clone(&shared.registry), name.to_owned());
    let (record, kept) =
        blocking(move || Ok((registry.agent(&owned)?, registry.limits(&owned)?))).await?;
    let record = record.ok_or_else(|| no_agent(name))?;
    let kept = Overrides::kept(kept.as_deref())
        .map_err(|error| ApiError::internal("an agent's limits cannot be read", &error))?;
    Ok((record, kept))
}

fn entry(scheduler: &Scheduler, record: &AgentRecord, kept: &Overrides) -> Value {
    let limits = effective(scheduler, record, kept);
    json!({"name": record.name, "limits": limits, "overrides": kept})
}

/// What holds for the agent's active version.
fn effective(scheduler: &Scheduler, record: &AgentRecord, kept: &Overrides) -> Value {
    let limits = kept.limits(scheduler.limits(), scheduler.ceiling());
    let definition: Option<AgentDefinition> =
        serde_json::from_slice(&record.active.definition).ok();
    let definition = definition.map(|mut definition| {
        kept.change(&mut definition);
        definition
    });
    Overrides::shown(&limits, definition.as_ref())
}

/// What an agent's entry says besides what the list of agents does.
pub(crate) async fn details(shared: &Shared, name: &str) -> Result<(AgentRecord, Value), ApiError> {
    let (record, kept) = read(shared, name).await?;
    let scheduler = &shared.operations.scheduler;
    let used = scheduler.usage(name).read();
    let mut usage = json!({
        "since": time(shared.started_ms),
        "calls": used.calls,
        "cpu_ms": used.processor.as_secs_f64() * 1e3,
        "duration_ms": used.duration.as_secs_f64() * 1e3,
        "peak_memory_bytes": used.peak_memory_bytes,
    });
    if scheduler.limits().fuel.is_some() {
        usage["fuel"] = used.fuel.into();
    }
    let details = json!({
        "limits": effective(scheduler, &record, &kept),
        "overrides": kept,
        "usage": usage,
    });
    Ok((record, details))
}
