//! `dormouse filters`: what stands before the agents.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, anyhow, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::args::{FilterCommand, FilterHealthArgs, FilterPutArgs, ListArgs};
use crate::cargo;
use crate::client::Client;
use crate::registry::{list, shown, table};

pub(crate) fn filters(command: FilterCommand) -> anyhow::Result<()> {
    match command {
        FilterCommand::List(args) => show(&args),
        FilterCommand::Put(args) => put(&args),
        FilterCommand::Health(args) => health(&args),
        FilterCommand::Delete(args) => {
            let client = Client::new(&args.server)?;
            client.delete(&["v1", "filters", &args.name])?;
            Ok(writeln!(io::stdout().lock(), "{} is deleted", args.name)?)
        }
    }
}

fn show(args: &ListArgs) -> anyhow::Result<()> {
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
        let agents: Vec<String> = list(filter, "agents").iter().map(shown).collect();
        let agents = match filter["agents"] {
            Value::Null => "all".to_owned(),
            _ => agents.join(", "),
        };
        [
            shown(&filter["order"]),
            shown(&filter["name"]),
            shown(&filter["component"]["id"]),
            shown(&filter["fail"]),
            shown(&filter["breaker"]),
            agents,
        ]
    });
    let head = ["ORDER", "FILTER", "COMPONENT", "FAILS", "BREAKER", "AGENTS"];
    Ok(table(out, head, rows)?)
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
    let mut body = json!({
        "order": args.order,
        "fail": if args.fail_open { "open" } else { "closed" },
        "instances": args.instances,
        "body": args.body,
    });
    if let Some(bytes) = args.max_body {
        body["max_body_bytes"] = bytes.into();
    }
    if let Some(file) = &args.component {
        let component = match file.is_dir() {
            true => cargo::build(file, None, cargo::COMPONENT_TARGET)?,
            false => file.clone(),
        };
        body["wasm"] = STANDARD.encode(read(&component)?).into();
    }
    if let Some(file) = &args.config {
        body["config"] = serde_json::from_slice(&read(file)?)
            .with_context(|| format!("{} is not JSON", file.display()))?;
    }
    if !args.agents.is_empty() {
        body["agents"] = json!(args.agents);
    }
    let client = Client::new(&args.server)?;
    let answer = client.put(&["v1", "filters", &args.name], &body)?;
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

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(file).map_err(|error| anyhow!("cannot read {}: {error}", file.display()))
}
