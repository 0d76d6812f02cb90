//! Skills that hand over more than anybody should take, or what nobody should.

use dormouse_sdk::{AgentError, Artifact, Content, Json, OnRequestResult, Part};
use serde::Deserialize;

use crate::skill;

const MIB: usize = 1024 * 1024;
const FLOOD: u32 = 1_000_000;

#[derive(Deserialize)]
struct Size {
    mib: usize,
}

/// What `{"mib": N}` says, else 12 MiB: more than the host takes, less than the guest has.
fn size(content: &Content) -> Result<usize, AgentError> {
    let size: Option<Size> = content.data()?;
    Ok(size.map_or(12, |size| size.mib).saturating_mul(MIB))
}

skill!(
    "huge-output",
    HugeOutput,
    "Answers with 12 MiB of text.",
    |_state, _progress, content| { Ok(OnRequestResult::completed("x".repeat(size(&content)?))) }
);

skill!(
    "huge-artifact",
    HugeArtifact,
    "Sends an artifact of 12 MiB.",
    |_state, progress, content| {
        let bytes = vec![b'x'; size(&content)?];
        let artifact = Artifact::from_file("huge.bin", "application/octet-stream", &bytes);
        progress.send_partial_artifact(artifact).await?;
        Ok(OnRequestResult::completed("sent"))
    }
);

skill!(
    "huge-update",
    HugeUpdate,
    "Sends an update of 12 MiB.",
    |_state, progress, content| {
        progress.send_update("x".repeat(size(&content)?)).await?;
        Ok(OnRequestResult::completed("sent"))
    }
);

skill!(
    "huge-state",
    HugeState,
    "Saves a value of 12 MiB.",
    |state, _progress, content| {
        let value = "x".repeat(size(&content)?);
        state.task().save("huge", &value)?;
        Ok(OnRequestResult::completed("saved"))
    }
);

skill!(
    "update-flood",
    UpdateFlood,
    "Sends a million updates.",
    |_state, progress, _content| {
        for number in 0..FLOOD {
            progress.send_update(format!("update {number}")).await?;
        }
        Ok(OnRequestResult::completed("sent"))
    }
);

skill!(
    "state-flood",
    StateFlood,
    "Saves a million values of 1 KiB.",
    |state, _progress, _content| {
        let value = "x".repeat(1024);
        for number in 0..FLOOD {
            state.task().save(&format!("key-{number}"), &value)?;
        }
        Ok(OnRequestResult::completed("saved"))
    }
);

skill!(
    "bad-data",
    BadData,
    "Answers with data that is not JSON.",
    |_state, _progress, _content| {
        let message = Content::from(Part::data(Json::from_text_unchecked("{not json")));
        Ok(OnRequestResult::Completed {
            message: Some(message),
            artifacts: Vec::new(),
        })
    }
);

#[dormouse_sdk::skill(
    id = "huge-log",
    name = "huge-log",
    description = "Writes a log record of 12 MiB."
)]
pub struct HugeLog;

impl dormouse_sdk::SkillHandler for HugeLog {
    async fn on_request(
        &self,
        _state: &mut dormouse_sdk::State,
        _progress: &dormouse_sdk::ProgressSender,
        runtime: &dormouse_sdk::Runtime,
        content: Content,
    ) -> Result<OnRequestResult, AgentError> {
        runtime.log(dormouse_sdk::Level::Info, &"x".repeat(size(&content)?), &[]);
        Ok(OnRequestResult::completed("written"))
    }
}

#[dormouse_sdk::skill(
    id = "log-flood",
    name = "log-flood",
    description = "Writes a million log records and lines."
)]
pub struct LogFlood;

impl dormouse_sdk::SkillHandler for LogFlood {
    async fn on_request(
        &self,
        _state: &mut dormouse_sdk::State,
        _progress: &dormouse_sdk::ProgressSender,
        runtime: &dormouse_sdk::Runtime,
        _content: Content,
    ) -> Result<OnRequestResult, AgentError> {
        for number in 0..FLOOD {
            let number = number.to_string();
            runtime.log(dormouse_sdk::Level::Info, "flood", &[("number", &number)]);
            println!("flood {number}");
            eprintln!("flood {number}");
        }
        Ok(OnRequestResult::completed("written"))
    }
}
