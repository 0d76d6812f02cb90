//! `dormouse deploy`: from a crate or a `.wasm` file to agents that answer.

use std::io::{self, Cursor, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use reqwest::blocking::Body;
use serde_json::{Value, json};

use crate::args::{DeployArgs, ServerArgs};
use crate::cargo;
use crate::client::{Client, Deployment};
use crate::registry::{shown, skills};

pub(crate) fn deploy(args: &DeployArgs) -> anyhow::Result<()> {
    let client = Client::new(&args.server)?;
    let module = module(args)?;
    let bytes =
        std::fs::read(&module).with_context(|| format!("cannot read {}", module.display()))?;
    let size = bytes.len() as u64;
    let probe = args
        .probe
        .as_ref()
        .map(|text| json!({"text": text, "skill": args.probe_skill}));
    let deployment = Deployment {
        name: args.name.clone(),
        limits: args.limits.json(),
        probe,
    };
    let answer = upload(&client, bytes, &deployment)?;
    let out = &mut io::stdout().lock();
    if args.json {
        return Ok(writeln!(out, "{answer:#}")?);
    }
    Ok(report(out, &answer, size, &args.server)?)
}

/// The file to upload; compiled first if a folder was named.
fn module(args: &DeployArgs) -> anyhow::Result<PathBuf> {
    let path = &args.path;
    if path.is_dir() {
        let module = cargo::build(path, args.package.as_deref(), cargo::TARGET)?;
        eprintln!("built {}", module.display());
        return Ok(module);
    }
    if path.is_file() {
        return Ok(path.clone());
    }
    bail!("{} is neither a crate folder nor a file", path.display())
}

/// Uploads with a progress bar, which hides itself when stderr is no terminal.
fn upload(client: &Client, bytes: Vec<u8>, deployment: &Deployment) -> anyhow::Result<Value> {
    let size = bytes.len() as u64;
    let style =
        ProgressStyle::with_template("{spinner} uploading {wide_bar} {bytes}/{total_bytes}")
            .expect("the template is correct");
    let bar = ProgressBar::new(size).with_style(style);
    // Keeps moving while the server compiles, after the last byte is sent.
    bar.enable_steady_tick(Duration::from_millis(100));
    let body = Body::sized(bar.wrap_read(Cursor::new(bytes)), size);
    let answer = client.upload(body, deployment);
    bar.finish_and_clear();
    answer
}

pub(crate) fn report(
    out: &mut impl Write,
    answer: &Value,
    size: u64,
    server: &ServerArgs,
) -> io::Result<()> {
    writeln!(out, "{} ({})", shown(&answer["digest"]), HumanBytes(size))?;
    for agent in answer["agents"].as_array().into_iter().flatten() {
        let name = shown(&agent["name"]);
        writeln!(out, "\n{name} v{}", shown(&agent["version"]))?;
        writeln!(out, "  url     {}", shown(&agent["url"]))?;
        writeln!(out, "  card    {}", shown(&agent["card_url"]))?;
        writeln!(out, "  skills  {}", skills(agent))?;
        services(out, agent)?;
        let server = server.flag();
        writeln!(out, "  try     dormouse send {name} \"…\"{server}")?;
    }
    Ok(())
}

/// What the agent needs, and what of that it does not get.
fn services(out: &mut impl Write, agent: &Value) -> io::Result<()> {
    let words = |member: &str| {
        let words = agent[member].as_array().into_iter().flatten();
        words.filter_map(Value::as_str).collect::<Vec<_>>()
    };
    let (needs, granted) = (words("needs"), words("granted"));
    if needs.is_empty() {
        return Ok(());
    }
    let (has, lacks): (Vec<&str>, Vec<&str>) =
        needs.into_iter().partition(|need| granted.contains(need));
    if !has.is_empty() {
        writeln!(out, "  granted {}", has.join(", "))?;
    }
    for need in lacks {
        writeln!(
            out,
            "  lacks   {need}: grant it with dormouse deploy --grant {need}"
        )?;
    }
    Ok(())
}
