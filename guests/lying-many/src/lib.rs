//! Sixteen thousand agents, each with a kibibyte to say about itself.

use dormouse_sdk::prelude::*;

#[entrypoint]
fn configure_agents() -> Vec<AgentDefinition> {
    (0..16_000)
        .map(|number| {
            Agent::builder()
                .with_name(format!("many-{number}"))
                .with_description("x".repeat(1024))
                .with_skill(Nothing)
                .build()
        })
        .collect()
}

#[skill(id = "nothing", name = "Nothing", description = "Is never called.")]
struct Nothing;

impl SkillHandler for Nothing {
    async fn on_request(
        &self,
        _state: &mut State,
        _progress: &ProgressSender,
        _runtime: &Runtime,
        _content: Content,
    ) -> Result<OnRequestResult, AgentError> {
        Ok(OnRequestResult::completed("nothing"))
    }
}
