//! Agents under names of their own: the same module may be deployed under as many as are wanted.

use crate::auth::tokens::now_ms;
use crate::body;
use crate::errors::ApiError;
use crate::handle::Shared;
use crate::ops::Detached;
use crate::platform::{MAX_BODY_BYTES, blocking, deployed, no_module, permit};
use crate::respond::Reply;
use dormouse_scheduler::is_label;
use dormouse_services::model::AgentDefinition;
use dormouse_store::{Digest, Registry, VersionRecord};
use hyper::StatusCode;
use hyper::body::Incoming;
use serde::Deserialize;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// An agent as its module declares it, and what it is called here.
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) definition: AgentDefinition,
}

/// The body of `PUT /v1/agents/{name}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    digest: Digest,
    /// May be left out if the module declares one agent only.
    agent: Option<String>,
}

/// Makes an agent of a stored module the active version of the agent of this name.
pub(crate) async fn put(
    shared: &Arc<Shared>,
    name: &str,
    body: Incoming,
) -> Result<Reply, ApiError> {
    let body = body::read(body, &shared.config, MAX_BODY_BYTES).await?;
    let source: Source = serde_json::from_slice(&body).map_err(|error| {
        let sentence =
            format!("the body must be {{\"digest\": \"blake3:…\", \"agent\": \"NAME\"}}: {error}");
        ApiError::new(StatusCode::BAD_REQUEST, "invalid_body", sentence)
    })?;
    check(name)?;
    let permit = permit(shared).await?;
    let work = deploy_stored(Arc::clone(shared), name.to_owned(), source, permit);
    Detached::new(&shared.operations.calls, work).await
}

async fn deploy_stored(
    shared: Arc<Shared>,
    name: String,
    source: Source,
    _permit: OwnedSemaphorePermit,
) -> Result<Reply, ApiError> {
    let digest = source.digest;
    let modules = Arc::clone(&shared.modules);
    let size = blocking(move || Ok(modules.size(&digest)?)).await?;
    size.ok_or_else(|| no_module(&digest.to_string()))?;
    let definitions = shared.operations.scheduler.describe(digest).await?;
    let named = Named::choose(&name, definitions, source.agent.as_deref())?;
    let _changing = shared.changes.lock().await;
    let (modules, registry) = (Arc::clone(&shared.modules), Arc::clone(&shared.registry));
    let scheduler = shared.operations.scheduler.clone();
    let (new, versions, named) = blocking(move || {
        // Its last agent may have been deleted since, and its code made again for us.
        if modules.size(&digest)?.is_none() {
            scheduler.forget(&digest);
            return Err(no_module(&digest.to_string()));
        }
        let named = [named];
        let (new, versions) = deploy(&*registry, digest, &named, None)?;
        Ok((new, versions, named))
    })
    .await?;
    Ok(deployed(&shared, digest, new, &versions, &named))
}

/// Writes versions into the registry, all in one step, and tells whether any of them is new.
pub(crate) fn deploy(
    registry: &dyn Registry,
    digest: Digest,
    named: &[Named],
    limits: Option<&[u8]>,
) -> Result<(bool, Vec<VersionRecord>), ApiError> {
    let mut is_new = false;
    for Named { name, definition } in named {
        let versions = registry.versions(name)?;
        let same = versions.iter().find(|version| version.digest == digest);
        is_new |= same.is_none();
        // One version is one agent of one module for ever: tasks may wait for it.
        let before = same.and_then(|version| declared(&version.definition));
        if before.is_some_and(|before| before != definition.name) {
            let sentence =
                format!("agent {name:?} has a version that is another agent of this module");
            return Err(conflict(sentence));
        }
    }
    let encoded: Vec<(String, Vec<u8>)> = named
        .iter()
        .map(|Named { name, definition }| {
            let json = serde_json::to_vec(definition).expect("a definition has string keys only");
            (name.clone(), json)
        })
        .collect();
    Ok((
        is_new,
        registry.deploy_with(digest, &encoded, limits, now_ms())?,
    ))
}

/// What a stored definition calls its agent; `None` if it cannot be read.
fn declared(definition: &[u8]) -> Option<String> {
    let definition: AgentDefinition = serde_json::from_slice(definition).ok()?;
    Some(definition.name)
}

fn conflict(sentence: String) -> ApiError {
    ApiError::new(StatusCode::CONFLICT, "name_conflict", sentence)
}

/// Whether an agent can have this name.
pub(crate) fn check(name: &str) -> Result<(), ApiError> {
    if is_label(name) {
        return Ok(());
    }
    let sentence = "an agent's name is 1 to 63 of a-z, 0-9 and inner hyphens (RFC 1123)";
    Err(ApiError::new(
        StatusCode::BAD_REQUEST,
        "invalid_name",
        sentence,
    ))
}

impl Named {
    pub(crate) fn as_declared(definition: AgentDefinition) -> Self {
        Self {
            name: definition.name.clone(),
            definition,
        }
    }

    /// The agent that the module declares as `agent`, or its only one, under another name.
    pub(crate) fn choose(
        name: &str,
        definitions: Vec<AgentDefinition>,
        agent: Option<&str>,
    ) -> Result<Self, ApiError> {
        let names: Vec<&str> = definitions.iter().map(|agent| &*agent.name).collect();
        let undeclared = |what: &str| {
            let sentence = format!("{what}: the module declares {}", names.join(", "));
            ApiError::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "undeclared_agent",
                sentence,
            )
        };
        let wanted = match (agent, &*names) {
            (Some(agent), _) => agent,
            (None, [only]) => *only,
            (None, _) => return Err(undeclared("say which agent it is")),
        };
        let Some(at) = names.iter().position(|name| *name == wanted) else {
            return Err(undeclared("there is no agent of that name"));
        };
        if wanted != name && names.contains(&name) {
            let sentence = format!("the module itself declares another agent {name:?}");
            return Err(conflict(sentence));
        }
        let definition = definitions.into_iter().nth(at).expect("it was found there");
        Ok(Self {
            name: name.to_owned(),
            definition,
        })
    }
}
