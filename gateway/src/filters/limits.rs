//! Limits of single filters: what was set for one, and what then holds. As those of agents (`agents/limits.rs`).

use crate::agents::limits::{most, seconds, set};
use dormouse_filters::WasmAgentConfig;
use dormouse_filters::config::{Limits, PRESETS};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// What holds where nothing else was set.
const USUAL: &str = "default";

/// What an operator has set for one filter, as it is sent and kept. What is not there is as for every filter.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Overrides {
    /// One of [`PRESETS`]: what the other members change.
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
    tables: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    function_bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    component_bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fuel: Option<u64>,
}

impl Overrides {
    /// What a client has sent. `counts_fuel`: whether the server counts instructions.
    ///
    /// # Errors
    /// One sentence that names the member and what it may be.
    pub(super) fn parse(json: &[u8], ceiling: &Limits, counts_fuel: bool) -> Result<Self, String> {
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
            && !PRESETS.contains(&word.as_str())
        {
            let known = PRESETS.join(", ");
            return Err(format!("preset is one of {known}, not {word:?}"));
        }
        if given.fuel.is_some() && !counts_fuel {
            return Err("fuel is not counted here; `dormouse serve --fuel` counts it".to_owned());
        }
        given.check(ceiling)?;
        Ok(given)
    }

    fn check(&self, ceiling: &Limits) -> Result<(), String> {
        let time = ceiling.max_execution_time;
        seconds("call_seconds", self.call_seconds, time.as_secs_f64())?;
        let (given, time) = (self.processor_seconds, ceiling.max_processor_time);
        seconds("processor_seconds", given, time.as_secs_f64())?;
        let slot = "what a slot of the pool of filters has";
        let size = self.memory_bytes;
        most("memory_bytes", size, ceiling.max_memory, slot)?;
        let size = self.table_elements;
        most("table_elements", size, ceiling.max_table_elements, slot)?;
        let (count, tables) = (self.tables, ceiling.max_tables as usize);
        let count = count.map(|count| count as usize);
        most("tables", count, tables, slot)?;
        let soon = "what is compiled in seconds";
        let size = self.function_bytes;
        most("function_bytes", size, ceiling.max_function_size, soon)?;
        let here = "what is possible here";
        let size = self.component_bytes;
        most("component_bytes", size, ceiling.max_component_size, here)?;
        let size = self.output_bytes;
        most("output_bytes", size, ceiling.max_output, here)?;
        let number = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let fuel = self.fuel.map(number);
        most("fuel", fuel, number(ceiling.max_fuel), here)
    }

    /// What holds for the filter's calls, where `usual` holds for those of others. A server with a lower ceiling than it
    /// was set under holds it to that.
    pub(super) fn limits(&self, usual: &Limits, ceiling: &Limits) -> Limits {
        let preset = self.preset.as_deref().and_then(WasmAgentConfig::preset);
        let mut limits = match preset {
            None => usual.clone(),
            // How many instances there are is said elsewhere. Filters that compute share the threads of their lane.
            Some(preset) => Limits {
                max_instances: usual.max_instances,
                ..preset.limits.among_others()
            },
        };
        let times = [
            (&mut limits.max_execution_time, self.call_seconds),
            (&mut limits.max_processor_time, self.processor_seconds),
        ];
        for (time, seconds) in times {
            set(time, seconds.map(Duration::from_secs_f64));
        }
        set(&mut limits.max_memory, self.memory_bytes);
        set(&mut limits.max_table_elements, self.table_elements);
        set(&mut limits.max_tables, self.tables);
        set(&mut limits.max_function_size, self.function_bytes);
        set(&mut limits.max_component_size, self.component_bytes);
        set(&mut limits.max_output, self.output_bytes);
        set(&mut limits.max_fuel, self.fuel);
        limits.at_most(ceiling)
    }

    /// What holds, for people and machines to read.
    pub(super) fn shown(&self, limits: &Limits, counts_fuel: bool) -> Value {
        let mut shown = json!({
            "preset": self.preset.as_deref().unwrap_or(USUAL),
            "call_seconds": limits.max_execution_time.as_secs_f64(),
            "processor_seconds": limits.max_processor_time.as_secs_f64(),
            "memory_bytes": limits.max_memory,
            "table_elements": limits.max_table_elements,
            "tables": limits.max_tables,
            "function_bytes": limits.max_function_size,
            "component_bytes": limits.max_component_size,
            "output_bytes": limits.max_output,
        });
        if counts_fuel {
            shown["fuel"] = limits.max_fuel.into();
        }
        shown
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn ceiling() -> Limits {
        Limits {
            max_memory: 512 << 20,
            max_execution_time: Duration::from_secs(10),
            max_processor_time: Duration::from_secs(10),
            max_table_elements: 50_000,
            max_tables: 4,
            max_component_size: 32 << 20,
            max_output: 8 << 20,
            max_fuel: u64::MAX >> 1,
            ..Limits::default()
        }
    }

    fn parse(json: &Value) -> Result<Overrides, String> {
        Overrides::parse(json.to_string().as_bytes(), &ceiling(), true)
    }

    #[test]
    fn what_is_wrong_is_told_by_name() {
        for (json, word) in [
            (json!({"memory_bytes": (512 << 20) + 1}), "pool of filters"),
            (json!({"memory_bytes": 0}), "at least 1"),
            (json!({"memory_bytes": -1}), "memory_bytes"),
            (json!({"table_elements": 50_001}), "table_elements"),
            (json!({"tables": 5}), "tables is at most 4"),
            (
                json!({"function_bytes": (1 << 20) + 1}),
                "compiled in seconds",
            ),
            (
                json!({"component_bytes": (32 << 20) + 1}),
                "component_bytes",
            ),
            (json!({"output_bytes": (8 << 20) + 1}), "output_bytes"),
            (json!({"fuel": 0}), "fuel"),
            (json!({"fuel": u64::MAX}), "fuel"),
            (json!({"call_seconds": 10.1}), "0.001 to 10"),
            (json!({"call_seconds": 0}), "call_seconds"),
            (json!({"processor_seconds": -1.0}), "processor_seconds"),
            (json!({"preset": "generous"}), "high-performance"),
            (json!({"max_memory": 1}), "max_memory"),
            (json!([]), "JSON object"),
            (json!("strict"), "JSON object"),
            (json!(null), "JSON object"),
        ] {
            let told = parse(&json).unwrap_err();
            assert!(told.contains(word), "{json}: {told}");
        }
        let uncounted = Overrides::parse(br#"{"fuel": 7}"#, &ceiling(), false);
        assert!(uncounted.unwrap_err().contains("--fuel"));
    }

    #[test]
    fn single_limits_change_the_preset_and_the_preset_what_is_usual() {
        let usual = Limits {
            max_instances: 32,
            max_output: 7,
            ..Limits::default().among_others()
        };
        let limits = |json: Value| {
            let overrides = parse(&json).unwrap();
            let kept: Overrides =
                serde_json::from_slice(&serde_json::to_vec(&overrides).unwrap()).unwrap();
            assert_eq!(kept, overrides);
            kept.limits(&usual, &ceiling())
        };
        assert_eq!(limits(json!({})), usual.clone().at_most(&ceiling()));
        let strict = limits(json!({"preset": "strict", "memory_bytes": 1 << 20}));
        let expected = Limits {
            max_instances: ceiling().max_instances,
            max_memory: 1 << 20,
            max_execution_time: Duration::from_millis(50),
            ..WasmAgentConfig::strict().limits
        };
        assert_eq!(strict, expected);
        let quick = limits(json!({"processor_seconds": 0.02, "output_bytes": 9, "fuel": 11}));
        assert_eq!(quick.max_processor_time, Duration::from_millis(20));
        assert_eq!(quick.max_execution_time, usual.max_execution_time);
        assert_eq!((quick.max_output, quick.max_fuel), (9, 11));
        // What a preset has beyond the ceiling is the ceiling's.
        let high = limits(json!({"preset": "high-performance"}));
        assert_eq!(high.max_table_elements, 50_000);
        assert_eq!(high.max_function_size, 1 << 20);
        assert_eq!(high.max_execution_time, Duration::from_millis(2_500));
    }

    #[test]
    fn every_preset_has_its_name() {
        for name in PRESETS {
            let overrides = parse(&json!({"preset": name})).unwrap();
            let limits = overrides.limits(&Limits::default(), &ceiling());
            assert_eq!(overrides.shown(&limits, false)["preset"], name);
            assert!(overrides.shown(&limits, false).get("fuel").is_none());
            assert_eq!(overrides.shown(&limits, true)["fuel"], limits.max_fuel);
        }
        let usual = Overrides::default();
        assert!(usual.is_empty());
        assert_eq!(usual.shown(&Limits::default(), false)["preset"], USUAL);
        assert!(PRESETS.contains(&USUAL));
    }
}
