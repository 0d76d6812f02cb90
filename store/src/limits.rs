//! The bounds every backend keeps, checked before anything is queued or written.

use crate::{
    MAX_AGENT_NAME_BYTES, MAX_KEY_BYTES, MAX_RECORD_KEY_BYTES, MAX_TOKEN_NAME_BYTES, MAX_TOKENS,
    Record, StoreError, TaskWrite,
};

/// Largest head, event or state value. Callers have tighter limits of their own; this one keeps a mistake
/// of theirs from filling the disk.
const MAX_VALUE_BYTES: usize = 64 << 20;
/// Most bytes of one write, so that the queue's bound means something.
const MAX_WRITE_BYTES: usize = 128 << 20;

/// Bytes of the limits that are set for an agent.
const MAX_LIMITS_BYTES: usize = 4096;

/// Those of an agent.
pub(crate) fn check_limits(limits: Option<&[u8]>) -> Result<(), StoreError> {
    let bytes = limits.map_or(0, <[u8]>::len);
    within("what limits an agent", bytes, MAX_LIMITS_BYTES)
}

pub(crate) fn check_agent(name: &str) -> Result<(), StoreError> {
    within("the agent name", name.len(), MAX_AGENT_NAME_BYTES)
}

/// `count` tokens are there already.
pub(crate) fn check_token(name: &str, count: usize) -> Result<(), StoreError> {
    within("the token's name", name.len(), MAX_TOKEN_NAME_BYTES)?;
    if count >= MAX_TOKENS {
        return Err(StoreError::TooMany {
            what: "tokens",
            limit: MAX_TOKENS,
        });
    }
    Ok(())
}

pub(crate) fn check_write(write: &TaskWrite) -> Result<(), StoreError> {
    check_agent(&write.index.agent)?;
    within("the owner", write.index.owner.len(), MAX_KEY_BYTES)?;
    within("the context", write.index.context.len(), MAX_KEY_BYTES)?;
    within("the task's head", write.head.len(), MAX_VALUE_BYTES)?;
    let mut total = write.head.len();
    for (_, event) in &write.events {
        within("the event", event.len(), MAX_VALUE_BYTES)?;
        total += event.len();
    }
    for (key, value) in &write.state {
        within("the state key", key.len(), MAX_KEY_BYTES)?;
        let bytes = value.as_ref().map_or(0, Vec::len);
        within("the state value", bytes, MAX_VALUE_BYTES)?;
        total += bytes;
    }
    total += check_records(&write.records)?;
    within("the task write", total, MAX_WRITE_BYTES)
}

/// The bytes of the values.
pub(crate) fn check_records(records: &[Record]) -> Result<usize, StoreError> {
    let mut total = 0;
    for (key, value) in records {
        within("the record's key", key.len(), MAX_RECORD_KEY_BYTES)?;
        let bytes = value.as_ref().map_or(0, Vec::len);
        within("the record", bytes, MAX_VALUE_BYTES)?;
        total += bytes;
    }
    Ok(total)
}

fn within(what: &'static str, actual: usize, limit: usize) -> Result<(), StoreError> {
    if actual > limit {
        return Err(StoreError::LimitExceeded {
            what,
            limit,
            actual,
        });
    }
    Ok(())
}
