use crate::{
    AgentError, Content, OnRequestResult, ProgressSender, RegisteredSkill, Runtime, SkillHandler,
    SkillMetadata, State,
};

/// A skill that is no more than its function.
pub(super) struct Function<F>(pub(super) F);

impl<F> RegisteredSkill for Function<F> {
    fn metadata() -> SkillMetadata {
        SkillMetadata {
            id: "function".to_owned(),
            name: "Function".to_owned(),
            ..SkillMetadata::default()
        }
    }
}

impl<F> SkillHandler for Function<F>
where
    F: AsyncFn(
            &mut State,
            &ProgressSender,
            &Runtime,
            Content,
        ) -> Result<OnRequestResult, AgentError>
        + 'static,
{
    async fn on_request(
        &self,
        state: &mut State,
        progress: &ProgressSender,
        runtime: &Runtime,
        content: Content,
    ) -> Result<OnRequestResult, AgentError> {
        (self.0)(state, progress, runtime, content).await
    }
}
