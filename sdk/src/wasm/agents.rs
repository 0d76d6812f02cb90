//! Calls of other agents through a WebAssembly import.

use super::bindings::dormouse::agent::{agents, types};
use super::skills::Call;
use crate::{
    AgentError, AgentReply, AgentRequest, AgentTask, AgentTaskState, Artifact, Json, Part,
};

pub(crate) async fn call_agent(
    call: &Call,
    request: AgentRequest,
) -> Result<AgentReply, AgentError> {
    let request = agents::Request {
        agent: request.agent,
        skill: request.skill,
        task: request.task,
        message: request.message.into(),
    };
    Ok(match agents::send(call, request).await? {
        agents::Reply::Message(message) => AgentReply::Message(message.into()),
        agents::Reply::Task(task) => AgentReply::Task(AgentTask {
            id: task.id,
            state: task.state.into(),
            message: task.message.map(Into::into),
            artifacts: task.artifacts.into_iter().map(Into::into).collect(),
        }),
    })
}

impl From<agents::State> for AgentTaskState {
    fn from(state: agents::State) -> Self {
        match state {
            agents::State::Submitted => AgentTaskState::Submitted,
            agents::State::Working => AgentTaskState::Working,
            agents::State::Completed => AgentTaskState::Completed,
            agents::State::InputRequired => AgentTaskState::InputRequired,
            agents::State::AuthRequired => AgentTaskState::AuthRequired,
            agents::State::Rejected => AgentTaskState::Rejected,
            agents::State::Failed => AgentTaskState::Failed,
            agents::State::Canceled => AgentTaskState::Canceled,
        }
    }
}

impl From<types::Artifact> for Artifact {
    fn from(artifact: types::Artifact) -> Self {
        Artifact {
            id: artifact.id,
            name: artifact.name,
            description: artifact.description,
            parts: artifact.parts.into_iter().map(Part::from).collect(),
            metadata: artifact.metadata.map(Json::from_text_unchecked),
        }
    }
}
