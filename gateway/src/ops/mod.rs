//! The A2A operations, free of any wire form: every binding decodes into [`Request`] and encodes
//! [`Answer`].

mod detached;
mod inside;
mod negotiator;
mod opening;
mod push;
mod read;
mod send;
mod skill;
mod split;
mod turn;

pub(crate) use detached::Detached;
pub(crate) use inside::TRACE;
pub(crate) use opening::Opening;
pub(crate) use push::PushList;
pub(crate) use read::ListRequest;
pub(crate) use send::SendRequest;
pub(crate) use skill::choose;

use crate::agents::{AgentEntry, Agents};
use crate::auth::{Caller, Door};
use crate::errors::{A2aError, Kind};
use crate::filters::Filters;
use crate::metrics::Operation;
use a2a::{
    AgentCard, ListTaskPushNotificationConfigsResponse, ListTasksResponse,
    TaskPushNotificationConfig,
};
use dormouse_scheduler::Scheduler;
use dormouse_services::model::{Message, Task};
use dormouse_services::net::HttpClient;
use dormouse_services::push::PushConfig;
use dormouse_services::trace::Trace;
use dormouse_services::weight::weight;
use dormouse_services::{Room, TaskEngine};
use serde::{Serialize, Serializer};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::task::TaskTracker;

/// The 11 operations of A2A 1.0 §3.1.
pub(crate) enum Request {
    Send(Box<SendRequest>),
    Stream(Box<SendRequest>),
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
    #[serde(serialize_with = "sorted")]
    Card(Box<AgentCard>),
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
    /// Says which of the agent's extensions the client has activated, and where in a trace the request is.
    pub(crate) fn activate(&mut self, extensions: Vec<String>, trace: Option<Trace>) {
        match self {
            Self::Send(request) | Self::Stream(request) => {
                request.extensions = extensions;
                if let Some(push) = &mut request.push {
                    push.traceparent = trace.as_ref().map(Trace::parent);
                }
                request.trace = trace;
            }
            Self::CreatePush { config, .. } => {
                config.traceparent = trace.as_ref().map(Trace::parent);
            }
            _ => {}
        }
    }

    /// What its JSON takes in memory, if that was not known before it was decoded.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Send(request) | Self::Stream(request) => request.weight,
            _ => 0,
        }
    }

    /// Keeps the room that it has in memory, if it has any that lasts.
    pub(crate) fn keep(&mut self, room: Room) {
        if let Self::Send(request) | Self::Stream(request) = self {
            request.room = room;
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
    pub(crate) filters: Arc<Filters>,
    /// Every running call, so that drain can wait for them.
    pub(crate) calls: TaskTracker,
    pub(crate) acceptance_grace: Duration,
    /// What push notifications go out by; `None` if there are none.
    pub(crate) webhooks: Option<HttpClient>,
}

/// A body of fewer bytes takes so little memory that it needs no room.
const SMALL_BODY: usize = 1 << 10;

impl Operations {
    /// Room for a request, before it is decoded.
    pub(crate) async fn room(&self, json: &[u8]) -> Result<Room, A2aError> {
        if json.len() <= SMALL_BODY {
            return Ok(Room::default());
        }
        // In a box, because few are large.
        Ok(Box::pin(self.engine.room(weight(json))).await?)
    }

    pub(crate) async fn perform(
        self: &Arc<Self>,
        caller: &Caller,
        agent: &Arc<AgentEntry>,
        request: Request,
    ) -> Result<Answer, A2aError> {
        let other = match (agent.split, &request) {
            (Some(split), Request::Send(send) | Request::Stream(send)) => {
                Box::pin(self.other_version(agent, split, &send.message)).await?
            }
            _ => None,
        };
        let agent = other.as_ref().unwrap_or(agent);
        let streams = matches!(request, Request::Stream(_) | Request::Subscribe { .. });
        if streams && !agent.definition.streaming {
            let sentence = "this agent does not stream; send, and get the task";
            return Err(A2aError::new(Kind::UnsupportedOperation, sentence));
        }
        // Boxes, because a send would pay for the room that the futures of the others take.
        match request {
            Request::Send(request) => Ok(Answer::Sent(self.send(caller, agent, request).await?)),
            Request::Stream(request) => Ok(Answer::Stream(Box::new(
                Box::pin(self.stream(caller, agent, request)).await?,
            ))),
            Request::Get { id, history_length } => Ok(Answer::Task(
                Box::pin(self.get(caller, agent, &id, history_length)).await?,
            )),
            Request::List(request) => Ok(Answer::Page(
                Box::pin(self.list(caller, agent, request)).await?,
            )),
            Request::Cancel { id } => Ok(Answer::Task(
                Box::pin(self.cancel(caller, agent, &id)).await?,
            )),
            Request::Subscribe { id, after } => Ok(Answer::Stream(Box::new(
                Box::pin(self.subscribe(caller, agent, &id, after)).await?,
            ))),
            Request::CreatePush { task, config } => Ok(Answer::Push(
                Box::pin(self.create_push(caller, agent, task, config)).await?,
            )),
            Request::GetPush { task, id } => Ok(Answer::Push(
                Box::pin(self.get_push(caller, agent, task, &id)).await?,
            )),
            Request::ListPush(list) => Ok(Answer::Pushes(
                Box::pin(self.list_push(caller, agent, list)).await?,
            )),
            Request::DeletePush { task, id } => {
                Box::pin(self.delete_push(caller, agent, &task, &id)).await?;
                Ok(Answer::Done {})
            }
            Request::ExtendedCard => extended_card(caller, agent),
        }
    }
}

/// Only where callers are known is there more to say than the public card does.
fn extended_card(caller: &Caller, agent: &AgentEntry) -> Result<Answer, A2aError> {
    match caller.door {
        Door::Locked => Ok(Answer::Card(Box::new(agent.extended_card().clone()))),
        Door::Open => Err(A2aError::new(
            Kind::UnsupportedOperation,
            "without tokens there are no extended cards; the public card says all there is",
        )),
    }
}

/// The same card is the same bytes every time, though its maps have no order.
fn sorted<S: Serializer>(card: &AgentCard, serializer: S) -> Result<S::Ok, S::Error> {
    let value = serde_json::to_value(card).map_err(serde::ser::Error::custom)?;
    value.serialize(serializer)
}
