//! Configuration of single agents: texts by name that their guests read by `wasi:config`. They are no secrets: the guest
//! sees them.

use dormouse_store::{StoreError, TaskStore};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use tokio::sync::oneshot;

/// Keys of the records: this and the agent's name.
const PREFIX: &[u8] = b"config/";
/// Values of one agent.
const MAX_VALUES: usize = 256;
const MAX_NAME_BYTES: usize = 128;
const MAX_VALUE_BYTES: usize = 4 << 10;
/// Bytes of all names and values of one agent.
const MAX_BYTES: usize = 32 << 10;

pub(crate) type Values = BTreeMap<String, String>;

/// What a client has sent.
///
/// # Errors
/// One sentence that says what is wrong.
pub(crate) fn parse(json: &[u8]) -> Result<Values, String> {
    let members: Map<String, Value> = serde_json::from_slice(json)
        .map_err(|error| format!("a configuration is a JSON object of texts: {error}"))?;
    let texts = members.into_iter().map(|(name, value)| match value {
        Value::String(text) => Ok((name, text)),
        _ => Err(format!("the value of {name:?} must be a text")),
    });
    let values: Values = texts.collect::<Result<_, String>>()?;
    check(&values)?;
    Ok(values)
}

/// # Errors
/// As of [`parse`].
pub(crate) fn check(values: &Values) -> Result<(), String> {
    if values.len() > MAX_VALUES {
        return Err(format!("an agent has at most {MAX_VALUES} values"));
    }
    let mut bytes = 0;
    for (name, value) in values {
        if !(1..=MAX_NAME_BYTES).contains(&name.len()) {
            return Err(format!("a name has 1 to {MAX_NAME_BYTES} bytes"));
        }
        if value.len() > MAX_VALUE_BYTES {
            return Err(format!(
                "the value of {name:?} has more than {MAX_VALUE_BYTES} bytes"
            ));
        }
        bytes += name.len() + value.len();
    }
    if bytes > MAX_BYTES {
        return Err(format!("the values have more than {MAX_BYTES} bytes"));
    }
    Ok(())
}

/// What was set for an agent. Blocks on the disk.
pub(crate) fn read(store: &dyn TaskStore, agent: &str) -> Result<Values, StoreError> {
    let wanted = key(agent);
    // Agents whose names begin alike come after it.
    let found = store.records(&wanted, None, 1)?;
    let found = found.into_iter().find(|(key, _)| *key == wanted);
    let Some((_, json)) = found else {
        return Ok(Values::new());
    };
    serde_json::from_slice(&json).map_err(|_damaged| StoreError::Corrupt {
        what: "the configuration of an agent".to_owned(),
    })
}

/// Replaces what was set; nothing is left of none. Durable when it returns.
pub(crate) async fn write(
    store: &dyn TaskStore,
    agent: &str,
    values: &Values,
) -> Result<(), StoreError> {
    let json = serde_json::to_vec(values).expect("texts are JSON");
    let value = (!values.is_empty()).then_some(json);
    let (done, written) = oneshot::channel();
    let done = Box::new(move |result| drop(done.send(result)));
    store.keep(vec![(key(agent), value)], done);
    written.await.unwrap_or(Err(StoreError::Closed))
}

fn key(agent: &str) -> Vec<u8> {
    [PREFIX, agent.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use dormouse_store::Store;
    use serde_json::json;

    #[test]
    fn what_is_no_configuration_is_told() {
        let many: Map<String, Value> = (0..257).map(|n| (n.to_string(), "".into())).collect();
        let much: Map<String, Value> = (0..9)
            .map(|n| (n.to_string(), "x".repeat(4000).into()))
            .collect();
        for (json, word) in [
            (json!([]), "JSON object"),
            (json!({"a": 1}), "must be a text"),
            (json!({"": "x"}), "1 to 128"),
            (json!({"n".repeat(129): "x"}), "1 to 128"),
            (json!({"a": "x".repeat(4097)}), "4096"),
            (Value::Object(many), "256"),
            (Value::Object(much), "32768"),
        ] {
            let told = parse(json.to_string().as_bytes()).unwrap_err();
            assert!(told.contains(word), "{told}");
        }
    }

    #[tokio::test]
    async fn agents_whose_names_begin_alike_have_their_own() {
        let store = Store::in_memory().tasks;
        let values = |text: &str| Values::from([("k".to_owned(), text.to_owned())]);
        write(&*store, "ab", &values("longer")).await.unwrap();
        assert_eq!(read(&*store, "a").unwrap(), Values::new());
        write(&*store, "a", &values("shorter")).await.unwrap();
        assert_eq!(read(&*store, "ab").unwrap(), values("longer"));
        assert_eq!(read(&*store, "a").unwrap(), values("shorter"));
        write(&*store, "a", &Values::new()).await.unwrap();
        assert_eq!(read(&*store, "a").unwrap(), Values::new());
    }
}
