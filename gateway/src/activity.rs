//! What happened: `/v1/agents/{name}/logs`, and `/v1/tasks/{id}` for who knows a task and not its agent.

use crate::auth::Caller;
use crate::errors::ApiError;
use crate::handle::{Shared, method_not_allowed};
use crate::metrics::Operation;
use crate::platform::{blocking, is_read, no_agent, time};
use crate::respond::{self, Reply};
use crate::uri;
use dormouse_services::{LogPage, LogRecord, TaskError, TaskScope};
use hyper::StatusCode;
use hyper::http::request::Parts;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Records in one answer.
const MAX_RECORDS: usize = 1_000;
const RECORDS: usize = 100;
/// Seconds that a request for what is still to come is held.
const MAX_WAIT: u64 = 30;

pub(crate) async fn logs(
    shared: &Shared,
    name: &str,
    query: Option<&str>,
) -> Result<Reply, ApiError> {
    let after = number(query, "after")?;
    let limit = number(query, "limit")?.map_or(RECORDS, |limit| {
        usize::try_from(limit).map_or(MAX_RECORDS, |limit| limit.clamp(1, MAX_RECORDS))
    });
    let wait = Duration::from_secs(number(query, "wait")?.unwrap_or(0).min(MAX_WAIT));
    let (registry, owned) = (Arc::clone(&shared.registry), name.to_owned());
    let known = blocking(move || Ok(registry.agent(&owned)?)).await?;
    known.ok_or_else(|| no_agent(name))?;
    let book = shared.operations.scheduler.logs();
    let page = tokio::select! {
        biased;
        page = book.next(name, after, limit) => page,
        () = tokio::time::sleep(wait) => book.read(name, after, limit),
        () = shared.draining.cancelled() => book.read(name, after, limit),
    };
    Ok(respond::json(StatusCode::OK, &shown(&page)))
}

fn shown(page: &LogPage) -> Value {
    let records: Vec<Value> = page.records.iter().map(|one| record(one)).collect();
    json!({"records": records, "next": page.next})
}

fn record(record: &LogRecord) -> Value {
    let fields = record.fields.iter();
    let fields: Map<String, Value> = fields
        .map(|(name, value)| (name.clone(), value.clone().into()))
        .collect();
    json!({
        "number": record.number,
        "time": time(record.time_ms),
        "level": record.level,
        "version": record.version,
        "task": record.task,
        "message": record.message,
        "fields": fields,
    })
}

pub(crate) fn number(query: Option<&str>, name: &str) -> Result<Option<u64>, ApiError> {
    let Some(text) = uri::parameter(query, name) else {
        return Ok(None);
    };
    let number = text.parse().map_err(|_none| {
        let sentence = format!("{name:?} must be a whole number, not {text:?}");
        ApiError::new(StatusCode::BAD_REQUEST, "invalid_query", sentence)
    })?;
    Ok(Some(number))
}

/// One of the caller's tasks, with the name of its agent.
pub(crate) async fn task(shared: &Shared, caller: &Caller, id: &str, parts: &Parts) -> Reply {
    if !is_read(&parts.method) {
        return method_not_allowed("GET, HEAD");
    }
    let started = Instant::now();
    let found = find(shared, caller, id).await;
    told(shared, started, found.map_err(|error| refused(id, error)))
}

/// The same for one of which the agent is not to be had.
pub(crate) fn no_task(shared: &Shared, id: &str, error: TaskError, parts: &Parts) -> Reply {
    if !is_read(&parts.method) {
        return method_not_allowed("GET, HEAD");
    }
    told(shared, Instant::now(), Err(refused(id, error)))
}

fn told(shared: &Shared, started: Instant, found: Result<Value, ApiError>) -> Reply {
    let (reply, code) = match found {
        Ok(found) => (respond::json(StatusCode::OK, &found), "ok"),
        Err(error) => (error.reply(), error.code),
    };
    shared
        .metrics
        .platform
        .observe(Operation::Get, code, started);
    reply
}

async fn find(shared: &Shared, caller: &Caller, id: &str) -> Result<Value, TaskError> {
    let engine = &shared.operations.engine;
    let agent = engine.agent_of(&caller.principal, id).await?;
    let scope = TaskScope {
        agent: agent.clone(),
        principal: caller.principal.to_string(),
    };
    let task = engine.get(&scope, id).await?;
    Ok(json!({"agent": agent, "task": task}))
}

fn refused(id: &str, error: TaskError) -> ApiError {
    match error {
        TaskError::NotFound(_) => ApiError::new(
            StatusCode::NOT_FOUND,
            "unknown_task",
            format!("you have no task {id:?} here"),
        ),
        other => ApiError::internal("a task could not be read", &other),
    }
}
