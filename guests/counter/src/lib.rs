//! Four agents that answer how many calls their instance has had, one per isolation:
//! `counter-shared`, `counter-principal`, `counter-context`, `counter-call`.

use std::sync::atomic::{AtomicU64, Ordering};

use dormouse_sdk::prelude::*;

static CALLS: AtomicU64 = AtomicU64::new(0);

#[entrypoint]
fn configure_agents() -> Vec<AgentDefinition> {
    [
        ("counter-shared", Isolation::Shared),
        ("counter-principal", Isolation::Principal),
        ("counter-context", Isolation::Context),
        ("counter-call", Isolation::Call),
    ]
    .map(|(name, isolation)| {
        Agent::builder()
            .with_name(name)
            .with_description("Counts the calls of its instance")
            .with_isolation(isolation)
            .with_skill(Counter)
            .build()
    })
    .into()
}

#[skill(
    id = "counter",
    name = "Counter",
    description = "Counts the calls of its instance."
)]
struct Counter;

impl SkillHandler for Counter {
    async fn on_request(
        &self,
        _state: &mut State,
        _progress: &ProgressSender,
        _runtime: &Runtime,
        _content: Content,
    ) -> Result<OnRequestResult, AgentError> {
        let calls = CALLS.fetch_add(1, Ordering::Relaxed) + 1;
        let message = calls.to_string().into();
        Ok(OnRequestResult::Message { message })
    }
}
