//! The HTTP+JSON binding (A2A 1.0 §11).

use crate::agents::AgentEntry;
use crate::auth::Caller;
use crate::body::Payload;
use crate::errors::{A2aError, Kind};
use crate::handle::Shared;
use crate::metrics::Operation;
use crate::negotiate;
use crate::ops::{Answer, Request};
use crate::respond::{self, Reply};
use crate::route::A2aPath;
use crate::sse::{self, Framing};
use crate::trace;
use crate::uri;
use crate::validate::{self, ListParameters};
use bytes::Bytes;
use hyper::header::{HeaderValue, RETRY_AFTER};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, StatusCode};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

pub(crate) async fn answer(
    shared: &Shared,
    caller: &Caller,
    agent: &Arc<AgentEntry>,
    path: A2aPath<'_>,
    parts: &Parts,
    body: Payload,
) -> Reply {
    let started = Instant::now();
    let mut operation = Operation::Unknown;
    let (reply, code) = match serve(shared, caller, agent, path, parts, body, &mut operation).await
    {
        Ok(reply) => (reply, "ok"),
        Err(error) => {
            let reply = refusal(&parts.headers, &error);
            let reply = match error.kind {
                Kind::MethodNotAllowed => respond::allow(reply, allowed(path)),
                _ => reply,
            };
            (reply, error.kind.code())
        }
    };
    agent.metrics.observe(operation, code, started);
    trace::note(parts, Some(&agent.version.agent), operation, code);
    reply
}

/// Seconds after which what is unavailable now is worth another try: calls mostly take less.
const SOON: HeaderValue = HeaderValue::from_static("1");

pub(crate) fn refusal(headers: &HeaderMap, error: &A2aError) -> Reply {
    let mut reply = respond::json(error.status(), &error.rest());
    if error.kind == Kind::Unavailable {
        reply.headers_mut().insert(RETRY_AFTER, SOON);
    }
    mirror(headers, &mut reply);
    reply
}

async fn serve(
    shared: &Shared,
    caller: &Caller,
    agent: &Arc<AgentEntry>,
    path: A2aPath<'_>,
    parts: &Parts,
    body: Payload,
    operation: &mut Operation,
) -> Result<Reply, A2aError> {
    check_method(path, &parts.method, parts.uri.path())?;
    negotiate::version(&parts.headers, parts.uri.query())?;
    let extensions = negotiate::extensions(&parts.headers, &agent.definition.extensions)?;
    let body = if has_body(path, &parts.method) {
        body.read(&shared.config, shared.config.max_request_bytes)
            .await?
    } else {
        Bytes::new()
    };
    let room = shared.operations.room(&body).await?;
    let mut request = decode(path, &parts.method, parts.uri.query(), &body)?;
    request.keep(room);
    let activated = negotiate::named(&extensions);
    request.activate(extensions, trace::of(parts));
    validate::go_on(&mut request, &parts.headers)?;
    *operation = request.operation();
    let mut reply = match shared.operations.perform(caller, agent, request).await? {
        Answer::Stream(opening) => sse::reply(*opening, Framing::Bare, shared.stream_rules.clone()),
        answer => {
            let mut reply = respond::json(StatusCode::OK, &answer);
            mirror(&parts.headers, &mut reply);
            reply
        }
    };
    negotiate::announce(activated, &mut reply);
    Ok(reply)
}

/// Whether the request's parameters are in its body. A body of another POST is left unread: it could say
/// nothing that the path does not.
fn has_body(path: A2aPath<'_>, method: &Method) -> bool {
    match path {
        A2aPath::Send | A2aPath::Stream => true,
        A2aPath::PushConfigs(_) => method == Method::POST,
        _ => false,
    }
}

/// What is asked, by a method that the path has.
pub(crate) fn decode(
    path: A2aPath<'_>,
    method: &Method,
    query: Option<&str>,
    body: &[u8],
) -> Result<Request, A2aError> {
    match path {
        A2aPath::Send => validate::send(body).map(Request::Send),
        A2aPath::Stream => validate::send(body).map(Request::Stream),
        A2aPath::PushConfigs(task) if method == Method::POST => {
            validate::push::create(body, Some(task))
        }
        A2aPath::PushConfig { task, id } if method == Method::DELETE => Ok(Request::DeletePush {
            task: task.to_owned(),
            id: id.to_owned(),
        }),
        _ => bodyless(path, query),
    }
}

/// The requests whose parameters are in the path and the query (A2A 1.0 §11.5).
fn bodyless(path: A2aPath<'_>, query: Option<&str>) -> Result<Request, A2aError> {
    match path {
        A2aPath::Tasks => validate::list(list_parameters(query)?).map(Request::List),
        A2aPath::Task(id) => {
            let length = uri::parameter(query, "historyLength");
            let length = length
                .map(|text| integer("historyLength", &text))
                .transpose()?;
            let history_length = validate::history_length(length)?;
            Ok(Request::Get {
                id: id.to_owned(),
                history_length,
            })
        }
        A2aPath::Cancel(id) => Ok(Request::Cancel {
            id: validate::id(id.to_owned())?,
        }),
        A2aPath::Subscribe(id) => Ok(Request::Subscribe {
            id: validate::id(id.to_owned())?,
            after: None,
        }),
        A2aPath::PushConfigs(task) => {
            let size = uri::parameter(query, "pageSize");
            let size = size.map(|text| integer("pageSize", &text)).transpose()?;
            let token = uri::parameter(query, "pageToken").map(Cow::into_owned);
            validate::push::list_of(task.to_owned(), size, token)
        }
        A2aPath::PushConfig { task, id } => Ok(Request::GetPush {
            task: task.to_owned(),
            id: id.to_owned(),
        }),
        A2aPath::ExtendedCard => Ok(Request::ExtendedCard),
        _ => Err(A2aError::new(
            Kind::PathNotFound,
            "A2A 1.0 has no operation at this path",
        )),
    }
}

/// The query as the request object it stands for.
fn list_parameters(query: Option<&str>) -> Result<ListParameters, A2aError> {
    let mut request = Map::new();
    for (name, text) in uri::query(query) {
        let value = match &*name {
            "pageSize" | "historyLength" => Value::from(integer(&name, &text)?),
            "includeArtifacts" => match &*text {
                "true" => Value::Bool(true),
                "false" => Value::Bool(false),
                _ => return Err(A2aError::params("includeArtifacts must be true or false")),
            },
            "contextId" | "status" | "pageToken" | "statusTimestampAfter" if !text.is_empty() => {
                Value::String(text.into_owned())
            }
            _ => continue,
        };
        request.insert(name.into_owned(), value);
    }
    serde_json::from_value(Value::Object(request))
        .map_err(|error| A2aError::params(format!("the query is not valid: {error}")))
}

fn integer(name: &str, text: &str) -> Result<i32, A2aError> {
    text.parse()
        .map_err(|_not_one| A2aError::params(format!("{name} must be a number, not {text:?}")))
}

/// `text` is the path as the client wrote it.
pub(crate) fn check_method(path: A2aPath<'_>, method: &Method, text: &str) -> Result<(), A2aError> {
    if is_allowed(path, method) {
        return Ok(());
    }
    let sentence = format!("{text} takes {}", allowed(path));
    Err(A2aError::new(Kind::MethodNotAllowed, sentence))
}

fn is_allowed(path: A2aPath<'_>, method: &Method) -> bool {
    // HEAD is GET without the body (RFC 9110 §9.3.2).
    let method = if *method == Method::HEAD {
        &Method::GET
    } else {
        method
    };
    matches!(path, A2aPath::Unknown)
        || allowed(path)
            .split(", ")
            .any(|name| name == method.as_str())
}

/// The methods of a path. SubscribeToTask has two: the text of the specification says POST, its
/// a2a.proto GET, and clients follow either.
fn allowed(path: A2aPath<'_>) -> &'static str {
    match path {
        A2aPath::Send | A2aPath::Stream | A2aPath::Cancel(_) | A2aPath::JsonRpc => "POST",
        A2aPath::Subscribe(_) => "GET, POST",
        A2aPath::PushConfigs(_) => "GET, POST",
        A2aPath::PushConfig { .. } => "GET, DELETE",
        _ => "GET",
    }
}

fn mirror(headers: &HeaderMap, reply: &mut Reply) {
    if negotiate::wants_a2a_json(headers) {
        reply
            .headers_mut()
            .insert(hyper::header::CONTENT_TYPE, respond::A2A_JSON);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use dormouse_services::model::TaskState;

    fn list(query: &str) -> Result<Request, A2aError> {
        bodyless(A2aPath::Tasks, Some(query))
    }

    #[test]
    fn lists_are_read_from_the_query() {
        let query = "contextId=c%20d&status=TASK_STATE_WORKING&pageSize=7&historyLength=0\
                     &statusTimestampAfter=2026-01-02T03:04:05Z&includeArtifacts=true&pageToken=&x=y";
        let Ok(Request::List(request)) = list(query) else {
            panic!("not a list")
        };
        assert_eq!(request.filter.context_id.as_deref(), Some("c d"));
        assert_eq!(request.filter.state, Some(TaskState::Working));
        assert_eq!(
            (request.filter.page_size, request.history_length),
            (7, Some(0))
        );
        assert!(request.include_artifacts && request.filter.status_after.is_some());
        assert_eq!(request.filter.page_token, None);
        for wrong in [
            "pageSize=x",
            "pageSize=0",
            "status=WORKING",
            "includeArtifacts=1",
            "historyLength=-1",
            "statusTimestampAfter=now",
        ] {
            assert_eq!(
                list(wrong).err().unwrap().kind,
                Kind::InvalidParams,
                "{wrong}"
            );
        }
    }

    #[test]
    fn paths_know_their_methods() {
        for (path, method, expected) in [
            (A2aPath::Send, Method::POST, true),
            (A2aPath::Send, Method::GET, false),
            (A2aPath::Subscribe("1"), Method::GET, true),
            (A2aPath::Subscribe("1"), Method::POST, true),
            (A2aPath::Tasks, Method::HEAD, true),
            (A2aPath::Tasks, Method::DELETE, false),
        ] {
            assert_eq!(is_allowed(path, &method), expected, "{path:?} {method}");
        }
    }
}
