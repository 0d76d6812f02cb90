//! Agents for WebAssembly: the examples, which are for people, and the test guests.

use std::path::PathBuf;

use crate::setup::{self, TARGET};
use crate::step::{self, cargo, root};

/// Workspaces of their own.
pub(crate) const FOLDERS: [&str; 2] = ["examples", "guests"];

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
        &["build", "--workspace", "--release", "--target", TARGET],
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
        .join(TARGET)
        .join("release")
}
