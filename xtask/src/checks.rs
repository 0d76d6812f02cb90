//! Everything that CI runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, bail};

use crate::guests;
use crate::setup::{self, TARGET};
use crate::step::{self, Count, cargo, root, run_tests};

/// The client that other people's programs use.
const PYTHON_CLIENT: [&str; 2] = ["a2a-sdk[signing]==1.3.0", "httpx"];
/// Scripts that talk to the real binary with it. Each prints `N passed, N failed` at its end.
const CLIENT_TESTS: &str = "tests/clients";

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
    dependencies(install)?;
    python_client(count)
}

fn format_and_lints() -> anyhow::Result<()> {
    for folder in ["", "examples", "guests"] {
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
    let lint = [
        "clippy",
        "--workspace",
        "--lib",
        "--target",
        TARGET,
        "--",
        "-D",
        "warnings",
    ];
    step::run(
        "lints of the guests",
        &mut cargo(root().join("guests"), &lint),
    )
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

/// The official Python client against the real binary, in an environment of its own.
fn python_client(count: &mut Count) -> anyhow::Result<()> {
    let scripts = scripts(&root().join(CLIENT_TESTS))?;
    if scripts.is_empty() {
        println!("\n==> official Python client: skipped, there is nothing in {CLIENT_TESTS}");
        return Ok(());
    }
    let target = step::target_dir(root())?;
    let python = python_environment(&target.join("venv"))?;
    for script in scripts {
        let name = script.file_name().unwrap_or_default().display();
        let mut command = Command::new(&python);
        command
            .arg(&script)
            .current_dir(root())
            .env("DORMOUSE", target.join("debug").join("dormouse"))
            .env("EXAMPLES", guests::modules("examples"))
            .env("GUESTS", guests::modules("guests"));
        run_tests(
            &format!("official Python client: {name}"),
            &mut command,
            count,
        )?;
    }
    Ok(())
}

fn scripts(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut scripts = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        scripts.extend(
            path.extension()
                .is_some_and(|end| end == "py")
                .then_some(path),
        );
    }
    scripts.sort();
    Ok(scripts)
}

/// A virtual environment with the client; made once, and made again if the client is not in it.
fn python_environment(folder: &Path) -> anyhow::Result<PathBuf> {
    let python = folder.join("bin").join("python");
    let path = python
        .to_str()
        .context("the target folder has a name that is not UTF-8")?;
    if setup::runs(path, &["-c", "import a2a, httpx, jwt"]) {
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
    install
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ])
        .args(PYTHON_CLIENT);
    step::run("install the official Python client", &mut install)?;
    Ok(python)
}
