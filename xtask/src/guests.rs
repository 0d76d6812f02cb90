//! What is built for WebAssembly: the examples, which are for people, the test guests, and the filters.

use std::path::PathBuf;

use crate::setup::{self, COMPONENT_TARGET, TARGET};
use crate::step::{self, cargo, root};

/// Workspaces of their own.
pub(crate) const FOLDERS: [&str; 3] = ["examples", "guests", "policies"];

/// Agents are modules that the platform lifts; filters are components.
pub(crate) fn target(folder: &str) -> &'static str {
    match folder {
        "policies" => COMPONENT_TARGET,
        _ => TARGET,
    }
}

pub(crate) fn guests() -> anyhow::Result<()> {
    setup::setup()?;
    build_all()
}

pub(crate) fn build_all() -> anyhow::Result<()> {
    FOLDERS.into_iter().try_for_each(build)
}

pub(crate) fn build(folder: &str) -> anyhow::Result<()> {
    let mut build = cargo(
        root().join(folder),
        &[
            "build",
            "--workspace",
            "--release",
            "--target",
            target(folder),
        ],
    );
    // Tests look for the modules there, whatever CARGO_TARGET_DIR says.
    build.args(["--target-dir", "target"]);
    step::run(&format!("build the {folder} for WebAssembly"), &mut build)
}

/// Where the `.wasm` files of a folder are.
pub(crate) fn modules(folder: &str) -> PathBuf {
    root()
        .join(folder)
        .join("target")
        .join(target(folder))
        .join("release")
}
