//! The store without a disk, for tests and for trying things out. Nothing outlives the process.

use prometheus::IntCounter;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::committer::{Apply, Committer, Write};
use crate::limits::{check_agent, check_limits, check_records, check_token, check_write};
use crate::{
    AgentRecord, Digest, Done, KeptRecord, ModuleStore, Put, Record, Registry, Split, StoreError,
    StoreMetrics, TaskId, TaskIndex, TaskPage, TaskQuery, TaskStore, TaskWrite, TokenRecord,
    TokenStore, Totals, VersionRecord,
};

#[derive(Default)]
pub(crate) struct MemoryModules(Mutex<HashMap<Digest, Vec<u8>>>);

impl ModuleStore for MemoryModules {
    fn put(&self, bytes: &[u8]) -> Result<Put, StoreError> {
        let digest = Digest::of(bytes);
        let before = lock(&self.0).insert(digest, bytes.to_vec());
        Ok(Put {
            digest,
            new: before.is_none(),
        })
    }

    fn get(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(lock(&self.0).get(digest).cloned())
    }

    fn size(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        Ok(lock(&self.0).get(digest).map(|bytes| bytes.len() as u64))
    }

    fn remove(&self, digest: &Digest) -> Result<bool, StoreError> {
        Ok(lock(&self.0).remove(digest).is_some())
    }

    fn totals(&self) -> Totals {
        let modules = lock(&self.0);
        Totals {
            modules: modules.len() as u64,
            bytes: modules.values().map(|bytes| bytes.len() as u64).sum(),
        }
    }
}

#[derive(Default)]
pub(crate) struct MemoryRegistry(Mutex<BTreeMap<String, Agent>>);

/// A deleted agent stays as its high-water mark, without versions.
#[derive(Default)]
struct Agent {
    highest: u32,
    active: u32,
    versions: BTreeMap<u32, VersionRecord>,
    limits: Option<Vec<u8>>,
    split: Option<Split>,
}

impl Agent {
    fn record(&self, name: &str) -> Option<AgentRecord> {
        Some(AgentRecord {
            name: name.to_owned(),
            active: self.versions.get(&self.active)?.clone(),
            versions: self.versions.len() as u32,
            split: self.split,
        })
    }
}

impl Registry for MemoryRegistry {
    fn deploy_with(
        &self,
        digest: Digest,
        definitions: &[(String, Vec<u8>)],
        limits: Option<&[u8]>,
        now_ms: u64,
    ) -> Result<Vec<VersionRecord>, StoreError> {
        for (name, _) in definitions {
            check_agent(name)?;
        }
        check_limits(limits)?;
        let mut agents = lock(&self.0);
        let mut deployed = Vec::with_capacity(definitions.len());
        for (name, definition) in definitions {
            let agent = agents.entry(name.clone()).or_default();
            let known = agent
                .versions
                .values()
                .find(|version| version.digest == digest);
            let (number, created_ms) = match known {
                Some(version) => (version.number, version.created_ms),
                None => (agent.highest + 1, now_ms),
            };
            let version = VersionRecord {
                agent: name.clone(),
                number,
                digest,
                definition: definition.clone(),
                created_ms,
            };
            agent.highest = agent.highest.max(number);
            agent.active = number;
            agent.split = None;
            agent.versions.insert(number, version.clone());
            if let Some(limits) = limits {
                agent.limits = Some(limits.to_vec());
            }
            deployed.push(version);
        }
        Ok(deployed)
    }

    fn limits(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let agents = lock(&self.0);
        Ok(agents.get(name).and_then(|agent| agent.limits.clone()))
    }

    fn set_limits(&self, name: &str, limits: Option<&[u8]>) -> Result<bool, StoreError> {
        check_limits(limits)?;
        let mut agents = lock(&self.0);
        match agents.get_mut(name) {
            Some(agent) if !agent.versions.is_empty() => {
                agent.limits = limits.map(<[u8]>::to_vec);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn agent(&self, name: &str) -> Result<Option<AgentRecord>, StoreError> {
        Ok(lock(&self.0).get(name).and_then(|agent| agent.record(name)))
    }

    fn agents(&self, after: Option<&str>, limit: usize) -> Result<Vec<AgentRecord>, StoreError> {
        let agents = lock(&self.0);
        let records = agents
            .iter()
            .filter(|(name, _)| after.is_none_or(|after| name.as_str() > after))
            .filter_map(|(name, agent)| agent.record(name));
        Ok(records.take(limit).collect())
    }

    fn count(&self) -> u64 {
        let agents = lock(&self.0);
        agents
            .values()
            .filter(|agent| !agent.versions.is_empty())
            .count() as u64
    }

    fn version(&self, name: &str, number: u32) -> Result<Option<VersionRecord>, StoreError> {
        let agents = lock(&self.0);
        Ok(agents
            .get(name)
            .and_then(|agent| agent.versions.get(&number))
            .cloned())
    }

    fn versions(&self, name: &str) -> Result<Vec<VersionRecord>, StoreError> {
        let agents = lock(&self.0);
        let versions = agents
            .get(name)
            .map(|agent| agent.versions.values().cloned().collect());
        Ok(versions.unwrap_or_default())
    }

    fn activate(&self, name: &str, number: u32) -> Result<Option<VersionRecord>, StoreError> {
        let mut agents = lock(&self.0);
        let Some(agent) = agents.get_mut(name) else {
            return Ok(None);
        };
        let version = agent.versions.get(&number).cloned();
        if version.is_some() {
            agent.active = number;
            agent.split = None;
        }
        Ok(version)
    }

    fn split(&self, name: &str, split: Split) -> Result<bool, StoreError> {
        let mut agents = lock(&self.0);
        let agent = agents.get_mut(name).filter(|agent| {
            agent.versions.contains_key(&split.version) && agent.active != split.version
        });
        let is_known = agent.is_some();
        if let Some(agent) = agent {
            agent.split = Some(split);
        }
        Ok(is_known)
    }

    fn delete(&self, name: &str) -> Result<Vec<VersionRecord>, StoreError> {
        let mut agents = lock(&self.0);
        let versions = agents.get_mut(name).map(|agent| {
            agent.limits = None;
            agent.split = None;
            std::mem::take(&mut agent.versions)
        });
        Ok(versions.unwrap_or_default().into_values().collect())
    }

    fn references(&self, digest: &Digest) -> Result<u32, StoreError> {
        let agents = lock(&self.0);
        let versions = agents.values().flat_map(|agent| agent.versions.values());
        Ok(versions.filter(|version| version.digest == *digest).count() as u32)
    }
}

#[derive(Default)]
pub(crate) struct MemoryTokens(Mutex<BTreeMap<String, TokenRecord>>);

impl TokenStore for MemoryTokens {
    fn add(&self, token: &TokenRecord) -> Result<bool, StoreError> {
        let mut tokens = lock(&self.0);
        check_token(&token.name, tokens.len())?;
        let known = tokens.values().any(|one| one.hash == token.hash);
        if known || tokens.contains_key(&token.name) {
            return Ok(false);
        }
        tokens.insert(token.name.clone(), token.clone());
        Ok(true)
    }

    fn tokens(&self) -> Result<Vec<TokenRecord>, StoreError> {
        Ok(lock(&self.0).values().cloned().collect())
    }

    fn remove(&self, name: &str) -> Result<bool, StoreError> {
        Ok(lock(&self.0).remove(name).is_some())
    }
}

/// Commits through the same queue and thread as the real backend, so that callers see the same order of things.
pub(crate) struct MemoryTasks {
    tasks: Arc<Mutex<Tasks>>,
    committer: Committer,
    corrupt_total: IntCounter,
}

#[derive(Default)]
struct Tasks {
    heads: HashMap<TaskId, Vec<u8>>,
    open: BTreeSet<TaskId>,
    events: BTreeMap<(TaskId, u64), Vec<u8>>,
    state: HashMap<Vec<u8>, Vec<u8>>,
    records: BTreeMap<Vec<u8>, Vec<u8>>,
    index: HashMap<TaskId, TaskIndex>,
}

impl Tasks {
    fn keep(&mut self, records: &[Record]) {
        for (key, value) in records {
            match value {
                Some(value) => self.records.insert(key.clone(), value.clone()),
                None => self.records.remove(key),
            };
        }
    }
}

impl MemoryTasks {
    pub(crate) fn start(metrics: &StoreMetrics) -> Result<Self, StoreError> {
        let tasks = Arc::<Mutex<Tasks>>::default();
        let committer =
            Committer::start(Memory(Arc::clone(&tasks)), metrics.commit_seconds.clone())?;
        Ok(Self {
            tasks,
            committer,
            corrupt_total: metrics.corrupt_total.clone(),
        })
    }
}

struct Memory(Arc<Mutex<Tasks>>);

impl Apply for Memory {
    fn apply(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        let mut tasks = lock(&self.0);
        for write in writes {
            let write = match write {
                Write::Task(write) => write,
                Write::Records(records) => {
                    tasks.keep(records);
                    continue;
                }
            };
            tasks.heads.insert(write.task, write.head.clone());
            tasks.index.insert(write.task, write.index.clone());
            if write.open {
                tasks.open.insert(write.task);
            } else {
                tasks.open.remove(&write.task);
            }
            for (seq, event) in &write.events {
                tasks.events.insert((write.task, *seq), event.clone());
            }
            for (key, value) in &write.state {
                match value {
                    Some(value) => tasks.state.insert(key.clone(), value.clone()),
                    None => tasks.state.remove(key),
                };
            }
            tasks.keep(&write.records);
        }
        Ok(())
    }

    fn idle(&mut self) {}
}

impl TaskStore for MemoryTasks {
    fn commit(&self, write: TaskWrite, done: Done) {
        match check_write(&write) {
            Ok(()) => self.committer.submit(Write::Task(write), done),
            Err(error) => done(Err(error)),
        }
    }

    fn keep(&self, records: Vec<Record>, done: Done) {
        match check_records(&records) {
            Ok(_) => self.committer.submit(Write::Records(records), done),
            Err(error) => done(Err(error)),
        }
    }

    fn head(&self, task: TaskId) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(lock(&self.tasks).heads.get(&task).cloned())
    }

    fn events(
        &self,
        task: TaskId,
        from: u64,
        limit: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        let tasks = lock(&self.tasks);
        let events = tasks.events.range((task, from)..=(task, u64::MAX));
        Ok(events
            .take(limit)
            .map(|((_, seq), event)| (*seq, event.clone()))
            .collect())
    }

    fn state(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(lock(&self.tasks).state.get(key).cloned())
    }

    fn records(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<KeptRecord>, StoreError> {
        let tasks = lock(&self.tasks);
        let start = match after {
            Some(key) => Bound::Excluded(key.to_vec()),
            None => Bound::Included(prefix.to_vec()),
        };
        let found = tasks.records.range((start, Bound::Unbounded));
        Ok(found
            .take_while(|(key, _)| key.starts_with(prefix))
            .take(limit)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect())
    }

    fn list(&self, query: &TaskQuery) -> Result<TaskPage, StoreError> {
        let tasks = lock(&self.tasks);
        let mut matching: Vec<_> = tasks
            .index
            .iter()
            .filter(|(_, index)| index.agent == query.agent && index.owner == query.owner)
            .filter(|(_, index)| {
                query
                    .context
                    .as_ref()
                    .is_none_or(|context| *context == index.context)
            })
            .filter(|(_, index)| query.status.is_none_or(|status| status == index.status))
            .filter(|(_, index)| {
                query
                    .updated_after_ms
                    .is_none_or(|after| index.updated_ms >= after)
            })
            .map(|(task, index)| (index.updated_ms, *task))
            .collect();
        matching.sort_unstable_by(|left, right| right.cmp(left));
        let total = matching.len() as u64;
        matching.retain(|position| query.after.is_none_or(|after| *position < after));
        let more = matching.len() > query.limit;
        matching.truncate(query.limit);
        Ok(TaskPage {
            next: matching.last().copied().filter(|_| more),
            tasks: matching
                .into_iter()
                .map(|(updated_ms, task)| (task, updated_ms))
                .collect(),
            total,
        })
    }

    fn found_damage(&self) {
        self.corrupt_total.inc();
    }

    fn open_tasks(&self) -> Result<Vec<TaskId>, StoreError> {
        Ok(lock(&self.tasks).open.iter().copied().collect())
    }

    fn counts(&self) -> BTreeMap<u8, u64> {
        let mut counts = BTreeMap::new();
        for index in lock(&self.tasks).index.values() {
            *counts.entry(index.status).or_default() += 1;
        }
        counts
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Only plain collections change under these locks; they are whole even when a panic poisoned them.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
