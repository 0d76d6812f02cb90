//! The doors of the fuzz targets (`fuzz/`): bytes to a request or a refusal, over each binding. Nothing may
//! panic, a refusal is of a known kind, and a request says the same when it is written as JSON-RPC and
//! read again, so that no binding lets in what another refuses.

use crate::errors::{A2aError, Kind};
use crate::grpc;
use crate::jsonrpc;
use crate::ops::{ListRequest, PushList, Request, SendRequest};
use crate::rest;
use crate::route::{self, Route};
use crate::uri;
use a2a::methods;
use bytes::Bytes;
use dormouse_services::push::{PushConfig, Secret};
use hyper::{Method, Uri};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// The methods of the gRPC service, of which the first byte of an input picks one.
const METHODS: [&str; 11] = [
    methods::SEND_MESSAGE,
    methods::SEND_STREAMING_MESSAGE,
    methods::GET_TASK,
    methods::LIST_TASKS,
    methods::CANCEL_TASK,
    methods::SUBSCRIBE_TO_TASK,
    methods::CREATE_PUSH_CONFIG,
    methods::GET_PUSH_CONFIG,
    methods::LIST_PUSH_CONFIGS,
    methods::DELETE_PUSH_CONFIG,
    methods::GET_EXTENDED_AGENT_CARD,
];

/// The body of a JSON-RPC request.
pub fn jsonrpc(body: &[u8]) {
    let (id, parsed) = match jsonrpc::parse(body) {
        Ok((id, request)) => (id, Ok(request)),
        Err((id, error)) => (id, Err(error)),
    };
    // As it came: a number may be larger than any that we have.
    let json: &RawValue = serde_json::from_str(&id).expect("an id is JSON");
    let is_scalar = matches!(json.get().as_bytes()[0], b'"' | b'n' | b'-' | b'0'..=b'9');
    assert!(is_scalar, "{id}");
    check(parsed);
}

/// A line `METHOD PATH?QUERY`, then the body.
pub fn rest(input: &[u8]) {
    let end = input.iter().position(|byte| *byte == b'\n');
    let (line, body) = input.split_at(end.unwrap_or(input.len()));
    let body = body.get(1..).unwrap_or_default();
    let mut words = line.splitn(2, |byte| *byte == b' ');
    let Ok(method) = Method::from_bytes(words.next().unwrap_or_default()) else {
        return;
    };
    let Ok(uri) = Uri::try_from(words.next().unwrap_or_default()) else {
        return;
    };
    let path = uri::decode(uri.path());
    if let Route::A2a { base, what } = route::route(&path) {
        assert!(base.key.starts_with(base.name) && !base.name.is_empty());
        let parsed = rest::check_method(what, &method, uri.path())
            .and_then(|()| rest::decode(what, &method, uri.query(), body));
        check(parsed);
    }
}

/// A byte for the method, then the message.
pub fn grpc(input: &[u8]) {
    let Some((method, message)) = input.split_first() else {
        return;
    };
    let method = METHODS[usize::from(*method) % METHODS.len()];
    match grpc::parse(method, Bytes::copy_from_slice(message)) {
        Ok((tenant, request)) => {
            if let Some(base) = route::tenant(&tenant) {
                assert_eq!(base.key, tenant);
            }
            check(request);
        }
        Err(error) => check(Err(error)),
    }
}

fn check(parsed: Result<Request, A2aError>) {
    match parsed {
        Ok(request) => {
            let (method, params) = written(&request);
            let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
            match jsonrpc::parse(body.to_string().as_bytes()) {
                Ok((_, again)) => assert_eq!(written(&again), (method, params)),
                Err((_, error)) => panic!("{error:?} of {body}"),
            }
        }
        Err(error) => {
            let refused = matches!(
                error.kind,
                Kind::Parse
                    | Kind::InvalidRequest
                    | Kind::MethodNotFound
                    | Kind::InvalidParams
                    | Kind::PathNotFound
                    | Kind::MethodNotAllowed
            );
            assert!(refused && !error.sentence.is_empty(), "{error:?}");
            assert!(error.rpc()["code"].is_number() && error.rest()["error"].is_object());
            let _trailers = grpc::refusal(&error);
        }
    }
}

/// The method and the parameters of a request in JSON-RPC.
fn written(request: &Request) -> (&'static str, Value) {
    match request {
        Request::Send(request) => (methods::SEND_MESSAGE, send(request)),
        Request::Stream(request) => (methods::SEND_STREAMING_MESSAGE, send(request)),
        Request::Get { id, history_length } => {
            let params = json!({"id": id, "historyLength": history_length});
            (methods::GET_TASK, params)
        }
        Request::List(request) => (methods::LIST_TASKS, list(request)),
        Request::Cancel { id } => (methods::CANCEL_TASK, json!({"id": id})),
        Request::Subscribe { id, .. } => (methods::SUBSCRIBE_TO_TASK, json!({"id": id})),
        Request::CreatePush { task, config } => {
            let mut params = push(config);
            params["taskId"] = json!(task);
            (methods::CREATE_PUSH_CONFIG, params)
        }
        Request::GetPush { task, id } => {
            let params = json!({"taskId": task, "id": id});
            (methods::GET_PUSH_CONFIG, params)
        }
        Request::ListPush(PushList {
            task,
            page_size,
            page_token,
        }) => {
            let params = json!({"taskId": task, "pageSize": page_size, "pageToken": page_token});
            (methods::LIST_PUSH_CONFIGS, params)
        }
        Request::DeletePush { task, id } => {
            let params = json!({"taskId": task, "id": id});
            (methods::DELETE_PUSH_CONFIG, params)
        }
        Request::ExtendedCard => (methods::GET_EXTENDED_AGENT_CARD, json!({})),
    }
}

fn send(request: &SendRequest) -> Value {
    json!({
        "message": request.message,
        "metadata": request.metadata,
        "configuration": {
            "historyLength": request.history_length,
            "returnImmediately": request.return_immediately,
            "taskPushNotificationConfig": request.push.as_ref().map(push),
        },
    })
}

fn list(request: &ListRequest) -> Value {
    let filter = &request.filter;
    json!({
        "contextId": filter.context_id,
        "status": filter.state,
        "statusTimestampAfter": filter.status_after,
        "pageSize": filter.page_size,
        "pageToken": filter.page_token,
        "historyLength": request.history_length,
        "includeArtifacts": request.include_artifacts,
    })
}

fn push(config: &PushConfig) -> Value {
    let authentication = config.authentication.as_ref().map(|given| {
        json!({"scheme": given.scheme, "credentials": given.credentials.as_ref().map(Secret::reveal)})
    });
    json!({
        "id": config.id,
        "url": config.url,
        "token": config.token.as_ref().map(Secret::reveal),
        "authentication": authentication,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::path::Path;

    /// What fuzzing has found worth keeping.
    fn replay(target: &str, door: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../fuzz/corpus")
            .join(target);
        let mut count = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            door(&std::fs::read(entry.unwrap().path()).unwrap());
            count += 1;
        }
        assert!(count > 10, "only {count} inputs");
    }

    #[test]
    fn the_corpus_of_json_rpc() {
        replay("jsonrpc", jsonrpc);
    }

    #[test]
    fn the_corpus_of_rest() {
        replay("rest", rest);
    }

    #[test]
    fn the_corpus_of_grpc() {
        replay("grpc", grpc);
    }
}
