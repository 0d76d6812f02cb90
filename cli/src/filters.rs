//! `dormouse filters`: what stands before the agents.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, anyhow, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::ValueEnum;
use serde_json::{Map, Value, json};

use crate::args::{
    FilterCommand, FilterHealthArgs, FilterPutArgs, FilterSetting, FilterShowArgs, ListArgs,
};
use crate::cargo;
use crate::client::Client;
use crate::registry::{list, shown, table};
use crate::settings::readable;

/// What the server takes of what it shows.
const SETTINGS: [&str; 7] = [
    "config",
    "order",
    "fail",
    "agents",
    "instances",
    "body",
    "max_body_bytes",
];

pub(crate) fn filters(command: FilterCommand) -> anyhow::Result<()> {
    match command {
        FilterCommand::List(args) => list_all(&args),
        FilterCommand::Show(args) => show(&args),
        FilterCommand::Put(args) => put(&args),
        FilterCommand::Health(args) => health(&args),
        FilterCommand::Delete(args) => {
            let client = Client::new(&args.server)?;
            client.delete(&["v1", "filters", &args.name])?;
            Ok(writeln!(io::stdout().lock(), "{} is deleted", args.name)?)
        }
    }
}

fn list_all(args: &ListArgs) -> anyhow::Result<()> {
    let answer = Client::new(&args.server)?.get(&["v1", "filters"])?;
    let out = &mut io::stdout().lock();
    if args.json {
        return Ok(writeln!(out, "{answer:#}")?);
    }
    let filters = list(&answer, "filters");
    if filters.is_empty() {
        return Ok(writeln!(
            out,
            "no filters; `dormouse filters put` adds one"
        )?);
    }
    let rows = filters.iter().map(|filter| {
        [
            shown(&filter["order"]),
            shown(&filter["name"]),
            shown(&filter["component"]["id"]),
            shown(&filter["fail"]),
            shown(&filter["breaker"]),
            limits(filter),
            agents(filter),
        ]
    });
    let head = [
        "ORDER",
        "FILTER",
        "COMPONENT",
        "FAILS",
        "BREAKER",
        "LIMITS",
        "AGENTS",
    ];
    Ok(table(out, head, rows)?)
}

fn agents(filter: &Value) -> String {
    match filter["agents"] {
        Value::Null => "all".to_owned(),
        _ => readable("agents", &filter["agents"]),
    }
}

/// The preset, and what was set besides, as flags take it.
fn limits(filter: &Value) -> String {
    let mut words = vec![shown(&filter["limits"]["preset"])];
    let set = known_limits().filter(|(_, member)| *member != "preset");
    words.extend(set.filter_map(|(flag, member)| {
        let value = filter["overrides"].get(member)?;
        Some(format!("{flag} {}", readable(member, value)))
    }));
    words.join(", ")
}

/// The names of their flags, and what the server calls them.
fn known_limits() -> impl Iterator<Item = (String, &'static str)> {
    let settings = FilterSetting::value_variants().iter();
    settings.filter_map(|setting| {
        let flag = setting.to_possible_value()?.get_name().to_owned();
        Some((flag, setting.limit()?))
    })
}

fn show(args: &FilterShowArgs) -> anyhow::Result<()> {
    let filter = Client::new(&args.server)?.get(&["v1", "filters", &args.name])?;
    let out = &mut io::stdout().lock();
    if args.json {
        return Ok(writeln!(out, "{filter:#}")?);
    }
    let component = &filter["component"];
    let component = [&component["id"], &component["version"]]
        .map(shown)
        .join(" ");
    let settings = [
        ("component", component.trim_end().to_owned()),
        ("world", shown(&filter["component"]["world"])),
        ("digest", shown(&filter["digest"])),
        ("breaker", shown(&filter["breaker"])),
        ("config", shown(&filter["config"])),
        ("order", shown(&filter["order"])),
        ("fail", shown(&filter["fail"])),
        ("agent", agents(&filter)),
        ("body", shown(&filter["body"])),
        ("max-body", shown(&filter["max_body_bytes"])),
        ("instances", shown(&filter["instances"])),
    ];
    let settings = settings.map(|(name, value)| [name.to_owned(), value, String::new()]);
    let limits = known_limits().filter_map(|(flag, member)| {
        let value = filter["limits"].get(member)?;
        let set = filter["overrides"].get(member);
        let from = set.map_or("", |_| "set for this filter");
        Some([flag, readable(member, value), from.to_owned()])
    });
    let rows = settings.into_iter().chain(limits);
    Ok(table(out, ["SETTING", "VALUE", "FROM"], rows)?)
}

fn health(args: &FilterHealthArgs) -> anyhow::Result<()> {
    let client = Client::new(&args.server)?;
    let answer = client.post(&["v1", "filters", &args.name, "health"], &json!({}))?;
    let out = &mut io::stdout().lock();
    if args.json {
        writeln!(out, "{answer:#}")?;
    } else {
        let rows = list(&answer, "instances").iter().map(|one| {
            let is_healthy = one["healthy"] == true;
            let healthy = if is_healthy { "healthy" } else { "replaced" };
            [
                shown(&one["instance"]),
                healthy.to_owned(),
                shown(&one["said"]),
            ]
        });
        table(out, ["INSTANCE", "HEALTH", "SAID"], rows)?;
    }
    ensure!(answer["healthy"] == true, "{} was not well", args.name);
    Ok(())
}

fn put(args: &FilterPutArgs) -> anyhow::Result<()> {
    let client = Client::new(&args.server)?;
    let mut body = match &args.component {
        Some(file) => with_component(file)?,
        None => kept(&client.get(&["v1", "filters", &args.name])?),
    };
    change(&mut body, args)?;
    let answer = client.put(&["v1", "filters", &args.name], &Value::Object(body))?;
    let out = &mut io::stdout().lock();
    if args.json {
        return Ok(writeln!(out, "{answer:#}")?);
    }
    let component = shown(&answer["component"]["id"]);
    Ok(writeln!(
        out,
        "{} is {component} {}",
        args.name,
        shown(&answer["component"]["version"])
    )?)
}

fn with_component(file: &Path) -> anyhow::Result<Map<String, Value>> {
    let built = match file.is_dir() {
        true => cargo::build(file, None, cargo::COMPONENT_TARGET)?,
        false => file.to_owned(),
    };
    let wasm = STANDARD.encode(read(&built)?);
    Ok(Map::from_iter([("wasm".to_owned(), wasm.into())]))
}

/// A filter's settings, as they would be set again. Its component is not among them: it keeps that.
fn kept(filter: &Value) -> Map<String, Value> {
    let settings = SETTINGS.iter().filter_map(|name| {
        let value = filter.get(*name).filter(|value| !value.is_null())?;
        Some(((*name).to_owned(), value.clone()))
    });
    let limits = filter.get("overrides").cloned();
    let limits = limits.map(|limits| ("limits".to_owned(), limits));
    settings.chain(limits).collect()
}

/// Takes away what is unset, and then sets what is given.
fn change(body: &mut Map<String, Value>, args: &FilterPutArgs) -> anyhow::Result<()> {
    for setting in &args.unset {
        match (setting.limit(), body.get_mut("limits")) {
            (Some(limit), Some(Value::Object(limits))) => drop(limits.remove(limit)),
            (Some(_), _) => {}
            (None, _) => drop(body.remove(setting.member())),
        }
    }
    let fail = match (args.fail_open, args.fail_closed) {
        (true, _) => Some("open"),
        (_, true) => Some("closed"),
        _ => None,
    };
    let config = args.config.as_ref().map(|file| {
        serde_json::from_slice::<Value>(&read(file)?)
            .with_context(|| format!("{} is not JSON", file.display()))
    });
    let given = [
        ("config", config.transpose()?),
        ("order", args.order.map(|order| json!(order))),
        ("fail", fail.map(|fail| json!(fail))),
        ("body", args.body.as_ref().map(|mode| json!(mode))),
        ("max_body_bytes", args.max_body.map(|bytes| json!(bytes))),
        ("instances", args.instances.map(|count| json!(count))),
        (
            "agents",
            (!args.agents.is_empty()).then(|| json!(args.agents)),
        ),
    ];
    for (name, value) in given {
        if let Some(value) = value {
            body.insert(name.to_owned(), value);
        }
    }
    for (name, value) in args.limits.members() {
        let limits = body.entry("limits").or_insert_with(|| json!({}));
        limits[name] = value;
    }
    Ok(())
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(file).map_err(|error| anyhow!("cannot read {}: {error}", file.display()))
}
