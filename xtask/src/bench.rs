//! Measurements with the load generator.

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
    guests::build("guests")?;
    guests::build("policies")?;
    let modules = guests::modules("guests");
    let programs = step::target_dir(root())?.join("release");
    let mut loadtest = Command::new(programs.join("loadtest"));
    loadtest
        .arg("--dormouse")
        .arg(programs.join("dormouse"))
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
        .arg(guests::modules("policies"))
        .args(flags);
    step::run("measure", &mut loadtest)
}
