//! How many instructions a hot call takes. Unlike a time, that hardly depends on the machine or its mood, so it can be
//! held against a number in the repository.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::guests;
use crate::step::{cargo, root};

/// The number that is kept, in instructions per call.
const KEPT: &str = "scheduler/benches/hot_path.instructions";
/// Calls of the shorter and of the longer run; the difference has none of the start in it.
const RUNS: [u64; 2] = [200, 1_200];
/// Parts of a hundred by which a call may differ from what is kept.
const TOLERANCE: u64 = 5;

pub(crate) fn instructions(keep: bool) -> anyhow::Result<()> {
    guests::build("guests")?;
    let bench = build()?;
    let mut counts = Vec::new();
    for calls in RUNS {
        counts.push(count(&bench, calls)?);
    }
    let per_call = counts[1].saturating_sub(counts[0]) / (RUNS[1] - RUNS[0]);
    println!("{per_call} instructions per hot call");
    let path = root().join(KEPT);
    if keep {
        std::fs::write(&path, format!("{per_call}\n"))?;
        println!("kept in {KEPT}");
        return Ok(());
    }
    let kept = std::fs::read_to_string(&path).with_context(|| format!("read {KEPT}"))?;
    let kept: u64 = kept
        .trim()
        .parse()
        .with_context(|| format!("{KEPT} holds no number"))?;
    if per_call > kept + kept * TOLERANCE / 100 {
        bail!(
            "a hot call took {kept} instructions and now takes {per_call}, over {TOLERANCE} % more: find out why \
             (`valgrind --tool=callgrind`), or keep the new number with `cargo xtask instructions --keep`"
        );
    }
    println!("{kept} are kept in {KEPT}; up to {TOLERANCE} % more are let through");
    Ok(())
}

/// Builds the bench and finds it.
fn build() -> anyhow::Result<PathBuf> {
    let arguments = [
        "build",
        "--release",
        // Of the whole workspace, or the engine would be built once more with other features.
        "--workspace",
        "--bench",
        "hot_path",
        "--message-format=json-render-diagnostics",
    ];
    println!("==> build the bench (minutes the first time)");
    let output = cargo(root(), &arguments)
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    if !output.status.success() {
        bail!("the bench does not build");
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let found = messages.lines().find_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        let is_bench = message["target"]["name"] == "hot_path";
        let path = message["executable"].as_str().filter(|_| is_bench)?;
        Some(PathBuf::from(path))
    });
    found.context("cargo names no executable of the bench")
}

/// Instructions of a run with so many calls.
fn count(bench: &Path, calls: u64) -> anyhow::Result<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(bench)
        .arg(guests::modules("guests").join("echo.wasm"))
        .arg(calls.to_string())
        .output()
        .context("cannot run valgrind: install it (Debian: `apt-get install valgrind`)")?;
    let report = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("the bench failed under valgrind:\n{report}");
    }
    collected(&report).with_context(|| format!("valgrind counted nothing:\n{report}"))
}

/// The count in a line such as `==123== Collected : 456`.
fn collected(report: &str) -> Option<u64> {
    let (_, count) = report
        .lines()
        .find_map(|line| line.split_once("Collected :"))?;
    count.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::collected;

    #[test]
    fn the_count_is_read_from_the_report() {
        assert_eq!(
            collected("==1== Events    : Ir\n==1== Collected : 4711\n"),
            Some(4711)
        );
        assert_eq!(collected("==1== nothing"), None);
    }
}
