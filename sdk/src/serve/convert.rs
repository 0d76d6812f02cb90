//! Between the SDK's values and those of the A2A wire.

use std::collections::HashMap;

use serde_json::Value;

use crate::{
    AgentDefinition, AgentError, Artifact, Content, Json, Part, PartContent, Role, SkillMetadata,
    Turn,
};

type Metadata = HashMap<String, Value>;

/// The card of an agent whose base URL is `base` (A2A 1.0 §4.4.1).
pub(super) fn card(agent: &AgentDefinition, base: &str) -> a2a::AgentCard {
    let interface = |binding: &str| a2a::AgentInterface::new(base, binding);
    a2a::AgentCard {
        name: agent.name.clone(),
        description: agent.description.clone(),
        version: agent.version.clone(),
        supported_interfaces: vec![
            interface(a2a::TRANSPORT_PROTOCOL_JSONRPC),
            interface(a2a::TRANSPORT_PROTOCOL_HTTP_JSON),
        ],
        capabilities: a2a::AgentCapabilities {
            streaming: Some(true),
            push_notifications: Some(false),
            extensions: None,
            extended_agent_card: Some(false),
        },
        default_input_modes: agent.default_input_modes.clone(),
        default_output_modes: agent.default_output_modes.clone(),
        skills: agent.skills().map(skill).collect(),
        provider: agent.provider.as_ref().map(|provider| a2a::AgentProvider {
            organization: provider.organization.clone(),
            url: provider.url.clone(),
        }),
        documentation_url: agent.documentation_url.clone(),
        icon_url: agent.icon_url.clone(),
        security_schemes: None,
        security_requirements: None,
        signatures: None,
    }
}

fn skill(skill: &SkillMetadata) -> a2a::AgentSkill {
    let given = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
    a2a::AgentSkill {
        id: skill.id.clone(),
        name: skill.name.clone(),
        description: skill.description.clone(),
        tags: skill.tags.clone(),
        examples: given(&skill.examples),
        input_modes: given(&skill.input_modes),
        output_modes: given(&skill.output_modes),
        security_requirements: None,
    }
}

pub(super) fn content(message: &a2a::Message) -> Content {
    Content {
        parts: message.parts.iter().map(part).collect(),
        metadata: message.metadata.as_ref().map(json_object),
    }
}

pub(super) fn turn(message: &a2a::Message) -> Turn {
    let role = match message.role {
        a2a::Role::Agent => Role::Agent,
        _ => Role::User,
    };
    Turn {
        role,
        content: content(message),
    }
}

fn part(part: &a2a::Part) -> Part {
    let content = match &part.content {
        a2a::PartContent::Text(text) => PartContent::Text(text.clone()),
        a2a::PartContent::Raw(bytes) => PartContent::Raw(bytes.clone()),
        a2a::PartContent::Url(url) => PartContent::Url(url.clone()),
        a2a::PartContent::Data(value) => PartContent::Data(Json::from(value.clone())),
    };
    Part {
        content,
        filename: part.filename.clone(),
        media_type: part.media_type.clone(),
        metadata: part.metadata.as_ref().map(json_object),
    }
}

pub(super) fn json_object(metadata: &Metadata) -> Json {
    Json::from(Value::Object(metadata.clone().into_iter().collect()))
}

/// A message of the agent in a task. Fails on data that is not JSON.
pub(super) fn message(
    content: Content,
    task_id: &str,
    context_id: &str,
) -> Result<a2a::Message, AgentError> {
    let mut message = a2a::Message::new(a2a::Role::Agent, wire_parts(content.parts)?);
    message.task_id = Some(task_id.to_owned());
    message.context_id = Some(context_id.to_owned());
    message.metadata = wire_metadata(content.metadata)?;
    Ok(message)
}

pub(super) fn artifact(artifact: Artifact) -> Result<a2a::Artifact, AgentError> {
    Ok(a2a::Artifact {
        artifact_id: artifact.id.unwrap_or_else(a2a::new_artifact_id),
        name: artifact.name,
        description: artifact.description,
        parts: wire_parts(artifact.parts)?,
        metadata: wire_metadata(artifact.metadata)?,
        extensions: None,
    })
}

fn wire_parts(parts: Vec<Part>) -> Result<Vec<a2a::Part>, AgentError> {
    if parts.is_empty() {
        return Err(AgentError::failed(
            "a message or artifact of the agent has no parts",
        ));
    }
    parts
        .into_iter()
        .map(|part| {
            let content = match part.content {
                PartContent::Text(text) => a2a::PartContent::Text(text),
                PartContent::Raw(bytes) => a2a::PartContent::Raw(bytes),
                PartContent::Url(url) => a2a::PartContent::Url(url),
                PartContent::Data(json) => a2a::PartContent::Data(json.deserialize()?),
            };
            Ok(a2a::Part {
                content,
                filename: part.filename,
                media_type: part.media_type,
                metadata: wire_metadata(part.metadata)?,
            })
        })
        .collect()
}

fn wire_metadata(metadata: Option<Json>) -> Result<Option<Metadata>, AgentError> {
    metadata.map(|json| json.deserialize()).transpose()
}
