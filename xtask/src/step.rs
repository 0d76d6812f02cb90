//! How a command is run: its name before, its time behind, and the whole command if it fails.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use anyhow::{Context, bail};
use serde_json::Value;

/// The folder of the workspace.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask is a folder of the workspace")
}

/// Cargo in a folder, the same cargo that runs this.
pub(crate) fn cargo(folder: impl AsRef<Path>, arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(folder).args(arguments);
    command
}

/// Where cargo puts what it builds in a folder.
pub(crate) fn target_dir(folder: &Path) -> anyhow::Result<PathBuf> {
    let output = cargo(folder, &["metadata", "--no-deps", "--format-version", "1"])
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    let metadata: Value =
        serde_json::from_slice(&output.stdout).context("cargo metadata failed")?;
    let folder = metadata["target_directory"]
        .as_str()
        .context("cargo metadata names no target directory")?;
    Ok(folder.into())
}

/// Runs a command with its output as it comes.
pub(crate) fn run(name: &str, command: &mut Command) -> anyhow::Result<()> {
    let started = begin(name);
    let status = command
        .status()
        .with_context(|| format!("cannot run {}", shown(command)))?;
    end(name, started, status.success(), command)
}

/// Tests that a step has counted.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

/// Runs a command with its output as it comes, and counts the tests that it reports.
pub(crate) fn run_tests(
    name: &str,
    command: &mut Command,
    total: &mut Count,
) -> anyhow::Result<()> {
    let started = begin(name);
    let spawned = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = spawned.with_context(|| format!("cannot run {}", shown(command)))?;
    let stdout = child.stdout.take().expect("stdout was asked to be a pipe");
    let stderr = child.stderr.take().expect("stderr was asked to be a pipe");
    let counts = thread::scope(|scope| {
        let errors = scope.spawn(|| pass_on(stderr, io::stderr()));
        let counted = pass_on(stdout, io::stdout());
        [
            counted,
            errors.join().expect("passing output on does not panic"),
        ]
    });
    let status = child.wait()?;
    for count in counts {
        let count = count.context("cannot pass the output on")?;
        total.passed += count.passed;
        total.failed += count.failed;
    }
    end(name, started, status.success(), command)
}

/// Copies lines, and adds up the summaries among them.
fn pass_on(from: impl Read, mut to: impl Write) -> io::Result<Count> {
    let mut total = Count::default();
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line)? > 0 {
        to.write_all(&line)?;
        if let Some(count) = count(&String::from_utf8_lossy(&line)) {
            total.passed += count.passed;
            total.failed += count.failed;
        }
        line.clear();
    }
    Ok(total)
}

/// A summary line of nextest, `cargo test`, pytest, or of a script that prints `N passed, N failed`.
fn count(line: &str) -> Option<Count> {
    let is_summary = line.trim_start().starts_with("Summary [")
        || line.starts_with("test result: ")
        || line
            .trim_matches(['=', ' ', '\n'])
            .starts_with(|c: char| c.is_ascii_digit());
    if !is_summary {
        return None;
    }
    let words: Vec<&str> = line
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    let before = |what: &str| {
        let index = words.iter().position(|word| *word == what)?;
        words.get(index.checked_sub(1)?)?.parse().ok()
    };
    Some(Count {
        passed: before("passed")?,
        failed: before("failed").unwrap_or(0),
    })
}

fn begin(name: &str) -> Instant {
    println!("\n==> {name}");
    Instant::now()
}

fn end(name: &str, started: Instant, success: bool, command: &Command) -> anyhow::Result<()> {
    if !success {
        bail!("{name} failed; the command was:\n  {}", shown(command));
    }
    println!("<== {name}: {:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}

/// The command as one could type it.
fn shown(command: &Command) -> String {
    let mut text = String::new();
    if let Some(folder) = command.get_current_dir() {
        let _ = write!(text, "cd {} && ", folder.display());
    }
    let _ = write!(text, "{}", command.get_program().display());
    for argument in command.get_args() {
        let _ = write!(text, " {}", argument.display());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_are_counted() {
        let counted = |line| count(line).map(|count| (count.passed, count.failed));
        assert_eq!(
            counted(
                "     Summary [   2.310s] 42 tests run: 40 passed (1 slow), 2 failed, 1 skipped\n"
            ),
            Some((40, 2))
        );
        assert_eq!(
            counted("test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured\n"),
            Some((3, 0))
        );
        assert_eq!(
            counted("====== 1 failed, 5 passed in 0.10s ======\n"),
            Some((5, 1))
        );
        assert_eq!(counted("7 passed, 0 failed\n"), Some((7, 0)));
        assert_eq!(counted("the call passed, 3 failed before\n"), None);
        assert_eq!(counted("        PASS [   0.1s] x 3 passed\n"), None);
    }
}
