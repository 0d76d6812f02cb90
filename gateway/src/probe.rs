//! A new version is called once before it takes over, if its upload asks for that.

use crate::errors::ApiError;
use crate::handle::Shared;
use crate::naming::Named;
use crate::ops;
use crate::platform::blocking;
use dormouse_scheduler::{CallRequest, Entry, VersionRef};
use dormouse_services::model::{
    AgentDefinition, AgentMessage, FailureClass, Message, Outcome, Part, Role,
};
use dormouse_services::{NewTask, TaskEngine, TaskScope};
use dormouse_store::{Digest, Store};
use hyper::{HeaderMap, StatusCode};
use serde::Deserialize;
use std::sync::Arc;
use tracing::debug;

/// What to call the agents of an upload with: a JSON object.
const HEADER: &str = "dormouse-probe";
/// Who calls, for the agent and for its budgets.
const PRINCIPAL: &str = "probe";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Probe {
    text: String,
    /// Only agents with this skill are called; without it all are, with the skill that fits the text.
    skill: Option<String>,
}

/// Why a version must not take over.
struct Failed {
    class: &'static str,
    sentence: String,
}

pub(crate) fn of_upload(headers: &HeaderMap) -> Result<Option<Probe>, ApiError> {
    let Some(json) = headers.get(HEADER) else {
        return Ok(None);
    };
    let probe = serde_json::from_slice(json.as_bytes()).map_err(|error| {
        let sentence =
            format!("{HEADER} must be {{\"text\": \"…\"}}, with or without \"skill\": {error}");
        ApiError::new(StatusCode::BAD_REQUEST, "invalid_probe", sentence)
    })?;
    Ok(Some(probe))
}

impl Probe {
    /// Calls each agent once, in an instance of its own and over a store of its own, so that nothing of it is kept:
    /// no task, no state, no memory.
    ///
    /// # Errors
    /// `probe_failed`, if an agent traps, fails, rejects or is late, or none has the skill.
    pub(crate) async fn run(
        &self,
        shared: &Shared,
        digest: Digest,
        named: &[Named],
        brought: Option<&[u8]>,
    ) -> Result<(), ApiError> {
        let store = Store::in_memory();
        let engine = shared.operations.engine.aside(Arc::clone(&store.tasks));
        let mut called = 0;
        for Named { name, definition } in named {
            let has = |id: &String| definition.skills.iter().any(|skill| skill.id == *id);
            if !self.skill.as_ref().is_none_or(has) {
                continue;
            }
            called += 1;
            let agents = shared.agents.clone();
            let (owned, mut definition) = (name.clone(), definition.clone());
            let brought = brought.map(<[u8]>::to_vec);
            let (version, definition) = blocking(move || {
                let found = agents.trial(&owned, digest, &mut definition, brought.as_deref());
                let version = found.map_err(|error| {
                    ApiError::internal("the limits of a probe cannot be had", &error)
                })?;
                Ok((version, definition))
            })
            .await?;
            let probed = self.call(shared, &engine, version, &definition).await;
            probed.map_err(|Failed { class, sentence }| {
                refused(format!("the probe of {name} failed ({class}): {sentence}"))
            })?;
        }
        match &self.skill {
            Some(id) if called == 0 => Err(refused(format!(
                "there is nothing to probe: no agent of the module has the skill {id:?}"
            ))),
            _ => Ok(()),
        }
    }

    async fn call(
        &self,
        shared: &Shared,
        engine: &TaskEngine,
        version: VersionRef,
        definition: &AgentDefinition,
    ) -> Result<(), Failed> {
        let mut message = Message::new(Role::User, vec![Part::text(&self.text)]);
        if let Some(id) = &self.skill {
            let metadata = message.metadata.get_or_insert_default();
            metadata.insert("skillId".to_owned(), id.clone().into());
        }
        let skill = ops::choose(definition, &mut message, None);
        let skill = skill.map_err(|unclear| Failed {
            class: "skill",
            sentence: unclear.sentence,
        })?;
        let task = Arc::new(engine.begin(NewTask {
            scope: TaskScope {
                agent: version.agent.clone(),
                principal: PRINCIPAL.to_owned(),
            },
            version: version.number,
            skill: skill.id.clone(),
            message: message.clone(),
        }));
        let request = CallRequest {
            version: Arc::new(version),
            entry: Entry::Request,
            skill: skill.id.clone(),
            message,
            metadata: None,
            principal: PRINCIPAL.to_owned(),
            extensions: Vec::new(),
            task: Arc::clone(&task),
        };
        let report = shared.operations.scheduler.call(request).await;
        let (class, sentence) = match report.result {
            Ok(outcome) => {
                let verdict = judge(&outcome);
                match task.finish(outcome).await {
                    Ok(_) => return verdict,
                    // It has said too much.
                    Err(error) => (FailureClass::Limit, error.to_string()),
                }
            }
            Err(failure) => (failure.class, failure.sentence),
        };
        // So that nobody looks for the call any more; what is refused is refused all the same.
        if let Err(error) = task.fail(class, &sentence).await {
            debug!(%error, "a failed probe was not settled");
        }
        let class = class.as_str();
        Err(Failed { class, sentence })
    }
}

/// An answer, a question and a request to authenticate are all signs of health.
fn judge(outcome: &Outcome) -> Result<(), Failed> {
    let (class, said) = match outcome {
        Outcome::Failed(said) => ("failed", said),
        Outcome::Rejected(said) => ("rejected", said),
        _ => return Ok(()),
    };
    Err(Failed {
        class,
        sentence: text(said),
    })
}

fn text(said: &AgentMessage) -> String {
    let texts = said.parts.iter().filter_map(|part| part.as_text());
    texts.collect::<Vec<_>>().join(" ")
}

fn refused(sentence: String) -> ApiError {
    let sentence = sentence.trim_end_matches('.');
    let sentence = format!("{sentence}; nothing was deployed");
    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "probe_failed", sentence)
}
