//! Who looks at what an agent says before it is kept, so that every reader sees the same: a filter, as far as this crate
//! is concerned a stranger.

use crate::call::Call;
use crate::error::TaskError;
use crate::model::{AgentArtifact, AgentMessage, FailureClass, Metadata, Outcome, Part};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// Looks at what is said in a call, and may change it.
pub trait Screen: Send + Sync {
    /// # Errors
    /// When nobody may see it. The call's task then fails with this.
    fn look<'a>(
        &'a self,
        said: Said<'a>,
    ) -> Pin<Box<dyn Future<Output = Result<(), Refused>> + Send + 'a>>;
}

/// What an agent says, on its way to the task's log.
pub struct Said<'a> {
    pub kind: SaidKind,
    pub task: String,
    pub context: String,
    /// Of an artifact: what the agent calls it.
    pub id: Option<&'a str>,
    /// Of an artifact.
    pub name: Option<&'a mut String>,
    pub description: Option<&'a mut String>,
    pub parts: &'a mut Vec<Part>,
    pub metadata: &'a mut Option<Metadata>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaidKind {
    Update,
    Artifact,
    Reply,
}

/// Why something is not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    pub class: FailureClass,
    pub sentence: String,
}

impl From<Refused> for TaskError {
    fn from(refused: Refused) -> Self {
        Self::Refused {
            class: refused.class,
            sentence: refused.sentence,
        }
    }
}

impl Call {
    /// Has all looked at that is said in this call. To be set before the call runs; a second one counts for nothing.
    pub fn screen(&self, screen: Arc<dyn Screen>) {
        let _first_wins = self.screen.set(screen);
    }

    pub(crate) async fn look_at_message(
        &self,
        kind: SaidKind,
        said: &mut AgentMessage,
    ) -> Result<(), TaskError> {
        if let Some(screen) = self.screen.get() {
            let said = Said {
                kind,
                task: self.task_id(),
                context: self.context_id(),
                id: None,
                name: None,
                description: None,
                parts: &mut said.parts,
                metadata: &mut said.metadata,
            };
            self.heed(screen.look(said).await)?;
        }
        Ok(())
    }

    pub(crate) async fn look_at_artifact(
        &self,
        artifact: &mut AgentArtifact,
    ) -> Result<(), TaskError> {
        if let Some(screen) = self.screen.get() {
            let said = Said {
                kind: SaidKind::Artifact,
                task: self.task_id(),
                context: self.context_id(),
                id: artifact.id.as_deref(),
                name: artifact.name.as_mut(),
                description: artifact.description.as_mut(),
                parts: &mut artifact.parts,
                metadata: &mut artifact.metadata,
            };
            self.heed(screen.look(said).await)?;
        }
        Ok(())
    }

    /// What was refused once is refused for good: a call that goes on after it does not end well.
    fn heed(&self, looked: Result<(), Refused>) -> Result<(), TaskError> {
        let looked = match self.refused.get() {
            Some(refused) => Err(refused.clone()),
            None => looked,
        };
        looked.map_err(|refused| self.refused.get_or_init(|| refused).clone().into())
    }

    pub(crate) async fn look_at_outcome(&self, outcome: &mut Outcome) -> Result<(), TaskError> {
        if self.screen.get().is_none() {
            return Ok(());
        }
        self.heed(Ok(()))?;
        match outcome {
            Outcome::Completed { message, artifacts } => {
                for artifact in artifacts {
                    self.look_at_artifact(artifact).await?;
                }
                match message {
                    Some(message) => self.look_at_message(SaidKind::Reply, message).await,
                    None => Ok(()),
                }
            }
            Outcome::InputRequired { message, .. }
            | Outcome::AuthRequired { message, .. }
            | Outcome::Message(message)
            | Outcome::Rejected(message)
            | Outcome::Failed(message) => self.look_at_message(SaidKind::Reply, message).await,
        }
    }
}
