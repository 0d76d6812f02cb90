//! Limits of single agents: what was set for one, and what then holds for its calls.

use dormouse_scheduler::{CallLimits, Ceiling, Preset};
use dormouse_services::model::{AgentDefinition, Isolation};
use dormouse_services::{Grants, Service, TaskLimits};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// The clock that ends calls ticks as often.
const LEAST_SECONDS: f64 = 0.001;
/// Longer than any call should run, and short enough for every clock.
const MAX_SECONDS: f64 = 24.0 * 60.0 * 60.0;
/// One host call holds up to this in the host's memory.
const MAX_HOST_CALL_BYTES: usize = 64 << 20;
/// A wait or a resource takes some hundred bytes of the host's memory.
const MAX_HANDLES: usize = 100_000;
const MAX_LOG_RECORDS: usize = 100_000;
const MAX_LOG_BYTES: usize = 16 << 20;
/// Calls in one instance.
const MAX_CONCURRENCY: u32 = 1_000;

/// What an operator has set for one agent, as it is sent and kept. What is not there is as everywhere, or as the
/// agent's definition says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Overrides {
    /// `strict`, `default` or `generous`: what the other members change.
    #[serde(skip_serializing_if = "Option::is_none")]
    preset: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    call_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    processor_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    table_elements: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host_call_bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    handles: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_records: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    task_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_instances: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    concurrency: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    isolation: Option<Isolation>,
    /// Services that it may use, if its definition says that it needs them.
    #[serde(skip_serializing_if = "Option::is_none")]
    grants: Option<Vec<Service>>,
}

impl Overrides {
    /// What a client has sent.
    ///
    /// # Errors
    /// One sentence that names the member and what it may be.
    pub(crate) fn parse(json: &[u8], ceiling: Ceiling) -> Result<Self, String> {
        // Read as a map first: a struct could also be written as a list.
        let wrong = |what| format!("limits are a JSON object of known members: {what}");
        let members: Map<String, Value> =
            serde_json::from_slice(json).map_err(|error| wrong(error.to_string()))?;
        // Each alone, so that an error is about one of them.
        for (name, value) in &members {
            let alone = Map::from_iter([(name.clone(), value.clone())]);
            let read: Result<Self, _> = serde_json::from_value(Value::Object(alone));
            read.map_err(|error| wrong(format!("{name}: {error}")))?;
        }
        let given: Self = serde_json::from_value(Value::Object(members))
            .map_err(|error| wrong(error.to_string()))?;
        if let Some(word) = &given.preset
            && word.parse::<Preset>().is_err()
        {
            return Err(format!(
                "preset is strict, default or generous, not {word:?}"
            ));
        }
        seconds("call_seconds", given.call_seconds, MAX_SECONDS)?;
        let processor = given.processor_seconds;
        seconds("processor_seconds", processor, MAX_SECONDS)?;
        let slot = "what a slot of the platform's instance pool has";
        let at_once = "what the host takes at once";
        let platform = "what the platform has";
        let here = "what is possible here";
        most(
            "memory_bytes",
            given.memory_bytes,
            ceiling.memory_bytes,
            slot,
        )?;
        let tables = given.table_elements;
        most("table_elements", tables, ceiling.table_elements, slot)?;
        let bytes = given.host_call_bytes;
        most("host_call_bytes", bytes, MAX_HOST_CALL_BYTES, at_once)?;
        most("handles", given.handles, MAX_HANDLES, here)?;
        let records = given.log_records.map(|records| records as usize);
        most("log_records", records, MAX_LOG_RECORDS, here)?;
        let bytes =
            |given: Option<u64>| given.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        most("log_bytes", bytes(given.log_bytes), MAX_LOG_BYTES, here)?;
        let kept = usize::try_from(TaskLimits::default().task_bytes).unwrap_or(usize::MAX);
        most(
            "task_bytes",
            bytes(given.task_bytes),
            kept,
            "what a task keeps",
        )?;
        let instances = given.max_instances;
        most("max_instances", instances, ceiling.max_instances, platform)?;
        let calls = given.concurrency.map(|calls| calls as usize);
        most("concurrency", calls, MAX_CONCURRENCY as usize, here)?;
        Ok(given)
    }

    /// What was kept. It was checked when it came; a server with a lower ceiling holds it to that.
    pub(crate) fn kept(json: Option<&[u8]>) -> Result<Self, serde_json::Error> {
        json.map_or_else(|| Ok(Self::default()), serde_json::from_slice)
    }

    /// What holds for the agent's calls, where `usual` holds for those of others.
    pub(crate) fn limits(&self, usual: &CallLimits, ceiling: Ceiling) -> CallLimits {
        let mut limits = match self.preset.as_ref().and_then(|word| word.parse().ok()) {
            None => usual.clone(),
            Some(preset) => CallLimits {
                max_instances: usual.max_instances,
                fuel: usual.fuel,
                discovery: usual.discovery,
                module_bytes: usual.module_bytes,
                ..Preset::limits(preset)
            },
        };
        if let Some(seconds) = self.call_seconds {
            limits.deadline = Duration::from_secs_f64(seconds);
        }
        if let Some(seconds) = self.processor_seconds {
            limits.processor = Duration::from_secs_f64(seconds);
        }
        set(&mut limits.memory_bytes, self.memory_bytes);
        set(&mut limits.table_elements, self.table_elements);
        set(&mut limits.host_call_bytes, self.host_call_bytes);
        set(&mut limits.handles, self.handles);
        set(&mut limits.log.records, self.log_records);
        set(&mut limits.log.bytes, self.log_bytes);
        set(&mut limits.task_bytes, self.task_bytes);
        limits.memory_bytes = limits.memory_bytes.min(ceiling.memory_bytes);
        limits.table_elements = limits.table_elements.min(ceiling.table_elements);
        let most = self
            .max_instances
            .map(|most| most.min(ceiling.max_instances));
        limits.max_instances = most.or(limits.max_instances);
        limits
    }

    /// What an operator says of an agent goes before what the agent says of itself.
    pub(crate) fn change(&self, definition: &mut AgentDefinition) {
        set(&mut definition.isolation, self.isolation);
        set(&mut definition.concurrency, self.concurrency);
    }

    /// What the agent gets of what it needs; `usual` is what every agent does.
    pub(crate) fn grants(&self, usual: &Grants, definition: &AgentDefinition) -> Grants {
        let set: Grants = self.grants.iter().flatten().cloned().collect();
        let needs: Grants = definition.needs.iter().cloned().collect();
        needs.and(&set.or(usual))
    }

    /// What holds (no two calls share an instance while fuel is counted), for people and machines to read. Without a definition nothing is known of isolation and
    /// concurrency.
    pub(crate) fn shown(limits: &CallLimits, definition: Option<&AgentDefinition>) -> Value {
        let mut shown = json!({
            "preset": limits.preset.as_str(),
            "call_seconds": limits.deadline.as_secs_f64(),
            "processor_seconds": limits.processor.as_secs_f64(),
            "memory_bytes": limits.memory_bytes,
            "table_elements": limits.table_elements,
            "host_call_bytes": limits.host_call_bytes,
            "handles": limits.handles,
            "log_records": limits.log.records,
            "log_bytes": limits.log.bytes,
            "task_bytes": limits.task_bytes,
            "max_instances": limits.max_instances,
        });
        if let Some(definition) = definition {
            let counted = limits.fuel.is_some();
            shown["concurrency"] = if counted { 1 } else { definition.concurrency }.into();
            shown["isolation"] = json!(definition.isolation);
        }
        if let Some(fuel) = limits.fuel {
            shown["fuel"] = fuel.into();
        }
        shown
    }
}

/// What was set takes the place of what is usual.
pub(crate) fn set<T>(to: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *to = value;
    }
}

/// A time that was set, of at most so many seconds.
pub(crate) fn seconds(name: &str, given: Option<f64>, most: f64) -> Result<(), String> {
    match given {
        Some(seconds) if !(LEAST_SECONDS..=most).contains(&seconds) => Err(format!(
            "{name} is {LEAST_SECONDS} to {most} seconds, not {seconds}"
        )),
        _ => Ok(()),
    }
}

/// A number that was set, of at most so many; the reason is told.
pub(crate) fn most(
    name: &str,
    given: Option<usize>,
    most: usize,
    reason: &str,
) -> Result<(), String> {
    match given {
        Some(0) => Err(format!("{name} is at least 1")),
        Some(given) if given > most => {
            Err(format!("{name} is at most {most}, {reason}, not {given}"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const CEILING: Ceiling = Ceiling {
        memory_bytes: 512 << 20,
        table_elements: 50_000,
        max_instances: 1_000,
    };

    #[test]
    fn what_is_wrong_is_told_by_name() {
        for (json, word) in [
            (json!({"memory_bytes": (512 << 20) + 1}), "pool"),
            (json!({"table_elements": 50_001}), "pool"),
            (json!({"memory_bytes": 0}), "at least 1"),
            (json!({"memory_bytes": -1}), "JSON object"),
            (json!({"host_call_bytes": 1_u64 << 40}), "host_call_bytes"),
            (json!({"handles": 100_001}), "handles"),
            (json!({"log_records": 0}), "log_records"),
            (json!({"log_bytes": 1_u64 << 40}), "log_bytes"),
            (json!({"task_bytes": (32 << 20) + 1}), "what a task keeps"),
            (json!({"max_instances": 1_001}), "max_instances"),
            (json!({"concurrency": 0}), "concurrency"),
            (json!({"call_seconds": 0}), "call_seconds"),
            (json!({"call_seconds": 1e9}), "call_seconds"),
            (json!({"processor_seconds": -1.0}), "processor_seconds"),
            (json!({"preset": "huge"}), "strict"),
            (json!({"isolation": "none"}), "`shared`"),
            (json!({"grants": ["root"]}), "`llm`"),
            (json!({"grants": "llm"}), "grants"),
            (json!({"memory": 1}), "memory"),
            (json!([]), "JSON object"),
            (json!("strict"), "JSON object"),
        ] {
            let told = Overrides::parse(json.to_string().as_bytes(), CEILING).unwrap_err();
            assert!(told.contains(word), "{json}: {told}");
        }
        assert!(Overrides::parse(b"{\"call_seconds\": NaN}", CEILING).is_err());
    }

    #[test]
    fn single_limits_change_the_preset_and_the_preset_what_is_usual() {
        let usual = CallLimits {
            fuel: Some(7),
            deadline: Duration::from_secs(33),
            ..CallLimits::default()
        };
        let limits = |json: Value| {
            let overrides = Overrides::parse(json.to_string().as_bytes(), CEILING).unwrap();
            let kept = Overrides::kept(Some(&serde_json::to_vec(&overrides).unwrap())).unwrap();
            assert_eq!(kept, overrides);
            kept.limits(&usual, CEILING)
        };
        assert_eq!(limits(json!({})), usual);
        let strict = limits(json!({"preset": "strict", "memory_bytes": 1 << 20}));
        let expected = CallLimits {
            fuel: Some(7),
            memory_bytes: 1 << 20,
            ..Preset::Strict.limits()
        };
        assert_eq!(strict, expected);
        let quick = limits(json!({"processor_seconds": 0.5, "max_instances": 3}));
        assert_eq!(quick.processor, Duration::from_millis(500));
        assert_eq!(
            (quick.deadline, quick.max_instances),
            (usual.deadline, Some(3))
        );
    }

    #[test]
    fn a_lower_ceiling_holds_what_was_kept_under_a_higher_one() {
        let low = Ceiling {
            memory_bytes: 1 << 20,
            table_elements: 10,
            max_instances: 2,
        };
        let kept = Overrides::parse(br#"{"preset": "generous", "max_instances": 9}"#, CEILING);
        let limits = kept.unwrap().limits(&CallLimits::default(), low);
        assert_eq!(limits.memory_bytes, low.memory_bytes);
        assert_eq!(limits.table_elements, low.table_elements);
        assert_eq!(limits.max_instances, Some(low.max_instances));
    }
}
