//! Idempotent sends: a key that stands for one message, kept by the write that the message led to.
//! Whoever sends it again is led to the first one's task, and nothing runs twice.

use crate::engine::{TaskEngine, TaskScope, blocking};
use crate::error::TaskError;
use crate::model::Message;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use tokio::sync::{Mutex, OwnedMutexGuard};

/// Sends with keys that may be on their way at the same time, unless their keys share a place.
const PLACES: usize = 256;

/// What a send with a key is.
pub enum Attempt {
    /// Nobody has sent it before. Nobody else can until this is dropped.
    First(Once),
    /// It led to this task.
    Repeated(String),
}

/// The right to be the first with a key. To be handed to the write that keeps it.
pub struct Once {
    key: Vec<u8>,
    digest: String,
    skill: Option<Value>,
    _turn: OwnedMutexGuard<()>,
}

/// One place per group of keys; two sends with one key meet in one place.
pub(crate) struct Turns(Vec<Arc<Mutex<()>>>);

impl Default for Turns {
    fn default() -> Self {
        Self((0..PLACES).map(|_| Arc::default()).collect())
    }
}

/// What the store has under a key.
#[derive(Serialize, Deserialize)]
struct Record {
    task: String,
    /// Of the message, so that a key used for two messages is noticed.
    digest: String,
    /// What the message said of the skill; filters may have changed it before the task began.
    #[serde(default)]
    skill: Option<Value>,
}

impl Once {
    /// The entry of state that makes a task this key's.
    pub(crate) fn entry(&self, task: &str) -> (Vec<u8>, Option<Vec<u8>>) {
        let record = json!({"task": task, "digest": self.digest, "skill": self.skill});
        (self.key.clone(), Some(record.to_string().into_bytes()))
    }
}

impl TaskEngine {
    /// Whether a message with this key was sent before. Waits while another send with the key
    /// finds out the same. `key` is the client's own and means nothing in another scope. `skill` is what the client
    /// says of the skill.
    ///
    /// # Errors
    /// KeyReused if the key stood for another message, or one for another context or skill; Store.
    pub async fn once(
        &self,
        scope: &TaskScope,
        key: &str,
        message: &Message,
        skill: Option<&Value>,
    ) -> Result<Attempt, TaskError> {
        let key = state_key(scope, key);
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let place = hasher.finish() as usize % PLACES;
        let turn = Arc::clone(&self.0.turns.0[place]).lock_owned().await;
        let (inner, stored_key) = (Arc::clone(&self.0), key.clone());
        let stored = blocking(move || Ok(inner.store.state(&stored_key)?)).await?;
        let digest = digest(message);
        let Some(stored) = stored else {
            return Ok(Attempt::First(Once {
                key,
                digest,
                skill: skill.cloned(),
                _turn: turn,
            }));
        };
        let record: Record = serde_json::from_slice(&stored)?;
        if record.digest != digest {
            return Err(TaskError::KeyReused);
        }
        self.is_repeated(scope, &record, message, skill).await?;
        Ok(Attempt::Repeated(record.task))
    }

    /// What is named again must be what the first led to (A2A 1.0 §3.4.1); what is left out is not said to be another.
    async fn is_repeated(
        &self,
        scope: &TaskScope,
        record: &Record,
        message: &Message,
        skill: Option<&Value>,
    ) -> Result<(), TaskError> {
        let context = message.context_id.as_ref();
        // That of a task that goes on is the task's, whatever the message says.
        let skill = skill.filter(|_| message.task_id.is_none());
        if context.is_none() && skill.is_none() {
            return Ok(());
        }
        let live = self.0.find(scope, &record.task).await?;
        let head = &live.log().head;
        let same_context = context.is_none_or(|context| *context == head.context);
        let same_skill = match (skill, &record.skill) {
            (Some(again), Some(first)) => again == first,
            (Some(again), None) => again.as_str() == Some(&head.skill),
            (None, _) => true,
        };
        if same_context && same_skill {
            Ok(())
        } else {
            Err(TaskError::KeyReused)
        }
    }
}

/// Of what the message says and where it goes; its id may differ from one attempt to the next.
fn digest(message: &Message) -> String {
    // By way of a Value, whose maps are sorted.
    let said = json!({"parts": message.parts, "task": message.task_id});
    blake3::hash(said.to_string().as_bytes())
        .to_hex()
        .to_string()
}

fn state_key(scope: &TaskScope, key: &str) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new();
    for text in [&scope.agent, &scope.principal, key] {
        // The length first: no text in these can then pretend to be another scope.
        hasher.update(&(text.len() as u64).to_be_bytes());
        hasher.update(text.as_bytes());
    }
    [b"o".as_slice(), hasher.finalize().as_bytes()].concat()
}
