//! Its initialisation builds a map whose order is random, and would be the same in every instance.

use std::collections::HashMap;
use std::sync::LazyLock;

use dormouse_sdk::prelude::*;

static NAMES: LazyLock<HashMap<u32, String>> =
    LazyLock::new(|| (0..100).map(|n| (n, n.to_string())).collect());

#[init]
fn init() {
    LazyLock::force(&NAMES);
}

#[entrypoint]
fn configure_agents() -> Vec<AgentDefinition> {
    let name = NAMES.get(&7).cloned().unwrap_or_default();
    vec![Agent::builder().with_name(name).build()]
}
