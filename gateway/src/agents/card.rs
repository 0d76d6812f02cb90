//! An agent's card (A2A 1.0 §4.4.1, §8), made once from its definition.

use crate::respond::{self, Body, Reply};
use a2a::{
    AgentCapabilities, AgentCard, AgentInterface, AgentSkill, TRANSPORT_PROTOCOL_HTTP_JSON,
    TRANSPORT_PROTOCOL_JSONRPC,
};
use bytes::Bytes;
use dormouse_services::model::{AgentDefinition, SkillDefinition};
use hyper::header::{CACHE_CONTROL, ETAG, HeaderValue, IF_NONE_MATCH, LAST_MODIFIED};
use hyper::{HeaderMap, Response, StatusCode};
use jiff::Timestamp;

/// Long enough to spare the server, short enough that a deployment is noticed soon.
const CACHE: HeaderValue = HeaderValue::from_static("public, max-age=60");

pub(crate) struct Card {
    json: Bytes,
    etag: HeaderValue,
    last_modified: HeaderValue,
}

impl Card {
    pub(crate) fn new(
        definition: &AgentDefinition,
        url: &str,
        push_notifications: bool,
        created_ms: u64,
    ) -> Self {
        let card = agent_card(definition, url, push_notifications);
        // By way of a Value, whose maps are sorted: the same card is the same bytes everywhere.
        let json = serde_json::to_value(card)
            .expect("a card has string keys only")
            .to_string();
        let etag = format!("\"{}\"", blake3::hash(json.as_bytes()).to_hex());
        Self {
            etag: etag.try_into().expect("hex digits are a valid header"),
            last_modified: http_date(created_ms),
            json: json.into(),
        }
    }

    /// The card, or 304 if the client has it (RFC 9110 §13.1.2).
    pub(crate) fn reply(&self, request: &HeaderMap) -> Reply {
        let known = request
            .get_all(IF_NONE_MATCH)
            .iter()
            .any(|value| self.matches(value));
        let mut reply = if known {
            let mut reply = Response::new(Body::Full(None));
            *reply.status_mut() = StatusCode::NOT_MODIFIED;
            reply
        } else {
            respond::full(StatusCode::OK, respond::JSON, self.json.clone())
        };
        let headers = reply.headers_mut();
        headers.insert(CACHE_CONTROL, CACHE);
        headers.insert(ETAG, self.etag.clone());
        headers.insert(LAST_MODIFIED, self.last_modified.clone());
        reply
    }

    fn matches(&self, if_none_match: &HeaderValue) -> bool {
        let Ok(tags) = if_none_match.to_str() else {
            return false;
        };
        tags.split(',')
            .map(str::trim)
            .any(|tag| tag == "*" || self.etag == tag.strip_prefix("W/").unwrap_or(tag))
    }
}

fn agent_card(definition: &AgentDefinition, url: &str, push_notifications: bool) -> AgentCard {
    AgentCard {
        name: definition.name.clone(),
        description: definition.description.clone(),
        version: definition.version.clone(),
        supported_interfaces: vec![
            AgentInterface::new(url, TRANSPORT_PROTOCOL_JSONRPC),
            AgentInterface::new(url, TRANSPORT_PROTOCOL_HTTP_JSON),
        ],
        capabilities: AgentCapabilities {
            streaming: Some(true),
            push_notifications: Some(push_notifications),
            extensions: None,
            extended_agent_card: Some(false),
        },
        default_input_modes: modes(&definition.default_input_modes),
        default_output_modes: modes(&definition.default_output_modes),
        skills: definition.skills.iter().map(skill).collect(),
        provider: None,
        documentation_url: None,
        icon_url: None,
        security_schemes: None,
        security_requirements: None,
        signatures: None,
    }
}

fn skill(skill: &SkillDefinition) -> AgentSkill {
    let given = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
    AgentSkill {
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

/// A card must name its default modes; an agent that names none speaks text.
fn modes(modes: &[String]) -> Vec<String> {
    if modes.is_empty() {
        vec!["text/plain".to_owned()]
    } else {
        modes.to_vec()
    }
}

/// RFC 9110 §5.6.7.
fn http_date(ms: u64) -> HeaderValue {
    let time = i64::try_from(ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let text = time
        .unwrap_or(Timestamp::UNIX_EPOCH)
        .strftime("%a, %d %b %Y %H:%M:%S GMT")
        .to_string();
    text.try_into().expect("a date is a valid header")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_in_the_http_form() {
        assert_eq!(http_date(784_111_777_000), "Sun, 06 Nov 1994 08:49:37 GMT");
    }
}
