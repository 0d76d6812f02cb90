//! What agents remember for longer than a task: entries by key, in scopes that do not see each other.
//!
//! | record | value |
//! |---|---|
//! | `me` scope key | an entry as JSON |
//! | `mu` scope | how many entries a scope has, and their bytes |
//! | `ms` agent scope | nothing: the agent has this scope |
//! | `mn` agent | how many scopes an agent has |
//! | `mp` agent principal | how many of them are a principal's |
//!
//! A scope is the digest of its kind and its owners, so no name in one can lead into another, and `agent` and `principal` are
//! digests of names. A scope without entries has no records.

mod index;
pub mod rank;

use crate::desk::{Asker, ServiceError};
use crate::engine::{Inner, blocking};
use crate::llm::Embedding;
use crate::trace::{Kind, Span, Trace};
use dormouse_store::Record;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::{Mutex, Semaphore};

const ENTRIES: &[u8] = b"me";
const USAGE: &[u8] = b"mu";
/// Of digests.
const SCOPE_BYTES: usize = 32;

/// Bytes of a key: with its scope it must fit into a record's key.
pub const MAX_KEY_BYTES: usize = 128;
/// Bytes of a value as JSON, as of one value of state.
pub const MAX_VALUE_BYTES: usize = 64 << 10;
/// Numbers in a vector: more than any embedding model in use gives.
pub const MAX_DIMENSIONS: usize = 4096;
/// Entries of one scope. A search reads all of them.
pub const MAX_ENTRIES: u64 = 1_000;
/// Bytes of all entries of one scope as they are kept. A search has them in memory.
pub const MAX_SCOPE_BYTES: u64 = 4 << 20;
/// Scopes of one agent that have entries: principals and contexts.
pub const MAX_SCOPES: u64 = 100_000;
/// Of one principal, so that none takes all.
pub const MAX_SCOPES_OF_PRINCIPAL: u64 = 10_000;
/// Entries that one answer has.
pub const MAX_ANSWER: usize = 100;

/// Whose memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryScope {
    /// The agent's own.
    Agent,
    /// The principal's, in the call's context.
    Context,
    /// The principal's.
    Principal,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub key: String,
    /// JSON as text.
    pub value: String,
    /// Empty for none.
    pub vector: Vec<f32>,
}

/// What to search for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Query {
    pub text: String,
    pub vector: Vec<f32>,
    pub limit: usize,
    pub min_score: f32,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    pub entry: Entry,
    pub score: f32,
}

/// An entry as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    value: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    vector: Vec<f32>,
    /// The host's own, if the agent gave none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    embedding: Option<Embedding>,
}

#[derive(Debug, Default, Clone, Copy, Serialize, Deserialize)]
struct Usage {
    entries: u64,
    bytes: u64,
}

/// Searches at a time, over all agents: each has a whole scope in memory. More of them wait.
const MAX_SEARCHES: usize = 16;

/// Who may write and search. Writers of one scope take turns, so that its usage adds up; scopes share a few places.
pub(crate) struct Turns {
    writers: [Mutex<()>; 64],
    /// Held, after that of a writer, while an agent gets or loses a scope.
    agents: [Mutex<()>; 64],
    searches: Semaphore,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            writers: std::array::from_fn(|_| Mutex::default()),
            agents: std::array::from_fn(|_| Mutex::default()),
            searches: Semaphore::new(MAX_SEARCHES),
        }
    }
}

/// The memory that one call can reach.
pub struct Memory {
    inner: Arc<Inner>,
    asker: Asker,
    trace: Option<Trace>,
    /// The places of the call at models; `None` if its agent may not use them.
    turns: Option<Arc<Semaphore>>,
}

impl Memory {
    pub(crate) fn new(
        inner: Arc<Inner>,
        asker: Asker,
        trace: Option<Trace>,
        turns: Option<Arc<Semaphore>>,
    ) -> Self {
        Self {
            inner,
            asker,
            trace,
            turns,
        }
    }

    /// Until it is dropped: what the guest waits for.
    fn span(&self, name: &'static str) -> Option<Span> {
        let trace = self.trace.as_ref();
        trace.map(|trace| trace.span(name, Kind::Client))
    }

    /// Keeps an entry, in place of one of the same key. Durable when it returns.
    ///
    /// # Errors
    /// Invalid, or Limit if the scope would be over its quota; then nothing is changed.
    pub async fn save(&self, scope: MemoryScope, entry: Entry) -> Result<(), ServiceError> {
        let _span = self.span("memory.save");
        check_key(&entry.key)?;
        check_vector(&entry.vector)?;
        if entry.value.len() > MAX_VALUE_BYTES {
            return Err(ServiceError::Limit(format!(
                "a value in memory has at most {MAX_VALUE_BYTES} bytes as JSON, not {}",
                entry.value.len()
            )));
        }
        if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(&entry.value) {
            return Err(ServiceError::Invalid(format!(
                "the value is not JSON: {error}"
            )));
        }
        let embedding = match entry.vector.is_empty() {
            true => self.embedding(&text_of(&entry.value)).await,
            false => None,
        };
        let mut kept = Kept {
            value: entry.value,
            vector: entry.vector,
            embedding,
        };
        let written = self.write(scope, &entry.key, Some(kept.json())).await;
        match written {
            // What the host adds must not be what is too much.
            Err(ServiceError::Limit(_)) if kept.embedding.take().is_some() => {
                self.write(scope, &entry.key, Some(kept.json())).await?;
            }
            written => _ = written?,
        }
        Ok(())
    }

    pub async fn load(&self, scope: MemoryScope, key: &str) -> Result<Option<Entry>, ServiceError> {
        let _span = self.span("memory.load");
        check_key(key)?;
        let record = self.entry_key(scope, key);
        let found = self.read(record.clone(), None, 1).await?;
        let found = found.into_iter().find(|(key, _)| *key == record);
        found.map(|(key, value)| decode(&key, &value)).transpose()
    }

    /// Whether there was one. Durable when it returns.
    pub async fn delete(&self, scope: MemoryScope, key: &str) -> Result<bool, ServiceError> {
        let _span = self.span("memory.delete");
        check_key(key)?;
        self.write(scope, key, None).await
    }

    /// Entries in the order of their keys' bytes, at most [`MAX_ANSWER`].
    pub async fn list(
        &self,
        scope: MemoryScope,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Entry>, ServiceError> {
        let _span = self.span("memory.list");
        let whole = self.entry_key(scope, prefix);
        let after = after.map(|after| self.entry_key(scope, after));
        // One before the prefix is no place to begin: the store takes records from there on.
        let after = after.filter(|after| *after >= whole);
        let found = self.read(whole, after, limit.min(MAX_ANSWER)).await?;
        found
            .iter()
            .map(|(key, value)| decode(key, value))
            .collect()
    }

    /// What the host makes of a text. `None` if it has no model for that, the agent no grant, or it cannot be had:
    /// then words have to do.
    async fn embedding(&self, text: &str) -> Option<Embedding> {
        let llm = self.inner.services.llm.as_ref();
        let (turns, llm) = self.turns.as_ref().zip(llm.filter(|llm| llm.embeds()))?;
        if text.trim().is_empty() {
            return None;
        }
        // Memory waits for no model: an agent may have all its places open.
        let _turn = turns.try_acquire().ok()?;
        let embedded = llm.embed(&self.asker, text).await;
        self.inner.keep_budgets(llm, &self.asker).await;
        let agent = &self.asker.agent;
        let embedded = embedded
            .inspect_err(|error| tracing::warn!(agent, %error, "memory goes on without a vector"));
        embedded.ok()
    }

    /// The best first; entries of one score in the order of their keys.
    pub async fn search(&self, scope: MemoryScope, query: Query) -> Result<Vec<Hit>, ServiceError> {
        let _span = self.span("memory.search");
        check_vector(&query.vector)?;
        if query.text.len() > MAX_VALUE_BYTES {
            return Err(ServiceError::Limit(format!(
                "a question has at most {MAX_VALUE_BYTES} bytes"
            )));
        }
        let near = match query.vector.is_empty() {
            true => self.embedding(&query.text).await,
            false => None,
        };
        let _turn = self.inner.memory.searches.acquire().await;
        let all = self
            .read(self.entry_key(scope, ""), None, MAX_ENTRIES as usize)
            .await?;
        let ranking = move || {
            let entries: Result<Vec<_>, _> = all
                .iter()
                .map(|(key, value)| decode_all(key, value))
                .collect();
            Ok(entries.map(|entries| ranked(entries, &query, near.as_ref())))
        };
        blocking(ranking).await?
    }

    /// Changes one entry and what its scope has in one step; whether there was an entry before.
    async fn write(
        &self,
        scope: MemoryScope,
        key: &str,
        value: Option<Vec<u8>>,
    ) -> Result<bool, ServiceError> {
        let id = self.scope_id(scope);
        let entry_key = self.entry_key(scope, key);
        let usage_key = [USAGE, &id].concat();
        let _turn = self.inner.memory.writers[id[0] as usize % 64].lock().await;
        let before = self.read(entry_key.clone(), None, 1).await?;
        let before = before.into_iter().find(|(found, _)| *found == entry_key);
        let usage = self.read(usage_key.clone(), None, 1).await?;
        let mut usage = match usage.first() {
            Some((_, json)) => serde_json::from_slice(json).map_err(damaged)?,
            None => Usage::default(),
        };
        let size = |value: &[u8]| (key.len() + value.len()) as u64;
        if let Some((_, old)) = &before {
            usage.entries = usage.entries.saturating_sub(1);
            usage.bytes = usage.bytes.saturating_sub(size(old));
        } else if value.is_none() {
            return Ok(false);
        }
        if let Some(new) = &value {
            usage.entries += 1;
            usage.bytes += size(new);
            check_quota(usage)?;
        }
        let is_empty = usage.entries == 0;
        let counted = serde_json::to_vec(&usage).expect("numbers are JSON");
        let usage = (usage_key, (!is_empty).then_some(counted));
        let mut records: Vec<Record> = vec![(entry_key, value), usage];
        let _agent = self.count_scope(scope, &id, is_empty, &mut records).await?;
        self.inner.keep(records).await?;
        Ok(before.is_some())
    }

    async fn read(
        &self,
        prefix: Vec<u8>,
        after: Option<Vec<u8>>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, ServiceError> {
        Ok(self.inner.records(prefix, after, limit).await?)
    }

    fn entry_key(&self, scope: MemoryScope, key: &str) -> Vec<u8> {
        [ENTRIES, &self.scope_id(scope), key.as_bytes()].concat()
    }

    fn scope_id(&self, scope: MemoryScope) -> [u8; SCOPE_BYTES] {
        let Asker {
            agent,
            principal,
            context,
        } = &self.asker;
        let (kind, owners): (u8, &[&String]) = match scope {
            MemoryScope::Agent => (b'a', &[agent]),
            MemoryScope::Context => (b'c', &[agent, principal, context]),
            MemoryScope::Principal => (b'p', &[agent, principal]),
        };
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[kind]);
        for owner in owners {
            // The length first: no text in these can then pretend to be another owner.
            hasher.update(&(owner.len() as u64).to_be_bytes());
            hasher.update(owner.as_bytes());
        }
        *hasher.finalize().as_bytes()
    }
}

impl Kept {
    fn json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and finite numbers are JSON")
    }
}

/// What a value says: a text without its quotes, anything else as JSON.
fn text_of(value: &str) -> String {
    serde_json::from_str(value).unwrap_or_else(|_| value.to_owned())
}

/// How near what the host has made of an entry is to what it has made of the question.
fn near_to(asked: Option<&Embedding>, entry: Option<&Embedding>) -> Option<f32> {
    let (asked, entry) = asked.zip(entry)?;
    let same = asked.by == entry.by;
    let near = same.then(|| rank::cosine(&asked.vector, &entry.vector));
    near.flatten().filter(|near| *near > 0.0)
}

fn ranked(
    entries: Vec<(Entry, Option<Embedding>)>,
    query: &Query,
    asked: Option<&Embedding>,
) -> Vec<Hit> {
    let by_words = !query.text.is_empty();
    let by_vector = !query.vector.is_empty();
    let mut texts = vec![0.0; entries.len()];
    if by_words {
        let documents: Vec<Vec<String>> = entries
            .iter()
            .map(|(entry, _)| {
                let mut words = Vec::new();
                // It was checked when it came.
                let value: Value = serde_json::from_str(&entry.value).unwrap_or_default();
                rank::words_of(&value, &mut words);
                words
            })
            .collect();
        texts = rank::bm25(&query.text, &documents);
    }
    let best = texts.iter().copied().fold(0.0_f32, f32::max);
    if (by_vector || asked.is_some()) && best > 0.0 {
        texts.iter_mut().for_each(|score| *score /= best);
    }
    let mut hits: Vec<Hit> = entries
        .into_iter()
        .zip(texts)
        .filter_map(|((entry, embedding), text)| {
            let near = by_vector.then(|| rank::cosine(&query.vector, &entry.vector));
            let near = near.flatten();
            let near = near.or_else(|| near_to(asked, embedding.as_ref()));
            let found = (by_words && text > 0.0) || near.is_some();
            let score = text + near.unwrap_or(0.0);
            (found && score >= query.min_score).then_some(Hit { entry, score })
        })
        .collect();
    hits.sort_by(|left, right| right.score.total_cmp(&left.score));
    hits.truncate(query.limit.min(MAX_ANSWER));
    hits
}

fn decode(key: &[u8], value: &[u8]) -> Result<Entry, ServiceError> {
    decode_all(key, value).map(|(entry, _)| entry)
}

/// With what the host has added.
fn decode_all(key: &[u8], value: &[u8]) -> Result<(Entry, Option<Embedding>), ServiceError> {
    let Kept {
        value,
        vector,
        embedding,
    } = serde_json::from_slice(value).map_err(damaged)?;
    let key = key.get(ENTRIES.len() + SCOPE_BYTES..).unwrap_or_default();
    let entry = Entry {
        key: String::from_utf8_lossy(key).into_owned(),
        value,
        vector,
    };
    Ok((entry, embedding))
}

fn damaged(error: serde_json::Error) -> ServiceError {
    crate::TaskError::from(error).into()
}

fn check_key(key: &str) -> Result<(), ServiceError> {
    if (1..=MAX_KEY_BYTES).contains(&key.len()) {
        return Ok(());
    }
    Err(ServiceError::Invalid(format!(
        "a key in memory has 1 to {MAX_KEY_BYTES} bytes, not {}",
        key.len()
    )))
}

fn check_vector(vector: &[f32]) -> Result<(), ServiceError> {
    if vector.len() > MAX_DIMENSIONS {
        return Err(ServiceError::Limit(format!(
            "a vector has at most {MAX_DIMENSIONS} numbers, not {}",
            vector.len()
        )));
    }
    if vector.iter().all(|number| number.is_finite()) {
        return Ok(());
    }
    Err(ServiceError::Invalid(
        "a vector has finite numbers only".to_owned(),
    ))
}

fn check_quota(usage: Usage) -> Result<(), ServiceError> {
    let over = |what: &str, limit: u64| {
        Err(ServiceError::Limit(format!(
            "the memory of this scope is full: it has at most {limit} {what}; delete some first"
        )))
    };
    if usage.entries > MAX_ENTRIES {
        return over("entries", MAX_ENTRIES);
    }
    if usage.bytes > MAX_SCOPE_BYTES {
        return over("bytes", MAX_SCOPE_BYTES);
    }
    Ok(())
}
