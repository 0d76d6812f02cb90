//! The binary to put agents on: compiled twice, the second time with counts of what the first did under load, so that what
//! runs often lies together (profile-guided optimisation, <https://doc.rust-lang.org/rustc/profile-guided-optimization.html>).

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};

use crate::bench;
use crate::step::{self, cargo, root};

/// What the first binary does while it is counted, and for how long each phase of it.
const TRAINING: [&str; 4] = [
    "--workloads",
    "hot,warm,cold,task,filters",
    "--duration",
    "8s",
];

pub(crate) fn release() -> anyhow::Result<()> {
    let profdata = profdata()?;
    let host = host()?;
    let folder = step::target_dir(root())?.join("tuned");
    let counts = folder.join("counts");
    if counts.exists() {
        std::fs::remove_dir_all(&counts).context("cannot remove the counts of the last time")?;
    }

    let generator = ["build", "--release", "--package", "dormouse-loadtest"];
    step::run("build the load generator", &mut cargo(root(), &generator))?;
    let counting = build(
        "build a binary that counts (many minutes)",
        &folder.join("counting"),
        &host,
        &format!("-Cprofile-generate={}", text(&counts)?),
        // It need not be fast.
        &[("LTO", "off"), ("CODEGEN_UNITS", "16"), ("DEBUG", "0")],
    )?;
    let mut load = bench::load_on(&counting)?;
    step::run("run it under load", load.args(TRAINING))?;
    let merged = folder.join("merged.profdata");
    let mut merge = Command::new(profdata);
    merge.arg("merge").arg("-o").arg(&merged).arg(&counts);
    step::run("put the counts together", &mut merge)?;

    let tuned = build(
        "build the binary (many minutes)",
        &folder.join("with-counts"),
        &host,
        &format!("-Cprofile-use={}", text(&merged)?),
        &[("LTO", "fat"), ("CODEGEN_UNITS", "1")],
    )?;
    let place = folder.join("dormouse");
    std::fs::copy(&tuned, &place).with_context(|| format!("cannot write {}", place.display()))?;
    println!(
        "{} is ready; `cargo xtask bench -- --dormouse {0}` measures it",
        place.display()
    );
    Ok(())
}

/// Builds the server in a folder of its own. With a target named, the flags are for it only, and not for build scripts.
fn build(
    name: &str,
    folder: &Path,
    host: &str,
    flags: &str,
    profile: &[(&str, &str)],
) -> anyhow::Result<PathBuf> {
    let mut build = cargo(root(), &["build", "--release", "--bin", "dormouse"]);
    build.args(["--target", host, "--target-dir"]).arg(folder);
    build.env("RUSTFLAGS", flags);
    for (setting, value) in profile {
        build.env(format!("CARGO_PROFILE_RELEASE_{setting}"), value);
    }
    step::run(name, &mut build)?;
    Ok(folder.join(host).join("release").join("dormouse"))
}

/// Paths are parts of flags here, which are split at spaces.
fn text(path: &Path) -> anyhow::Result<&str> {
    let text = path.to_str().context("the target folder is not UTF-8")?;
    ensure!(!text.contains(' '), "the target folder has a space in it");
    Ok(text)
}

/// The triple that rustc builds for.
fn host() -> anyhow::Result<String> {
    let version = printed(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc names no host")
}

/// The compiler's own program for its counts.
fn profdata() -> anyhow::Result<PathBuf> {
    let sysroot = printed(Command::new("rustc").args(["--print", "sysroot"]))?;
    let path = Path::new(sysroot.trim()).join(format!("lib/rustlib/{}/bin/llvm-profdata", host()?));
    if !path.exists() {
        let mut add = Command::new("rustup");
        let added = step::run(
            "install llvm-tools",
            add.args(["component", "add", "llvm-tools"]),
        );
        if added.is_err() || !path.exists() {
            bail!("this needs `llvm-profdata` of the compiler: `rustup component add llvm-tools`");
        }
    }
    Ok(path)
}

fn printed(command: &mut Command) -> anyhow::Result<String> {
    let output = command
        .current_dir(root())
        .stderr(Stdio::inherit())
        .output();
    let output = output.context("cannot run rustc")?;
    ensure!(output.status.success(), "rustc failed");
    Ok(String::from_utf8(output.stdout)?)
}
