//! The agent `echo`: reads the JSON of the message (a data part, or text that is JSON) and answers
//! with a message that says the same. The least an agent can do, for measuring what surrounds it.

use dormouse_sdk::prelude::*;
use serde_json::Value;

#[entrypoint]
fn configure_agents() -> Vec<AgentDefinition> {
    vec![
        Agent::builder()
            .with_name("echo")
            .with_description("Says what it is told")
            .with_skill(Echo)
            .build(),
    ]
}

#[skill(id = "echo", name = "Echo", description = "Says what it is told.")]
struct Echo;

impl SkillHandler for Echo {
    async fn on_request(
        &self,
        _state: &mut State,
        _progress: &ProgressSender,
        _runtime: &Runtime,
        content: Content,
    ) -> Result<OnRequestResult, AgentError> {
        let message = if let Some(value) = content.data::<Value>()? {
            Content::from_json(&value)?
        } else {
            let text = content.text();
            match serde_json::from_str::<Value>(&text) {
                Ok(value) => Content::from_text(value.to_string()),
                Err(_) => Content::from_text(text),
            }
        };
        Ok(OnRequestResult::Message { message })
    }
}
