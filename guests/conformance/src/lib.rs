//! The agents that A2A's test kit (a2aproject/a2a-tck) talks to. What to do is said by the beginning
//! of the message's id, as the kit's scenarios have it. `conformance` is the agent for most of the
//! kit, `conformance-extension` requires an extension, `conformance-plain` neither streams nor
//! pushes.

use std::thread;
use std::time::Duration;

use dormouse_sdk::prelude::*;
use dormouse_sdk::{Extension, OnInputResult, Part};
use serde_json::json;

#[entrypoint]
fn configure_agents() -> Vec<AgentDefinition> {
    let agent = |name: &str| {
        Agent::builder()
            .with_name(name)
            .with_version("1.0.0")
            .with_description("Does what A2A's test kit asks for")
            .with_provider("Dormouse", "https://example.com")
            // The kit sends a media type that nobody has heard of and expects it to be taken.
            .with_default_input_modes(["*/*"])
            .with_skill(Scenario)
    };
    let extension = Extension {
        uri: "urn:a2a:tck:required-extension".to_owned(),
        description: "Required, so that clients without it are refused".to_owned(),
        required: true,
        params: None,
    };
    vec![
        agent("conformance").build(),
        agent("conformance-extension")
            .with_extension(extension)
            .build(),
        agent("conformance-plain")
            .without_streaming()
            .without_push_notifications()
            .build(),
    ]
}

#[skill(
    id = "scenario",
    name = "Scenario",
    description = "Does what the id of the message says.",
    tags = ["test"]
)]
struct Scenario;

impl SkillHandler for Scenario {
    async fn on_request(
        &self,
        _state: &mut State,
        progress: &ProgressSender,
        runtime: &Runtime,
        _content: Content,
    ) -> Result<OnRequestResult, AgentError> {
        let id = &*runtime.context().message_id;
        if id.starts_with("tck-message-response") {
            let message = "Direct message response".into();
            return Ok(OnRequestResult::Message { message });
        }
        if id.starts_with("tck-input-required") {
            return Ok(OnRequestResult::InputRequired {
                message: "What else?".into(),
                slot: SkillSlot::new(()),
            });
        }
        if id.starts_with("tck-reject-task") {
            let reason = "This task is rejected".into();
            return Ok(OnRequestResult::Rejected { reason });
        }
        let (message, artifacts) = play(id, progress).await?;
        Ok(OnRequestResult::Completed {
            message: Some(message),
            artifacts,
        })
    }

    async fn on_input_received(
        &self,
        _state: &mut State,
        progress: &ProgressSender,
        runtime: &Runtime,
        _content: Content,
    ) -> Result<OnInputResult, AgentError> {
        let id = &*runtime.context().message_id;
        if id.starts_with("tck-input-required") {
            return Ok(OnInputResult::InputRequired {
                message: "And what else?".into(),
                slot: SkillSlot::new(()),
            });
        }
        let (message, artifacts) = play(id, progress).await?;
        Ok(OnInputResult::Completed {
            message: Some(message),
            artifacts,
        })
    }
}

const TEXT: &str = "Generated text content";

/// Plays a scenario that completes: its last word and its artifacts.
async fn play(id: &str, progress: &ProgressSender) -> Result<(Content, Vec<Artifact>), AgentError> {
    let is = |scenario: &str| id.starts_with(scenario);
    let file = || Artifact::from_file("output.txt", "text/plain", TEXT.as_bytes());
    let mut artifacts = Vec::new();
    if is("tck-artifact-text") {
        artifacts.push(Artifact::from_text("output", TEXT));
    } else if is("tck-artifact-file-url") {
        let mut artifact = file();
        artifact.parts = vec![Part {
            filename: Some("output.txt".to_owned()),
            media_type: Some("text/plain".to_owned()),
            ..Part::url("https://example.com/output.txt")
        }];
        artifacts.push(artifact);
    } else if is("tck-artifact-file") {
        artifacts.push(file());
    } else if is("tck-artifact-data") {
        let data = json!({"key": "value", "count": 42});
        artifacts.push(Artifact::from_json("output", &data)?);
    } else if is("tck-stream-artifact-chunked") {
        progress.send_update("working").await?;
        for (chunk, last) in [("chunk 1 ", false), ("chunk 2", true)] {
            let artifact = Artifact::from_text("output", chunk).with_id("chunked");
            progress.send_artifact_chunk(artifact, true, last).await?;
        }
    } else if is("tck-stream-artifact-file") {
        progress.send_update("working").await?;
        progress.send_partial_artifact(file()).await?;
    } else if is("tck-stream-001")
        || is("tck-stream-003")
        || is("tck-stream-ordering-001")
        || is("tck-stream-artifact-text")
    {
        progress.send_update("working").await?;
        progress
            .send_partial_artifact(Artifact::from_text("output", TEXT))
            .await?;
    } else if is("test-resubscribe-message-id") {
        progress.send_update("working").await?;
        thread::sleep(Duration::from_millis(4_500));
    } else if is("tck-delayed-complete") {
        progress.send_update("working").await?;
        thread::sleep(Duration::from_secs(2));
    }
    Ok(("Hello from TCK".into(), artifacts))
}
