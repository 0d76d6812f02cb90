//! Requests about push notification configurations.

use super::{decode, id, page_size};
use crate::errors::A2aError;
use crate::ops::{PushList, Request};
use dormouse_services::push::PushConfig;
use serde::Deserialize;

/// TaskPushNotificationConfig. Both spellings of a name are ProtoJSON's (the conformance kit sends
/// `task_id`).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireConfig {
    #[serde(default)]
    pub(crate) id: Option<String>,
    #[serde(default, alias = "task_id")]
    pub(crate) task_id: Option<String>,
    pub(crate) url: String,
    #[serde(default)]
    pub(crate) token: Option<String>,
    #[serde(default)]
    pub(crate) authentication: Option<WireAuthentication>,
}

#[derive(Deserialize)]
pub(crate) struct WireAuthentication {
    pub(crate) scheme: String,
    #[serde(default)]
    pub(crate) credentials: Option<String>,
}

/// GetTaskPushNotificationConfigRequest, and DeleteTaskPushNotificationConfigRequest.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireOne {
    #[serde(alias = "task_id")]
    task_id: String,
    id: String,
}

/// ListTaskPushNotificationConfigsRequest.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireList {
    #[serde(alias = "task_id")]
    task_id: String,
    #[serde(default, alias = "page_size")]
    page_size: Option<i32>,
    #[serde(default, alias = "page_token")]
    page_token: Option<String>,
}

/// A configuration without regard to the task it names.
pub(crate) fn config(wire: WireConfig) -> Result<PushConfig, A2aError> {
    let authentication = wire
        .authentication
        .map(|given| (given.scheme, given.credentials));
    PushConfig::new(wire.id, wire.url, wire.token, authentication)
        .map_err(|error| A2aError::params(error.to_string()))
}

/// `path_task` is the task that the path names, in the binding that has one there.
pub(crate) fn create(json: &[u8], path_task: Option<&str>) -> Result<Request, A2aError> {
    create_from(decode(json)?, path_task)
}

pub(crate) fn create_from(wire: WireConfig, path_task: Option<&str>) -> Result<Request, A2aError> {
    let named = wire.task_id.clone().filter(|task| !task.is_empty());
    let task = match (path_task, named) {
        (Some(path), Some(named)) if path != named => {
            return Err(A2aError::params("taskId is not the task of the path"));
        }
        (Some(path), _) => path.to_owned(),
        (None, named) => id(named.unwrap_or_default())?,
    };
    Ok(Request::CreatePush {
        task,
        config: config(wire)?,
    })
}

pub(crate) fn get(json: &[u8]) -> Result<Request, A2aError> {
    let wire: WireOne = decode(json)?;
    get_of(wire.task_id, wire.id)
}

pub(crate) fn delete(json: &[u8]) -> Result<Request, A2aError> {
    let wire: WireOne = decode(json)?;
    delete_of(wire.task_id, wire.id)
}

pub(crate) fn get_of(task: String, config: String) -> Result<Request, A2aError> {
    Ok(Request::GetPush {
        task: id(task)?,
        id: config,
    })
}

pub(crate) fn delete_of(task: String, config: String) -> Result<Request, A2aError> {
    Ok(Request::DeletePush {
        task: id(task)?,
        id: config,
    })
}

pub(crate) fn list(json: &[u8]) -> Result<Request, A2aError> {
    let wire: WireList = decode(json)?;
    list_of(wire.task_id, wire.page_size, wire.page_token)
}

pub(crate) fn list_of(
    task: String,
    size: Option<i32>,
    token: Option<String>,
) -> Result<Request, A2aError> {
    Ok(Request::ListPush(PushList {
        task: id(task)?,
        // In ProtoJSON a number that is not set may be there as 0.
        page_size: page_size(size.filter(|size| *size != 0))?,
        page_token: token.filter(|token| !token.is_empty()),
    }))
}
