//! Memory and language models of native runs.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;

use serde_json::Value;

use crate::{
    AgentError, AgentReply, AgentRequest, CallContext, HttpRequest, HttpResponse, LlmPiece,
    LlmRequest, LlmResponse, MemoryEntry, MemoryHit, MemoryQuery, MemoryScope,
};

/// Entries that one answer has, as on the platform.
const MAX_ANSWER: usize = 100;
const MAX_KEY_BYTES: usize = 128;

/// What stands for a language model.
pub(crate) type FakeModel = Rc<dyn Fn(&LlmRequest) -> Result<LlmResponse, AgentError>>;

/// What stands for the servers that an agent sends to.
pub(crate) type FakeServers = Rc<dyn Fn(&HttpRequest) -> Result<HttpResponse, AgentError>>;

/// What stands for the other agents.
pub(crate) type FakeAgents = Rc<dyn Fn(&AgentRequest) -> Result<AgentReply, AgentError>>;

/// What the calls of a native run share.
#[derive(Default)]
pub(crate) struct NativeServices {
    pub(crate) model: RefCell<Option<FakeModel>>,
    pub(crate) servers: RefCell<Option<FakeServers>>,
    pub(crate) agents: RefCell<Option<FakeAgents>>,
    pub(crate) config: RefCell<BTreeMap<String, String>>,
    entries: RefCell<BTreeMap<(Owner, String), MemoryEntry>>,
}

/// Whose entry: the scope, and the names in it.
type Owner = (MemoryScope, Vec<String>);

pub(crate) fn owner(scope: MemoryScope, context: &CallContext) -> Owner {
    let mut names = vec![context.agent.clone()];
    if scope != MemoryScope::Agent {
        names.push(context.principal.clone());
    }
    if scope == MemoryScope::Context {
        names.push(context.context_id.clone());
    }
    (scope, names)
}

impl NativeServices {
    pub(crate) fn save(&self, owner: Owner, entry: MemoryEntry) -> Result<(), AgentError> {
        check(&entry.key)?;
        let key = (owner, entry.key.clone());
        self.entries.borrow_mut().insert(key, entry);
        Ok(())
    }

    pub(crate) fn load(
        &self,
        owner: Owner,
        key: String,
    ) -> Result<Option<MemoryEntry>, AgentError> {
        check(&key)?;
        Ok(self.entries.borrow().get(&(owner, key)).cloned())
    }

    pub(crate) fn delete(&self, owner: Owner, key: String) -> Result<bool, AgentError> {
        check(&key)?;
        Ok(self.entries.borrow_mut().remove(&(owner, key)).is_some())
    }

    pub(crate) fn list(
        &self,
        owner: &Owner,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Vec<MemoryEntry> {
        let entries = self.entries.borrow();
        let found = entries.iter().filter(|((whose, key), _)| {
            whose == owner
                && key.starts_with(prefix)
                && after.is_none_or(|after| key.as_str() > after)
        });
        let limit = MAX_ANSWER.min(limit as usize);
        found.take(limit).map(|(_, entry)| entry.clone()).collect()
    }

    /// By how many words of the question an entry has, which is enough for tests; and by the cosine.
    pub(crate) fn search(&self, owner: &Owner, query: &MemoryQuery) -> Vec<MemoryHit> {
        let asked = words(&query.text);
        let entries = self.entries.borrow();
        let mut hits: Vec<MemoryHit> = entries
            .iter()
            .filter(|((whose, _), _)| whose == owner)
            .filter_map(|(_, entry)| {
                let value: Value = entry.value.deserialize().unwrap_or_default();
                let shared = words(&value.to_string()).intersection(&asked).count();
                let near = cosine(&query.vector, &entry.vector);
                let score = shared as f32 + near.unwrap_or(0.0);
                let found = (shared > 0 || near.is_some()) && score >= query.min_score;
                let entry = entry.clone();
                found.then_some(MemoryHit { entry, score })
            })
            .collect();
        hits.sort_by(|left, right| right.score.total_cmp(&left.score));
        hits.truncate(MAX_ANSWER.min(query.limit as usize));
        hits
    }

    pub(crate) fn call_agent(&self, request: &AgentRequest) -> Result<AgentReply, AgentError> {
        let agents = self.agents.borrow().clone();
        let agents = agents.ok_or_else(|| {
            AgentError::Unavailable(
                "a native run has no other agents but what a test gives it (Conversation::with_agents)".to_owned(),
            )
        })?;
        agents(request)
    }

    pub(crate) fn http(&self, request: &HttpRequest) -> Result<HttpResponse, AgentError> {
        let servers = self.servers.borrow().clone();
        let servers = servers.ok_or_else(|| {
            AgentError::Unavailable(
                "a native run sends nothing but to what a test gives it (Conversation::with_http)"
                    .to_owned(),
            )
        })?;
        servers(request)
    }

    pub(crate) fn generate(&self, request: &LlmRequest) -> Result<LlmResponse, AgentError> {
        let model = self.model.borrow().clone();
        let model = model.ok_or_else(|| {
            AgentError::Unavailable(
                "a native run has no language model but what a test gives it (Conversation::with_llm)".to_owned(),
            )
        })?;
        model(request)
    }

    /// Word by word, as the platform's scripts speak.
    pub(crate) fn stream(&self, request: &LlmRequest) -> Result<Vec<LlmPiece>, AgentError> {
        let response = self.generate(request)?;
        let words = response.text.split_inclusive(' ');
        let words = words.map(|word| LlmPiece::Text(word.to_owned()));
        let mut pieces: Vec<LlmPiece> = words.collect();
        pieces.push(LlmPiece::Done(response));
        Ok(pieces)
    }
}

fn check(key: &str) -> Result<(), AgentError> {
    if (1..=MAX_KEY_BYTES).contains(&key.len()) {
        return Ok(());
    }
    let sentence = format!("a key in memory has 1 to {MAX_KEY_BYTES} bytes");
    Err(AgentError::InvalidInput(sentence))
}

fn words(text: &str) -> HashSet<String> {
    let words = text.split(|letter: char| !letter.is_alphanumeric());
    words
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

fn cosine(left: &[f32], right: &[f32]) -> Option<f32> {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let lengths = (dot(left, left) * dot(right, right)).sqrt();
    (left.len() == right.len() && lengths > 0.0).then(|| dot(left, right) / lengths)
}
