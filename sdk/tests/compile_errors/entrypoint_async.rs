use dormouse_sdk::prelude::*;

#[entrypoint]
async fn configure_agents() -> Vec<AgentDefinition> {
    Vec::new()
}

fn main() {}
