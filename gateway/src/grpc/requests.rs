//! Which method is which operation, and the checks that its message has to pass.

use super::convert::{self, optional};
use super::pb::part::Content;
use super::{pb, push, value};
use crate::errors::{A2aError, Kind};
use crate::ops::{Request, SendRequest};
use crate::validate::{self, ListParameters, WireConfiguration};
use a2a::methods;
use bytes::Bytes;
use dormouse_services::weight::MAX_WEIGHT;
use prost::Message;
use prost_types::Struct;

/// A request, and whom it is for. Whether it is valid matters only once its agent is found.
pub(super) struct Decoded {
    pub(super) tenant: String,
    pub(super) request: Result<Request, A2aError>,
}

pub(super) type Decoder = fn(Bytes) -> Result<Decoded, A2aError>;

pub(super) fn decoder(method: &str) -> Option<Decoder> {
    Some(match method {
        methods::SEND_MESSAGE => |bytes| {
            decode(bytes, |mut request: pb::SendMessageRequest| {
                let tenant = std::mem::take(&mut request.tenant);
                (tenant, send(request).map(Request::Send))
            })
        },
        methods::SEND_STREAMING_MESSAGE => |bytes| {
            decode(bytes, |mut request: pb::SendMessageRequest| {
                let tenant = std::mem::take(&mut request.tenant);
                (tenant, send(request).map(Request::Stream))
            })
        },
        methods::GET_TASK => |bytes| {
            decode(bytes, |request: pb::GetTaskRequest| {
                let length = validate::history_length(request.history_length);
                let get = |history_length| {
                    let id = validate::id(request.id)?;
                    Ok(Request::Get { id, history_length })
                };
                (request.tenant, length.and_then(get))
            })
        },
        methods::LIST_TASKS => |bytes| {
            decode(bytes, |mut request: pb::ListTasksRequest| {
                let tenant = std::mem::take(&mut request.tenant);
                (tenant, list(request))
            })
        },
        methods::CANCEL_TASK => |bytes| {
            decode(bytes, |request: pb::CancelTaskRequest| {
                let id = validate::id(request.id);
                (request.tenant, id.map(|id| Request::Cancel { id }))
            })
        },
        methods::SUBSCRIBE_TO_TASK => |bytes| {
            decode(bytes, |request: pb::SubscribeToTaskRequest| {
                let id = validate::id(request.id);
                (
                    request.tenant,
                    id.map(|id| Request::Subscribe { id, after: None }),
                )
            })
        },
        method => return push::decoder(method),
    })
}

/// Decodes one message and takes its tenant out.
pub(super) fn decode<M: Message + Default>(
    bytes: Bytes,
    split: fn(M) -> (String, Result<Request, A2aError>),
) -> Result<Decoded, A2aError> {
    let message = M::decode(bytes).map_err(|error| {
        let sentence = format!("the message is not the protobuf of this method: {error}");
        A2aError::new(Kind::Parse, sentence)
    })?;
    let (tenant, request) = split(message);
    Ok(Decoded { tenant, request })
}

pub(super) fn send(request: pb::SendMessageRequest) -> Result<Box<SendRequest>, A2aError> {
    let message = request
        .message
        .ok_or_else(|| A2aError::params("the request has no message"))?;
    let weight = weight(&message, request.metadata.as_ref());
    if weight > MAX_WEIGHT {
        return Err(A2aError::params(validate::TOO_HEAVY));
    }
    let configuration = request.configuration.unwrap_or_default();
    let push = configuration.task_push_notification_config;
    let mut sent = validate::sent(
        convert::message(message)?,
        request.metadata.map(value::metadata).transpose()?,
        WireConfiguration {
            task_push_notification_config: push.map(push::config),
            history_length: configuration.history_length,
            return_immediately: Some(configuration.return_immediately),
            accepted_output_modes: Some(configuration.accepted_output_modes),
        },
    )?;
    sent.weight = weight;
    Ok(sent)
}

fn weight(message: &pb::Message, metadata: Option<&Struct>) -> usize {
    let parts = message.parts.iter().map(|part| {
        let data = match &part.content {
            Some(Content::Data(data)) => value::weight(data),
            _ => 0,
        };
        data + part.metadata.as_ref().map_or(0, value::weight_of_fields)
    });
    let fields = metadata.into_iter().chain(&message.metadata);
    parts.sum::<usize>() + fields.map(value::weight_of_fields).sum::<usize>()
}

fn list(request: pb::ListTasksRequest) -> Result<Request, A2aError> {
    let after = request.status_timestamp_after;
    validate::list(ListParameters {
        context_id: optional(request.context_id),
        status: Some(convert::state(request.status)?),
        page_size: request.page_size,
        page_token: optional(request.page_token),
        history_length: request.history_length,
        status_timestamp_after: after.map(value::time).transpose()?.map(Into::into),
        include_artifacts: request.include_artifacts,
    })
    .map(Request::List)
}
