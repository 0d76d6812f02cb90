//! Between the guest's types (generated from the WIT) and the platform's model.

use crate::aside::aside;
use crate::host::wit::dormouse::agent::types as wit;
use dormouse_services::model::{
    AgentArtifact, AgentDefinition, AgentMessage, Extension, Isolation, Metadata, Outcome, Part,
    PartContent, Provider, SkillDefinition,
};
use dormouse_services::weight::are_too_heavy;
use serde_json::Value;
use thiserror::Error;

/// A guest's answer that the contract does not allow.
#[derive(Debug, Error)]
pub(crate) enum Nonsense {
    #[error("{what} is not JSON")]
    NotJson {
        what: &'static str,
        #[source]
        source: serde_json::Error,
    },
    #[error("metadata is not a JSON object")]
    MetadataNotObject(#[source] serde_json::Error),
    #[error("a message or artifact has no parts")]
    NoParts,
    #[error("its JSON has more values than fit into 64 MiB of memory")]
    TooHeavy,
    #[error("{what} has more than {limit} bytes")]
    TooLarge { what: &'static str, limit: usize },
}

/// Before any of it is parsed.
fn weigh<'a>(texts: impl Iterator<Item = &'a str> + Clone) -> Result<(), Nonsense> {
    if are_too_heavy(texts.map(str::as_bytes)) {
        return Err(Nonsense::TooHeavy);
    }
    Ok(())
}

/// The JSON in it.
fn texts<'a>(
    parts: &'a [wit::Part],
    metadata: &'a Option<String>,
) -> impl Iterator<Item = &'a str> + Clone {
    let parts = parts.iter().flat_map(|part| {
        let data = match &part.content {
            wit::PartContent::Data(text) => Some(text),
            _ => None,
        };
        data.into_iter().chain(&part.metadata)
    });
    parts.chain(metadata).map(String::as_str)
}

/// What a guest says in one go, which is to be an event of at most so many bytes. Parsed where that holds up nobody.
pub(crate) async fn said(said: wit::Message, event_bytes: usize) -> Result<AgentMessage, Nonsense> {
    check_event(&said.parts, &said.metadata, event_bytes)?;
    let bytes = bytes(texts(&said.parts, &said.metadata));
    aside(bytes, move || message(said)).await
}

/// As [`said`].
pub(crate) async fn made(
    made: wit::Artifact,
    event_bytes: usize,
) -> Result<AgentArtifact, Nonsense> {
    check_event(&made.parts, &made.metadata, event_bytes)?;
    let bytes = bytes(texts(&made.parts, &made.metadata));
    aside(bytes, move || artifact(made)).await
}

/// As [`said`], of each message and artifact that may become an event.
pub(crate) async fn answered(said: wit::Outcome, event_bytes: usize) -> Result<Outcome, Nonsense> {
    let mut all = 0;
    match &said {
        wit::Outcome::Completed(completion) => {
            for made in &completion.artifacts {
                check_event(&made.parts, &made.metadata, event_bytes)?;
                all += bytes(texts(&made.parts, &made.metadata));
            }
            if let Some(message) = &completion.message {
                check_event(&message.parts, &message.metadata, event_bytes)?;
                all += bytes(texts(&message.parts, &message.metadata));
            }
        }
        wit::Outcome::InputRequired(awaited) | wit::Outcome::AuthRequired(awaited) => {
            let message = &awaited.message;
            check_event(&message.parts, &message.metadata, event_bytes)?;
            all = bytes(texts(&message.parts, &message.metadata)) + awaited.slot.len();
        }
        wit::Outcome::Rejected(message) | wit::Outcome::Failed(message) => {
            check_event(&message.parts, &message.metadata, event_bytes)?;
            all = bytes(texts(&message.parts, &message.metadata));
        }
        // It is kept only if the task is known already.
        wit::Outcome::Message(message) => {
            all = bytes(texts(&message.parts, &message.metadata));
        }
    }
    aside(all, move || outcome(said)).await
}

fn bytes<'a>(texts: impl Iterator<Item = &'a str>) -> usize {
    texts.map(str::len).sum()
}

/// An event has at least the bytes of what is in it.
fn check_event(
    parts: &[wit::Part],
    metadata: &Option<String>,
    limit: usize,
) -> Result<(), Nonsense> {
    let content = |part: &wit::Part| match &part.content {
        wit::PartContent::Raw(bytes) => bytes.len(),
        wit::PartContent::Text(text) | wit::PartContent::Url(text) => text.len(),
        wit::PartContent::Data(_) => 0,
    };
    let contents: usize = parts.iter().map(content).sum();
    if contents + bytes(texts(parts, metadata)) > limit {
        let what = "one event of a task";
        return Err(Nonsense::TooLarge { what, limit });
    }
    Ok(())
}

fn message(message: wit::Message) -> Result<AgentMessage, Nonsense> {
    weigh(texts(&message.parts, &message.metadata))?;
    Ok(AgentMessage {
        parts: parts(message.parts)?,
        metadata: metadata(message.metadata)?,
    })
}

fn artifact(artifact: wit::Artifact) -> Result<AgentArtifact, Nonsense> {
    weigh(texts(&artifact.parts, &artifact.metadata))?;
    Ok(AgentArtifact {
        id: artifact.id,
        name: artifact.name,
        description: artifact.description,
        parts: parts(artifact.parts)?,
        metadata: metadata(artifact.metadata)?,
    })
}

fn outcome(outcome: wit::Outcome) -> Result<Outcome, Nonsense> {
    if let wit::Outcome::Completed(completion) = &outcome {
        let artifacts = completion.artifacts.iter();
        let artifacts = artifacts.flat_map(|one| texts(&one.parts, &one.metadata));
        let message = completion.message.iter();
        weigh(artifacts.chain(message.flat_map(|one| texts(&one.parts, &one.metadata))))?;
    }
    Ok(match outcome {
        wit::Outcome::Completed(completion) => Outcome::Completed {
            message: completion.message.map(message).transpose()?,
            artifacts: completion
                .artifacts
                .into_iter()
                .map(artifact)
                .collect::<Result<_, _>>()?,
        },
        wit::Outcome::InputRequired(awaited) => Outcome::InputRequired {
            message: message(awaited.message)?,
            slot: slot(&awaited.slot)?,
        },
        wit::Outcome::AuthRequired(awaited) => Outcome::AuthRequired {
            message: message(awaited.message)?,
            slot: slot(&awaited.slot)?,
        },
        wit::Outcome::Message(said) => Outcome::Message(message(said)?),
        wit::Outcome::Rejected(said) => Outcome::Rejected(message(said)?),
        wit::Outcome::Failed(said) => Outcome::Failed(message(said)?),
    })
}

fn parts(parts: Vec<wit::Part>) -> Result<Vec<Part>, Nonsense> {
    if parts.is_empty() {
        return Err(Nonsense::NoParts);
    }
    parts.into_iter().map(part).collect()
}

fn part(part: wit::Part) -> Result<Part, Nonsense> {
    let content = match part.content {
        wit::PartContent::Text(text) => PartContent::Text(text),
        wit::PartContent::Raw(bytes) => PartContent::Raw(bytes),
        wit::PartContent::Url(url) => PartContent::Url(url),
        wit::PartContent::Data(text) => PartContent::Data(json("a data part", &text)?),
    };
    Ok(Part {
        content,
        filename: part.filename,
        media_type: part.media_type,
        metadata: metadata(part.metadata)?,
    })
}

fn slot(text: &str) -> Result<Value, Nonsense> {
    weigh(std::iter::once(text))?;
    json("the slot", text)
}

fn json(what: &'static str, text: &str) -> Result<Value, Nonsense> {
    serde_json::from_str(text).map_err(|source| Nonsense::NotJson { what, source })
}

fn metadata(text: Option<String>) -> Result<Option<Metadata>, Nonsense> {
    text.map(|text| serde_json::from_str(&text).map_err(Nonsense::MetadataNotObject))
        .transpose()
}

/// A message of the model as a guest gets it.
pub(crate) fn to_guest(parts: Vec<Part>, metadata: Option<Metadata>) -> wit::Message {
    wit::Message {
        parts: parts.into_iter().map(part_to_guest).collect(),
        metadata: metadata.map(metadata_to_guest),
    }
}

pub(crate) fn metadata_to_guest(metadata: Metadata) -> String {
    Value::Object(metadata.into_iter().collect()).to_string()
}

fn part_to_guest(part: Part) -> wit::Part {
    let content = match part.content {
        PartContent::Text(text) => wit::PartContent::Text(text),
        PartContent::Raw(bytes) => wit::PartContent::Raw(bytes),
        PartContent::Url(url) => wit::PartContent::Url(url),
        PartContent::Data(value) => wit::PartContent::Data(value.to_string()),
    };
    wit::Part {
        content,
        filename: part.filename,
        media_type: part.media_type,
        metadata: part.metadata.map(metadata_to_guest),
    }
}

/// What a module declares; an error says what is not JSON, or too much of it for any definition.
pub(crate) async fn definitions(
    agents: Vec<wit::AgentDefinition>,
    most: usize,
) -> Result<Vec<AgentDefinition>, Nonsense> {
    fn params(agent: &wit::AgentDefinition) -> impl Iterator<Item = &str> + Clone {
        let extensions = agent.extensions.iter();
        extensions.filter_map(|extension| extension.params.as_deref())
    }
    if agents.iter().any(|agent| bytes(params(agent)) > most) {
        let what = "the definition of an agent";
        return Err(Nonsense::TooLarge { what, limit: most });
    }
    weigh(agents.iter().flat_map(params))?;
    let bytes = bytes(agents.iter().flat_map(params));
    aside(bytes, || agents.into_iter().map(definition).collect()).await
}

fn definition(agent: wit::AgentDefinition) -> Result<AgentDefinition, Nonsense> {
    let extensions = agent.extensions.into_iter().map(extension);
    Ok(AgentDefinition {
        name: agent.name,
        version: agent.version,
        description: agent.description,
        default_input_modes: agent.default_input_modes,
        default_output_modes: agent.default_output_modes,
        isolation: match agent.isolation {
            wit::Isolation::Shared => Isolation::Shared,
            wit::Isolation::Principal => Isolation::Principal,
            wit::Isolation::Context => Isolation::Context,
            wit::Isolation::Call => Isolation::Call,
        },
        concurrency: agent.concurrency,
        skills: agent.skills.into_iter().map(skill).collect(),
        provider: agent.provider.map(|provider| Provider {
            organization: provider.organization,
            url: provider.url,
        }),
        documentation_url: agent.documentation_url,
        icon_url: agent.icon_url,
        extensions: extensions.collect::<Result<_, _>>()?,
        streaming: agent.streaming,
        push_notifications: agent.push_notifications,
        needs: Vec::new(),
    })
}

fn extension(extension: wit::Extension) -> Result<Extension, Nonsense> {
    Ok(Extension {
        uri: extension.uri,
        description: extension.description,
        required: extension.required,
        params: metadata(extension.params)?,
    })
}

fn skill(skill: wit::SkillDefinition) -> SkillDefinition {
    SkillDefinition {
        id: skill.id,
        name: skill.name,
        description: skill.description,
        tags: skill.tags,
        examples: skill.examples,
        input_modes: skill.input_modes,
        output_modes: skill.output_modes,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn data(text: &str) -> wit::Part {
        wit::Part {
            content: wit::PartContent::Data(text.to_owned()),
            filename: None,
            media_type: None,
            metadata: None,
        }
    }

    fn declared(params: &str) -> wit::AgentDefinition {
        let extension = wit::Extension {
            uri: "urn:an-extension".to_owned(),
            description: String::new(),
            required: false,
            params: Some(params.to_owned()),
        };
        wit::AgentDefinition {
            name: "an-agent".to_owned(),
            version: String::new(),
            description: String::new(),
            default_input_modes: Vec::new(),
            default_output_modes: Vec::new(),
            isolation: wit::Isolation::Shared,
            concurrency: 1,
            skills: Vec::new(),
            provider: None,
            documentation_url: None,
            icon_url: None,
            extensions: vec![extension],
            streaming: true,
            push_notifications: true,
        }
    }

    #[tokio::test]
    async fn definitions_are_measured_before_they_are_parsed() {
        let broken = format!("{{{}", " ".repeat(100));
        let refused = definitions(vec![declared(&broken)], 100).await;
        assert!(matches!(refused, Err(Nonsense::TooLarge { .. })));
        let refused = definitions(vec![declared(&broken)], 101).await;
        assert!(matches!(refused, Err(Nonsense::MetadataNotObject(_))));
        let heavy = format!(r#"{{"a":[{}0]}}"#, r#"{"a":0},"#.repeat(30_000));
        let agents = |count: usize| vec![declared(&heavy); count];
        assert!(definitions(agents(2), heavy.len()).await.is_ok());
        let refused = definitions(agents(5), heavy.len()).await;
        assert!(matches!(refused, Err(Nonsense::TooHeavy)));
    }

    #[tokio::test]
    async fn what_no_event_can_hold_is_not_parsed() {
        let broken = format!("[{}", " ".repeat(100));
        let message = || wit::Message {
            parts: vec![data(&broken)],
            metadata: None,
        };
        let made = || wit::Artifact {
            id: None,
            name: None,
            description: None,
            parts: vec![data(&broken)],
            metadata: None,
        };
        for (most, is_looked_at) in [(100, false), (101, true)] {
            let completion = wit::Completion {
                message: None,
                artifacts: vec![made()],
            };
            let awaited = wit::AwaitedInput {
                message: message(),
                slot: "null".to_owned(),
            };
            let refused = [
                super::said(message(), most).await.unwrap_err(),
                super::made(made(), most).await.unwrap_err(),
                answered(wit::Outcome::Completed(completion), most)
                    .await
                    .unwrap_err(),
                answered(wit::Outcome::InputRequired(awaited), most)
                    .await
                    .unwrap_err(),
                answered(wit::Outcome::Failed(message()), most)
                    .await
                    .unwrap_err(),
            ];
            for refused in refused {
                let parsed = matches!(refused, Nonsense::NotJson { .. });
                let measured = matches!(refused, Nonsense::TooLarge { .. });
                assert_eq!((parsed, measured), (is_looked_at, !is_looked_at));
            }
        }
    }

    #[test]
    fn what_a_guest_says_is_weighed_as_a_whole() {
        let half = format!("[{}0]", r#"{"a":0},"#.repeat(50_000));
        let artifact = |parts: usize| wit::Artifact {
            id: None,
            name: None,
            description: None,
            parts: vec![data(&half); parts],
            metadata: None,
        };
        assert!(super::artifact(artifact(1)).is_ok());
        assert!(matches!(
            super::artifact(artifact(2)),
            Err(Nonsense::TooHeavy)
        ));
        let completed = |artifacts: usize| {
            wit::Outcome::Completed(wit::Completion {
                message: None,
                artifacts: vec![artifact(1); artifacts],
            })
        };
        assert!(outcome(completed(1)).is_ok());
        assert!(matches!(outcome(completed(2)), Err(Nonsense::TooHeavy)));
    }
}
