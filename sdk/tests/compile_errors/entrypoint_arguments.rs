use dormouse_sdk::prelude::*;

#[entrypoint]
fn configure_agents(name: &str) -> Vec<AgentDefinition> {
    vec![Agent::builder().with_name(name).build()]
}

fn main() {}
