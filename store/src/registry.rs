//! Agents and versions in sled.
//!
//! | key | value |
//! |---|---|
//! | `a` name | active number, count of versions; then, if new work is split, the other number and its percent |
//! | `h` name | highest number ever given; stays when the agent is deleted |
//! | `v` name, number | digest, creation time, definition |
//! | `d` digest, name | number: whether an agent has a module, and who refers to it |
//! | `l` name | limits of the agent, if any were set |

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use prometheus::Histogram;

use crate::database::{Changes, Database};
use crate::keys::Key;
use crate::limits::{check_agent, check_limits};
use crate::{AgentRecord, Digest, Registry, Split, StoreError, VersionRecord};

const AGENT: u8 = b'a';
const HIGHEST: u8 = b'h';
const VERSION: u8 = b'v';
const DIGEST: u8 = b'd';
const LIMITS: u8 = b'l';
/// An agent can be deleted or switched between reading it and reading its version; more often than this in a
/// row the version is missing for good.
const READ_ATTEMPTS: u32 = 4;

pub(crate) struct SledRegistry {
    database: Arc<Database>,
    agents: AtomicU64,
    commit_seconds: Histogram,
}

/// The value of an `a` record.
#[derive(Clone, Copy, Default)]
struct Agent {
    active: u32,
    versions: u32,
    split: Option<Split>,
}

impl SledRegistry {
    pub(crate) fn open(
        database: Arc<Database>,
        commit_seconds: Histogram,
    ) -> Result<Self, StoreError> {
        let mut agents = 0;
        for entry in database.scan(&[AGENT], None) {
            entry?;
            agents += 1;
        }
        Ok(Self {
            database,
            agents: AtomicU64::new(agents),
            commit_seconds,
        })
    }

    /// Runs the changes as one durable step.
    fn change<T>(
        &self,
        stage: impl FnOnce(&mut Changes<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let since = Instant::now();
        let mut changes = self.database.begin()?;
        let staged = stage(&mut changes)?;
        changes.commit()?;
        self.database.settle()?;
        self.commit_seconds.observe(since.elapsed().as_secs_f64());
        Ok(staged)
    }

    fn deploy_one(
        &self,
        changes: &mut Changes<'_>,
        digest: Digest,
        (name, definition): &(String, Vec<u8>),
        now_ms: u64,
    ) -> Result<(VersionRecord, bool), StoreError> {
        let found = changes.get(&agent_key(name))?;
        let mut agent = found
            .as_deref()
            .map(|value| self.parse_agent(value))
            .transpose()?
            .unwrap_or_default();
        let known = changes.get(&digest_key(&digest, name))?;
        let (number, created_ms) = if let Some(number) = known {
            let number = self.parse_number(&number)?;
            let version = changes.get(&version_key(name, number))?;
            let version = version.ok_or_else(|| self.database.corrupt("a version"))?;
            (
                number,
                self.parse_version(name, number, &version)?.created_ms,
            )
        } else {
            let highest = changes.get(&highest_key(name))?;
            let highest = highest.map_or(Ok(0), |highest| self.parse_number(&highest))?;
            let number = highest + 1;
            changes.put(highest_key(name), &number.to_be_bytes())?;
            changes.put(digest_key(&digest, name), &number.to_be_bytes())?;
            agent.versions += 1;
            (number, now_ms)
        };
        let version = VersionRecord {
            agent: name.clone(),
            number,
            digest,
            definition: definition.clone(),
            created_ms,
        };
        changes.put(version_key(name, number), &version_value(&version))?;
        agent.active = number;
        agent.split = None;
        changes.put(agent_key(name), &agent.value())?;
        Ok((version, found.is_none()))
    }

    fn read_agent(&self, name: &str) -> Result<Option<Agent>, StoreError> {
        let value = self.database.get(&agent_key(name))?;
        value.map(|value| self.parse_agent(&value)).transpose()
    }

    fn parse_agent(&self, value: &[u8]) -> Result<Agent, StoreError> {
        let damaged = || self.database.corrupt("an agent");
        let (active, rest) = value.split_at_checked(4).ok_or_else(damaged)?;
        let (versions, split) = rest.split_at_checked(4).ok_or_else(damaged)?;
        let split = match split {
            [] => None,
            [version @ .., percent] => Some(Split {
                version: self.parse_number(version)?,
                percent: *percent,
            }),
        };
        Ok(Agent {
            active: self.parse_number(active)?,
            versions: self.parse_number(versions)?,
            split,
        })
    }

    fn parse_number(&self, value: &[u8]) -> Result<u32, StoreError> {
        let bytes = value
            .try_into()
            .map_err(|_| self.database.corrupt("a version number"))?;
        Ok(u32::from_be_bytes(bytes))
    }

    fn parse_version(
        &self,
        name: &str,
        number: u32,
        value: &[u8],
    ) -> Result<VersionRecord, StoreError> {
        let damaged = || self.database.corrupt("a version");
        let (digest, rest) = value.split_first_chunk::<32>().ok_or_else(damaged)?;
        let (created_ms, definition) = rest.split_first_chunk::<8>().ok_or_else(damaged)?;
        Ok(VersionRecord {
            agent: name.to_owned(),
            number,
            digest: Digest::from_bytes(*digest),
            definition: definition.to_vec(),
            created_ms: u64::from_be_bytes(*created_ms),
        })
    }
}

impl Registry for SledRegistry {
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
        let deployed = self.change(|changes| {
            let deploy = |definition: &(String, Vec<u8>)| {
                if let Some(limits) = limits {
                    changes.put(limits_key(&definition.0), limits)?;
                }
                self.deploy_one(changes, digest, definition, now_ms)
            };
            definitions
                .iter()
                .map(deploy)
                .collect::<Result<Vec<_>, _>>()
        })?;
        let new = deployed.iter().filter(|(_, new)| *new).count() as u64;
        self.agents.fetch_add(new, Ordering::Relaxed);
        Ok(deployed.into_iter().map(|(version, _)| version).collect())
    }

    fn limits(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.database.get(&limits_key(name))
    }

    fn set_limits(&self, name: &str, limits: Option<&[u8]>) -> Result<bool, StoreError> {
        check_limits(limits)?;
        self.change(|changes| {
            if changes.get(&agent_key(name))?.is_none() {
                return Ok(false);
            }
            match limits {
                Some(limits) => changes.put(limits_key(name), limits)?,
                None => changes.remove(limits_key(name))?,
            }
            Ok(true)
        })
    }

    fn agent(&self, name: &str) -> Result<Option<AgentRecord>, StoreError> {
        for _ in 0..READ_ATTEMPTS {
            let Some(agent) = self.read_agent(name)? else {
                return Ok(None);
            };
            if let Some(active) = self.version(name, agent.active)? {
                return Ok(Some(AgentRecord {
                    name: name.to_owned(),
                    active,
                    versions: agent.versions,
                    split: agent.split,
                }));
            }
        }
        Err(self.database.corrupt("an agent without its active version"))
    }

    fn agents(&self, after: Option<&str>, limit: usize) -> Result<Vec<AgentRecord>, StoreError> {
        let after = after.map(agent_key);
        let mut agents = Vec::new();
        for entry in self.database.scan(&[AGENT], after.as_deref()) {
            if agents.len() >= limit {
                break;
            }
            let (key, _) = entry?;
            let name = std::str::from_utf8(&key[1..])
                .map_err(|_| self.database.corrupt("an agent's name"))?;
            agents.extend(self.agent(name)?);
        }
        Ok(agents)
    }

    fn count(&self) -> u64 {
        self.agents.load(Ordering::Relaxed)
    }

    fn version(&self, name: &str, number: u32) -> Result<Option<VersionRecord>, StoreError> {
        let value = self.database.get(&version_key(name, number))?;
        value
            .map(|value| self.parse_version(name, number, &value))
            .transpose()
    }

    fn versions(&self, name: &str) -> Result<Vec<VersionRecord>, StoreError> {
        let prefix = versions_key(name).done();
        let mut versions = Vec::new();
        for entry in self.database.scan(&prefix, None) {
            let (key, value) = entry?;
            let number = self.parse_number(&key[prefix.len()..])?;
            versions.push(self.parse_version(name, number, &value)?);
        }
        Ok(versions)
    }

    fn activate(&self, name: &str, number: u32) -> Result<Option<VersionRecord>, StoreError> {
        self.change(|changes| {
            let version = changes.get(&version_key(name, number))?;
            let agent = changes.get(&agent_key(name))?;
            let (Some(version), Some(agent)) = (version, agent) else {
                return Ok(None);
            };
            let agent = Agent {
                active: number,
                split: None,
                ..self.parse_agent(&agent)?
            };
            changes.put(agent_key(name), &agent.value())?;
            self.parse_version(name, number, &version).map(Some)
        })
    }

    fn split(&self, name: &str, split: Split) -> Result<bool, StoreError> {
        self.change(|changes| {
            let version = changes.get(&version_key(name, split.version))?;
            let agent = changes.get(&agent_key(name))?;
            let (Some(_), Some(agent)) = (version, agent) else {
                return Ok(false);
            };
            let agent = self.parse_agent(&agent)?;
            if agent.active == split.version {
                return Ok(false);
            }
            let split = Some(split);
            changes.put(agent_key(name), &Agent { split, ..agent }.value())?;
            Ok(true)
        })
    }

    fn delete(&self, name: &str) -> Result<Vec<VersionRecord>, StoreError> {
        let removed = self.change(|changes| {
            // Read inside the change: no deploy can add a version in between.
            let versions = self.versions(name)?;
            for version in &versions {
                changes.remove(version_key(name, version.number))?;
                changes.remove(digest_key(&version.digest, name))?;
            }
            if !versions.is_empty() {
                changes.remove(agent_key(name))?;
                changes.remove(limits_key(name))?;
            }
            Ok(versions)
        })?;
        if !removed.is_empty() {
            self.agents.fetch_sub(1, Ordering::Relaxed);
        }
        Ok(removed)
    }

    fn references(&self, digest: &Digest) -> Result<u32, StoreError> {
        let prefix = Key::new(DIGEST).raw(digest.as_bytes()).done();
        let mut references = 0;
        for entry in self.database.scan(&prefix, None) {
            entry?;
            references += 1;
        }
        Ok(references)
    }
}

impl Agent {
    fn value(self) -> Vec<u8> {
        let mut value = [self.active.to_be_bytes(), self.versions.to_be_bytes()].concat();
        if let Some(Split { version, percent }) = self.split {
            value.extend(version.to_be_bytes());
            value.push(percent);
        }
        value
    }
}

/// Names are raw here, so that agents are scanned in the order of their names.
fn agent_key(name: &str) -> Vec<u8> {
    Key::new(AGENT).raw(name.as_bytes()).done()
}

fn highest_key(name: &str) -> Vec<u8> {
    Key::new(HIGHEST).part(name.as_bytes()).done()
}

fn limits_key(name: &str) -> Vec<u8> {
    Key::new(LIMITS).raw(name.as_bytes()).done()
}

fn versions_key(name: &str) -> Key {
    Key::new(VERSION).part(name.as_bytes())
}

fn version_key(name: &str, number: u32) -> Vec<u8> {
    versions_key(name).raw(&number.to_be_bytes()).done()
}

fn digest_key(digest: &Digest, name: &str) -> Vec<u8> {
    Key::new(DIGEST)
        .raw(digest.as_bytes())
        .raw(name.as_bytes())
        .done()
}

fn version_value(version: &VersionRecord) -> Vec<u8> {
    let created = version.created_ms.to_be_bytes();
    [
        version.digest.as_bytes(),
        created.as_slice(),
        &version.definition,
    ]
    .concat()
}
