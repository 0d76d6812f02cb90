//! Two agents of one name.

use dormouse_sdk::prelude::*;

#[entrypoint]
fn configure_agents() -> Vec<AgentDefinition> {
    let twin = || {
        Agent::builder()
            .with_name("twin")
            .with_skill(Nothing)
            .build()
    };
    vec![twin(), twin()]
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
