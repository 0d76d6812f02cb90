//! Who may name whom, and what is locked. What others' crates may be named by is in `deny.toml`.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{files, none, packages, read};

/// The crates of this workspace that each of them names: `cli -> gateway -> scheduler -> services ->
/// store`, `scheduler -> filters`, and `sdk -> sdk/macros`. Load generator and xtask are strangers to all.
const EDGES: [(&str, &[&str]); 10] = [
    (
        "dormouse",
        &[
            "dormouse-gateway",
            "dormouse-scheduler",
            "dormouse-services",
            "dormouse-store",
        ],
    ),
    (
        "dormouse-gateway",
        &[
            "dormouse-filters",
            "dormouse-scheduler",
            "dormouse-services",
            "dormouse-store",
        ],
    ),
    (
        "dormouse-scheduler",
        &["dormouse-filters", "dormouse-services", "dormouse-store"],
    ),
    ("dormouse-filters", &[]),
    ("dormouse-services", &["dormouse-store"]),
    ("dormouse-store", &[]),
    ("dormouse-sdk", &["dormouse-sdk-macros"]),
    // For its examples alone, which are run.
    ("dormouse-sdk-macros", &["dormouse-sdk"]),
    ("dormouse-loadtest", &[]),
    ("xtask", &[]),
];

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

fn name(of: &Value) -> &str {
    of["name"].as_str().unwrap()
}

/// Dependencies by path of every kind: for tests and builds, too.
fn neighbours(package: &Value) -> BTreeSet<&str> {
    let dependencies = package["dependencies"].as_array().unwrap();
    let local = dependencies.iter().filter(|one| one["path"].is_string());
    local.map(name).collect()
}

#[test]
fn crates_name_only_those_below_them() {
    let packages = packages("");
    let edges = |package: &Value| EDGES.iter().find(|(from, _)| *from == name(package));
    let mut problems = Vec::new();
    for package in &packages {
        let from = name(package);
        let Some((_, allowed)) = edges(package) else {
            problems.push(format!(
                "{from} is a new crate: say in ARCHITECTURE.md what it is and add it to EDGES in {}",
                file!()
            ));
            continue;
        };
        let allowed: BTreeSet<&str> = allowed.iter().copied().collect();
        let named = neighbours(package);
        problems.extend(named.difference(&allowed).map(|to| {
            format!(
                "{from} names {to}, and it must not: move what it needs to where both may see it. A new \
                 edge is an architecture change (ARCHITECTURE.md, a decision record, EDGES in {})",
                file!()
            )
        }));
        problems.extend(allowed.difference(&named).map(|to| {
            format!(
                "{from} does not name {to} any more: take the edge out of EDGES in {}",
                file!()
            )
        }));
    }
    assert_eq!(
        packages.len(),
        EDGES.len(),
        "a crate is gone: take it out of EDGES in {}",
        file!()
    );
    none(&problems);
}

#[test]
fn agents_depend_on_the_sdk_only() {
    let mut problems = Vec::new();
    for folder in ["examples", "guests", "policies"] {
        for package in packages(folder) {
            let others = neighbours(&package);
            let others = others
                .iter()
                .filter(|to| **to != "dormouse-sdk" && **to != "dormouse-filter-sdk");
            problems.extend(others.map(|to| {
                format!(
                    "{folder}/{} names {to}: an agent's author has the SDK only, and so has it",
                    name(&package)
                )
            }));
        }
    }
    none(&problems);
}

#[test]
fn locked_packages_come_from_crates_io() {
    let locks: Vec<String> = files()
        .into_iter()
        .filter(|name| name.ends_with("Cargo.lock"))
        .collect();
    assert_eq!(
        locks,
        [
            "Cargo.lock",
            "examples/Cargo.lock",
            "fuzz/Cargo.lock",
            "guests/Cargo.lock",
            "policies/Cargo.lock"
        ]
    );
    let mut problems = Vec::new();
    for lock in locks {
        for package in locked(&lock) {
            let source = package.get("source").and_then(toml::Value::as_str);
            if source.is_some_and(|source| source != CRATES_IO) {
                problems.push(format!(
                    "{lock}: {} comes from {}; everything comes from crates.io: take it from there, and \
                     lock it again without a mirror in cargo's configuration",
                    package["name"],
                    package["source"]
                ));
            }
        }
    }
    none(&problems);
}

/// Compiled code on disk lives under this version, so a wrong one would load another engine's code.
#[test]
fn the_engine_version_is_the_locked_one() {
    const FILE: &str = "scheduler/src/engine.rs";
    let source = read(FILE);
    let says = source
        .split_once("const ENGINE_VERSION: &str = \"")
        .and_then(|(_, rest)| rest.split_once('"'))
        .unwrap_or_else(|| {
            panic!("{FILE} has no ENGINE_VERSION: this test must learn its new place")
        })
        .0;
    let packages = locked("Cargo.lock");
    let engines = packages
        .iter()
        .filter(|package| package["name"].as_str() == Some("wasmtime"));
    let versions: Vec<&str> = engines
        .map(|package| package["version"].as_str().unwrap())
        .collect();
    assert_eq!(
        versions,
        [says],
        "ENGINE_VERSION in {FILE} must be the version of wasmtime in Cargo.lock, and there must be one"
    );
}

fn locked(name: &str) -> Vec<toml::Table> {
    let mut lock: toml::Table = read(name).parse().unwrap();
    lock.remove("package").unwrap().try_into().unwrap()
}
