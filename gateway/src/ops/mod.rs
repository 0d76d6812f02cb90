//! The A2A operations, free of any wire form: every binding decodes into [`Request`] and encodes
//! [`Answer`].

mod detached;
mod push;
mod read;
mod send;
mod skill;

pub(crate) use detached::Detached;
pub(crate) use push::PushList;
pub(crate) use read::ListRequest;
pub(crate) use send::{Opening, SendRequest};

use crate::agents::{AgentEntry, Agents};
use crate::errors::{A2aError, Kind};
use crate::metrics::Operation;
use a2a::{ListTaskPushNotificationConfigsResponse, ListTasksResponse, TaskPushNotificationConfig};
use dormouse_scheduler::Scheduler;
use dormouse_services::model::{Message, Task};
use dormouse_services::net::HttpClient;
use dormouse_services::push::PushConfig;
use dormouse_services::{TaskEngine, TaskScope};
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::task::TaskTracker;

/// Who owns the tasks of a request without authentication.
const ANONYMOUS: &str = "anonymous";

/// The 11 operations of A2A 1.0 §3.1.
pub(crate) enum Request {
    Send(SendRequest),
    Stream(SendRequest),
    Get {
        id: String,
        history_length: Option<usize>,
    },
    List(ListRequest),
    Cancel {
        id: String,
    },
    Subscribe {
        id: String,
    },
    CreatePush {
        task: String,
        config: PushConfig,
    },
    GetPush {
        task: String,
        id: String,
    },
    ListPush(PushList),
    DeletePush {
        task: String,
        id: String,
    },
    ExtendedCard,
}

/// What an operation came to. Serialises as the result of A2A 1.0, except for streams.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Answer {
    Sent(Sent),
    Task(Task),
    Page(ListTasksResponse),
    Push(TaskPushNotificationConfig),
    Pushes(ListTaskPushNotificationConfigsResponse),
    /// `{}`, as protobuf's Empty.
    Done {},
    #[serde(skip)]
    Stream(Box<Opening>),
}

/// SendMessageResponse.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Sent {
    Message(Message),
    Task(Task),
}

impl Request {
    pub(crate) fn operation(&self) -> Operation {
        match self {
            Self::Send(_) => Operation::Send,
            Self::Stream(_) => Operation::Stream,
            Self::Get { .. } => Operation::Get,
            Self::List(_) => Operation::List,
            Self::Cancel { .. } => Operation::Cancel,
            Self::Subscribe { .. } => Operation::Subscribe,
            Self::CreatePush { .. }
            | Self::GetPush { .. }
            | Self::ListPush(_)
            | Self::DeletePush { .. } => Operation::PushConfig,
            Self::ExtendedCard => Operation::ExtendedCard,
        }
    }
}

pub(crate) struct Operations {
    pub(crate) engine: TaskEngine,
    pub(crate) scheduler: Scheduler,
    pub(crate) agents: Agents,
    /// Every running call, so that drain can wait for them.
    pub(crate) calls: TaskTracker,
    pub(crate) acceptance_grace: Duration,
    /// What push notifications go out by; `None` if there are none.
    pub(crate) webhooks: Option<HttpClient>,
}

impl Operations {
    pub(crate) async fn perform(
        &self,
        agent: &Arc<AgentEntry>,
        request: Request,
    ) -> Result<Answer, A2aError> {
        match request {
            Request::Send(request) => Ok(Answer::Sent(self.send(agent, request).await?)),
            Request::Stream(request) => {
                Ok(Answer::Stream(Box::new(self.stream(agent, request).await?)))
            }
            Request::Get { id, history_length } => {
                Ok(Answer::Task(self.get(agent, &id, history_length).await?))
            }
            Request::List(request) => Ok(Answer::Page(self.list(agent, request).await?)),
            Request::Cancel { id } => Ok(Answer::Task(self.cancel(agent, &id).await?)),
            Request::Subscribe { id } => {
                Ok(Answer::Stream(Box::new(self.subscribe(agent, &id).await?)))
            }
            Request::CreatePush { task, config } => {
                Ok(Answer::Push(self.create_push(agent, task, config).await?))
            }
            Request::GetPush { task, id } => {
                Ok(Answer::Push(self.get_push(agent, task, &id).await?))
            }
            Request::ListPush(list) => Ok(Answer::Pushes(self.list_push(agent, list).await?)),
            Request::DeletePush { task, id } => {
                self.delete_push(agent, &task, &id).await?;
                Ok(Answer::Done {})
            }
            Request::ExtendedCard => Err(A2aError::new(
                Kind::UnsupportedOperation,
                "this agent has no extended card; its public card says all there is",
            )),
        }
    }

    fn scope(&self, agent: &AgentEntry) -> TaskScope {
        TaskScope {
            agent: agent.version.agent.clone(),
            principal: ANONYMOUS.to_owned(),
        }
    }
}
