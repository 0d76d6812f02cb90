//! A2A's official test kit against the real binary, and what it does not pass compared with what is
//! known: a test that is skipped can hide a broken promise.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::guests;
use crate::server::Server;
use crate::step::{self, cargo, root};

/// What the known results are of; with another commit they would say nothing.
const KIT: &str = "357c4a87";

/// The agents that the kit meets, with the arguments for the kit.
const RUNS: [(&str, &[&str]); 3] = [
    ("conformance", &[]),
    ("conformance-extension", &["-k", "required_extension"]),
    ("conformance-plain", &[]),
];

/// A file per agent, with the tests that are not passed, each as `OUTCOME test`.
const EXPECTED: &str = "tests/conformance";

pub(crate) fn conformance(kit: &Path) -> anyhow::Result<()> {
    let commit = Command::new("git")
        .arg("-C")
        .arg(kit)
        .args(["rev-parse", "HEAD"])
        .output()?;
    if !commit.stdout.starts_with(KIT.as_bytes()) {
        bail!(
            "{} is not a2aproject/a2a-tck at {KIT}; check that commit out",
            kit.display()
        );
    }
    guests::build("guests")?;
    step::run(
        "build dormouse",
        &mut cargo(root(), &["build", "--workspace", "--all-targets"]),
    )?;
    let target = step::target_dir(root())?;
    let python = python(&target.join("kit"), kit)?;
    let dormouse = target.join("debug").join("dormouse");
    let mut differences = 0;
    for (agent, arguments) in RUNS {
        println!("\n==> the kit meets {agent}");
        let folder = tempfile::tempdir()?;
        // The kit names no tenant, so over gRPC it finds the agent at the root.
        let flags = [
            "--root-agent",
            agent,
            "--webhook-allow",
            "localhost",
            "--webhook-allow",
            "127.0.0.1",
        ];
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = Server::start_with(&dormouse, folder.path(), anywhere, &flags)?;
        deploy(&dormouse, server.address)?;
        let url = format!("http://{}/agents/{agent}", server.address);
        let outcomes = meet(&python, kit, &url, arguments)?;
        differences += compare(agent, &outcomes)?;
    }
    if differences > 0 {
        bail!("{differences} outcomes are not the expected ones; {EXPECTED} has those");
    }
    Ok(())
}

fn python(folder: &Path, kit: &Path) -> anyhow::Result<PathBuf> {
    let python = folder.join("bin").join("python");
    if !python.exists() {
        let mut make = Command::new("python3");
        step::run(
            "make a Python environment for the kit",
            make.args(["-m", "venv"]).arg(folder),
        )?;
    }
    let mut install = Command::new(&python);
    let pip = ["-m", "pip", "install", "--quiet", "--editable"];
    step::run("install the kit", install.args(pip).arg(kit))?;
    Ok(python)
}

fn deploy(dormouse: &Path, server: SocketAddr) -> anyhow::Result<()> {
    let mut deploy = Command::new(dormouse);
    deploy
        .arg("deploy")
        .arg(guests::modules("guests").join("conformance.wasm"))
        .args(["--server", &format!("http://{server}")])
        .stdout(Stdio::null());
    step::run("deploy the agents", &mut deploy)
}

/// Runs the kit and returns its outcomes, each as `OUTCOME test`.
fn meet(python: &Path, kit: &Path, url: &str, arguments: &[&str]) -> anyhow::Result<Vec<String>> {
    let output = Command::new(python)
        .current_dir(kit)
        .args(["run_tck.py", "--verbose", "--sut-host", url, "--"])
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let outcomes: Vec<String> = text.lines().filter_map(outcome).collect();
    if outcomes.is_empty() {
        bail!("the kit ran no test; it says:\n{text}");
    }
    Ok(outcomes)
}

/// A line of `pytest -v`: a test, its outcome, and how far it is.
fn outcome(line: &str) -> Option<String> {
    let (test, rest) = line.split_once(' ')?;
    let outcome = rest.split_whitespace().next()?;
    let known = ["PASSED", "FAILED", "ERROR", "SKIPPED", "XFAIL", "XPASS"];
    let is_test = test.contains("::") && known.contains(&outcome) && line.ends_with("%]");
    is_test.then(|| format!("{outcome} {test}"))
}

/// Shows what differs, and says how much.
fn compare(agent: &str, outcomes: &[String]) -> anyhow::Result<usize> {
    let path = root().join(EXPECTED).join(format!("{agent}.txt"));
    let expected =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let expected: BTreeSet<&str> = expected.lines().collect();
    let (passed, others): (Vec<&str>, Vec<&str>) = outcomes
        .iter()
        .map(String::as_str)
        .partition(|outcome| outcome.starts_with("PASSED"));
    let others: BTreeSet<&str> = others.into_iter().collect();
    for new in others.difference(&expected) {
        println!("not expected: {new}");
    }
    for missing in expected.difference(&others) {
        println!("expected, but: {missing}");
    }
    println!("<== {agent}: {} passed, {} not", passed.len(), others.len());
    Ok(expected.symmetric_difference(&others).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_read_from_verbose_lines() {
        let line = "tests/a.py::test_b[C-1-grpc] SKIPPED (no reason)   [ 12%]";
        let read = outcome(line);
        assert_eq!(
            read.as_deref(),
            Some("SKIPPED tests/a.py::test_b[C-1-grpc]")
        );
        for other in [
            "FAILED tests/a.py::test_b - AssertionError",
            "tests/a.py::test_b PASSED",
            "",
        ] {
            assert_eq!(outcome(other), None, "{other}");
        }
    }
}
