use dormouse_sdk::prelude::*;

#[entrypoint]
fn configure_agents() -> Vec<AgentDefinition> {
    Vec::new()
}

#[entrypoint]
fn configure_more_agents() -> Vec<AgentDefinition> {
    Vec::new()
}

fn main() {}
