//! The two wire forms of the operations: JSON-RPC 2.0 (A2A 1.0 §9) and HTTP+JSON (§11).

use a2a::{A2AError, JsonRpcId, JsonRpcRequest, JsonRpcResponse, error_code, methods};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::operations::Operations;
use super::task::Reader;

pub(super) enum Operation {
    Send(a2a::SendMessageRequest),
    Stream(a2a::SendMessageRequest),
    Get(a2a::GetTaskRequest),
    List(a2a::ListTasksRequest),
    Cancel(a2a::CancelTaskRequest),
    Subscribe(a2a::SubscribeToTaskRequest),
}

pub(super) enum Reply {
    Value(Value),
    Events(Box<Reader>),
}

impl Reply {
    fn events(reader: Reader) -> Self {
        Reply::Events(Box::new(reader))
    }
}

impl Operation {
    pub(super) async fn perform(
        self,
        operations: &Operations,
        agent: &str,
    ) -> Result<Reply, A2AError> {
        let value = match self {
            Operation::Stream(request) => {
                return operations.stream(agent, request).map(Reply::events);
            }
            Operation::Subscribe(request) => {
                return operations.subscribe(agent, &request.id).map(Reply::events);
            }
            Operation::Send(request) => json!(operations.send(agent, request).await?),
            Operation::Get(request) => json!(operations.get(agent, &request)?),
            Operation::List(request) => json!(operations.list(agent, &request)?),
            Operation::Cancel(request) => json!(operations.cancel(agent, &request.id)?),
        };
        Ok(Reply::Value(value))
    }
}

/// How results and errors are written.
pub(super) enum Binding {
    JsonRpc(JsonRpcId),
    HttpJson,
}

impl Binding {
    pub(super) fn wrap(&self, result: Value) -> Value {
        match self {
            Binding::JsonRpc(id) => json!(JsonRpcResponse::success(id.clone(), result)),
            Binding::HttpJson => result,
        }
    }

    pub(super) fn error(&self, error: &A2AError) -> (StatusCode, Value) {
        let on_wire = error.to_jsonrpc_error();
        match self {
            Binding::JsonRpc(id) => (
                StatusCode::OK,
                json!(JsonRpcResponse::error(id.clone(), on_wire)),
            ),
            Binding::HttpJson => {
                let code = error.http_status_code();
                let body = json!({ "error": {
                    "code": code,
                    "status": grpc_status(error.code),
                    "message": error.message,
                    "details": on_wire.data,
                }});
                let status =
                    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                (status, body)
            }
        }
    }
}

/// The gRPC status name that HTTP+JSON errors carry (§5.4).
fn grpc_status(code: i32) -> &'static str {
    match code {
        error_code::TASK_NOT_FOUND => "NOT_FOUND",
        error_code::CONTENT_TYPE_NOT_SUPPORTED
        | error_code::INVALID_PARAMS
        | error_code::INVALID_REQUEST
        | error_code::PARSE_ERROR => "INVALID_ARGUMENT",
        error_code::METHOD_NOT_FOUND => "UNIMPLEMENTED",
        error_code::INVALID_AGENT_RESPONSE | error_code::INTERNAL_ERROR => "INTERNAL",
        _ => "FAILED_PRECONDITION",
    }
}

pub(super) fn decode_json_rpc(head: &Parts, body: &[u8]) -> (Binding, Result<Operation, A2AError>) {
    let value: Value = match serde_json::from_slice(body) {
        Ok(value) => value,
        Err(error) => {
            let error = A2AError::parse_error(format!("the body is not JSON: {error}"));
            return (Binding::JsonRpc(JsonRpcId::Null), Err(error));
        }
    };
    let request: JsonRpcRequest = match serde_json::from_value(value) {
        Ok(request) => request,
        Err(error) => {
            let error = A2AError::invalid_request(format!("not a JSON-RPC request: {error}"));
            return (Binding::JsonRpc(JsonRpcId::Null), Err(error));
        }
    };
    let decoded = if request.jsonrpc == "2.0" {
        check_version(head)
            .and_then(|()| decode_method(&request.method, request.params.unwrap_or(json!({}))))
    } else {
        Err(A2AError::invalid_request("jsonrpc must be \"2.0\""))
    };
    (Binding::JsonRpc(request.id), decoded)
}

fn decode_method(method: &str, params: Value) -> Result<Operation, A2AError> {
    match method {
        methods::SEND_MESSAGE => parse(params).map(Operation::Send),
        methods::SEND_STREAMING_MESSAGE => parse(params).map(Operation::Stream),
        methods::GET_TASK => parse(params).map(Operation::Get),
        methods::LIST_TASKS => parse(params).map(Operation::List),
        methods::CANCEL_TASK => parse(params).map(Operation::Cancel),
        methods::SUBSCRIBE_TO_TASK => parse(params).map(Operation::Subscribe),
        methods::GET_EXTENDED_AGENT_CARD => Err(no_extended_card()),
        methods::CREATE_PUSH_CONFIG
        | methods::GET_PUSH_CONFIG
        | methods::LIST_PUSH_CONFIGS
        | methods::DELETE_PUSH_CONFIG => Err(A2AError::push_notification_not_supported()),
        _ => Err(A2AError::method_not_found(method)),
    }
}

pub(super) fn decode_http_json(
    head: &Parts,
    rest: &[&str],
    body: &[u8],
) -> Result<Operation, A2AError> {
    check_version(head)?;
    let is_get = head.method == Method::GET;
    let is_post = head.method == Method::POST;
    match rest {
        ["message:send"] if is_post => parse_body(body).map(Operation::Send),
        ["message:stream"] if is_post => parse_body(body).map(Operation::Stream),
        ["tasks"] if is_get => parse(query(head)).map(Operation::List),
        ["tasks", target] => match target.split_once(':') {
            None if is_get => {
                let mut request = query(head);
                request["id"] = json!(target);
                parse(request).map(Operation::Get)
            }
            Some((id, "cancel")) if is_post => parse(json!({ "id": id })).map(Operation::Cancel),
            // The specification's text says POST, its proto GET; clients do either.
            Some((id, "subscribe")) => parse(json!({ "id": id })).map(Operation::Subscribe),
            _ => Err(A2AError::method_not_found(target)),
        },
        ["tasks", _, "pushNotificationConfigs", ..] => {
            Err(A2AError::push_notification_not_supported())
        }
        ["extendedAgentCard"] => Err(no_extended_card()),
        _ => Err(A2AError::method_not_found(&rest.join("/"))),
    }
}

/// A missing version means 0.3 (§3.6.2), which is another protocol.
fn check_version(head: &Parts) -> Result<(), A2AError> {
    let in_header = head.headers.get(a2a::SVC_PARAM_VERSION);
    let version = match in_header.and_then(|value| value.to_str().ok()) {
        Some(version) => version.to_owned(),
        None => query(head)["A2A-Version"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
    };
    let is_supported = version == a2a::VERSION || version.starts_with("1.0.");
    if is_supported {
        return Ok(());
    }
    let version = if version.is_empty() {
        "0.3 (no A2A-Version header)"
    } else {
        &version
    };
    Err(A2AError::version_not_supported(version))
}

fn no_extended_card() -> A2AError {
    A2AError::unsupported_operation("there is no extended card")
}

fn parse_body<T: DeserializeOwned>(body: &[u8]) -> Result<T, A2AError> {
    let value: Value = serde_json::from_slice(body)
        .map_err(|error| A2AError::parse_error(format!("the body is not JSON: {error}")))?;
    parse(value)
}

fn parse<T: DeserializeOwned>(value: Value) -> Result<T, A2AError> {
    serde_json::from_value(value).map_err(|error| A2AError::invalid_params(error.to_string()))
}

/// The query as a JSON object: numbers and truth values as such, so that one set of types serves
/// both bindings.
fn query(head: &Parts) -> Value {
    let pairs = form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes());
    let object: Map<String, Value> = pairs
        .map(|(key, value)| {
            let value = match &*key {
                "pageSize" | "historyLength" | "includeArtifacts" => {
                    serde_json::from_str(&value).unwrap_or_else(|_| json!(value))
                }
                _ => json!(value),
            };
            (key.into_owned(), value)
        })
        .collect();
    Value::Object(object)
}
