//! No agent without a test.

use crate::{files, none, packages, read};

/// How tests get at an agent's module: `guest("echo")`. A name alone may be that of a skill.
const LOADERS: [&str; 6] = [
    "deploy",
    "example",
    "guest",
    "guest_wasm",
    "lying",
    "policy",
];

#[test]
fn every_agent_is_loaded_by_a_test() {
    let tests: Vec<String> = files()
        .into_iter()
        .filter(|name| name.ends_with(".rs") && name.contains("/tests/"))
        .filter(|name| !name.starts_with("xtask/"))
        .map(|name| read(&name))
        .collect();
    let mut problems = Vec::new();
    for folder in ["examples", "guests", "policies"] {
        for package in packages(folder) {
            let name = package["name"].as_str().unwrap();
            // What the filters are written with.
            if name == "dormouse-filter-sdk" {
                continue;
            }
            let file = name.replace('-', "_");
            let calls = LOADERS.map(|load| [name, &file].map(|name| format!("{load}(\"{name}\")")));
            let used = |test: &String| calls.as_flattened().iter().any(|call| test.contains(call));
            let agent = format!("{folder}/{name}");
            if !tests.iter().any(used) {
                problems.push(format!(
                    "{agent} is loaded by no test: write one, or delete the agent. (A test loads it by a call of \
                     {LOADERS:?} with its name.)"
                ));
            }
        }
    }
    none(&problems);
}
