//! `dormouse agents`, `versions`, `rollback` and `delete`: what is deployed.

use std::io::{self, BufRead, IsTerminal, Write};

use anyhow::{Context, anyhow, bail};
use serde_json::{Value, json};

use crate::Usage;
use crate::args::{AgentArgs, DeleteArgs, ListArgs, RollbackArgs};
use crate::client::Client;
use crate::render::printable;

pub(crate) fn agents(args: &ListArgs) -> anyhow::Result<()> {
    let answer = Client::new(&args.server)?.get(&["v1", "agents"])?;
    let out = &mut io::stdout().lock();
    if args.json {
        return Ok(writeln!(out, "{answer:#}")?);
    }
    let agents = list(&answer, "agents");
    if agents.is_empty() {
        return Ok(writeln!(out, "no agents yet; `dormouse deploy` adds one")?);
    }
    let rows = agents.iter().map(|agent| {
        [
            shown(&agent["name"]),
            format!("v{}", shown(&agent["version"])),
            skills(agent),
            shown(&agent["url"]),
        ]
    });
    Ok(table(out, ["AGENT", "VERSION", "SKILLS", "URL"], rows)?)
}

pub(crate) fn versions(args: &AgentArgs) -> anyhow::Result<()> {
    let answer = Client::new(&args.server)?.get(&["v1", "agents", &args.agent, "versions"])?;
    let out = &mut io::stdout().lock();
    if args.json {
        return Ok(writeln!(out, "{answer:#}")?);
    }
    let rows = list(&answer, "versions").iter().map(|version| {
        let share = version["percent"]
            .as_u64()
            .filter(|share| (1..100).contains(share));
        let role = match (version["active"] == true, share) {
            (true, None) => "active".to_owned(),
            (true, Some(share)) => format!("active, {share} %"),
            (false, Some(share)) => format!("{share} %"),
            (false, None) => String::new(),
        };
        let number = format!("v{}", shown(&version["version"]));
        [
            number,
            role,
            shown(&version["created"]),
            shown(&version["digest"]),
        ]
    });
    Ok(table(out, ["VERSION", "", "CREATED", "DIGEST"], rows)?)
}

pub(crate) fn rollback(args: &RollbackArgs) -> anyhow::Result<()> {
    let client = Client::new(&args.server)?;
    let version = match args.version {
        Some(version) => version,
        None => version_before(&client, &args.agent)?,
    };
    let path = ["v1", "agents", &args.agent, "active"];
    let body = match args.percent {
        Some(percent) => json!({"version": version, "percent": percent}),
        None => json!({"version": version}),
    };
    let answer = client.post(&path, &body)?;
    let out = &mut io::stdout().lock();
    if args.json {
        return Ok(writeln!(out, "{answer:#}")?);
    }
    let agent = &args.agent;
    match args.percent {
        Some(percent) => {
            let active = shown(&answer["version"]);
            let share = format!("v{version} takes {percent} % of new work, v{active} the rest");
            writeln!(out, "{agent}: {share}")?;
        }
        None => writeln!(out, "{agent} is now at v{version}")?,
    }
    Ok(())
}

/// The newest version that is older than the active one.
fn version_before(client: &Client, agent: &str) -> anyhow::Result<u32> {
    let answer = client.get(&["v1", "agents", agent, "versions"])?;
    let versions = list(&answer, "versions");
    let number = |version: &Value| version["version"].as_u64();
    let active = versions
        .iter()
        .find(|version| version["active"] == true)
        .and_then(number);
    let active = active
        .ok_or_else(|| anyhow!("the server does not say which version of {agent} is active"))?;
    let before = versions
        .iter()
        .filter_map(number)
        .filter(|number| *number < active)
        .max();
    match before {
        Some(number) => u32::try_from(number).context("the server counts versions beyond 32 bits"),
        None => bail!("{agent} is at v{active} and has no version before it"),
    }
}

pub(crate) fn delete(args: &DeleteArgs) -> anyhow::Result<()> {
    let client = Client::new(&args.server)?;
    if !args.yes && !confirmed(&args.agent)? {
        bail!("nothing was deleted");
    }
    client.delete(&["v1", "agents", &args.agent])?;
    Ok(writeln!(io::stdout().lock(), "{} is deleted", args.agent)?)
}

fn confirmed(agent: &str) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        return Err(Usage::error(
            "nobody is there to ask: add --yes to delete without asking",
        ));
    }
    eprint!("Delete {agent} with all its versions? [y/N] ");
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// The ids of an agent's skills.
pub(crate) fn skills(agent: &Value) -> String {
    let id = |skill: &Value| shown(skill.get("id").unwrap_or(skill));
    let ids: Vec<String> = agent["skills"]
        .as_array()
        .into_iter()
        .flatten()
        .map(id)
        .collect();
    ids.join(", ")
}

pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => printable(text),
        other => other.to_string(),
    }
}

pub(crate) fn list<'a>(answer: &'a Value, member: &str) -> &'a [Value] {
    answer[member].as_array().map_or(&[], Vec::as_slice)
}

/// Columns as wide as their widest cell.
pub(crate) fn table<const N: usize>(
    out: &mut impl Write,
    head: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) -> io::Result<()> {
    let mut lines = vec![head.map(str::to_owned)];
    lines.extend(rows);
    let mut widths = [0; N];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = cell.chars().count().max(*width);
        }
    }
    for line in &lines {
        let cells: Vec<String> = line
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}
