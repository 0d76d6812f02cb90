//! The A2A operations, free of any wire form: every binding decodes into [`Request`] and encodes
//! [`Answer`].

mod detached;
mod read;
mod send;
mod skill;

pub(crate) use detached::Detached;
pub(crate) use read::ListRequest;
pub(crate) use send::{Opening, SendRequest};

use crate::agents::{AgentEntry, Agents};
use crate::errors::{A2aError, Kind};
use crate::metrics::Operation;
use a2a::ListTasksResponse;
use dormouse_scheduler::Scheduler;
use dormouse_services::model::{Message, Task};
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
        /// The number of an event: only what follows it is wanted.
        after: Option<u64>,
    },
    /// Any of the four on push notification configurations.
    PushConfig,
    ExtendedCard,
}

/// What an operation came to. Serialises as the result of A2A 1.0, except for streams.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Answer {
    Sent(Sent),
    Task(Task),
    Page(ListTasksResponse),
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
    /// Says which of the agent's extensions the client has activated.
    pub(crate) fn activate(&mut self, extensions: Vec<String>) {
        if let Self::Send(request) | Self::Stream(request) = self {
            request.extensions = extensions;
        }
    }

    /// Says which event of a subscribed task the client has seen.
    pub(crate) fn go_on(&mut self, seen: Option<u64>) {
        if let Self::Subscribe { after, .. } = self {
            *after = seen;
        }
    }

    pub(crate) fn operation(&self) -> Operation {
        match self {
            Self::Send(_) => Operation::Send,
            Self::Stream(_) => Operation::Stream,
            Self::Get { .. } => Operation::Get,
            Self::List(_) => Operation::List,
            Self::Cancel { .. } => Operation::Cancel,
            Self::Subscribe { .. } => Operation::Subscribe,
            Self::PushConfig => Operation::PushConfig,
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
}

impl Operations {
    pub(crate) async fn perform(
        self: &Arc<Self>,
        agent: &Arc<AgentEntry>,
        request: Request,
    ) -> Result<Answer, A2aError> {
        let streams = matches!(request, Request::Stream(_) | Request::Subscribe { .. });
        if streams && !agent.definition.streaming {
            let sentence = "this agent does not stream; send, and get the task";
            return Err(A2aError::new(Kind::UnsupportedOperation, sentence));
        }
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
            Request::Subscribe { id, after } => {
                let opening = self.subscribe(agent, &id, after).await?;
                Ok(Answer::Stream(Box::new(opening)))
            }
            Request::PushConfig => Err(A2aError::new(
                Kind::PushNotificationNotSupported,
                "this server sends no push notifications; poll or subscribe to the task",
            )),
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
