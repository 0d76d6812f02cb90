//! Finding agents: the list with its search, and the AI Catalog of all of them. Both walk the
//! registry by name, a bounded piece at a time.

use crate::activity;
use crate::auth::Door;
use crate::document::Document;
use crate::errors::ApiError;
use crate::handle::Shared;
use crate::platform::{blocking, entry, time};
use crate::respond::{self, Reply};
use crate::uri;
use dormouse_services::model::{AgentDefinition, SkillDefinition};
use dormouse_store::{AgentRecord, Registry};
use hyper::StatusCode;
use hyper::header::HeaderValue;
use hyper::http::request::Parts;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Agents in one answer; more of them come with `after`.
const MAX_PAGE: usize = 1_000;
/// Agents that one search looks at; it goes on with `after`.
const MAX_SEARCHED: usize = 5_000;
/// Bytes of what is searched for.
const MAX_QUERY_BYTES: usize = 256;
/// Tags of one entry of the catalogue.
const MAX_TAGS: usize = 32;
/// Agents read from the registry at a time.
const CHUNK: usize = 500;

const AI_CATALOG: HeaderValue = HeaderValue::from_static("application/ai-catalog+json");

/// What an agent must match: all of it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Search {
    /// In lower case; each is somewhere in the agent's name, description, skills or tags.
    words: Vec<String>,
    /// A skill's id or name, in lower case.
    skill: Option<String>,
    /// In lower case.
    tag: Option<String>,
}

/// `GET /v1/agents`.
pub(crate) async fn agents(shared: &Shared, query: Option<&str>) -> Result<Reply, ApiError> {
    let (after, limit) = page(query)?;
    let search = Search::new(query)?;
    let registry = Arc::clone(&shared.registry);
    let (found, next) = blocking(move || find(&*registry, after, limit, &search)).await?;
    let entries: Vec<Value> = found
        .iter()
        .map(|record| entry(&shared.agents, record))
        .collect();
    Ok(respond::json(
        StatusCode::OK,
        &json!({"agents": entries, "next": next}),
    ))
}

/// `GET /.well-known/ai-catalog.json`. A catalogue that is too long for one document ends with a
/// nested one, which goes on.
pub(crate) async fn ai_catalog(shared: &Shared, parts: &Parts) -> Result<Reply, ApiError> {
    let (after, limit) = page(parts.uri.query())?;
    let registry = Arc::clone(&shared.registry);
    let everything = Search::default();
    let (found, next) = blocking(move || find(&*registry, after, limit, &everything)).await?;
    let origin = &shared.config.public_url;
    let mut entries: Vec<Value> = found
        .iter()
        .map(|record| catalog_entry(&shared.agents.url(&record.name), record))
        .collect();
    if let Some(next) = next {
        let url = format!("{origin}/.well-known/ai-catalog.json?after={next}&limit={limit}");
        entries.push(json!({
            "identifier": url,
            "type": "application/ai-catalog+json",
            "url": url,
            "displayName": format!("Agents after {next}"),
        }));
    }
    let host = json!({"displayName": format!("Dormouse at {origin}"), "identifier": origin});
    let catalog = json!({"specVersion": "1.0", "host": host, "entries": entries});
    let document = Document::new(&catalog).content_type(AI_CATALOG);
    let document = match shared.auth.door() {
        Door::Open => document,
        Door::Locked => document.private(),
    };
    Ok(document.reply(&parts.headers))
}

/// Name, description and version are the card's to say, so they are not said twice.
fn catalog_entry(url: &str, record: &AgentRecord) -> Value {
    let mut entry = json!({
        "identifier": url,
        "type": "application/a2a-agent-card+json",
        "url": format!("{url}/.well-known/agent-card.json"),
        "updatedAt": time(record.active.created_ms),
    });
    let tags: BTreeSet<String> = definition(record)
        .into_iter()
        .flat_map(|definition| definition.skills)
        .flat_map(|skill| skill.tags)
        .collect();
    if !tags.is_empty() {
        entry["tags"] = tags.into_iter().take(MAX_TAGS).collect();
    }
    entry
}

fn page(query: Option<&str>) -> Result<(Option<String>, usize), ApiError> {
    let after = uri::parameter(query, "after").map(|after| after.into_owned());
    let limit = activity::number(query, "limit")?.map_or(MAX_PAGE, |limit| {
        usize::try_from(limit).map_or(MAX_PAGE, |limit| limit.clamp(1, MAX_PAGE))
    });
    Ok((after, limit))
}

/// Up to `limit` agents that match, and the name after which the next answer begins.
fn find(
    registry: &dyn Registry,
    mut after: Option<String>,
    limit: usize,
    search: &Search,
) -> Result<(Vec<AgentRecord>, Option<String>), ApiError> {
    let mut found = Vec::new();
    let mut searched = 0;
    loop {
        let chunk = if search.is_empty() { limit + 1 } else { CHUNK };
        let records = registry.agents(after.as_deref(), chunk)?;
        let is_last = records.len() < chunk;
        for record in records {
            if found.len() == limit || searched == MAX_SEARCHED {
                return Ok((found, after));
            }
            searched += 1;
            after = Some(record.name.clone());
            if search.matches(&record) {
                found.push(record);
            }
        }
        if is_last {
            return Ok((found, None));
        }
    }
}

impl Search {
    fn new(query: Option<&str>) -> Result<Self, ApiError> {
        let given = |name| {
            let text = uri::parameter(query, name).unwrap_or_default();
            if text.len() > MAX_QUERY_BYTES {
                let sentence = format!("{name} has more than {MAX_QUERY_BYTES} bytes");
                return Err(ApiError::new(
                    StatusCode::BAD_REQUEST,
                    "query_too_long",
                    sentence,
                ));
            }
            Ok(text.to_lowercase())
        };
        let some = |text: String| (!text.is_empty()).then_some(text);
        Ok(Self {
            words: given("q")?.split_whitespace().map(str::to_owned).collect(),
            skill: some(given("skill")?),
            tag: some(given("tag")?),
        })
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn matches(&self, record: &AgentRecord) -> bool {
        if self.is_empty() {
            return true;
        }
        let Some(agent) = definition(record) else {
            return false;
        };
        let has_skill = |wanted: &String| {
            let is_it = |skill: &SkillDefinition| {
                skill.id.to_lowercase() == *wanted || skill.name.to_lowercase() == *wanted
            };
            agent.skills.iter().any(is_it)
        };
        let has_tag = |wanted: &String| {
            let mut tags = agent.skills.iter().flat_map(|skill| &skill.tags);
            tags.any(|tag| tag.to_lowercase() == *wanted)
        };
        let text = text_of(&agent);
        self.skill.as_ref().is_none_or(has_skill)
            && self.tag.as_ref().is_none_or(has_tag)
            && self.words.iter().all(|word| text.contains(word))
    }
}

/// Everything of an agent that words are looked for in, in lower case and on lines of its own.
fn text_of(agent: &AgentDefinition) -> String {
    let mut text = vec![&*agent.name, &*agent.description];
    for skill in &agent.skills {
        text.extend([&*skill.id, &*skill.name, &*skill.description]);
        text.extend(skill.tags.iter().map(|tag| &**tag));
    }
    text.join("\n").to_lowercase()
}

/// An agent whose definition cannot be read is listed but not found; calling it says what is wrong. It is found by the
/// name that it has here, not by what its module calls it.
fn definition(record: &AgentRecord) -> Option<AgentDefinition> {
    let found: Option<AgentDefinition> = serde_json::from_slice(&record.active.definition).ok();
    let name = record.name.clone();
    found.map(|definition| AgentDefinition { name, ..definition })
}
