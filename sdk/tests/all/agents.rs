//! The skills under test.

use dormouse_sdk::prelude::*;
use dormouse_sdk::{Level, Role};

#[entrypoint]
pub(crate) fn configure_agents() -> Vec<AgentDefinition> {
    let agent = |name: &str| {
        Agent::builder()
            .with_name(name)
            .with_description("For tests")
    };
    vec![
        agent("greeter").with_skill(Greet).build(),
        agent("several")
            .with_skill(Greet)
            .with_skill(Order)
            .with_skill(Broken)
            .with_skill(Forever)
            .build(),
    ]
}

/// Answers with a message, so that no task is left.
#[skill(
    id = "greet",
    name = "Greeting",
    description = "Greets.",
    examples = ["Ada"],
    input_modes = ["text/plain"],
)]
pub(crate) struct Greet;

impl SkillHandler for Greet {
    async fn on_request(
        &self,
        _state: &mut State,
        _progress: &ProgressSender,
        _runtime: &Runtime,
        content: Content,
    ) -> Result<OnRequestResult, AgentError> {
        let message = format!("Hello, {}!", content.text()).into();
        Ok(OnRequestResult::Message { message })
    }
}

/// Uses every service that a call has.
#[skill(id = "order", name = "Order", description = "Takes an order.", tags = ["shop", "order"])]
pub(crate) struct Order;

impl SkillHandler for Order {
    async fn on_request(
        &self,
        state: &mut State,
        progress: &ProgressSender,
        runtime: &Runtime,
        content: Content,
    ) -> Result<OnRequestResult, AgentError> {
        runtime.log(Level::Info, "ordered", &[("what", &content.text())]);
        progress.send_update("Looking into the shelf").await?;
        state.task().save("what", &content.text())?;
        Ok(OnRequestResult::InputRequired {
            message: "How many?".into(),
            slot: SkillSlot::new("count"),
        })
    }

    async fn on_input_received(
        &self,
        state: &mut State,
        progress: &ProgressSender,
        runtime: &Runtime,
        content: Content,
    ) -> Result<OnInputResult, AgentError> {
        assert_eq!(state.slot::<String>()?.as_deref(), Some("count"));
        let Ok(count) = content.text().parse::<u32>() else {
            return Ok(OnInputResult::InputRequired {
                message: "A number, please".into(),
                slot: SkillSlot::new("count"),
            });
        };
        let what: String = state.task().load("what")?.unwrap_or_default();
        let sold = state.session().load::<u32>("sold")?.unwrap_or(0) + count;
        state.session().save("sold", &sold)?;
        state.task().remove("what")?;
        for (text, append, last) in [("one ", false, false), ("bill", true, true)] {
            let chunk = Artifact::from_text("bill.txt", text).with_id("bill");
            progress.send_artifact_chunk(chunk, append, last).await?;
        }
        let asked = runtime.history(100).await?;
        let asked = asked.iter().filter(|turn| turn.role == Role::User).count();
        Ok(OnInputResult::Completed {
            message: Some(format!("{count} {what}, {sold} in all, {asked} messages").into()),
            artifacts: vec![Artifact::from_json("total.json", &sold)?],
        })
    }
}

/// Panics when told so, and otherwise returns an error, after having saved something.
#[skill(id = "broken", name = "Broken", description = "Does not work.")]
pub(crate) struct Broken;

impl SkillHandler for Broken {
    async fn on_request(
        &self,
        state: &mut State,
        _progress: &ProgressSender,
        _runtime: &Runtime,
        content: Content,
    ) -> Result<OnRequestResult, AgentError> {
        let seen = state.session().load::<bool>("seen")?.is_some();
        state.session().save("seen", &true)?;
        assert_ne!(content.text(), "panic");
        Err(AgentError::failed(if seen {
            "seen before"
        } else {
            "never seen"
        }))
    }
}

/// Says that it has begun, and never ends.
#[skill(id = "forever", name = "Forever", description = "Waits.")]
pub(crate) struct Forever;

impl SkillHandler for Forever {
    async fn on_request(
        &self,
        _state: &mut State,
        progress: &ProgressSender,
        _runtime: &Runtime,
        _content: Content,
    ) -> Result<OnRequestResult, AgentError> {
        progress.send_update("Waiting").await?;
        std::future::pending().await
    }
}
