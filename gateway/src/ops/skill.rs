//! Which skill a message is for, and whether the skill takes it. Pure.

use super::negotiator;
use crate::errors::{A2aError, Kind};
use dormouse_services::model::{AgentDefinition, Message, Metadata, SkillDefinition};
use serde_json::Value;

/// Written into the metadata of a message whose skill was chosen, next to `skillId`.
const CHOSEN_BY: &str = "skillChosenBy";

/// What the client has said of the skill: `skillId` in the message's metadata, else in the request's.
pub(super) fn named<'a>(message: &'a Message, request: Option<&'a Metadata>) -> Option<&'a Value> {
    [message.metadata.as_ref(), request]
        .into_iter()
        .flatten()
        .find_map(|metadata| metadata.get("skillId"))
}

/// The skill of a new task: `skillId` in the message's metadata, then in the request's, then the only skill, then the
/// one whose words the message uses. How the last was found is written into the message, and so into its task.
pub(crate) fn choose<'a>(
    agent: &'a AgentDefinition,
    message: &mut Message,
    request: Option<&Metadata>,
) -> Result<&'a SkillDefinition, A2aError> {
    match (named(message, request), &*agent.skills) {
        (None, [only]) => Ok(only),
        (None, skills) => {
            let found =
                negotiator::by_words(skills, message).ok_or_else(|| unclear_words(agent))?;
            write_down(message, &found.id, "words");
            Ok(found)
        }
        (Some(Value::String(id)), skills) => skills
            .iter()
            .find(|skill| skill.id == *id)
            .ok_or_else(|| unclear(agent, &format!("there is no skill {id:?}"))),
        (Some(_), _) => Err(unclear(agent, "metadata.skillId must be a string")),
    }
}

/// A part whose media type the skill does not take is refused (A2A 1.0 §3.1.1). Parts that name no
/// type are the agent's to judge.
pub(crate) fn check_modes(
    agent: &AgentDefinition,
    skill: &SkillDefinition,
    message: &Message,
) -> Result<(), A2aError> {
    let own = &skill.input_modes;
    let modes = if own.is_empty() {
        &agent.default_input_modes
    } else {
        own
    };
    let refused = message
        .parts
        .iter()
        .filter_map(|part| part.media_type.as_deref())
        .find(|given| !modes.is_empty() && !modes.iter().any(|mode| takes(mode, given)));
    refused.map_or(Ok(()), |given| {
        let sentence = format!(
            "skill {:?} takes {}, not {given}",
            skill.id,
            modes.join(", ")
        );
        Err(A2aError::new(Kind::ContentTypeNotSupported, sentence))
    })
}

/// What no skill takes is refused before it is known which of them is meant.
pub(super) fn check_any(agent: &AgentDefinition, message: &Message) -> Result<(), A2aError> {
    let mut checks = agent
        .skills
        .iter()
        .map(|skill| check_modes(agent, skill, message));
    let first = checks.next().unwrap_or(Ok(()));
    if first.is_ok() || checks.any(|check| check.is_ok()) {
        return Ok(());
    }
    first
}

fn takes(mode: &str, given: &str) -> bool {
    let essence = |text: &str| {
        text.split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase()
    };
    let (mode, given) = (essence(mode), essence(given));
    match mode.strip_suffix('*') {
        Some("*/") => true,
        Some(family) if family.ends_with('/') => given.starts_with(family),
        _ => mode == given,
    }
}

/// How the skill was found is written into the message, and so into its task.
pub(super) fn write_down(message: &mut Message, skill: &str, by: &str) {
    let metadata = message.metadata.get_or_insert_default();
    metadata.insert("skillId".to_owned(), skill.into());
    metadata.insert(CHOSEN_BY.to_owned(), by.into());
}

pub(super) fn unclear_words(agent: &AgentDefinition) -> A2aError {
    unclear(agent, "name the skill in metadata.skillId")
}

fn unclear(agent: &AgentDefinition, why: &str) -> A2aError {
    let ids: Vec<&str> = agent.skills.iter().map(|skill| &*skill.id).collect();
    A2aError::params(format!(
        "{why}; {:?} has the skills {}",
        agent.name,
        ids.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use dormouse_services::model::{Isolation, Part, Role};
    use serde_json::json;

    fn agent(skills: &[&str]) -> AgentDefinition {
        AgentDefinition {
            name: "calc".into(),
            version: "1".into(),
            description: String::new(),
            default_input_modes: vec!["text/*".into()],
            default_output_modes: Vec::new(),
            isolation: Isolation::Shared,
            concurrency: 1,
            provider: None,
            documentation_url: None,
            icon_url: None,
            extensions: Vec::new(),
            streaming: true,
            push_notifications: true,
            needs: Vec::new(),
            skills: skills
                .iter()
                .map(|id| SkillDefinition {
                    id: (*id).to_owned(),
                    name: String::new(),
                    description: String::new(),
                    tags: Vec::new(),
                    examples: Vec::new(),
                    input_modes: Vec::new(),
                    output_modes: Vec::new(),
                })
                .collect(),
        }
    }

    fn skill_id(value: Value) -> Option<Metadata> {
        Some(Metadata::from([("skillId".to_owned(), value)]))
    }

    #[test]
    fn the_order_of_choice() {
        let mut message = Message::new(Role::User, vec![Part::text("hi")]);
        assert_eq!(choose(&agent(&["a"]), &mut message, None).unwrap().id, "a");
        let two = agent(&["a", "b"]);
        let error = choose(&two, &mut message, None).unwrap_err();
        assert!(error.kind == Kind::InvalidParams && error.sentence.contains("a, b"));
        let request = skill_id(json!("b"));
        assert_eq!(
            choose(&two, &mut message, request.as_ref()).unwrap().id,
            "b"
        );
        message.metadata = skill_id(json!("a"));
        assert_eq!(
            choose(&two, &mut message, request.as_ref()).unwrap().id,
            "a"
        );
        message.metadata = skill_id(json!("c"));
        assert_eq!(
            choose(&two, &mut message, None).unwrap_err().kind,
            Kind::InvalidParams
        );
        message.metadata = skill_id(json!(1));
        assert_eq!(
            choose(&two, &mut message, None).unwrap_err().kind,
            Kind::InvalidParams
        );
    }

    #[test]
    fn a_choice_by_words_is_written_down() {
        let mut message = Message::new(Role::User, vec![Part::text("the B thing")]);
        let two = agent(&["a", "b"]);
        assert_eq!(choose(&two, &mut message, None).unwrap().id, "b");
        let metadata = message.metadata.unwrap();
        assert_eq!(metadata["skillId"], "b");
        assert_eq!(metadata["skillChosenBy"], "words");
    }

    #[test]
    fn media_types_follow_the_modes() {
        let mut agent = agent(&["a"]);
        let check = |agent: &AgentDefinition, media_type: &str| {
            let parts = vec![Part::text("x"), Part::text("y").with_media_type(media_type)];
            check_modes(agent, &agent.skills[0], &Message::new(Role::User, parts)).is_ok()
        };
        assert!(check(&agent, "Text/CSV; header=present") && !check(&agent, "image/png"));
        agent.skills[0].input_modes = vec!["application/json".into()];
        assert!(check(&agent, "application/json") && !check(&agent, "text/csv"));
        agent.skills[0].input_modes = vec!["*/*".into()];
        assert!(check(&agent, "image/png"));
    }
}
