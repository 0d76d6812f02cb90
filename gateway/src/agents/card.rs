//! An agent's cards (A2A 1.0 §4.4.1, §8), made from its definition when they are first asked for, and
//! kept: a card is signed once, not for every request.

use super::CardKey;
use crate::auth::Door;
use crate::auth::tokens::Scope;
use crate::document::Document;
use a2a::{
    AgentCapabilities, AgentCard, AgentExtension, AgentInterface, AgentProvider, AgentSkill,
    HttpAuthSecurityScheme, SecurityScheme,
};
use dormouse_services::model::{AgentDefinition, Extension, SkillDefinition};
use dormouse_store::VersionRecord;
use jiff::Timestamp;
use serde_json::json;
use std::collections::HashMap;
use std::sync::OnceLock;

/// Names the one security scheme of this platform on a card.
const SCHEME: &str = "bearer";
/// The extension in which an extended card says what is deployed; SPECIFICATION.md has its members.
const DEPLOYMENT: &str = "https://github.com/dormouse-rs/dormouse/extensions/deployment/v1";

/// Signs cards as somebody at an origin.
pub(crate) struct Issuer {
    pub(crate) origin: String,
    /// Without a key, cards are not signed.
    pub(crate) key: Option<CardKey>,
    /// Whether the server sends any.
    pub(crate) push_notifications: bool,
}

/// The cards of one version, each made at its first use.
#[derive(Default)]
pub(crate) struct Cards {
    open: OnceLock<Document>,
    locked: OnceLock<Document>,
    extended: OnceLock<AgentCard>,
}

/// What cards say that is not in the definition.
pub(crate) struct Deployed<'a> {
    pub(crate) definition: &'a AgentDefinition,
    pub(crate) interfaces: &'a [AgentInterface],
    pub(crate) record: &'a VersionRecord,
    pub(crate) issuer: &'a Issuer,
}

impl Cards {
    /// What everybody may see. It says truthfully whether a token is needed.
    pub(crate) fn public(&self, deployed: &Deployed<'_>, door: Door) -> &Document {
        let card = match door {
            Door::Open => &self.open,
            Door::Locked => &self.locked,
        };
        card.get_or_init(|| {
            let card = deployed.signed(deployed.card(door));
            Document::new(&card).modified(deployed.record.created_ms)
        })
    }

    /// For authenticated callers: the public card and what is deployed (A2A 1.0 §3.1.11).
    pub(crate) fn extended(&self, deployed: &Deployed<'_>) -> &AgentCard {
        self.extended.get_or_init(|| {
            let mut card = deployed.card(Door::Locked);
            let extensions = card.capabilities.extensions.get_or_insert_default();
            extensions.push(deployed.extension());
            deployed.signed(card)
        })
    }
}

impl Deployed<'_> {
    fn signed(&self, mut card: AgentCard) -> AgentCard {
        if let Some(key) = &self.issuer.key {
            key.sign(&mut card, &self.issuer.origin);
        }
        card
    }

    /// No REQUIRED member is empty, also when the definition leaves it so: an empty one would be part
    /// of what is signed for some verifiers and not for others.
    fn card(&self, door: Door) -> AgentCard {
        let definition = self.definition;
        let locked = door == Door::Locked;
        AgentCard {
            name: definition.name.clone(),
            description: or(&definition.description, &definition.name),
            version: or(&definition.version, &self.record.number.to_string()),
            supported_interfaces: self.interfaces.to_vec(),
            capabilities: AgentCapabilities {
                streaming: Some(definition.streaming),
                push_notifications: Some(
                    self.issuer.push_notifications && definition.push_notifications,
                ),
                extensions: (!definition.extensions.is_empty())
                    .then(|| definition.extensions.iter().map(extension).collect()),
                extended_agent_card: Some(locked),
            },
            default_input_modes: modes(&definition.default_input_modes),
            default_output_modes: modes(&definition.default_output_modes),
            skills: definition.skills.iter().map(skill).collect(),
            provider: definition.provider.as_ref().map(|provider| AgentProvider {
                organization: provider.organization.clone(),
                url: provider.url.clone(),
            }),
            documentation_url: definition.documentation_url.clone(),
            icon_url: definition.icon_url.clone(),
            security_schemes: locked.then(schemes),
            security_requirements: locked.then(|| {
                vec![HashMap::from([(
                    SCHEME.to_owned(),
                    vec![Scope::Invoke.to_string()],
                )])]
            }),
            signatures: None,
        }
    }

    fn extension(&self) -> AgentExtension {
        let time = i64::try_from(self.record.created_ms).ok();
        let time = time.and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let params = [
            ("version", json!(self.record.number)),
            ("digest", json!(self.record.digest)),
            ("deployed", json!(time.unwrap_or_default().to_string())),
            ("isolation", json!(self.definition.isolation)),
        ];
        AgentExtension {
            uri: DEPLOYMENT.to_owned(),
            description: Some("What is deployed here under this agent's name".to_owned()),
            required: None,
            params: Some(params.map(|(name, value)| (name.to_owned(), value)).into()),
        }
    }
}

fn schemes() -> HashMap<String, SecurityScheme> {
    let bearer = SecurityScheme::HttpAuth(HttpAuthSecurityScheme {
        scheme: "Bearer".to_owned(),
        description: Some("An API token of this server with the scope invoke".to_owned()),
        bearer_format: None,
    });
    HashMap::from([(SCHEME.to_owned(), bearer)])
}

fn extension(extension: &Extension) -> AgentExtension {
    AgentExtension {
        uri: extension.uri.clone(),
        // Members that a verifier takes for absent must not be signed (A2A 1.0 §8.4.1).
        description: (!extension.description.is_empty()).then(|| extension.description.clone()),
        required: extension.required.then_some(true),
        params: extension.params.clone(),
    }
}

fn skill(skill: &SkillDefinition) -> AgentSkill {
    let given = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
    let name = or(&skill.name, &skill.id);
    AgentSkill {
        id: skill.id.clone(),
        description: or(&skill.description, &name),
        name,
        tags: given(&skill.tags).unwrap_or_else(|| vec![skill.id.clone()]),
        examples: given(&skill.examples),
        input_modes: given(&skill.input_modes),
        output_modes: given(&skill.output_modes),
        security_requirements: None,
    }
}

fn or(text: &str, instead: &str) -> String {
    if text.is_empty() { instead } else { text }.to_owned()
}

/// A card must name its default modes; an agent that names none speaks text.
fn modes(modes: &[String]) -> Vec<String> {
    if modes.is_empty() {
        vec!["text/plain".to_owned()]
    } else {
        modes.to_vec()
    }
}
