use std::rc::Rc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::host::CallHost;
use crate::{AgentError, Json};

/// Whose memory. Nobody reads or changes what is in another agent's, principal's or context's.
///
/// ```
/// use dormouse_sdk::{MemoryScope, OnRequestResult, testing::Conversation};
///
/// let mut talk = Conversation::with_function(async |_, _, runtime, _| {
///     let mut counts = Vec::new();
///     for scope in [MemoryScope::Agent, MemoryScope::Principal] {
///         let memory = runtime.memory(scope);
///         let count = memory.load("calls").await?.unwrap_or(0) + 1;
///         memory.save("calls", &count).await?;
///         counts.push(count);
///     }
///     Ok(OnRequestResult::completed(format!("{counts:?}")))
/// });
/// assert_eq!(talk.send("").text(), "[1, 1]");
/// // Another principal meets what is the agent's own, and nothing else.
/// assert_eq!(talk.with_principal("bob").send("").text(), "[2, 1]");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MemoryScope {
    /// The agent's own: every principal that calls it meets what it keeps here.
    Agent,
    /// The principal's, in the context of the call.
    Context,
    /// The principal's, in all its contexts.
    Principal,
}

/// What an agent remembers for longer than a task; from [`Runtime::memory`](crate::Runtime::memory).
///
/// Unlike [`State`](crate::State), an entry is durable when the function returns, whatever becomes of the call. A
/// scope has at most 1,000 entries and 4 MiB, a key 128 bytes, a value 64 KiB.
///
/// ```
/// # use dormouse_sdk::prelude::*;
/// # use dormouse_sdk::{MemoryScope, testing::Conversation};
/// # #[skill(id = "note", name = "Note", description = "Notes.")]
/// # struct Note;
/// # impl SkillHandler for Note {
/// #     async fn on_request(&self, _: &mut State, _: &ProgressSender, runtime: &Runtime, _: Content)
/// #         -> Result<OnRequestResult, AgentError> {
/// let memory = runtime.memory(MemoryScope::Principal);
/// memory.save("tea", "Ann drinks green tea").await?;
/// memory.save("pet", "Ann has a cat").await?;
/// let hits = memory.search("what tea does she drink?", 1).await?;
/// assert_eq!(hits[0].entry.key, "tea");
/// assert_eq!(memory.load::<String>("pet").await?.as_deref(), Some("Ann has a cat"));
/// assert!(memory.delete("pet").await?);
/// # Ok(OnRequestResult::completed("ok")) } }
/// # assert_eq!(Conversation::new(Note).send("").text(), "ok");
/// ```
pub struct Memory {
    pub(crate) host: Rc<dyn CallHost>,
    pub(crate) scope: MemoryScope,
}

/// One thing that is remembered.
///
/// ```
/// # use dormouse_sdk::{Json, MemoryEntry, MemoryScope, OnRequestResult, testing::Conversation};
/// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
/// let memory = runtime.memory(MemoryScope::Principal);
/// let embedded = MemoryEntry {
///     key: "tea".to_owned(),
///     value: Json::new("Ann drinks green tea")?,
///     vector: vec![0.6, 0.8],
/// };
/// memory.save_entry(embedded).await?;
/// # Ok(OnRequestResult::completed("ok")) });
/// # assert_eq!(talk.send("").text(), "ok");
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct MemoryEntry {
    /// Names it in its scope.
    pub key: String,
    /// Its value.
    pub value: Json,
    /// What the agent says that it means, to be found by nearness; empty for none.
    pub vector: Vec<f32>,
}

/// What a search has found.
///
/// ```
/// # use dormouse_sdk::{MemoryHit, MemoryScope, OnRequestResult, testing::Conversation};
/// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
/// let memory = runtime.memory(MemoryScope::Principal);
/// memory.save("tea", "Ann drinks green tea").await?;
/// memory.save("pet", "Ann has a cat").await?;
/// let hits = memory.search("green tea for Ann", 5).await?;
/// let MemoryHit { entry, score } = &hits[0];
/// assert_eq!(entry.key, "tea");
/// assert!(*score > hits[1].score);
/// # Ok(OnRequestResult::completed("ok")) });
/// # assert_eq!(talk.send("").text(), "ok");
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct MemoryHit {
    /// The entry.
    pub entry: MemoryEntry,
    /// How well it fits; comparable within one search only.
    pub score: f32,
}

/// What to search for; see [`Memory::search_with`].
///
/// ```
/// # use dormouse_sdk::{MemoryQuery, MemoryScope, OnRequestResult, testing::Conversation};
/// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
/// let memory = runtime.memory(MemoryScope::Principal);
/// memory.save("pet", "Ann has a cat").await?;
/// let query = MemoryQuery { text: "dog".to_owned(), limit: 3, ..MemoryQuery::default() };
/// assert!(memory.search_with(query).await?.is_empty());
/// # Ok(OnRequestResult::completed("ok")) });
/// # assert_eq!(talk.send("").text(), "ok");
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MemoryQuery {
    /// Words; empty to search by vector alone.
    pub text: String,
    /// Empty to search by words alone.
    pub vector: Vec<f32>,
    /// Hits to have, at most 100.
    pub limit: u32,
    /// Entries that score less are left out.
    pub min_score: f32,
}

impl Memory {
    /// Keeps a value under a key, in place of what was there.
    ///
    /// ```
    /// # use dormouse_sdk::{MemoryScope, OnRequestResult, testing::Conversation};
    /// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
    /// let memory = runtime.memory(MemoryScope::Principal);
    /// memory.save("tea", "green").await?;
    /// memory.save("tea", "black").await?;
    /// assert_eq!(memory.load::<String>("tea").await?.as_deref(), Some("black"));
    /// # Ok(OnRequestResult::completed("ok")) });
    /// # assert_eq!(talk.send("").text(), "ok");
    /// ```
    pub async fn save(
        &self,
        key: &str,
        value: &(impl Serialize + ?Sized),
    ) -> Result<(), AgentError> {
        self.save_entry(MemoryEntry {
            key: key.to_owned(),
            value: Json::new(value)?,
            vector: Vec::new(),
        })
        .await
    }

    /// Keeps an entry, which may have a vector.
    ///
    /// ```
    /// # use dormouse_sdk::{Json, MemoryEntry, MemoryScope, OnRequestResult, testing::Conversation};
    /// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
    /// let memory = runtime.memory(MemoryScope::Agent);
    /// let (key, value) = ("rain".to_owned(), Json::new("It rains.")?);
    /// memory.save_entry(MemoryEntry { key, value, vector: vec![1.0, 0.0] }).await?;
    /// assert_eq!(memory.load::<String>("rain").await?.as_deref(), Some("It rains."));
    /// # Ok(OnRequestResult::completed("ok")) });
    /// # assert_eq!(talk.send("").text(), "ok");
    /// ```
    pub async fn save_entry(&self, entry: MemoryEntry) -> Result<(), AgentError> {
        self.host.memory_save(self.scope, entry).await
    }

    /// The value under a key.
    ///
    /// ```
    /// # use dormouse_sdk::{MemoryScope, OnRequestResult, testing::Conversation};
    /// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
    /// let memory = runtime.memory(MemoryScope::Principal);
    /// assert_eq!(memory.load::<u32>("visits").await?, None);
    /// memory.save("visits", &1).await?;
    /// assert_eq!(memory.load::<u32>("visits").await?, Some(1));
    /// # Ok(OnRequestResult::completed("ok")) });
    /// # assert_eq!(talk.send("").text(), "ok");
    /// ```
    pub async fn load<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, AgentError> {
        let entry = self.host.memory_load(self.scope, key.to_owned()).await?;
        entry.map(|entry| entry.value.deserialize()).transpose()
    }

    /// Forgets what is under a key; whether there was something.
    ///
    /// ```
    /// # use dormouse_sdk::{MemoryScope, OnRequestResult, testing::Conversation};
    /// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
    /// let memory = runtime.memory(MemoryScope::Principal);
    /// memory.save("tea", "green").await?;
    /// assert!(memory.delete("tea").await?);
    /// assert!(!memory.delete("tea").await?);
    /// # Ok(OnRequestResult::completed("ok")) });
    /// # assert_eq!(talk.send("").text(), "ok");
    /// ```
    pub async fn delete(&self, key: &str) -> Result<bool, AgentError> {
        self.host.memory_delete(self.scope, key.to_owned()).await
    }

    /// Entries whose keys begin with `prefix`, in the order of their keys, those after `after`, at most `limit` and
    /// at most 100.
    ///
    /// ```
    /// # use dormouse_sdk::{MemoryScope, OnRequestResult, testing::Conversation};
    /// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
    /// let memory = runtime.memory(MemoryScope::Principal);
    /// for day in 1..=3 {
    ///     memory.save(&format!("day/{day}"), "sunny").await?;
    /// }
    /// // Page by page: the next one begins after the last key of this one.
    /// let page = memory.list("day/", None, 2).await?;
    /// let next = memory.list("day/", page.last().map(|entry| entry.key.as_str()), 2).await?;
    /// assert_eq!((page.len(), next.len()), (2, 1));
    /// # Ok(OnRequestResult::completed("ok")) });
    /// # assert_eq!(talk.send("").text(), "ok");
    /// ```
    pub async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<MemoryEntry>, AgentError> {
        let (prefix, after) = (prefix.to_owned(), after.map(str::to_owned));
        self.host
            .memory_list(self.scope, prefix, after, limit)
            .await
    }

    /// The entries that fit a question best, by the words that they share with it (BM25).
    ///
    /// ```
    /// # use dormouse_sdk::{MemoryScope, OnRequestResult, testing::Conversation};
    /// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
    /// let memory = runtime.memory(MemoryScope::Principal);
    /// memory.save("tea", "Ann drinks green tea").await?;
    /// let hits = memory.search("what tea does she drink?", 1).await?;
    /// assert_eq!(hits[0].entry.key, "tea");
    /// # Ok(OnRequestResult::completed("ok")) });
    /// # assert_eq!(talk.send("").text(), "ok");
    /// ```
    pub async fn search(&self, text: &str, limit: u32) -> Result<Vec<MemoryHit>, AgentError> {
        self.search_with(MemoryQuery {
            text: text.to_owned(),
            limit,
            ..MemoryQuery::default()
        })
        .await
    }

    /// Searches by words, by a vector (the cosine, among entries with vectors as long), or by both.
    ///
    /// ```
    /// # use dormouse_sdk::{Json, MemoryEntry, MemoryQuery, MemoryScope, OnRequestResult, testing::Conversation};
    /// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
    /// let memory = runtime.memory(MemoryScope::Agent);
    /// for (key, vector) in [("rain", vec![1.0, 0.0]), ("sun", vec![0.0, 1.0])] {
    ///     memory.save_entry(MemoryEntry { key: key.to_owned(), value: Json::new(key)?, vector }).await?;
    /// }
    /// let wet = MemoryQuery { vector: vec![0.9, 0.1], limit: 1, ..MemoryQuery::default() };
    /// assert_eq!(memory.search_with(wet).await?[0].entry.key, "rain");
    /// # Ok(OnRequestResult::completed("ok")) });
    /// # assert_eq!(talk.send("").text(), "ok");
    /// ```
    pub async fn search_with(&self, query: MemoryQuery) -> Result<Vec<MemoryHit>, AgentError> {
        self.host.memory_search(self.scope, query).await
    }
}
