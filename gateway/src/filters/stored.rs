//! What is kept of a filter, and what an operator may say of one.

use super::limits::Overrides;
use dormouse_store::{Digest, StoreError, TaskStore};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Keys of filters among the store's records: this and the name.
const PREFIX: &[u8] = b"filter/";
/// Read at a time; more than the engine has slots for.
const PAGE: usize = 1_000;

/// A filter without its bytes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) name: String,
    pub(super) digest: String,
    #[serde(flatten)]
    pub(super) settings: Settings,
}

/// What an operator decides.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Settings {
    /// Handed to the component as it is, as text.
    #[serde(default)]
    pub(super) config: Value,
    /// Filters are asked in this order, and those of one number by name.
    #[serde(default)]
    pub(super) order: i32,
    #[serde(default)]
    pub(super) fail: Fail,
    /// The agents that it stands before; all of them when there is none.
    #[serde(default)]
    pub(super) agents: Option<Vec<String>>,
    /// How bodies reach it.
    #[serde(default)]
    pub(super) body: BodyMode,
    /// Bytes of a body, a message or an artifact that it sees at most; what it declares itself counts, too.
    #[serde(default)]
    pub(super) max_body_bytes: Option<u64>,
    /// Live instances: so many requests can be looked at at once.
    #[serde(default = "two")]
    pub(super) instances: usize,
    /// What its calls may use, where that differs.
    #[serde(default, skip_serializing_if = "Overrides::is_empty")]
    pub(super) limits: Overrides,
}

fn two() -> usize {
    2
}

/// What becomes of a request whose filter fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Fail {
    /// It goes on without that filter.
    Open,
    #[default]
    Closed,
}

/// How a body reaches a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum BodyMode {
    /// When it is whole.
    #[default]
    Buffer,
    /// In pieces, as they arrive.
    Stream,
    /// Whole if it is small, else in pieces as they arrive.
    Hybrid,
}

impl Record {
    pub(super) fn digest(&self) -> Option<Digest> {
        self.digest.parse().ok()
    }

    /// Durable when it returns.
    pub(super) async fn keep(&self, store: &dyn TaskStore) -> Result<(), StoreError> {
        let value = serde_json::to_vec(self).expect("a record has string keys only");
        write(store, &self.name, Some(value)).await
    }

    pub(super) async fn forget(&self, store: &dyn TaskStore) -> Result<(), StoreError> {
        write(store, &self.name, None).await
    }

    /// All of them. One that cannot be read is an error: without it, something that is kept out would get in.
    pub(super) fn all(store: &dyn TaskStore) -> Result<Vec<Self>, StoreError> {
        let records = store.records(PREFIX, None, PAGE)?;
        let parse = |value: &[u8]| {
            serde_json::from_slice(value).map_err(|_damaged| StoreError::Corrupt {
                what: "the record of a filter".to_owned(),
            })
        };
        records.iter().map(|(_key, value)| parse(value)).collect()
    }
}

async fn write(
    store: &dyn TaskStore,
    name: &str,
    value: Option<Vec<u8>>,
) -> Result<(), StoreError> {
    let (done, written) = oneshot::channel();
    let key = [PREFIX, name.as_bytes()].concat();
    let done = Box::new(move |result| drop(done.send(result)));
    store.keep(vec![(key, value)], done);
    written.await.unwrap_or(Err(StoreError::Closed))
}

/// The store as it is shared.
pub(super) type Shared = Arc<dyn TaskStore>;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use serde_json::json;

    /// As they were written before there were limits of single filters.
    #[test]
    fn records_of_old_are_read_and_written_as_they_were() {
        let old = json!({"name": "guard", "digest": "blake3:0", "config": {"a": 1}, "order": 3, "fail": "open",
                         "agents": null, "body": "stream", "max_body_bytes": null, "instances": 1});
        let record: Record = serde_json::from_value(old.clone()).unwrap();
        assert!(record.settings.limits.is_empty());
        assert_eq!(serde_json::to_value(&record).unwrap(), old);
        let mut new = old;
        new["limits"] = json!({"preset": "strict", "call_seconds": 0.5});
        let record: Record = serde_json::from_value(new.clone()).unwrap();
        assert_eq!(serde_json::to_value(&record).unwrap(), new);
    }
}
