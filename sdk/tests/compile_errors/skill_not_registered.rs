use dormouse_sdk::prelude::*;

struct Plain;

impl SkillHandler for Plain {
    async fn on_request(
        &self,
        _state: &mut State,
        _progress: &ProgressSender,
        _runtime: &Runtime,
        _content: Content,
    ) -> Result<OnRequestResult, AgentError> {
        Ok(OnRequestResult::completed("done"))
    }
}

fn main() {
    let _ = Agent::builder().with_skill(Plain);
}
