//! What building and testing needs.

use std::process::{Command, Stdio};

use anyhow::bail;

use crate::step;

/// Of agents.
pub(crate) const TARGET: &str = "wasm32-wasip1";
/// Of filters.
pub(crate) const COMPONENT_TARGET: &str = "wasm32-wasip2";

pub(crate) const NO_DENY: &str =
    "not there; `cargo xtask test --install` or `cargo install cargo-deny --locked` installs it";

/// Installs the WebAssembly targets if they are missing, and says what else is there.
pub(crate) fn setup() -> anyhow::Result<()> {
    install_target(TARGET)?;
    install_target(COMPONENT_TARGET)?;
    report(
        "cargo-nextest",
        has_nextest(),
        "not there, `cargo test` is used instead",
    );
    report("cargo-deny", has_deny(), NO_DENY);
    report(
        "python3",
        runs("python3", &["--version"]),
        "not there; the tests with the official Python client need it",
    );
    report(
        "npm",
        runs("npm", &["--version"]),
        "not there; the tests with the official JavaScript client need it",
    );
    Ok(())
}

fn install_target(target: &str) -> anyhow::Result<()> {
    if has_target(target) {
        println!("{target}: installed");
        return Ok(());
    }
    let installed = step::run(
        &format!("install the target {target}"),
        Command::new("rustup").args(["target", "add", target]),
    );
    if installed.is_err() || !has_target(target) {
        bail!(
            "agents and filters need the Rust target {target}, and it could not be installed. With rustup \
             (https://rustup.rs): `rustup target add {target}`; without: your distribution's package of Rust's \
             standard library for it"
        );
    }
    Ok(())
}

pub(crate) fn has_nextest() -> bool {
    runs("cargo", &["nextest", "--version"])
}

pub(crate) fn has_deny() -> bool {
    runs("cargo", &["deny", "--version"])
}

fn report(name: &str, there: bool, otherwise: &str) {
    println!("{name}: {}", if there { "installed" } else { otherwise });
}

fn has_target(target: &str) -> bool {
    let printed = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", target])
        .current_dir(step::root())
        .stderr(Stdio::null())
        .output();
    printed.is_ok_and(|output| {
        let folder = String::from_utf8_lossy(&output.stdout);
        output.status.success() && std::path::Path::new(folder.trim()).is_dir()
    })
}

pub(crate) fn runs(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
