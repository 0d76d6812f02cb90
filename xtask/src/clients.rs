//! Other people's A2A clients against the real binary: the official ones for Python, JavaScript and the
//! command line, each at a fixed version and in a folder of its own below the target folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::guests;
use crate::setup;
use crate::step::{self, Count, cargo, root, run_tests};

const PYTHON: [&str; 2] = ["a2a-sdk[grpc,signing]==1.3.0", "httpx"];
const JAVASCRIPT: &str = "@a2a-js/sdk@1.3.0";
const COMMAND_LINE: &str = "0.4.5";

/// Scripts that talk to the real binary. Each prints `N passed, N failed` at its end.
const SCRIPTS: &str = "tests/clients";

pub(crate) fn run(count: &mut Count) -> anyhow::Result<()> {
    let target = step::target_dir(root())?;
    let python = python(&target.join("venv"))?;
    let javascript = javascript(&target.join("node"))?;
    let command_line = command_line(&target.join("tools"))?;
    for script in scripts()? {
        let name = script.file_name().unwrap_or_default().display();
        let mut command = if script.extension().is_some_and(|end| end == "py") {
            let mut command = Command::new(&python);
            command.current_dir(root());
            command
        } else {
            let mut command = Command::new("node");
            command.current_dir(&javascript);
            command
        };
        command
            .arg(&script)
            .env("DORMOUSE", target.join("debug").join("dormouse"))
            .env("A2ACLI", &command_line)
            .env("EXAMPLES", guests::modules("examples"))
            .env("GUESTS", guests::modules("guests"));
        run_tests(&format!("official client: {name}"), &mut command, count)?;
    }
    Ok(())
}

fn scripts() -> anyhow::Result<Vec<PathBuf>> {
    let mut scripts = Vec::new();
    for entry in fs::read_dir(root().join(SCRIPTS))? {
        let path = entry?.path();
        let is_script = path
            .extension()
            .is_some_and(|end| end == "py" || end == "mjs");
        scripts.extend(is_script.then_some(path));
    }
    scripts.sort();
    Ok(scripts)
}

/// A virtual environment with the client; made once, and made again if the client is not in it.
fn python(folder: &Path) -> anyhow::Result<PathBuf> {
    let python = folder.join("bin").join("python");
    let path = python
        .to_str()
        .context("the target folder has a name that is not UTF-8")?;
    if setup::runs(path, &["-c", "import a2a, httpx, jwt, grpc"]) {
        return Ok(python);
    }
    if !setup::runs("python3", &["-m", "venv", "--help"]) {
        bail!("the tests with the official Python client need python3 with its module venv");
    }
    let mut make = Command::new("python3");
    step::run(
        "make a Python environment",
        make.args(["-m", "venv"]).arg(folder),
    )?;
    let mut install = Command::new(&python);
    let pip = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ];
    step::run(
        "install the official Python client",
        install.args(pip).args(PYTHON),
    )?;
    Ok(python)
}

/// A folder with the client in its `node_modules`.
fn javascript(folder: &Path) -> anyhow::Result<PathBuf> {
    if folder.join("node_modules/@a2a-js/sdk").is_dir() {
        return Ok(folder.to_owned());
    }
    if !setup::runs("npm", &["--version"]) {
        bail!("the tests with the official JavaScript client need Node.js 20 or newer with npm");
    }
    fs::create_dir_all(folder)?;
    fs::write(folder.join("package.json"), "{\"private\": true}\n")?;
    let mut install = Command::new("npm");
    install
        .args(["install", "--no-audit", "--no-fund", "--silent", JAVASCRIPT])
        .current_dir(folder);
    step::run("install the official JavaScript client", &mut install)?;
    Ok(folder.to_owned())
}

/// The official command line client, of the crate a2a-cli; built once, which takes minutes.
fn command_line(folder: &Path) -> anyhow::Result<PathBuf> {
    let binary = folder.join("bin").join("a2acli");
    let path = binary
        .to_str()
        .context("the target folder has a name that is not UTF-8")?;
    if setup::runs(path, &["--version"]) {
        return Ok(binary);
    }
    let install = ["install", "a2a-cli", "--version", COMMAND_LINE, "--locked"];
    let mut install = cargo(root(), &install);
    install.arg("--root").arg(folder);
    step::run("install the official command line client", &mut install)?;
    Ok(binary)
}
