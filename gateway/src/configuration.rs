//! `/v1/agents/{name}/config`: what an agent's guest reads by `wasi:config`.

use crate::agents::values::{self, Values};
use crate::body;
use crate::errors::ApiError;
use crate::handle::Shared;
use crate::limits;
use crate::platform::{MAX_BODY_BYTES, blocking, no_agent};
use crate::respond::{self, Reply};
use hyper::StatusCode;
use hyper::body::Incoming;
use serde_json::json;
use std::sync::Arc;
use tracing::info;

/// What was set here, and what then holds: the server's own configuration stands behind it.
pub(crate) async fn get(shared: &Shared, name: &str) -> Result<Reply, ApiError> {
    exists(shared, name).await?;
    let (tasks, owned) = (Arc::clone(&shared.tasks), name.to_owned());
    let set = blocking(move || Ok(values::read(&*tasks, &owned)?)).await?;
    let mut config = shared
        .config
        .agent_config
        .get(name)
        .cloned()
        .unwrap_or_default();
    config.extend(set.clone());
    let body = json!({"name": name, "config": config, "set": set});
    Ok(respond::json(StatusCode::OK, &body))
}

/// Replaces what was set before. It holds from the next call on.
pub(crate) async fn put(shared: &Shared, name: &str, body: Incoming) -> Result<Reply, ApiError> {
    let body = body::read(body, &shared.config, MAX_BODY_BYTES).await?;
    let values = values::parse(&body).map_err(|sentence| {
        ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_config", sentence)
    })?;
    set(shared, name, &values).await
}

/// Back to what the server's configuration says.
pub(crate) async fn delete(shared: &Shared, name: &str) -> Result<Reply, ApiError> {
    set(shared, name, &Values::new()).await
}

async fn set(shared: &Shared, name: &str, values: &Values) -> Result<Reply, ApiError> {
    let _changing = shared.changes.lock().await;
    exists(shared, name).await?;
    values::write(&*shared.tasks, name, values).await?;
    limits::changed(shared, name).await?;
    info!(agent = name, "configuration changed");
    get(shared, name).await
}

async fn exists(shared: &Shared, name: &str) -> Result<(), ApiError> {
    let (registry, owned) = (Arc::clone(&shared.registry), name.to_owned());
    let record = blocking(move || Ok(registry.agent(&owned)?)).await?;
    record.map(drop).ok_or_else(|| no_agent(name))
}
