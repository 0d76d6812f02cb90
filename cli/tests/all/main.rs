//! The `dormouse` binary as its users meet it.
#![allow(clippy::unwrap_used, reason = "tests")]

mod deploy;
mod doctor;
mod filters;
mod new;
mod platform;
mod registry;
mod send;
mod server;
mod settings;
mod usage;

use std::path::Path;
use std::process::{Command, Output};

/// A command in a folder of its own, away from the settings of whoever runs the tests.
fn dormouse(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dormouse"));
    command.current_dir(folder);
    for name in [
        "DORMOUSE_SERVER",
        "DORMOUSE_TOKEN",
        "DORMOUSE_SDK_PATH",
        "RUST_LOG",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_EXPORTER_OTLP_HEADERS",
        "OTEL_TRACES_SAMPLER_ARG",
    ] {
        command.env_remove(name);
    }
    command
}

fn run(arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    dormouse(folder.path()).args(arguments).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}
