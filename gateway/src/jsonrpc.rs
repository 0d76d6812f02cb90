//! The JSON-RPC 2.0 binding (A2A 1.0 §9). The hot path: one scan for the envelope, one typed parse
//! of the parameters, one write of the answer.

use crate::agents::AgentEntry;
use crate::auth::Caller;
use crate::body::Payload;
use crate::errors::{A2aError, Kind};
use crate::handle::Shared;
use crate::metrics::Operation;
use crate::negotiate;
use crate::ops::{Answer, Request};
use crate::respond::{self, Reply};
use crate::sse::{self, Framing};
use crate::trace;
use crate::validate::{self, GetParameters, ListParameters};
use a2a::methods;
use a2a::{CancelTaskRequest, SubscribeToTaskRequest};
use dormouse_services::weight::are_too_heavy;
use hyper::StatusCode;
use hyper::header::CONTENT_TYPE;
use hyper::http::request::Parts;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::error::Category;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

/// The envelope of a request; its two open ends stay text.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    jsonrpc: Cow<'a, str>,
    /// `None`: a notification. `null` is an id, if a bad one.
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
}

fn present<'a, D: Deserializer<'a>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// The id of an answer to whom nobody can say.
pub(crate) const NULL: &str = "null";

pub(crate) async fn answer(
    shared: &Shared,
    caller: &Caller,
    agent: &Arc<AgentEntry>,
    parts: &Parts,
    body: Payload,
) -> Reply {
    let started = Instant::now();
    let mut operation = Operation::Unknown;
    let (reply, code) = match serve(shared, caller, agent, parts, body, &mut operation).await {
        Ok(reply) => (reply, "ok"),
        Err((Some(id), error)) => (refusal(&id, &error), error.kind.code()),
        Err((None, error)) => (silence(), error.kind.code()),
    };
    agent.metrics.observe(operation, code, started);
    trace::note(parts, Some(&agent.version.agent), operation, code);
    reply
}

/// An error response; `id` is JSON.
pub(crate) fn refusal(id: &str, error: &A2aError) -> Reply {
    let body = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{}}}",
        error.rpc()
    );
    respond::full(error.rpc_status(), respond::JSON, body)
}

/// What a notification is answered with, whatever comes of it (JSON-RPC 2.0 §4.1).
fn silence() -> Reply {
    let mut reply = respond::full(StatusCode::NO_CONTENT, respond::JSON, "");
    reply.headers_mut().remove(CONTENT_TYPE);
    reply
}

/// The error comes with the id to answer to; a notification has none.
async fn serve(
    shared: &Shared,
    caller: &Caller,
    agent: &Arc<AgentEntry>,
    parts: &Parts,
    body: Payload,
    operation: &mut Operation,
) -> Result<Reply, (Option<String>, A2aError)> {
    let nameless = |error: A2aError| (Some(NULL.to_owned()), error);
    if !negotiate::is_json(&parts.headers) {
        let error = A2aError::new(
            Kind::ContentTypeNotSupported,
            "JSON-RPC needs Content-Type: application/json",
        );
        return Err(nameless(error));
    }
    let limit = shared.config.max_request_bytes;
    let body = body
        .read(&shared.config, limit)
        .await
        .map_err(|error| nameless(error.into()))?;
    let envelope = envelope(&body).map_err(|(id, error)| (Some(id), error))?;
    let id = envelope.id.map(RawValue::get);
    let named = |error| (id.map(str::to_owned), error);
    negotiate::version(&parts.headers, parts.uri.query()).map_err(named)?;
    let extensions =
        negotiate::extensions(&parts.headers, &agent.definition.extensions).map_err(named)?;
    let room = shared.operations.room(&body).await.map_err(named)?;
    let mut request = decode(&envelope).map_err(named)?;
    request.keep(room);
    let activated = negotiate::named(&extensions);
    request.activate(extensions, trace::of(parts));
    validate::go_on(&mut request, &parts.headers).map_err(named)?;
    *operation = request.operation();
    let performed = shared.operations.perform(caller, agent, request).await;
    let mut reply = match (id, performed.map_err(named)?) {
        (None, _) => silence(),
        (Some(id), Answer::Stream(opening)) => {
            let framing = Framing::Rpc { id: id.into() };
            sse::reply(*opening, framing, shared.stream_rules.clone())
        }
        (Some(id), answer) => success(id, &answer),
    };
    negotiate::announce(activated, &mut reply);
    Ok(reply)
}

fn success(id: &str, answer: &Answer) -> Reply {
    let mut body = Vec::with_capacity(512);
    body.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    body.extend_from_slice(id.as_bytes());
    body.extend_from_slice(b",\"result\":");
    serde_json::to_writer(&mut body, answer).expect("A2A types have string keys only");
    body.push(b'}');
    respond::full(StatusCode::OK, respond::JSON, body)
}

fn envelope(body: &[u8]) -> Result<Envelope<'_>, (String, A2aError)> {
    let invalid = |id: &str, why: &str| (id.to_owned(), A2aError::new(Kind::InvalidRequest, why));
    // Derived code would take an array for a struct, by position; a batch must not get that far.
    let is_object = body.trim_ascii_start().first() == Some(&b'{');
    let parsed = if is_object {
        serde_json::from_slice::<Envelope<'_>>(body)
    } else {
        serde_json::from_slice::<&RawValue>(body)
            .and_then(|_not_an_object| Err(serde::de::Error::custom("not an object")))
    };
    match parsed {
        Ok(envelope) => {
            let id = envelope.id.map_or(NULL, RawValue::get);
            if !matches!(id.as_bytes().first(), Some(b'"' | b'-' | b'0'..=b'9')) && id != NULL {
                return Err(invalid(NULL, "id must be a string, a number or null"));
            }
            if envelope.jsonrpc != "2.0" {
                return Err(invalid(id, "jsonrpc must be \"2.0\""));
            }
            Ok(envelope)
        }
        Err(error) if error.classify() == Category::Data || validate::is_json(body) => {
            let sentence = format!("the body is not one JSON-RPC 2.0 request: {error}");
            Err(invalid(&salvaged_id(body), &sentence))
        }
        Err(error) => {
            let error = A2aError::new(Kind::Parse, format!("the body is not JSON: {error}"));
            Err((NULL.to_owned(), error))
        }
    }
}

/// The id of a request that is otherwise wrong, if it has one.
fn salvaged_id(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Salvaged {
        id: Value,
    }
    if are_too_heavy(std::iter::once(body)) {
        return NULL.to_owned();
    }
    let salvaged: Option<Salvaged> = serde_json::from_slice(body).ok();
    match salvaged.map(|salvaged| salvaged.id) {
        Some(id @ (Value::String(_) | Value::Number(_))) => id.to_string(),
        _ => NULL.to_owned(),
    }
}

/// A whole request and its id, for those who have no agent to ask.
#[cfg(any(test, fuzzing))]
pub(crate) fn parse(body: &[u8]) -> Result<(String, Request), (String, A2aError)> {
    let envelope = envelope(body)?;
    let id = envelope.id.map_or(NULL, RawValue::get).to_owned();
    match decode(&envelope) {
        Ok(request) => Ok((id, request)),
        Err(error) => Err((id, error)),
    }
}

fn decode(envelope: &Envelope<'_>) -> Result<Request, A2aError> {
    let params = envelope.params.map_or("{}", RawValue::get);
    let params = if params == NULL {
        b"{}"
    } else {
        params.as_bytes()
    };
    match &*envelope.method {
        methods::SEND_MESSAGE => validate::send(params).map(Request::Send),
        methods::SEND_STREAMING_MESSAGE => validate::send(params).map(Request::Stream),
        methods::GET_TASK => validate::decode(params).and_then(|request: GetParameters| {
            let history_length = validate::history_length(request.history_length)?;
            Ok(Request::Get {
                id: validate::id(request.id)?,
                history_length,
            })
        }),
        methods::LIST_TASKS => validate::decode(params)
            .and_then(|request: ListParameters| validate::list(request).map(Request::List)),
        methods::CANCEL_TASK => validate::decode(params).and_then(|request: CancelTaskRequest| {
            Ok(Request::Cancel {
                id: validate::id(request.id)?,
            })
        }),
        methods::SUBSCRIBE_TO_TASK => {
            validate::decode(params).and_then(|request: SubscribeToTaskRequest| {
                Ok(Request::Subscribe {
                    id: validate::id(request.id)?,
                    after: None,
                })
            })
        }
        methods::CREATE_PUSH_CONFIG => validate::push::create(params, None),
        methods::GET_PUSH_CONFIG => validate::push::get(params),
        methods::LIST_PUSH_CONFIGS => validate::push::list(params),
        methods::DELETE_PUSH_CONFIG => validate::push::delete(params),
        methods::GET_EXTENDED_AGENT_CARD => Ok(Request::ExtendedCard),
        method => Err(A2aError::new(
            Kind::MethodNotFound,
            format!("A2A 1.0 has no method {method:?}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(body: &str) -> Result<Operation, (String, i64)> {
        parse(body.as_bytes())
            .map(|(_, request)| request.operation())
            .map_err(|(id, error)| (id, error.rpc()["code"].as_i64().unwrap_or_default()))
    }

    #[test]
    fn each_wrong_request_has_its_error_and_its_id() {
        for (body, id, code) in [
            ("", "null", -32700),
            ("{", "null", -32700),
            ("nonsense", "null", -32700),
            ("[]", "null", -32600),
            (
                r#"[{"jsonrpc":"2.0","id":1,"method":"GetTask"}]"#,
                "null",
                -32600,
            ),
            ("7", "null", -32600),
            ("{}", "null", -32600),
            (r#"{"jsonrpc":"2.0","id":7}"#, "7", -32600),
            (r#"{"jsonrpc":"2.0","id":"x","method":1}"#, "\"x\"", -32600),
            (
                r#"{"jsonrpc":"1.0","id":7,"method":"GetTask"}"#,
                "7",
                -32600,
            ),
            (
                r#"{"jsonrpc":"2.0","id":{},"method":"GetTask"}"#,
                "null",
                -32600,
            ),
            (
                r#"{"jsonrpc":"2.0","id":true,"method":"GetTask"}"#,
                "null",
                -32600,
            ),
            (
                r#"{"jsonrpc":"2.0","id":7,"method":"message/send"}"#,
                "7",
                -32601,
            ),
            (
                r#"{"jsonrpc":"2.0","id":7,"method":"GetTask"}"#,
                "7",
                -32602,
            ),
            (
                r#"{"jsonrpc":"2.0","id":7,"method":"GetTask","params":{"id":""}}"#,
                "7",
                -32602,
            ),
            (
                r#"{"jsonrpc":"2.0","id":7,"method":"GetTask","params":["x"]}"#,
                "7",
                -32602,
            ),
            (
                r#"{"jsonrpc":"2.0","id":"a\"b","method":"SendMessage","params":{}}"#,
                "\"a\\\"b\"",
                -32602,
            ),
        ] {
            assert_eq!(kind(body), Err((id.to_owned(), code)), "{body}");
        }
        let deep = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"SendMessage","params":{{"metadata":{}}}}}"#,
            "[".repeat(300) + &"]".repeat(300)
        );
        assert_eq!(kind(&deep), Err(("1".to_owned(), -32602)));
    }

    #[test]
    fn what_would_not_fit_into_memory_is_not_parsed() {
        let many = format!("[{}0]", r#"{"a":0},"#.repeat(100_000));
        let send = |id: &str, part: &str| {
            format!(
                r#"{{"jsonrpc":"2.0","id":{id},"method":"SendMessage","params":{{"message":
                {{"role":"ROLE_USER","messageId":"1","parts":[{{{part}}}]}}}}}}"#
            )
        };
        let refused = parse(send("7", &format!(r#""data":{many}"#)).as_bytes());
        let (id, error) = refused.map(|(id, _)| id).expect_err("it weighs too much");
        assert_eq!((&*id, error.sentence.contains("64 MiB")), ("7", true));
        // Where only the error's own words would need it.
        assert_eq!(kind(&many), Err(("null".to_owned(), -32600)));
        let bad = format!(r#"{{"jsonrpc":"2.0","id":7,"method":1,"x":{many}}}"#);
        assert_eq!(kind(&bad), Err(("null".to_owned(), -32600)));
        let text = format!(r#""text":{}"#, serde_json::json!(many));
        assert_eq!(kind(&send("7", &text)), Ok(Operation::Send));
    }

    #[test]
    fn parameters_are_optional_where_the_request_allows() {
        assert_eq!(
            kind(r#"{"jsonrpc":"2.0","method":"ListTasks"}"#),
            Ok(Operation::List)
        );
        assert_eq!(
            kind(r#"{"jsonrpc":"2.0","id":null,"method":"ListTasks","params":null}"#),
            Ok(Operation::List)
        );
        assert_eq!(
            kind(r#"{"jsonrpc":"2.0","id":1.5,"method":"GetExtendedAgentCard"}"#),
            Ok(Operation::ExtendedCard)
        );
    }
}
