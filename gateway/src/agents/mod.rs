//! What is kept in memory of an agent: what routing, cards and calls need, for the agents used last.

mod card;
mod interfaces;
mod limits;
mod signing;
pub(crate) mod values;

pub(crate) use signing::JWKS_PATH;
pub use signing::{CardKey, CardKeyError};

use crate::auth::Door;
use crate::config::GatewayConfig;
use crate::document::Document;
use crate::metrics::{AgentMetrics, Metrics};
use crate::route::Base;
use crate::validate;
use a2a::{AgentCard, AgentInterface};
pub(crate) use card::Issuer;
use card::{Cards, Deployed};
use dormouse_scheduler::{Scheduler, VersionRef};
use dormouse_services::Grants;
use dormouse_services::model::AgentDefinition;
use dormouse_store::{Registry, Store, StoreError, TaskStore, VersionRecord};
use interfaces::Interfaces;
pub(crate) use limits::Overrides;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use thiserror::Error;
use values::Values;

/// One version of an agent, ready to be called and shown.
pub(crate) struct AgentEntry {
    pub(crate) version: Arc<VersionRef>,
    pub(crate) definition: AgentDefinition,
    pub(crate) metrics: Arc<AgentMetrics>,
    /// Its definition is not in it any more.
    record: VersionRecord,
    interfaces: Vec<AgentInterface>,
    issuer: Arc<Issuer>,
    cards: Cards,
}

impl AgentEntry {
    pub(crate) fn card(&self, door: Door) -> &Document {
        self.cards.public(&self.deployed(), door)
    }

    pub(crate) fn extended_card(&self) -> &AgentCard {
        self.cards.extended(&self.deployed())
    }

    fn deployed(&self) -> Deployed<'_> {
        Deployed {
            definition: &self.definition,
            interfaces: &self.interfaces,
            record: &self.record,
            issuer: &self.issuer,
        }
    }
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
    #[error("the limits of {agent} cannot be read")]
    Limits {
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
    tasks: Arc<dyn TaskStore>,
    /// What the server's configuration says of agents.
    config: BTreeMap<String, Values>,
    scheduler: Scheduler,
    /// By [`Base::key`].
    entries: moka::sync::Cache<String, Arc<AgentEntry>>,
    /// Counts changes of the registry, so that a load that overlaps with one is not kept.
    changes: AtomicU64,
    metrics: Arc<Metrics>,
    issuer: Arc<Issuer>,
    interfaces: Interfaces,
}

impl Agents {
    pub(crate) fn new(
        store: &Store,
        scheduler: Scheduler,
        metrics: Arc<Metrics>,
        issuer: Issuer,
        config: &GatewayConfig,
    ) -> Self {
        let entries = moka::sync::Cache::new(config.cached_agents);
        Self(Arc::new(Inner {
            registry: Arc::clone(&store.registry),
            tasks: Arc::clone(&store.tasks),
            config: config.agent_config.clone(),
            scheduler,
            entries,
            changes: AtomicU64::new(0),
            metrics,
            interfaces: Interfaces::new(issuer.origin.clone()),
            issuer: Arc::new(issuer),
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

    /// What an agent gets of what this definition needs; none if it cannot be read what was set for it, which is
    /// reported where it is called. Reads the store, of few agents.
    pub(crate) fn granted(&self, name: &str, definition: &AgentDefinition) -> Grants {
        if definition.needs.is_empty() {
            return Grants::default();
        }
        let kept = self.0.registry.limits(name).ok();
        let kept = kept.and_then(|kept| Overrides::kept(kept.as_deref()).ok());
        let usual = self.0.scheduler.grants();
        kept.map_or_else(Grants::default, |kept| kept.grants(usual, definition))
    }

    pub(crate) fn url(&self, name: &str) -> String {
        self.0.interfaces.url(name)
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
        let entry = Arc::new(self.entry(&key, record)?);
        self.entries.insert(key.clone(), Arc::clone(&entry));
        // A change in the meantime has either removed the entry after this insert, or is seen here.
        if self.changes.load(Ordering::SeqCst) != before {
            self.entries.invalidate(&key);
        }
        Ok(Some(entry))
    }

    fn entry(&self, key: &str, mut record: VersionRecord) -> Result<AgentEntry, AgentsError> {
        let mut definition: AgentDefinition =
            serde_json::from_slice(&record.definition).map_err(|source| {
                AgentsError::Definition {
                    agent: record.agent.clone(),
                    source,
                }
            })?;
        // Deployed under another name, the agent is what it is called here.
        let declared = std::mem::replace(&mut definition.name, record.agent.clone());
        let overrides = self.registry.limits(&record.agent)?;
        let overrides =
            Overrides::kept(overrides.as_deref()).map_err(|source| AgentsError::Limits {
                agent: record.agent.clone(),
                source,
            })?;
        overrides.change(&mut definition);
        let limits = overrides.limits(self.scheduler.limits(), self.scheduler.ceiling());
        let mut config = self.config.get(&record.agent).cloned().unwrap_or_default();
        config.extend(values::read(&*self.tasks, &record.agent)?);
        let version = Arc::new(VersionRef {
            config: Arc::new(config),
            agent: record.agent.clone(),
            declared,
            number: record.number,
            digest: record.digest,
            isolation: definition.isolation,
            grants: overrides.grants(self.scheduler.grants(), &definition),
            limits: Arc::new(limits),
            usage: self.scheduler.usage(&record.agent),
            concurrency: definition.concurrency,
        });
        definition.extensions.push(validate::idempotency());
        let metrics = self.metrics.agent(&record.agent);
        record.definition = Vec::new();
        Ok(AgentEntry {
            version,
            definition,
            metrics,
            record,
            interfaces: self.interfaces.all(key),
            issuer: Arc::clone(&self.issuer),
            cards: Cards::default(),
        })
    }
}

fn pinned(name: &str, number: u32) -> String {
    format!("{name}/versions/{number}")
}
