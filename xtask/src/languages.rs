//! Agents in other languages than Rust: the examples in Python and JavaScript are built by the tools that
//! their own lists pin, deployed to the real binary and called.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::setup;
use crate::step::{self, Count, cargo, root, run_tests};

/// Prints `N passed, N failed` at its end.
const SCRIPT: &str = "tests/languages/agents.py";

/// What `test` runs, after a build of the binary.
pub(crate) fn languages() -> anyhow::Result<()> {
    let mut build = cargo(root(), &["build", "--workspace"]);
    step::run("build", &mut build)?;
    run(&mut Count::default())
}

pub(crate) fn run(count: &mut Count) -> anyhow::Result<()> {
    let target = step::target_dir(root())?;
    let folder = target.join("languages");
    fs::create_dir_all(&folder)?;
    python(&folder)?;
    javascript(&folder)?;
    let mut command = Command::new(python_of(&folder));
    command
        .arg(root().join(SCRIPT))
        .env("DORMOUSE", target.join("debug").join("dormouse"))
        .env("MODULES", &folder)
        .env("ROOT", root());
    run_tests("agents in Python and JavaScript", &mut command, count)
}

fn python_of(folder: &Path) -> PathBuf {
    folder.join("venv").join("bin").join("python")
}

/// Builds `word-count-py.wasm`, in a virtual environment with what `requirements.txt` names.
fn python(folder: &Path) -> anyhow::Result<()> {
    let example = root().join("examples").join("python");
    let python = python_of(folder);
    let path = python
        .to_str()
        .context("the target folder has a name that is not UTF-8")?;
    if !setup::runs(path, &["--version"]) {
        if !setup::runs("python3", &["-m", "venv", "--help"]) {
            bail!("the agent in Python needs python3 with its module venv");
        }
        let mut make = Command::new("python3");
        make.args(["-m", "venv"]).arg(folder.join("venv"));
        step::run("make a Python environment for agents", &mut make)?;
    }
    let mut install = Command::new(&python);
    install
        .args(["-m", "pip", "install", "--quiet"])
        .args(["--disable-pip-version-check", "-r", "requirements.txt"])
        .current_dir(&example);
    step::run("install componentize-py", &mut install)?;
    let mut build = Command::new(folder.join("venv").join("bin").join("componentize-py"));
    build
        .args(["-q", "-d", "../../wit/agent.wit", "-w", "agent"])
        .args(["componentize", "agent", "-o"])
        .arg(folder.join("word-count-py.wasm"))
        .current_dir(&example);
    step::run("build the agent in Python", &mut build)
}

/// Builds `word-count-js.wasm`. What `package.json` names is installed beside a copy of it.
fn javascript(folder: &Path) -> anyhow::Result<()> {
    let example = root().join("examples").join("javascript");
    let tools = folder.join("node");
    if !setup::runs("npm", &["--version"]) {
        bail!("the agent in JavaScript needs Node.js 20 or newer with npm");
    }
    fs::create_dir_all(&tools)?;
    fs::copy(example.join("package.json"), tools.join("package.json"))?;
    let mut install = Command::new("npm");
    install
        .args(["install", "--no-audit", "--no-fund", "--silent"])
        .arg("--prefer-offline")
        .current_dir(&tools);
    step::run("install componentize-qjs", &mut install)?;
    let mut build = Command::new("node");
    build
        .arg(tools.join("node_modules/componentize-qjs/bin/componentize-qjs"))
        .args(["--wit", "wit", "-n", "agent", "--js", "agent.js", "-o"])
        .arg(folder.join("word-count-js.wasm"))
        .current_dir(&example);
    step::run("build the agent in JavaScript", &mut build)
}
