//! What is built for WebAssembly: the examples, which are for people, the test guests, and the filters.

use std::path::PathBuf;

use anyhow::{Context, ensure};

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
    step::run(&format!("build the {folder} for WebAssembly"), &mut build)?;
    if folder == "guests" {
        arm().context("the guest `hostile` cannot be armed")?;
    }
    Ok(())
}

/// Writes `armed.wasm`: the guest `hostile` with an instruction that Rust does not have. Its `grow_table` is `table.grow`
/// of 63 elements, as many bytes as what it replaces (`guests/hostile/src/traps.rs`).
fn arm() -> anyhow::Result<()> {
    const CONSTANT: i64 = -0x7ab1_eb0b_ab1e_b0b5;
    let mut constant = vec![0x42];
    // Signed LEB128: all of its ten bytes but the last have the high bit.
    constant.extend((0..9).map(|byte| (CONSTANT >> (7 * byte)) as u8 | 0x80));
    constant.push((CONSTANT >> 63) as u8 & 0x7f);
    // ref.null func, i32.const 63, table.grow 0, i64.extend_i32_s, and nops.
    let mut grow = vec![0xd0, 0x70, 0x41, 0x3f, 0xfc, 0x0f, 0x00, 0xac];
    grow.resize(constant.len(), 0x01);
    let folder = modules("guests");
    let mut wasm = std::fs::read(folder.join("hostile.wasm"))?;
    let mut places = (0..wasm.len() - grow.len()).filter(|at| wasm[*at..].starts_with(&constant));
    let (place, other) = (places.next(), places.next());
    let place = place.context("the constant is not in it")?;
    ensure!(other.is_none(), "the constant is in it more than once");
    wasm[place..place + grow.len()].copy_from_slice(&grow);
    std::fs::write(folder.join("armed.wasm"), wasm)?;
    Ok(())
}

/// Where the `.wasm` files of a folder are.
pub(crate) fn modules(folder: &str) -> PathBuf {
    root()
        .join(folder)
        .join("target")
        .join(target(folder))
        .join("release")
}
