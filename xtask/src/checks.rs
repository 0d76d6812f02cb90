//! Everything that CI runs.

use std::process::ExitCode;

use crate::clients;
use crate::examples;
use crate::guests;
use crate::languages;
use crate::setup;
use crate::step::{self, Count, cargo, root, run_tests};

/// Runs until the first failure, and ends with a line `N passed, N failed`.
pub(crate) fn run(install: bool) -> ExitCode {
    let mut count = Count::default();
    let done = run_all(install, &mut count);
    if let Err(error) = &done {
        eprintln!("\nerror: {error:#}");
        // A step that failed without counting tests is a failure, too.
        count.failed = count.failed.max(1);
    }
    println!("\n{} passed, {} failed", count.passed, count.failed);
    if done.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn run_all(install: bool, count: &mut Count) -> anyhow::Result<()> {
    setup::setup()?;
    format_and_lints()?;
    guests::build_all()?;
    native_agents(count)?;
    workspace(count)?;
    examples::examples()?;
    dependencies(install)?;
    clients::run(count)?;
    languages::run(count)
}

fn format_and_lints() -> anyhow::Result<()> {
    for folder in ["", "examples", "fuzz", "guests", "policies"] {
        let name = format!("format {folder}");
        step::run(
            name.trim_end(),
            &mut cargo(root().join(folder), &["fmt", "--all", "--check"]),
        )?;
    }
    let lint = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ];
    step::run("lints", &mut cargo(root(), &lint))?;
    step::run(
        "lints of the examples",
        &mut cargo(root().join("examples"), &lint),
    )?;
    for folder in ["guests", "policies"] {
        let lint = [
            "clippy",
            "--workspace",
            "--lib",
            "--target",
            guests::target(folder),
            "--",
            "-D",
            "warnings",
        ];
        step::run(
            &format!("lints of the {folder}"),
            &mut cargo(root().join(folder), &lint),
        )?;
    }
    Ok(())
}

/// Agents are ordinary crates, too, with tests of their own.
fn native_agents(count: &mut Count) -> anyhow::Result<()> {
    for folder in guests::FOLDERS {
        let mut tests = cargo(root().join(folder), &["test", "--workspace"]);
        run_tests(&format!("native tests of the {folder}"), &mut tests, count)?;
    }
    Ok(())
}

fn workspace(count: &mut Count) -> anyhow::Result<()> {
    step::run("build", &mut cargo(root(), &["build", "--workspace"]))?;
    let mut tests = if setup::has_nextest() {
        cargo(
            root(),
            &["nextest", "run", "--workspace", "--profile", "ci"],
        )
    } else {
        cargo(
            root(),
            &["test", "--workspace", "--all-targets", "--no-fail-fast"],
        )
    };
    run_tests("tests", &mut tests, count)?;
    run_tests(
        "documentation tests",
        &mut cargo(root(), &["test", "--workspace", "--doc"]),
        count,
    )
}

/// Who may name which crate, licences, sources; the rules are in `deny.toml`.
fn dependencies(install: bool) -> anyhow::Result<()> {
    if !setup::has_deny() {
        if !install {
            println!(
                "\n==> dependencies: skipped, cargo-deny is {}",
                setup::NO_DENY
            );
            return Ok(());
        }
        step::run(
            "install cargo-deny",
            &mut cargo(root(), &["install", "cargo-deny", "--locked"]),
        )?;
    }
    let check = ["check", "bans", "licenses", "sources"];
    let mut deny = cargo(root(), &["deny"]);
    step::run("dependencies", deny.args(check))?;
    for folder in guests::FOLDERS {
        // The same rules; that an agent needs few of them is not worth a warning.
        let mut deny = cargo(root().join(folder), &["deny", "--log-level", "error"]);
        step::run(&format!("dependencies of the {folder}"), deny.args(check))?;
    }
    Ok(())
}
