//! What is kept in memory of an agent: what routing, cards and calls need, for the agents used last.

mod card;

pub(crate) use card::Card;

use crate::metrics::{AgentMetrics, Metrics};
use crate::route::Base;
use dormouse_scheduler::VersionRef;
use dormouse_services::model::AgentDefinition;
use dormouse_store::{Registry, StoreError, VersionRecord};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use thiserror::Error;

/// One version of an agent, ready to be called and shown.
pub(crate) struct AgentEntry {
    pub(crate) version: Arc<VersionRef>,
    pub(crate) definition: AgentDefinition,
    pub(crate) card: Card,
    pub(crate) metrics: Arc<AgentMetrics>,
}

#[derive(Debug, Error)]
pub(crate) enum AgentsError {
    #[error("the registry could not be read")]
    Store(#[from] StoreError),
    #[error("the stored definition of {agent} cannot be read")]
    Definition {
        agent: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("a thread that read the registry has died")]
    Stopped,
}

/// A bounded cache over the registry. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Agents(Arc<Inner>);

struct Inner {
    registry: Arc<dyn Registry>,
    /// By [`Base::key`].
    entries: moka::sync::Cache<String, Arc<AgentEntry>>,
    /// Counts changes of the registry, so that a load that overlaps with one is not kept.
    changes: AtomicU64,
    metrics: Arc<Metrics>,
    facts: CardFacts,
}

/// What cards say of the server.
pub(crate) struct CardFacts {
    /// Without a slash at its end.
    pub(crate) public_url: String,
    pub(crate) push_notifications: bool,
}

impl Agents {
    pub(crate) fn new(
        registry: Arc<dyn Registry>,
        metrics: Arc<Metrics>,
        facts: CardFacts,
        max_entries: u64,
    ) -> Self {
        let entries = moka::sync::Cache::new(max_entries);
        Self(Arc::new(Inner {
            registry,
            entries,
            changes: AtomicU64::new(0),
            metrics,
            facts,
        }))
    }

    /// The agent a path names; `None` when there is none. Touches the store only on a miss.
    pub(crate) async fn find(
        &self,
        base: Base<'_>,
    ) -> Result<Option<Arc<AgentEntry>>, AgentsError> {
        if let Some(entry) = self.0.entries.get(base.key) {
            return Ok(Some(entry));
        }
        let inner = Arc::clone(&self.0);
        let (key, name, version) = (base.key.to_owned(), base.name.to_owned(), base.version);
        tokio::task::spawn_blocking(move || inner.load(key, &name, version))
            .await
            .map_err(|_died| AgentsError::Stopped)?
    }

    /// One version of an agent.
    pub(crate) async fn find_version(
        &self,
        name: &str,
        number: u32,
    ) -> Result<Option<Arc<AgentEntry>>, AgentsError> {
        let key = pinned(name, number);
        self.find(Base {
            key: &key,
            name,
            version: Some(number),
        })
        .await
    }

    /// Forgets what is cached of an agent. To be called after the registry has changed.
    pub(crate) fn changed(&self, name: &str, versions: impl IntoIterator<Item = u32>) {
        self.0.changes.fetch_add(1, Ordering::SeqCst);
        self.0.entries.invalidate(name);
        for number in versions {
            self.0.entries.invalidate(&pinned(name, number));
        }
    }

    pub(crate) fn url(&self, name: &str) -> String {
        self.0.url(name)
    }
}

impl Inner {
    fn load(
        &self,
        key: String,
        name: &str,
        version: Option<u32>,
    ) -> Result<Option<Arc<AgentEntry>>, AgentsError> {
        let before = self.changes.load(Ordering::SeqCst);
        let record = match version {
            Some(number) => self.registry.version(name, number)?,
            None => self.registry.agent(name)?.map(|agent| agent.active),
        };
        let Some(record) = record else {
            return Ok(None);
        };
        let entry = Arc::new(self.entry(&key, &record)?);
        self.entries.insert(key.clone(), Arc::clone(&entry));
        // A change in the meantime has either removed the entry after this insert, or is seen here.
        if self.changes.load(Ordering::SeqCst) != before {
            self.entries.invalidate(&key);
        }
        Ok(Some(entry))
    }

    fn entry(&self, key: &str, record: &VersionRecord) -> Result<AgentEntry, AgentsError> {
        let definition: AgentDefinition =
            serde_json::from_slice(&record.definition).map_err(|source| {
                AgentsError::Definition {
                    agent: record.agent.clone(),
                    source,
                }
            })?;
        let version = Arc::new(VersionRef {
            agent: record.agent.clone(),
            number: record.number,
            digest: record.digest,
            isolation: definition.isolation,
        });
        let push = self.facts.push_notifications;
        let card = Card::new(&definition, &self.url(key), push, record.created_ms);
        let metrics = self.metrics.agent(&record.agent);
        Ok(AgentEntry {
            version,
            definition,
            card,
            metrics,
        })
    }

    fn url(&self, key: &str) -> String {
        format!("{}/agents/{key}", self.facts.public_url)
    }
}

fn pinned(name: &str, number: u32) -> String {
    format!("{name}/versions/{number}")
}
