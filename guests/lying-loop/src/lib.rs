//! An entrypoint that never returns.

use std::hint::black_box;

use dormouse_sdk::prelude::*;

#[entrypoint]
fn configure_agents() -> Vec<AgentDefinition> {
    loop {
        black_box(());
    }
}
