//! An entrypoint that panics.

use dormouse_sdk::prelude::*;

#[entrypoint]
fn configure_agents() -> Vec<AgentDefinition> {
    panic!("this entrypoint panics")
}
