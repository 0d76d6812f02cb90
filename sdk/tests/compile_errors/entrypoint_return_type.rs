use dormouse_sdk::prelude::*;

#[entrypoint]
fn configure_agents() -> AgentDefinition {
    Agent::builder().with_name("alone").build()
}

fn main() {}
