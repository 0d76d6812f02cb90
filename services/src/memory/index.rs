//! Which scopes an agent has: so that there is a bound on them, and all of them go with the agent.

use super::{ENTRIES, Memory, SCOPE_BYTES, USAGE, damaged};
use crate::desk::ServiceError;
use crate::engine::{Inner, TaskEngine, blocking};
use crate::error::TaskError;
use dormouse_store::Record;
use std::sync::Arc;
use tokio::sync::MutexGuard;

const SCOPES: &[u8] = b"ms";
const COUNT: &[u8] = b"mn";
/// What stands under the key of a scope in the list.
const LISTED: &[u8] = b"1";
/// Records read and deleted at a time.
const BATCH: usize = 500;

type Digest = [u8; SCOPE_BYTES];

pub(super) fn digest(agent: &str) -> Digest {
    *blake3::hash(agent.as_bytes()).as_bytes()
}

impl Memory {
    /// Adds to a write what it changes of the agent's scopes. The guard is to be held until it is kept.
    pub(super) async fn count_scope(
        &self,
        agent: &Digest,
        scope: &Digest,
        is_empty: bool,
        records: &mut Vec<Record>,
    ) -> Result<Option<MutexGuard<'_, ()>>, ServiceError> {
        let listed = [SCOPES, agent, scope].concat();
        let is_listed = !self
            .inner
            .records(listed.clone(), None, 1)
            .await?
            .is_empty();
        if is_listed != is_empty {
            return Ok(None);
        }
        let turn = self.inner.memory.agents[agent[0] as usize % 64]
            .lock()
            .await;
        let key = [COUNT, agent].concat();
        let count = self.inner.records(key.clone(), None, 1).await?;
        let count: u64 = match count.first() {
            Some((_, json)) => serde_json::from_slice(json).map_err(damaged)?,
            None => 0,
        };
        let count = if is_empty {
            count.saturating_sub(1)
        } else {
            count + 1
        };
        let most = self.inner.limits.memory_scopes;
        if count > most && !is_empty {
            return Err(ServiceError::Limit(format!(
                "the agent has memory in {most} scopes already: principals, contexts and its own; delete what is in \
                 some of them"
            )));
        }
        records.push((listed, (!is_empty).then(|| LISTED.to_vec())));
        let json = (count > 0).then(|| count.to_string().into_bytes());
        records.push((key, json));
        Ok(Some(turn))
    }
}

impl TaskEngine {
    /// Deletes all that an agent remembers, of whomever. Durable when it returns.
    ///
    /// # Errors
    /// Store.
    pub async fn forget_memory(&self, agent: &str) -> Result<(), TaskError> {
        let inner = &self.0;
        let agent = digest(agent);
        let scopes = [SCOPES, &agent].concat();
        loop {
            let listed = inner.records(scopes.clone(), None, BATCH).await?;
            if listed.is_empty() {
                return Ok(());
            }
            for (key, _) in listed {
                let scope = key[scopes.len()..].to_vec();
                inner.forget_scope(&agent, &scope, key).await?;
            }
        }
    }
}

impl Inner {
    pub(super) async fn records(
        &self,
        prefix: Vec<u8>,
        after: Option<Vec<u8>>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, TaskError> {
        let store = Arc::clone(&self.store);
        blocking(move || Ok(store.records(&prefix, after.as_deref(), limit)?)).await
    }

    /// What is in the scope first: its place in the list is how the rest is found again after a crash.
    async fn forget_scope(
        &self,
        agent: &Digest,
        scope: &[u8],
        listed: Vec<u8>,
    ) -> Result<(), TaskError> {
        let shard = scope.first().map_or(0, |byte| *byte as usize % 64);
        let _turn = self.memory.writers[shard].lock().await;
        loop {
            let entries = [ENTRIES, scope].concat();
            let found = self.records(entries, None, BATCH).await?;
            if found.is_empty() {
                break;
            }
            let gone = found.into_iter().map(|(key, _)| (key, None));
            self.keep(gone.collect()).await?;
        }
        let _agent = self.memory.agents[agent[0] as usize % 64].lock().await;
        let key = [COUNT, agent].concat();
        let count = self.records(key.clone(), None, 1).await?;
        let count = count
            .first()
            .and_then(|(_, json)| serde_json::from_slice(json).ok());
        let count = count.unwrap_or(0_u64).saturating_sub(1);
        let json = (count > 0).then(|| count.to_string().into_bytes());
        let usage = ([USAGE, scope].concat(), None);
        self.keep(vec![usage, (listed, None), (key, json)]).await
    }
}
