//! The versions of an agent: which there are, and which of them new work goes to.

use crate::body;
use crate::errors::ApiError;
use crate::handle::Shared;
use crate::limits;
use crate::platform::{MAX_BODY_BYTES, blocking, entry, no_agent, time};
use crate::respond::{self, Reply};
use dormouse_store::Split;
use hyper::StatusCode;
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use tracing::info;

/// `GET /v1/agents/{name}/versions`.
pub(crate) async fn list(shared: &Shared, name: &str) -> Result<Reply, ApiError> {
    let (registry, owned) = (Arc::clone(&shared.registry), name.to_owned());
    let versions = blocking(move || Ok(registry.versions(&owned)?)).await?;
    let (record, mut details) = limits::details(shared, name).await?;
    let active = record.active.number;
    let url = shared.agents.url(name);
    let percent = |number: u32| match record.split {
        Some(split) if split.version == number => split.percent,
        Some(split) if number == active => 100 - split.percent,
        None if number == active => 100,
        _ => 0,
    };
    let versions: Vec<Value> = versions
        .iter()
        .map(|version| {
            json!({
                "version": version.number,
                "digest": version.digest,
                "created": time(version.created_ms),
                "active": version.number == active,
                "percent": percent(version.number),
                "url": format!("{url}/versions/{}", version.number),
            })
        })
        .collect();
    Ok(respond::json(
        StatusCode::OK,
        &json!({"name": name, "limits": details["limits"].take(), "versions": versions}),
    ))
}

/// The body of `POST /v1/agents/{name}/active`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Active {
    version: u32,
    /// Of new work; without it, all.
    percent: Option<u8>,
}

pub(crate) async fn activate(
    shared: &Shared,
    name: &str,
    body: Incoming,
) -> Result<Reply, ApiError> {
    let body = body::read(body, &shared.config, MAX_BODY_BYTES).await?;
    let Active { version, percent } = serde_json::from_slice(&body).map_err(|error| {
        let sentence =
            format!("the body must be {{\"version\": N}}, with or without \"percent\": {error}");
        ApiError::new(StatusCode::BAD_REQUEST, "invalid_body", sentence)
    })?;
    match percent {
        None => switch(shared, name, version).await?,
        Some(percent) => split(shared, name, Split { version, percent }).await?,
    }
    let (registry, owned) = (Arc::clone(&shared.registry), name.to_owned());
    let record = blocking(move || Ok(registry.agent(&owned)?)).await?;
    let record = record.ok_or_else(|| no_agent(name))?;
    Ok(respond::json(
        StatusCode::OK,
        &entry(&shared.agents, &record),
    ))
}

/// All new work goes to this version.
async fn switch(shared: &Shared, name: &str, version: u32) -> Result<(), ApiError> {
    let _changing = shared.changes.lock().await;
    let (registry, owned) = (Arc::clone(&shared.registry), name.to_owned());
    let switched = blocking(move || {
        if registry.activate(&owned, version)?.is_some() {
            return Ok(());
        }
        Err(match registry.agent(&owned)? {
            Some(_) => no_version(&owned, version),
            None => no_agent(&owned),
        })
    });
    switched.await?;
    shared.agents.changed(name, [version]);
    shared.operations.scheduler.retire(name, Some(version));
    info!(agent = name, version, "activated");
    Ok(())
}

/// A share of it does, the rest stays with the active one.
async fn split(shared: &Shared, name: &str, split: Split) -> Result<(), ApiError> {
    let Split { version, percent } = split;
    let invalid = |sentence: String| {
        Err(ApiError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid_split",
            sentence,
        ))
    };
    if !(1..=99).contains(&percent) {
        let sentence =
            format!("percent is 1 to 99, not {percent}; without it all new work switches");
        return invalid(sentence);
    }
    let _changing = shared.changes.lock().await;
    let (registry, owned) = (Arc::clone(&shared.registry), name.to_owned());
    let refused = blocking(move || {
        if registry.split(&owned, split)? {
            return Ok(None);
        }
        let record = registry.agent(&owned)?.ok_or_else(|| no_agent(&owned))?;
        if record.active.number == version {
            let sentence = "it is the active version already; name the other one";
            return Ok(Some(format!("version {version}: {sentence}")));
        }
        Err(no_version(&owned, version))
    })
    .await?;
    if let Some(sentence) = refused {
        return invalid(sentence);
    }
    shared.agents.changed(name, []);
    info!(agent = name, version, percent, "new work is split");
    Ok(())
}

fn no_version(name: &str, version: u32) -> ApiError {
    let sentence = format!("agent {name:?} has no version {version}");
    ApiError::new(StatusCode::NOT_FOUND, "unknown_version", sentence)
}
