//! What is kept in memory of an agent: what routing, cards and calls need, for the agents used last.

mod card;
mod interfaces;
pub(crate) mod limits;
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
use dormouse_scheduler::{CallLimits, Scheduler, Usage, VersionRef};
use dormouse_services::Grants;
use dormouse_services::model::{AgentDefinition, Isolation};
use dormouse_services::weight::weight;
use dormouse_store::{Digest, Registry, Split, Store, StoreError, TaskStore, VersionRecord};
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
    /// Another version takes a share of the work that comes to this one.
    pub(crate) split: Option<Split>,
    /// Its definition is not in it any more.
    record: VersionRecord,
    interfaces: Vec<AgentInterface>,
    issuer: Arc<Issuer>,
    cards: Cards,
    /// What it takes in memory, about.
    bytes: u32,
}

/// What the entry of an agent takes in memory; few take more.
const USUAL_BYTES: u32 = 16 << 10;

/// What the entry of an agent with this definition takes: with cards there are about four of it.
fn bytes_of(definition: &[u8]) -> u32 {
    let bytes = u32::try_from(4 * weight(definition));
    bytes.unwrap_or(u32::MAX).max(USUAL_BYTES)
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
        let entries = moka::sync::Cache::builder()
            .max_capacity(config.cached_agents * u64::from(USUAL_BYTES))
            .weigher(|_key, entry: &Arc<AgentEntry>| entry.bytes)
            .build();
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

    /// What an agent of a module would be called as, were it deployed under this name, with the limits that come along or
    /// those that the name has; in instances that nobody else meets, of which the live agent has no fewer. Reads the store.
    pub(crate) fn trial(
        &self,
        name: &str,
        digest: Digest,
        definition: &mut AgentDefinition,
        brought: Option<&[u8]>,
    ) -> Result<VersionRef, AgentsError> {
        let own = kept(name, self.0.registry.limits(name)?.as_deref())?;
        let brought = brought
            .map(|brought| kept(name, Some(brought)))
            .transpose()?;
        let record = VersionRecord {
            agent: name.to_owned(),
            number: 0,
            digest,
            definition: Vec::new(),
            created_ms: 0,
        };
        let usage = Arc::default();
        let overrides = brought.as_ref().unwrap_or(&own);
        let version = self.0.version(&record, definition, overrides, usage)?;
        // The pool takes the newest call's word for how many instances the agent may have.
        let scheduler = &self.0.scheduler;
        let own = own.limits(scheduler.limits(), scheduler.ceiling());
        let limits = CallLimits {
            max_instances: own.max_instances,
            ..(*version.limits).clone()
        };
        Ok(VersionRef {
            isolation: Isolation::Call,
            limits: Arc::new(limits),
            ..version
        })
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
        let found = match version {
            Some(number) => self
                .registry
                .version(name, number)?
                .map(|record| (record, None)),
            None => self
                .registry
                .agent(name)?
                .map(|agent| (agent.active, agent.split)),
        };
        let Some((record, split)) = found else {
            return Ok(None);
        };
        let entry = Arc::new(self.entry(&key, record, split)?);
        self.entries.insert(key.clone(), Arc::clone(&entry));
        // A change in the meantime has either removed the entry after this insert, or is seen here.
        if self.changes.load(Ordering::SeqCst) != before {
            self.entries.invalidate(&key);
        }
        Ok(Some(entry))
    }

    fn entry(
        &self,
        key: &str,
        mut record: VersionRecord,
        split: Option<Split>,
    ) -> Result<AgentEntry, AgentsError> {
        let mut definition: AgentDefinition =
            serde_json::from_slice(&record.definition).map_err(|source| {
                AgentsError::Definition {
                    agent: record.agent.clone(),
                    source,
                }
            })?;
        let overrides = self.registry.limits(&record.agent)?;
        let overrides = kept(&record.agent, overrides.as_deref())?;
        let usage = self.scheduler.usage(&record.agent);
        let version = self.version(&record, &mut definition, &overrides, usage)?;
        definition.extensions.push(validate::idempotency());
        let metrics = self.metrics.agent(&record.agent);
        let definition_json = std::mem::take(&mut record.definition);
        Ok(AgentEntry {
            bytes: bytes_of(&definition_json),
            version: Arc::new(version),
            definition,
            metrics,
            split,
            record,
            interfaces: self.interfaces.all(key),
            issuer: Arc::clone(&self.issuer),
            cards: Cards::default(),
        })
    }

    /// As what a version is called, and its definition as it then holds.
    fn version(
        &self,
        record: &VersionRecord,
        definition: &mut AgentDefinition,
        overrides: &Overrides,
        usage: Arc<Usage>,
    ) -> Result<VersionRef, AgentsError> {
        // Deployed under another name, the agent is what it is called here.
        let declared = std::mem::replace(&mut definition.name, record.agent.clone());
        overrides.change(definition);
        let limits = overrides.limits(self.scheduler.limits(), self.scheduler.ceiling());
        let mut config = self.config.get(&record.agent).cloned().unwrap_or_default();
        config.extend(values::read(&*self.tasks, &record.agent)?);
        Ok(VersionRef {
            config: Arc::new(config),
            agent: record.agent.clone(),
            declared,
            number: record.number,
            digest: record.digest,
            isolation: definition.isolation,
            grants: overrides.grants(self.scheduler.grants(), definition),
            limits: Arc::new(limits),
            usage,
            concurrency: definition.concurrency,
        })
    }
}

fn kept(agent: &str, overrides: Option<&[u8]>) -> Result<Overrides, AgentsError> {
    Overrides::kept(overrides).map_err(|source| AgentsError::Limits {
        agent: agent.to_owned(),
        source,
    })
}

fn pinned(name: &str, number: u32) -> String {
    format!("{name}/versions/{number}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use dormouse_scheduler::SchedulerConfig;

    #[tokio::test]
    async fn a_probe_leaves_the_live_agent_the_instances_that_it_may_have() {
        let folder = tempfile::tempdir().unwrap();
        let (registry, store) = (prometheus::Registry::new(), Store::in_memory());
        let settings = SchedulerConfig::new(folder.path().to_owned());
        let scheduler = Scheduler::new(settings, Arc::clone(&store.modules), &registry).unwrap();
        let metrics = Metrics::new(registry, &store.metrics, 1).unwrap();
        let config = GatewayConfig::new("https://agents.example.com");
        let issuer = Issuer {
            origin: config.public_url.clone(),
            key: None,
            push_notifications: false,
        };
        let agents = Agents::new(&store, scheduler, Arc::new(metrics), issuer, &config);
        let definition =
            br#"{"name":"echo","version":"1","description":"","default_input_modes":[],
            "default_output_modes":[],"isolation":"shared","concurrency":1,"skills":[]}"#;
        let digest = Digest::of(b"module");
        let named = [("echo".to_owned(), definition.to_vec())];
        store.registry.deploy(digest, &named, 0).unwrap();
        let own = br#"{"max_instances":7}"#;
        store.registry.set_limits("echo", Some(own)).unwrap();
        let mut definition: AgentDefinition = serde_json::from_slice(definition).unwrap();
        let brought = br#"{"max_instances":1,"call_seconds":9}"#;
        let trial = agents.trial("echo", digest, &mut definition, Some(brought));
        let limits = trial.unwrap().limits;
        assert_eq!(limits.max_instances, Some(7));
        assert_eq!(limits.deadline.as_secs(), 9);
    }

    #[test]
    fn large_definitions_have_the_room_of_many_small_ones() {
        assert_eq!(bytes_of(br#"{"name":"small"}"#), USUAL_BYTES);
        let text = format!(r#"{{"description":"{}"}}"#, "x".repeat(256 << 10));
        assert!(bytes_of(text.as_bytes()) > 64 * USUAL_BYTES);
        let params = format!("[{}0]", r#"{"a":0},"#.repeat(32 << 10));
        assert!(bytes_of(params.as_bytes()) > 4_096 * USUAL_BYTES);
    }
}
