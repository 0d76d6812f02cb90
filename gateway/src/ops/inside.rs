//! Calls of agents by agents: the same operation as a client's, without a wire.

use super::{Operations, SendRequest, Sent};
use crate::agents::AgentEntry;
use crate::auth::Caller;
use crate::errors::{A2aError, Kind};
use crate::filters;
use crate::route::Base;
use dormouse_scheduler::Place;
use dormouse_services::agents::{AgentReply, AgentRequest, Inside, Replying, Switchboard};
use dormouse_services::model::{Message, Metadata, Role};
use dormouse_services::trace::Kind as Side;
use dormouse_services::{Room, ServiceError};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// How long a call of an agent by an agent may wait for its place. The caller has an instance meanwhile, and the place
/// may be held by one who waits just so: two agents with one instance each that call each other at once would wait
/// for their deadlines.
const PLACE_TIMEOUT: Duration = Duration::from_secs(1);
/// Where agents find what the calls of one chain have in common, in the request's metadata.
pub(crate) const TRACE: &str = "traceId";

impl Switchboard for Operations {
    fn send(self: Arc<Self>, from: Inside, request: AgentRequest) -> Replying {
        // In a task of its own: the engine does not let a guest run inside the poll of another.
        let sending = self
            .calls
            .clone()
            .spawn(async move { self.send_inside(from, request).await });
        Box::pin(async move {
            sending.await.unwrap_or_else(|died| {
                tracing::error!(error = %died, "a call of an agent by an agent was lost");
                Err(ServiceError::Unavailable("the call was lost".to_owned()))
            })
        })
    }
}

impl Operations {
    async fn send_inside(
        self: &Arc<Self>,
        from: Inside,
        request: AgentRequest,
    ) -> Result<AgentReply, ServiceError> {
        let _turn = from.turn;
        let AgentRequest {
            agent: name,
            skill,
            task,
            message: said,
        } = request;
        let base = Base {
            key: &name,
            name: &name,
            version: None,
        };
        let found = self.agents.find(base).await.map_err(|error| {
            tracing::error!(agent = name, %error, "an agent that another calls cannot be read");
            ServiceError::Unavailable("the registry could not be read".to_owned())
        })?;
        let agent = found
            .ok_or_else(|| ServiceError::Invalid(format!("there is no agent {name:?} here")))?;
        let mut span = from.trace.map(|trace| trace.span("send", Side::Server));
        if let Some(span) = &mut span {
            span.set("dormouse.agent", &*name);
            span.set("dormouse.operation", "send");
        }
        let mut message = Message::new(Role::User, said.parts);
        message.metadata = said.metadata;
        filters::strip(&mut message.metadata);
        // The waiting task has its own context; a new one joins the caller's.
        message.context_id = task.is_none().then_some(from.context);
        message.task_id = task;
        message.reference_task_ids = Some(vec![from.task]);
        let mut metadata = Metadata::from([(TRACE.to_owned(), from.chain.trace().into())]);
        metadata.extend(skill.map(|id| ("skillId".to_owned(), Value::String(id))));
        let caller = Caller::inside(&from.principal);
        let request = SendRequest {
            room: Room::default(),
            weight: 0,
            message,
            metadata: Some(metadata),
            history_length: Some(0),
            return_immediately: false,
            extensions: Vec::new(),
            idempotency_key: None,
            push: None,
            chain: Some(from.chain),
            trace: span.as_ref().map(|span| span.trace().clone()),
        };
        let other = match agent.split {
            Some(split) => self.other_version(&agent, split, &request.message).await,
            None => Ok(None),
        };
        let agent = other.map_err(refusal)?.unwrap_or(agent);
        let sent = self.send(&caller, &agent, Box::new(request)).await;
        if let Some(mut span) = span {
            let code = sent
                .as_ref()
                .map_or_else(|error| error.kind.code(), |_| "ok");
            span.set("dormouse.code", code);
        }
        match sent {
            Ok(Sent::Message(message)) => Ok(AgentReply::Message(message)),
            Ok(Sent::Task(task)) => Ok(AgentReply::Task(task)),
            Err(error) => Err(refusal(error)),
        }
    }

    /// A place that was waited for, but not for long.
    pub(super) async fn enter_soon(
        &self,
        agent: &AgentEntry,
        principal: &str,
        context: Option<&str>,
    ) -> Result<Place, A2aError> {
        let mut place = self.enter(agent, principal, context)?;
        match tokio::time::timeout(PLACE_TIMEOUT, place.ready()).await {
            Ok(()) => Ok(place),
            Err(_elapsed) => Err(A2aError::new(
                Kind::Unavailable,
                format!(
                    "No instance of {} was free in time, and an agent that waits for another holds one itself. \
                     Try again in a moment.",
                    agent.version.agent
                ),
            )),
        }
    }
}

/// What the calling agent is told.
fn refusal(error: A2aError) -> ServiceError {
    match error.kind {
        Kind::Unavailable | Kind::Internal | Kind::FilterBusy | Kind::FilterShare => {
            ServiceError::Unavailable(error.sentence)
        }
        _ => ServiceError::Invalid(error.sentence),
    }
}
