//! What must be, and must not be, in the project's files.

use std::fs;

use crate::{files, none, read, root};

const MAX_LINES: usize = 500;

/// Paths of one machine. Split, so that this file has none of them.
const MACHINE_PATHS: [&str; 4] = [
    concat!("/work", "/"),
    concat!("/tmp/", "target"),
    concat!("/home", "/"),
    concat!("/root", "/"),
];

/// What says where packages come from, in cargo's, pip's and npm's words.
const REGISTRIES: [&str; 8] = [
    concat!("[source", "."),
    concat!("[regis", "tries"),
    concat!("replace", "-with"),
    concat!("sparse", "+http"),
    concat!("CARGO_REGIS", "TRIES_"),
    concat!("index", "-url"),
    concat!("INDEX", "_URL"),
    concat!("npm_config", "_registry"),
];

#[test]
fn source_files_are_short() {
    let sources = files().into_iter().filter(|name| name.ends_with(".rs"));
    let lengths = sources.map(|name| (read(&name).lines().count(), name));
    let problems: Vec<String> = lengths
        .filter(|(lines, _)| *lines > MAX_LINES)
        .map(|(lines, name)| {
            format!(
                "{name} has {lines} lines, more than {MAX_LINES}: cut it where it has two subjects"
            )
        })
        .collect();
    none(&problems);
}

#[test]
fn files_know_nothing_of_the_machine_they_were_written_on() {
    let mut problems = Vec::new();
    for name in files() {
        let bytes = fs::read(root().join(&name)).unwrap();
        for (number, line) in (1..).zip(String::from_utf8_lossy(&bytes).lines()) {
            let found =
                |words: &[&'static str]| words.iter().copied().find(|one| line.contains(one));
            if let Some(path) = found(&MACHINE_PATHS) {
                problems.push(format!(
                    "{name}:{number} has a path of somebody's machine ({path}): make it relative, or an \
                     argument"
                ));
            }
            if let Some(word) = found(&REGISTRIES) {
                problems.push(format!(
                    "{name}:{number} names a registry ({word}): packages come from crates.io and PyPI, and \
                     a mirror belongs into the configuration of the machine that needs it"
                ));
            }
        }
    }
    none(&problems);
}

#[test]
fn the_sdk_carries_the_same_contract() {
    assert!(
        read("wit/agent.wit") == read("sdk/wit/agent.wit"),
        "wit/agent.wit and sdk/wit/agent.wit differ: `cp wit/agent.wit sdk/wit/agent.wit` (the SDK has a \
         copy because it is published alone), and look whether both sides still fit it"
    );
}
