//! An agent with an illegal name and without skills.

use dormouse_sdk::prelude::*;

#[entrypoint]
fn configure_agents() -> Vec<AgentDefinition> {
    vec![Agent::builder().with_name("Bad Name!").build()]
}
