//! Push notification configurations and the extended card.

use super::convert::optional;
use super::pb;
use super::requests::{Decoded, decode};
use crate::errors::A2aError;
use crate::ops::Request;
use crate::validate::push::{self, WireAuthentication, WireConfig};
use a2a::{ListTaskPushNotificationConfigsResponse, TaskPushNotificationConfig, methods};
use bytes::Bytes;

pub(super) fn decoder(method: &str) -> Option<fn(Bytes) -> Result<Decoded, A2aError>> {
    Some(match method {
        methods::CREATE_PUSH_CONFIG => |bytes| {
            decode(bytes, |mut request: pb::TaskPushNotificationConfig| {
                let tenant = std::mem::take(&mut request.tenant);
                (tenant, push::create_from(config(request), None))
            })
        },
        methods::GET_PUSH_CONFIG => |bytes| {
            decode(
                bytes,
                |request: pb::GetTaskPushNotificationConfigRequest| {
                    (request.tenant, push::get_of(request.task_id, request.id))
                },
            )
        },
        methods::LIST_PUSH_CONFIGS => |bytes| {
            decode(
                bytes,
                |request: pb::ListTaskPushNotificationConfigsRequest| {
                    let token = optional(request.page_token);
                    let size = Some(request.page_size);
                    (request.tenant, push::list_of(request.task_id, size, token))
                },
            )
        },
        methods::DELETE_PUSH_CONFIG => |bytes| {
            decode(
                bytes,
                |request: pb::DeleteTaskPushNotificationConfigRequest| {
                    (request.tenant, push::delete_of(request.task_id, request.id))
                },
            )
        },
        methods::GET_EXTENDED_AGENT_CARD => |bytes| {
            decode(bytes, |request: pb::GetExtendedAgentCardRequest| {
                (request.tenant, Ok(Request::ExtendedCard))
            })
        },
        _ => return None,
    })
}

pub(super) fn config(config: pb::TaskPushNotificationConfig) -> WireConfig {
    WireConfig {
        id: optional(config.id),
        task_id: optional(config.task_id),
        url: config.url,
        token: optional(config.token),
        authentication: config.authentication.map(|info| WireAuthentication {
            scheme: info.scheme,
            credentials: optional(info.credentials),
        }),
    }
}

pub(super) fn shown(config: TaskPushNotificationConfig) -> pb::TaskPushNotificationConfig {
    pb::TaskPushNotificationConfig {
        tenant: config.tenant.unwrap_or_default(),
        id: config.id.unwrap_or_default(),
        task_id: config.task_id,
        url: config.url,
        token: config.token.unwrap_or_default(),
        authentication: config.authentication.map(|info| pb::AuthenticationInfo {
            scheme: info.scheme,
            credentials: info.credentials.unwrap_or_default(),
        }),
    }
}

pub(super) fn page(
    page: ListTaskPushNotificationConfigsResponse,
) -> pb::ListTaskPushNotificationConfigsResponse {
    pb::ListTaskPushNotificationConfigsResponse {
        configs: page.configs.into_iter().map(shown).collect(),
        next_page_token: page.next_page_token.unwrap_or_default(),
    }
}
