//! `dormouse config` and `dormouse limits`: what single agents read, and what they may use.

use std::io::{self, Write};

use clap::ValueEnum;
use serde_json::{Map, Value};

use crate::args::{ConfigArgs, LimitName, LimitsArgs};
use crate::client::Client;
use crate::registry::{shown, table};

/// What was set for an agent, member by member.
type Members = Map<String, Value>;

pub(crate) fn config(args: &ConfigArgs) -> anyhow::Result<()> {
    let client = Client::new(&args.server)?;
    let path = ["v1", "agents", &args.agent, "config"];
    let mut answer = client.get(&path)?;
    if !args.set.is_empty() || !args.unset.is_empty() {
        let mut members = members(&answer["set"]);
        for (name, value) in &args.set {
            members.insert(name.clone(), Value::from(value.as_str()));
        }
        for name in &args.unset {
            members.remove(name);
        }
        answer = client.put(&path, &Value::Object(members))?;
    }
    let out = &mut io::stdout().lock();
    if args.json {
        return Ok(writeln!(out, "{answer:#}")?);
    }
    let values = members(&answer["config"]);
    if values.is_empty() {
        let agent = &args.agent;
        return Ok(writeln!(
            out,
            "{agent} reads no values; `dormouse config {agent} NAME=VALUE` sets one"
        )?);
    }
    let rows = values.iter().map(|(name, value)| {
        let from = match answer["set"].get(name) {
            Some(_) => "set here",
            None => "configuration file",
        };
        [
            shown(&Value::from(name.as_str())),
            shown(value),
            from.to_owned(),
        ]
    });
    Ok(table(out, ["NAME", "VALUE", "FROM"], rows)?)
}

pub(crate) fn limits(args: &LimitsArgs) -> anyhow::Result<()> {
    let client = Client::new(&args.server)?;
    let path = ["v1", "agents", &args.agent, "limits"];
    let mut answer = client.get(&path)?;
    let set = args.limits.json();
    if args.reset || set.is_some() || !args.unset.is_empty() {
        let mut members = members(&answer["overrides"]);
        if args.reset {
            members.clear();
        }
        for name in &args.unset {
            members.remove(name.member());
        }
        for (name, value) in set
            .as_ref()
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            let value = match members.get(name) {
                Some(Value::Array(before)) => joined(before, value),
                _ => value.clone(),
            };
            members.insert(name.clone(), value);
        }
        answer = client.put(&path, &Value::Object(members))?;
    }
    let out = &mut io::stdout().lock();
    if args.json {
        return Ok(writeln!(out, "{answer:#}")?);
    }
    let known = LimitName::value_variants().iter();
    let rows = known.filter_map(|limit| {
        let member = limit.member();
        let set = answer["overrides"].get(member);
        // Grants are shown where they were set; an agent's entry has those that are in effect.
        let value = answer["limits"].get(member).or(set)?;
        let from = set.map_or("", |_| "set for this agent");
        let name = limit.to_possible_value()?.get_name().to_owned();
        Some([name, readable(member, value), from.to_owned()])
    });
    Ok(table(out, ["LIMIT", "VALUE", "FROM"], rows)?)
}

fn members(value: &Value) -> Members {
    value.as_object().cloned().unwrap_or_default()
}

/// Grants add up; they are taken away by name.
fn joined(before: &[Value], more: &Value) -> Value {
    let mut all = before.to_vec();
    for one in more.as_array().into_iter().flatten() {
        if !all.contains(one) {
            all.push(one.clone());
        }
    }
    Value::Array(all)
}

/// As it could be given to a flag.
pub(crate) fn readable(member: &str, value: &Value) -> String {
    if let Some(bytes) = value.as_u64().filter(|_| member.ends_with("_bytes")) {
        return match (bytes >> 20, bytes >> 10) {
            (mebibytes @ 1.., _) if bytes == mebibytes << 20 => format!("{mebibytes}MiB"),
            (_, kibibytes @ 1..) if bytes == kibibytes << 10 => format!("{kibibytes}KiB"),
            _ => bytes.to_string(),
        };
    }
    if let Some(seconds) = value.as_f64().filter(|_| member.ends_with("_seconds")) {
        return format!("{seconds}s");
    }
    if let Some(words) = value.as_array() {
        return words.iter().map(shown).collect::<Vec<_>>().join(", ");
    }
    shown(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn limits_are_written_as_flags_take_them() {
        for (member, value, text) in [
            ("memory_bytes", json!(64 << 20), "64MiB"),
            ("host_call_bytes", json!(1536), "1536"),
            ("host_call_bytes", json!(512 << 10), "512KiB"),
            ("call_seconds", json!(60.0), "60s"),
            ("call_seconds", json!(0.5), "0.5s"),
            ("isolation", json!("call"), "call"),
            ("grants", json!(["llm", "agent:a"]), "llm, agent:a"),
            ("max_instances", json!(256), "256"),
        ] {
            assert_eq!(readable(member, &value), text);
        }
    }
}
