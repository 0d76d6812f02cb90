//! `dormouse inspect`: what a module is, without deploying it.

use std::io::{self, Write};

use anyhow::Context;
use dormouse_scheduler::{DeployError, Inspection, ModuleKind, Scheduler, SchedulerConfig};
use dormouse_services::model::AgentDefinition;
use dormouse_store::Store;
use indicatif::HumanBytes;
use serde_json::json;

use crate::args::InspectArgs;
use crate::client::Client;
use crate::render::printable;

pub(crate) fn inspect(args: &InspectArgs) -> anyhow::Result<()> {
    let bytes = if args.module.starts_with("blake3:") {
        Client::new(&args.server)?.module(&args.module)?
    } else {
        std::fs::read(&args.module).with_context(|| format!("cannot read {}", args.module))?
    };
    let size = bytes.len() as u64;
    let found = dormouse_scheduler::inspect(&bytes)?;
    let agents = agents(bytes)?;
    let out = &mut io::stdout().lock();
    if args.json {
        json(out, &found, size, &agents)?;
    } else {
        text(out, &found, size)?;
        for agent in agents.iter().flatten() {
            show(out, agent)?;
        }
    }
    agents.context("a deploy of this module would be refused")?;
    Ok(())
}

/// The agents that the module declares, as a deploy finds them, in a sandbox of this process.
fn agents(bytes: Vec<u8>) -> anyhow::Result<Result<Vec<AgentDefinition>, DeployError>> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let mut config = SchedulerConfig::new(folder.path().to_owned());
    config.max_instances = 1;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("cannot start threads")?;
    runtime.block_on(async {
        let modules = Store::in_memory().modules;
        let scheduler = Scheduler::new(config, modules, &prometheus::Registry::new())?;
        let prepared = scheduler.prepare(bytes.into()).await;
        Ok(prepared.map(|prepared| prepared.definitions))
    })
}

fn json(
    out: &mut impl Write,
    found: &Inspection,
    size: u64,
    agents: &Result<Vec<AgentDefinition>, DeployError>,
) -> io::Result<()> {
    let error = agents.as_ref().err().map(ToString::to_string);
    let all = json!({
        "digest": found.digest,
        "kind": word(found.kind),
        "bytes": size,
        "imports": found.imports,
        "exports": found.exports,
        "agents": agents.as_deref().unwrap_or_default(),
        "error": error,
    });
    writeln!(out, "{all:#}")
}

fn text(out: &mut impl Write, found: &Inspection, size: u64) -> io::Result<()> {
    writeln!(out, "digest   {}", found.digest)?;
    writeln!(out, "kind     {}", word(found.kind))?;
    writeln!(out, "size     {}", HumanBytes(size))?;
    for (title, names) in [("imports", &found.imports), ("exports", &found.exports)] {
        for (number, name) in names.iter().enumerate() {
            let title = if number == 0 { title } else { "" };
            writeln!(out, "{title:8} {}", printable(name))?;
        }
    }
    Ok(())
}

fn word(kind: ModuleKind) -> &'static str {
    match kind {
        ModuleKind::CoreModule => "core module",
        ModuleKind::Component => "component",
    }
}

fn show(out: &mut impl Write, agent: &AgentDefinition) -> io::Result<()> {
    writeln!(
        out,
        "\nagent    {} {}",
        printable(&agent.name),
        printable(&agent.version)
    )?;
    writeln!(out, "         {}", printable(&agent.description))?;
    let isolation = json!(agent.isolation);
    writeln!(
        out,
        "         isolation {}, {} calls in an instance",
        isolation.as_str().unwrap_or_default(),
        agent.concurrency
    )?;
    for skill in &agent.skills {
        writeln!(
            out,
            "  skill  {}: {}",
            printable(&skill.id),
            printable(&skill.description)
        )?;
    }
    Ok(())
}
