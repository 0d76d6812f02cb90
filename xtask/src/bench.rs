//! Measurements with the load generator.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::guests;
use crate::setup;
use crate::step::{self, cargo, root};

pub(crate) fn bench(flags: &[String]) -> anyhow::Result<()> {
    setup::setup()?;
    let build = [
        "build",
        "--release",
        "--package",
        "dormouse",
        "--package",
        "dormouse-loadtest",
    ];
    step::run(
        "build dormouse and the load generator",
        &mut cargo(root(), &build),
    )?;
    let dormouse = programs()?.join("dormouse");
    step::run("measure", load_on(&dormouse)?.args(flags))
}

/// Where programs are that are built for use.
pub(crate) fn programs() -> anyhow::Result<PathBuf> {
    Ok(step::target_dir(root())?.join("release"))
}

/// The load generator, which is built, for this binary, with every module that it may need.
pub(crate) fn load_on(dormouse: &Path) -> anyhow::Result<Command> {
    guests::build("guests")?;
    guests::build("policies")?;
    let modules = guests::modules("guests");
    let mut loadtest = Command::new(programs()?.join("loadtest"));
    loadtest
        .arg("--dormouse")
        .arg(dormouse)
        .arg("--agent-wasm")
        .arg(modules.join("echo.wasm"))
        .arg("--task-agent-wasm")
        .arg(modules.join("hostile.wasm"))
        .arg("--load-wasm")
        .arg(modules.join("load.wasm"))
        .arg("--hostile-wasm")
        .arg(modules.join("armed.wasm"))
        .arg("--endless-wasm")
        .arg(modules.join("lying_loop.wasm"))
        .arg("--filters")
        .arg(guests::modules("policies"));
    Ok(loadtest)
}
