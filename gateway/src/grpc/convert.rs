//! A2A's types as protobuf and back. A member that protobuf cannot tell from its absence (an empty
//! text, an empty list) is absent.

use super::pb::part::Content;
use super::pb::{self, send_message_response, stream_response};
use super::{card, push, value, wire};
use crate::errors::A2aError;
use crate::ops::{Answer, Sent};
use a2a::ListTasksResponse;
use bytes::Bytes;
use dormouse_services::model::{
    Artifact, Message, Metadata, Part, PartContent, Role, StreamResponse, Task,
    TaskArtifactUpdateEvent, TaskState, TaskStatus, TaskStatusUpdateEvent,
};
use prost_types::Struct;
use std::time::SystemTime;

/// The message that an operation's answer is, framed.
pub(super) fn answer(answer: Answer) -> Bytes {
    match answer {
        Answer::Sent(sent) => {
            let payload = match sent {
                Sent::Task(sent) => send_message_response::Payload::Task(task(sent)),
                Sent::Message(sent) => send_message_response::Payload::Message(said(sent)),
            };
            wire::frame(&pb::SendMessageResponse {
                payload: Some(payload),
            })
        }
        Answer::Task(found) => wire::frame(&task(found)),
        Answer::Page(listed) => wire::frame(&page(listed)),
        Answer::Push(config) => wire::frame(&push::shown(config)),
        Answer::Pushes(listed) => wire::frame(&push::page(listed)),
        Answer::Done {} => wire::frame(&()),
        Answer::Card(found) => wire::frame(&card::message(*found)),
        Answer::Stream(_) => unreachable!("a stream is not one message"),
    }
}

pub(super) fn event(event: StreamResponse) -> pb::StreamResponse {
    let payload = match event {
        StreamResponse::Task(event) => stream_response::Payload::Task(task(event)),
        StreamResponse::Message(event) => stream_response::Payload::Message(said(event)),
        StreamResponse::StatusUpdate(event) => {
            stream_response::Payload::StatusUpdate(status_update(event))
        }
        StreamResponse::ArtifactUpdate(event) => {
            stream_response::Payload::ArtifactUpdate(artifact_update(event))
        }
    };
    pb::StreamResponse {
        payload: Some(payload),
    }
}

fn page(page: ListTasksResponse) -> pb::ListTasksResponse {
    pb::ListTasksResponse {
        tasks: page.tasks.into_iter().map(task).collect(),
        next_page_token: page.next_page_token,
        page_size: page.page_size,
        total_size: page.total_size,
    }
}

fn task(task: Task) -> pb::Task {
    let artifacts = task.artifacts.unwrap_or_default();
    let history = task.history.unwrap_or_default();
    pb::Task {
        id: task.id,
        context_id: task.context_id,
        status: Some(status(task.status)),
        artifacts: artifacts.into_iter().map(artifact).collect(),
        history: history.into_iter().map(said).collect(),
        metadata: task.metadata.map(fields),
    }
}

fn status(status: TaskStatus) -> pb::TaskStatus {
    let state = match status.state {
        TaskState::Unspecified => pb::TaskState::Unspecified,
        TaskState::Submitted => pb::TaskState::Submitted,
        TaskState::Working => pb::TaskState::Working,
        TaskState::Completed => pb::TaskState::Completed,
        TaskState::Failed => pb::TaskState::Failed,
        TaskState::Canceled => pb::TaskState::Canceled,
        TaskState::InputRequired => pb::TaskState::InputRequired,
        TaskState::Rejected => pb::TaskState::Rejected,
        TaskState::AuthRequired => pb::TaskState::AuthRequired,
    };
    pb::TaskStatus {
        state: state.into(),
        message: status.message.map(said),
        timestamp: status.timestamp.map(|time| SystemTime::from(time).into()),
    }
}

fn status_update(event: TaskStatusUpdateEvent) -> pb::TaskStatusUpdateEvent {
    pb::TaskStatusUpdateEvent {
        task_id: event.task_id,
        context_id: event.context_id,
        status: Some(status(event.status)),
        metadata: event.metadata.map(fields),
    }
}

fn artifact_update(event: TaskArtifactUpdateEvent) -> pb::TaskArtifactUpdateEvent {
    pb::TaskArtifactUpdateEvent {
        task_id: event.task_id,
        context_id: event.context_id,
        artifact: Some(artifact(event.artifact)),
        append: event.append.unwrap_or_default(),
        last_chunk: event.last_chunk.unwrap_or_default(),
        metadata: event.metadata.map(fields),
    }
}

fn artifact(artifact: Artifact) -> pb::Artifact {
    pb::Artifact {
        artifact_id: artifact.artifact_id,
        name: artifact.name.unwrap_or_default(),
        description: artifact.description.unwrap_or_default(),
        parts: artifact.parts.into_iter().map(given_part).collect(),
        metadata: artifact.metadata.map(fields),
        extensions: artifact.extensions.unwrap_or_default(),
    }
}

/// A message on its way out.
fn said(message: Message) -> pb::Message {
    let role = match message.role {
        Role::Unspecified => pb::Role::Unspecified,
        Role::User => pb::Role::User,
        Role::Agent => pb::Role::Agent,
    };
    pb::Message {
        message_id: message.message_id,
        context_id: message.context_id.unwrap_or_default(),
        task_id: message.task_id.unwrap_or_default(),
        role: role.into(),
        parts: message.parts.into_iter().map(given_part).collect(),
        metadata: message.metadata.map(fields),
        extensions: message.extensions.unwrap_or_default(),
        reference_task_ids: message.reference_task_ids.unwrap_or_default(),
    }
}

fn given_part(part: Part) -> pb::Part {
    let content = match part.content {
        PartContent::Text(text) => Content::Text(text),
        PartContent::Raw(bytes) => Content::Raw(bytes),
        PartContent::Url(url) => Content::Url(url),
        PartContent::Data(data) => Content::Data(value::protobuf(data)),
    };
    pb::Part {
        content: Some(content),
        metadata: part
            .metadata
            .filter(|members| !members.is_empty())
            .map(fields),
        filename: part.filename.unwrap_or_default(),
        media_type: part.media_type.unwrap_or_default(),
    }
}

fn fields(metadata: Metadata) -> Struct {
    value::fields(metadata)
}

/// A message on its way in.
///
/// # Errors
/// InvalidParams for what the definition does not allow; what A2A asks beyond it, `validate` checks.
pub(super) fn message(message: pb::Message) -> Result<Message, A2aError> {
    let role = match pb::Role::try_from(message.role) {
        Ok(pb::Role::Unspecified) => Role::Unspecified,
        Ok(pb::Role::User) => Role::User,
        Ok(pb::Role::Agent) => Role::Agent,
        Err(_unknown) => {
            let sentence = format!("message.role has no value {}", message.role);
            return Err(A2aError::params(sentence));
        }
    };
    let parts = message.parts.into_iter();
    Ok(Message {
        message_id: message.message_id,
        context_id: optional(message.context_id),
        task_id: optional(message.task_id),
        role,
        parts: parts.map(part).collect::<Result<_, _>>()?,
        metadata: message.metadata.map(value::metadata).transpose()?,
        extensions: listed(message.extensions),
        reference_task_ids: listed(message.reference_task_ids),
    })
}

fn part(part: pb::Part) -> Result<Part, A2aError> {
    let content = part.content.ok_or_else(|| {
        A2aError::params("a part has exactly one of text, raw, url and data, but this one has 0")
    })?;
    Ok(Part {
        content: match content {
            Content::Text(text) => PartContent::Text(text),
            Content::Raw(bytes) => PartContent::Raw(bytes),
            Content::Url(url) => PartContent::Url(url),
            Content::Data(data) => PartContent::Data(value::json(data)?),
        },
        filename: optional(part.filename),
        media_type: optional(part.media_type),
        metadata: part.metadata.map(value::metadata).transpose()?,
    })
}

/// # Errors
/// InvalidParams for a number that is no state.
pub(super) fn state(number: i32) -> Result<TaskState, A2aError> {
    match pb::TaskState::try_from(number) {
        Ok(pb::TaskState::Unspecified) => Ok(TaskState::Unspecified),
        Ok(pb::TaskState::Submitted) => Ok(TaskState::Submitted),
        Ok(pb::TaskState::Working) => Ok(TaskState::Working),
        Ok(pb::TaskState::Completed) => Ok(TaskState::Completed),
        Ok(pb::TaskState::Failed) => Ok(TaskState::Failed),
        Ok(pb::TaskState::Canceled) => Ok(TaskState::Canceled),
        Ok(pb::TaskState::InputRequired) => Ok(TaskState::InputRequired),
        Ok(pb::TaskState::Rejected) => Ok(TaskState::Rejected),
        Ok(pb::TaskState::AuthRequired) => Ok(TaskState::AuthRequired),
        Err(_unknown) => Err(A2aError::params(format!("status has no value {number}"))),
    }
}

/// Protobuf's empty text is none.
pub(super) fn optional(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn listed(list: Vec<String>) -> Option<Vec<String>> {
    (!list.is_empty()).then_some(list)
}

#[cfg(test)]
#[path = "convert_tests.rs"]
mod tests;
