//! What is let in: A2A requests decoded strictly, with the checks that the `a2a-lf` types leave out.

use crate::errors::{A2aError, Kind};
use crate::filters;
use crate::ops::{ListRequest, Request, SendRequest};
use dormouse_services::model::{Extension, Message, Metadata, Role, TaskState, Timestamp};
use dormouse_services::weight::are_too_heavy;
use dormouse_services::{Room, TaskFilter};
use hyper::HeaderMap;
use message::WireMessage;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::error::Category;
use serde_json::value::RawValue;

mod message;
pub(crate) mod push;

/// The extension of this platform that every agent has: a message whose metadata has
/// [`IDEMPOTENCY_KEY`] may be sent again and leads to the task of the first.
const IDEMPOTENCY: &str = "urn:dormouse:idempotency:v1";
const IDEMPOTENCY_KEY: &str = "urn:dormouse:idempotency:v1/key";
const MAX_KEY_BYTES: usize = 256;

/// Where a guest finds `acceptedOutputModes` of the request's configuration, in the request's metadata.
const ACCEPTED_OUTPUT_MODES: &str = "acceptedOutputModes";

/// How cards declare it.
pub(crate) fn idempotency() -> Extension {
    Extension {
        uri: IDEMPOTENCY.to_owned(),
        description: format!(
            "A message with metadata {IDEMPOTENCY_KEY:?} may be sent again, by any binding: it is \
             run once, and every answer is about the one task that it led to"
        ),
        required: false,
        params: None,
    }
}

/// Bytes of an id that a client may choose: that of a context becomes part of keys in the store, and filters and agents are
/// told all of them.
const MAX_ID_BYTES: usize = 256;
const MAX_PAGE_SIZE: i32 = 100;
const DEFAULT_PAGE_SIZE: i32 = 50;

pub(crate) const TOO_HEAVY: &str =
    "the JSON of the request has more values than fit into 64 MiB of memory";

/// Decodes one request object.
///
/// # Errors
/// Parse if it is not JSON, InvalidParams if it is not this request, or too much in memory.
pub(crate) fn decode<T: DeserializeOwned>(json: &[u8]) -> Result<T, A2aError> {
    // Derived code would take an array for a struct, by position.
    if json.trim_ascii_start().first() == Some(&b'[') {
        return Err(A2aError::params("the request must be a JSON object"));
    }
    if are_too_heavy(std::iter::once(json)) {
        return Err(A2aError::params(TOO_HEAVY));
    }
    serde_json::from_slice(json).map_err(|error| {
        // JSON has numbers, texts and depths that no value here has.
        if error.classify() == Category::Data || is_json(json) {
            A2aError::params(format!("the request is not valid: {error}"))
        } else {
            A2aError::new(Kind::Parse, format!("the request is not JSON: {error}"))
        }
    })
}

/// Whether it follows the grammar.
pub(crate) fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<&RawValue>(bytes).is_ok()
}

/// A SendMessageRequest.
pub(crate) fn send(json: &[u8]) -> Result<Box<SendRequest>, A2aError> {
    let WireSend {
        message,
        configuration,
        metadata,
    } = decode(json)?;
    sent(message.into(), metadata, configuration.unwrap_or_default())
}

/// A SendMessageRequest that is decoded already.
pub(crate) fn sent(
    message: Message,
    mut metadata: Option<Metadata>,
    configuration: WireConfiguration,
) -> Result<Box<SendRequest>, A2aError> {
    let push = configuration.task_push_notification_config;
    let mut message = checked(message)?;
    filters::strip(&mut message.metadata);
    filters::strip(&mut metadata);
    let accepted = configuration.accepted_output_modes.unwrap_or_default();
    if !accepted.is_empty() {
        let metadata = metadata.get_or_insert_default();
        metadata.insert(ACCEPTED_OUTPUT_MODES.to_owned(), accepted.into());
    }
    Ok(Box::new(SendRequest {
        room: Room::default(),
        weight: 0,
        chain: None,
        trace: None,
        push: push.map(push::config).transpose()?,
        idempotency_key: idempotency_key(&message)?,
        extensions: Vec::new(),
        message,
        metadata,
        history_length: history_length(configuration.history_length)?,
        return_immediately: configuration.return_immediately.unwrap_or(false),
    }))
}

/// The key of a message that may be sent twice; see [`IDEMPOTENCY`].
pub(crate) fn idempotency_key(message: &Message) -> Result<Option<String>, A2aError> {
    let metadata = message.metadata.as_ref();
    match metadata.and_then(|metadata| metadata.get(IDEMPOTENCY_KEY)) {
        None => Ok(None),
        Some(Value::String(key)) if (1..=MAX_KEY_BYTES).contains(&key.len()) => {
            Ok(Some(key.clone()))
        }
        Some(_) => Err(A2aError::params(format!(
            "metadata {IDEMPOTENCY_KEY:?} must be a text of 1 to {MAX_KEY_BYTES} bytes"
        ))),
    }
}

/// Takes in which event a client has seen, as the header of server-sent events says it. It means something to streams
/// only.
///
/// # Errors
/// InvalidParams if it is no number of an event, and for a stream that a message begins: clients send it when they
/// connect again by themselves, and the message would be run twice.
pub(crate) fn go_on(request: &mut Request, headers: &HeaderMap) -> Result<(), A2aError> {
    let Some(value) = headers.get("last-event-id").filter(|id| !id.is_empty()) else {
        return Ok(());
    };
    match request {
        Request::Stream(_) => Err(A2aError::params(
            "a message begins a stream and does not resume one, so it is not taken with Last-Event-ID: go on with \
             SubscribeToTask (tasks/{id}:subscribe), or leave the header out to send the message again",
        )),
        Request::Subscribe { after, .. } => {
            let seen = value.to_str().ok();
            *after = seen.and_then(|text| text.trim().parse().ok());
            match after {
                Some(_) => Ok(()),
                None => Err(A2aError::params(
                    "Last-Event-ID is not an id of this server's events",
                )),
            }
        }
        _ => Ok(()),
    }
}

/// GetTaskRequest. Here and below: ProtoJSON takes a field by its name in the proto, too.
#[derive(Deserialize)]
pub(crate) struct GetParameters {
    pub(crate) id: String,
    #[serde(default, rename = "historyLength", alias = "history_length")]
    pub(crate) history_length: Option<i32>,
}

/// ListTasksRequest.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ListParameters {
    #[serde(alias = "context_id")]
    pub(crate) context_id: Option<String>,
    pub(crate) status: Option<TaskState>,
    #[serde(alias = "page_size")]
    pub(crate) page_size: Option<i32>,
    #[serde(alias = "page_token")]
    pub(crate) page_token: Option<String>,
    #[serde(alias = "history_length")]
    pub(crate) history_length: Option<i32>,
    #[serde(alias = "status_timestamp_after")]
    pub(crate) status_timestamp_after: Option<Timestamp>,
    #[serde(alias = "include_artifacts")]
    pub(crate) include_artifacts: Option<bool>,
}

/// A ListTasksRequest.
pub(crate) fn list(request: ListParameters) -> Result<ListRequest, A2aError> {
    let page_size = page_size(request.page_size)?;
    Ok(ListRequest {
        filter: TaskFilter {
            context_id: request.context_id.filter(|id| !id.is_empty()),
            state: request
                .status
                .filter(|state| *state != TaskState::Unspecified),
            status_after: request.status_timestamp_after,
            page_size,
            page_token: request.page_token.filter(|token| !token.is_empty()),
        },
        history_length: history_length(request.history_length)?,
        include_artifacts: request.include_artifacts.unwrap_or(false),
    })
}

fn page_size(given: Option<i32>) -> Result<usize, A2aError> {
    let size = given.unwrap_or(DEFAULT_PAGE_SIZE);
    if !(1..=MAX_PAGE_SIZE).contains(&size) {
        return Err(A2aError::params(format!(
            "pageSize must be 1 to {MAX_PAGE_SIZE}, not {size}"
        )));
    }
    Ok(size.unsigned_abs() as usize)
}

/// A task's id.
pub(crate) fn id(id: String) -> Result<String, A2aError> {
    if id.is_empty() {
        Err(A2aError::params("the task id is empty"))
    } else {
        Ok(id)
    }
}

pub(crate) fn history_length(given: Option<i32>) -> Result<Option<usize>, A2aError> {
    given
        .map(|length| {
            usize::try_from(length).map_err(|_negative| {
                A2aError::params(format!(
                    "historyLength must not be negative, but is {length}"
                ))
            })
        })
        .transpose()
}

fn checked(mut message: Message) -> Result<Message, A2aError> {
    if message.message_id.is_empty() {
        return Err(A2aError::params("message.messageId is empty"));
    }
    if message.role != Role::User {
        return Err(A2aError::params("message.role must be ROLE_USER"));
    }
    if message.parts.is_empty() {
        return Err(A2aError::params("message.parts is empty"));
    }
    message.context_id = message.context_id.filter(|id| !id.is_empty());
    message.task_id = message.task_id.filter(|id| !id.is_empty());
    for (name, id) in [
        ("messageId", Some(&message.message_id)),
        ("contextId", message.context_id.as_ref()),
        ("taskId", message.task_id.as_ref()),
    ] {
        if id.is_some_and(|id| id.len() > MAX_ID_BYTES) {
            let sentence = format!("message.{name} is longer than {MAX_ID_BYTES} bytes");
            return Err(A2aError::params(sentence));
        }
    }
    Ok(message)
}

#[derive(Deserialize)]
struct WireSend {
    message: WireMessage,
    #[serde(default)]
    configuration: Option<WireConfiguration>,
    #[serde(default)]
    metadata: Option<Metadata>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireConfiguration {
    #[serde(default, alias = "task_push_notification_config")]
    pub(crate) task_push_notification_config: Option<push::WireConfig>,
    #[serde(default, alias = "history_length")]
    pub(crate) history_length: Option<i32>,
    #[serde(default, alias = "return_immediately")]
    pub(crate) return_immediately: Option<bool>,
    #[serde(default, alias = "accepted_output_modes")]
    pub(crate) accepted_output_modes: Option<Vec<String>>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use dormouse_services::model::{Part, PartContent};
    use serde_json::json;

    fn message(change: impl FnOnce(&mut Value)) -> Result<Box<SendRequest>, A2aError> {
        let mut request = json!({
            "message": {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "hi"}]},
        });
        change(&mut request);
        send(request.to_string().as_bytes())
    }

    fn parts(parts: Value) -> Result<Vec<Part>, A2aError> {
        message(|request| request["message"]["parts"] = parts).map(|request| request.message.parts)
    }

    #[test]
    fn fields_may_be_named_as_in_the_proto() {
        let request = message(|request| {
            request["message"]["context_id"] = json!("c");
            request["configuration"] = json!({"history_length": 2, "return_immediately": true});
        })
        .unwrap();
        assert_eq!(request.message.context_id.as_deref(), Some("c"));
        assert_eq!(
            (request.history_length, request.return_immediately),
            (Some(2), true)
        );
        let get: GetParameters = decode(b"{\"id\":\"t\",\"history_length\":1}").unwrap();
        assert_eq!(get.history_length, Some(1));
        let parameters = json!({"page_size": 3, "include_artifacts": true, "context_id": "c"});
        let parameters = decode(parameters.to_string().as_bytes()).unwrap();
        let list = list(parameters).unwrap();
        assert_eq!((list.filter.page_size, list.include_artifacts), (3, true));
    }

    #[test]
    fn a_part_has_exactly_one_content_member() {
        for good in [
            json!([{"text": ""}]),
            json!([{"data": null}]),
            json!([{"data": 9_007_199_254_740_993_u64, "mediaType": "application/json"}]),
            json!([{"raw": "AAE="}, {"raw": "AAE"}, {"raw": "_-8="}]),
            json!([{"url": "https://example.com/x", "text": null}]),
        ] {
            assert!(parts(good.clone()).is_ok(), "{good}");
        }
        for bad in [
            json!([]),
            json!(null),
            json!([{}]),
            json!([{"kind": "text"}]),
            json!([{"text": "a", "data": 1}]),
            json!([{"text": "a", "url": "b"}]),
            json!([{"text": 1}]),
            json!([{"raw": "*"}]),
            json!(["text"]),
        ] {
            assert_eq!(
                parts(bad.clone()).unwrap_err().kind,
                Kind::InvalidParams,
                "{bad}"
            );
        }
        let exact = parts(json!([{"data": 9_007_199_254_740_993_u64}])).unwrap();
        assert_eq!(
            exact[0].content,
            PartContent::Data(json!(9_007_199_254_740_993_u64))
        );
    }

    #[test]
    fn a_message_needs_an_id_the_users_role_and_parts() {
        assert!(message(|_| {}).is_ok());
        for (path, value) in [
            ("/message/messageId", json!("")),
            ("/message/messageId", json!(7)),
            ("/message/role", json!("ROLE_AGENT")),
            ("/message/role", json!("user")),
            ("/message", json!({})),
            ("/message", json!([])),
        ] {
            let error = message(|request| *request.pointer_mut(path).unwrap() = value).unwrap_err();
            assert_eq!(error.kind, Kind::InvalidParams, "{path}");
        }
        for id in ["messageId", "contextId", "taskId"] {
            let with = |bytes| message(|request| request["message"][id] = json!("c".repeat(bytes)));
            assert!(with(256).is_ok(), "{id}");
            let error = with(257).unwrap_err();
            assert_eq!(error.kind, Kind::InvalidParams);
            assert!(error.sentence.contains(id), "{}", error.sentence);
        }
        let empty = message(|request| request["message"]["taskId"] = json!("")).unwrap();
        assert_eq!(empty.message.task_id, None);
    }

    #[test]
    fn configurations_are_checked() {
        let with = |configuration| message(|request| request["configuration"] = configuration);
        assert_eq!(
            with(json!({"historyLength": 3})).unwrap().history_length,
            Some(3)
        );
        assert_eq!(
            with(json!({"historyLength": -1})).unwrap_err().kind,
            Kind::InvalidParams
        );
        let push = with(json!({"taskPushNotificationConfig": {"url": "https://example.com"}}));
        assert_eq!(push.unwrap().push.unwrap().url, "https://example.com");
        for wrong in [
            json!({}),
            json!({"url": 7}),
            json!({"url": "https://example.com", "token": "a\nb"}),
            json!({"url": "https://example.com", "authentication": {}}),
        ] {
            let refused = with(json!({"taskPushNotificationConfig": wrong}));
            assert_eq!(refused.unwrap_err().kind, Kind::InvalidParams, "{wrong}");
        }
    }

    #[test]
    fn lists_are_bounded() {
        for (size, expected) in [
            (None, Ok(50)),
            (Some(1), Ok(1)),
            (Some(100), Ok(100)),
            (Some(0), Err(())),
            (Some(101), Err(())),
        ] {
            let request =
                decode::<ListParameters>(json!({"pageSize": size}).to_string().as_bytes()).unwrap();
            assert_eq!(
                list(request)
                    .map(|list| list.filter.page_size)
                    .map_err(drop),
                expected,
                "{size:?}"
            );
        }
    }

    #[test]
    fn json_and_requests_fail_differently() {
        for (text, kind) in [
            ("{", Kind::Parse),
            ("", Kind::Parse),
            ("[]", Kind::InvalidParams),
            ("1", Kind::InvalidParams),
        ] {
            assert_eq!(send(text.as_bytes()).unwrap_err().kind, kind, "{text}");
        }
    }
}
