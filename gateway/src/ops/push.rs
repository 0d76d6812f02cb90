//! The four operations on push notification configurations (A2A 1.0 §3.1.7 to §3.1.10), and the
//! configuration that comes with a message.

use super::Operations;
use crate::agents::AgentEntry;
use crate::auth::Caller;
use crate::errors::{A2aError, Kind};
use a2a::{
    AuthenticationInfo, ListTaskPushNotificationConfigsResponse, TaskPushNotificationConfig,
};
use dormouse_services::push::PushConfig;

/// A request about the configurations of one task, after validation.
#[derive(Debug)]
pub(crate) struct PushList {
    pub(crate) task: String,
    pub(crate) page_size: usize,
    /// The id of the last configuration of the page before.
    pub(crate) page_token: Option<String>,
}

impl Operations {
    /// Refuses what cannot be done: all of it when the server or the agent has no push notifications, and addresses that
    /// this server does not send to. Names are looked up when there is something to send.
    pub(super) fn check_push(
        &self,
        agent: &AgentEntry,
        config: Option<&PushConfig>,
    ) -> Result<(), A2aError> {
        let offered = agent.definition.push_notifications;
        let Some(client) = self.webhooks.as_ref().filter(|_| offered) else {
            return Err(A2aError::new(
                Kind::PushNotificationNotSupported,
                "this agent has no push notifications; poll or subscribe to the task",
            ));
        };
        if let Some(config) = config {
            client.target(&config.url).map_err(|error| {
                A2aError::params(format!(
                    "the url of the push notification configuration: {error}"
                ))
            })?;
        }
        Ok(())
    }

    pub(super) async fn create_push(
        &self,
        caller: &Caller,
        agent: &AgentEntry,
        task: String,
        config: PushConfig,
    ) -> Result<TaskPushNotificationConfig, A2aError> {
        self.check_push(agent, Some(&config))?;
        let scope = caller.scope(&agent.version.agent);
        self.engine
            .create_push(&scope, &task, config.clone())
            .await?;
        Ok(shown(task, config))
    }

    pub(super) async fn get_push(
        &self,
        caller: &Caller,
        agent: &AgentEntry,
        task: String,
        id: &str,
    ) -> Result<TaskPushNotificationConfig, A2aError> {
        self.check_push(agent, None)?;
        let config = self
            .engine
            .get_push(&caller.scope(&agent.version.agent), &task, id)
            .await?;
        Ok(shown(task, config))
    }

    pub(super) async fn list_push(
        &self,
        caller: &Caller,
        agent: &AgentEntry,
        list: PushList,
    ) -> Result<ListTaskPushNotificationConfigsResponse, A2aError> {
        self.check_push(agent, None)?;
        let after = list.page_token.as_deref();
        let page = self
            .engine
            .list_push(
                &caller.scope(&agent.version.agent),
                &list.task,
                after,
                list.page_size,
            )
            .await?;
        let configs = page.configs.into_iter();
        Ok(ListTaskPushNotificationConfigsResponse {
            configs: configs
                .map(|config| shown(list.task.clone(), config))
                .collect(),
            next_page_token: page.next,
        })
    }

    pub(super) async fn delete_push(
        &self,
        caller: &Caller,
        agent: &AgentEntry,
        task: &str,
        id: &str,
    ) -> Result<(), A2aError> {
        self.check_push(agent, None)?;
        Ok(self
            .engine
            .delete_push(&caller.scope(&agent.version.agent), task, id)
            .await?)
    }
}

/// The configuration as its owner gave it, secrets included: nobody else gets here.
fn shown(task: String, config: PushConfig) -> TaskPushNotificationConfig {
    TaskPushNotificationConfig {
        url: config.url,
        id: Some(config.id),
        task_id: task,
        token: config.token.map(|token| token.reveal().to_owned()),
        authentication: config.authentication.map(|given| AuthenticationInfo {
            scheme: given.scheme,
            credentials: given.credentials.map(|secret| secret.reveal().to_owned()),
        }),
        tenant: None,
    }
}
