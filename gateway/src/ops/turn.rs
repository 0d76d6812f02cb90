//! What is asked of a task before its next turn is.

use super::{Operations, skill};
use crate::agents::AgentEntry;
use crate::auth::Caller;
use crate::errors::A2aError;
use dormouse_services::model::Message;
use dormouse_services::{Begun, TaskScope};
use std::sync::Arc;
use uuid::Uuid;

impl Operations {
    /// Gives a message that names no context the one that it is in, or will be: an instance that is kept for a context must
    /// not be shared by two that are not named.
    pub(super) async fn know_context(
        &self,
        caller: &Caller,
        agent: &AgentEntry,
        message: &mut Message,
    ) -> Result<(), A2aError> {
        let context = match &message.task_id {
            Some(id) => {
                let scope = caller.scope(&agent.version.agent);
                self.engine.begun_as(&scope, id).await?.context
            }
            None => Uuid::now_v7().to_string(),
        };
        message.context_id = Some(context);
        Ok(())
    }

    /// What the skill of a task does not take is refused as for a new one (A2A 1.0 §3.1.1). Which skill that is
    /// does not change, so there is nothing to hold until the turn begins.
    pub(super) async fn check_turn(
        &self,
        scope: &TaskScope,
        agent: &Arc<AgentEntry>,
        id: &str,
        message: &Message,
    ) -> Result<(), A2aError> {
        let Begun { version, skill, .. } = self.engine.begun_as(scope, id).await?;
        let agent = match version == agent.version.number {
            true => Some(Arc::clone(agent)),
            false => self.version_of(&scope.agent, version).await?,
        };
        // A version that is gone is told of where the task ends for it.
        let definition = agent.as_ref().map(|agent| &agent.definition);
        let found = definition.and_then(|definition| {
            let mut skills = definition.skills.iter();
            Some((definition, skills.find(|known| known.id == skill)?))
        });
        found.map_or(Ok(()), |(definition, skill)| {
            skill::check_modes(definition, skill, message)
        })
    }

    pub(super) async fn version_of(
        &self,
        name: &str,
        version: u32,
    ) -> Result<Option<Arc<AgentEntry>>, A2aError> {
        let found = self.agents.find_version(name, version).await;
        found.map_err(|error| A2aError::internal("the registry could not be read", &error))
    }
}
