//! What the compiler does not see and a reviewer forgets. Every failure says what to do about it.
#![allow(clippy::unwrap_used, reason = "tests")]

mod crates;
mod documents;
mod files;
mod guests;

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// The folder of the workspace.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The project's files, from its root and in order: those that git knows and those that it would add.
fn files() -> Vec<String> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others"])
        .args(["--exclude-standard", "--deduplicate"])
        .current_dir(root())
        .output()
        .expect("git says which files are the project's: install it");
    assert!(
        output.status.success(),
        "git says which files are the project's, so run this in a checkout: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let names = String::from_utf8(output.stdout).expect("a file has a name that is not UTF-8");
    let mut files: Vec<String> = names
        .split_terminator('\0')
        .filter(|name| root().join(name).is_file())
        .map(str::to_owned)
        .collect();
    assert!(!files.is_empty(), "git lists no files");
    files.sort();
    files
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The packages of a folder's workspace, as cargo sees them.
fn packages(folder: &str) -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(root().join(folder))
        .output()
        .unwrap();
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo metadata: {problem}");
    let mut metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    serde_json::from_value(metadata["packages"].take()).unwrap()
}

/// Fails with all problems, a line each.
fn none(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}
