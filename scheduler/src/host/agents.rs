//! The host side of calls between agents.

use super::services::{Served, desk, refusal};
use super::wit::dormouse::agent::{agents, types, types::ServiceError as WitError};
use super::{GuestState, HostCall};
use crate::convert;
use dormouse_services::Service;
use dormouse_services::agents::{AgentReply, AgentRequest};
use dormouse_services::model::{Task, TaskState};
use wasmtime::component::{Accessor, HasSelf, Resource};

impl agents::Host for GuestState {}

impl<T: Send> agents::HostWithStore<T> for HasSelf<GuestState> {
    async fn send(
        accessor: &Accessor<T, Self>,
        handle: Resource<HostCall>,
        request: agents::Request,
    ) -> Served<agents::Reply> {
        let desk = desk(accessor, &handle)?;
        // Before anything is parsed for who may not ask.
        if let Err(refused) = desk.allows(&Service::Agent(request.agent.clone())) {
            return Ok(Err(refusal(refused)));
        }
        let event_bytes = desk.call().event_bytes();
        let message = match convert::said(request.message, event_bytes).await {
            Ok(message) => message,
            Err(nonsense) => return Ok(Err(WitError::Invalid(nonsense.to_string()))),
        };
        let request = AgentRequest {
            agent: request.agent,
            skill: request.skill,
            task: request.task,
            message,
        };
        let reply = desk.call_agent(request).await.map_err(refusal);
        Ok(reply.map(|reply| match reply {
            AgentReply::Message(said) => {
                agents::Reply::Message(convert::to_guest(said.parts, said.metadata))
            }
            AgentReply::Task(task) => agents::Reply::Task(lowered(task)),
        }))
    }
}

fn lowered(task: Task) -> agents::Task {
    let artifact = |artifact: dormouse_services::model::Artifact| {
        let contents = convert::to_guest(artifact.parts, artifact.metadata);
        types::Artifact {
            id: Some(artifact.artifact_id),
            name: artifact.name,
            description: artifact.description,
            parts: contents.parts,
            metadata: contents.metadata,
        }
    };
    let said = task.status.message;
    agents::Task {
        id: task.id,
        state: state(&task.status.state),
        message: said.map(|said| convert::to_guest(said.parts, said.metadata)),
        artifacts: task.artifacts.into_iter().flatten().map(artifact).collect(),
    }
}

fn state(state: &TaskState) -> agents::State {
    match state {
        TaskState::Completed => agents::State::Completed,
        TaskState::InputRequired => agents::State::InputRequired,
        TaskState::AuthRequired => agents::State::AuthRequired,
        TaskState::Rejected => agents::State::Rejected,
        TaskState::Failed => agents::State::Failed,
        TaskState::Canceled => agents::State::Canceled,
        TaskState::Working => agents::State::Working,
        _ => agents::State::Submitted,
    }
}
