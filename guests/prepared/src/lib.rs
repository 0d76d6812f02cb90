//! The agent `prepared`: its initialisation is expensive (a table of a million entries), and done at deploy. Its
//! one skill says what its instance has found.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use dormouse_sdk::prelude::*;

/// Entries of the table.
const ENTRIES: usize = 1_000_000;

/// How often the table was built, and how many calls there were, as this instance's memory has it.
static BUILT: AtomicU32 = AtomicU32::new(0);
static CALLS: AtomicU32 = AtomicU32::new(0);

/// Steps of the Collatz sequence from each number to 1.
static TABLE: LazyLock<Vec<u32>> = LazyLock::new(|| {
    BUILT.fetch_add(1, Ordering::Relaxed);
    (0..ENTRIES as u64).map(steps).collect()
});

fn steps(mut number: u64) -> u32 {
    let mut steps = 0;
    while number > 1 {
        number = if number.is_multiple_of(2) {
            number / 2
        } else {
            3 * number + 1
        };
        steps += 1;
    }
    steps
}

#[init]
fn init() {
    LazyLock::force(&TABLE);
}

#[entrypoint]
fn configure_agents() -> Vec<AgentDefinition> {
    vec![
        Agent::builder()
            .with_name("prepared")
            .with_description("Knows a large table from its start")
            .with_skill(Look)
            .build(),
    ]
}

#[skill(
    id = "look",
    name = "Look",
    description = "Says what its instance has found."
)]
struct Look;

impl SkillHandler for Look {
    /// `built before this call, built after it, calls, entry`: the entry is that of the number sent.
    async fn on_request(
        &self,
        _state: &mut State,
        _progress: &ProgressSender,
        _runtime: &Runtime,
        content: Content,
    ) -> Result<OnRequestResult, AgentError> {
        let before = BUILT.load(Ordering::Relaxed);
        let number: usize = content.text().parse().unwrap_or_default();
        let entry = TABLE.get(number).copied().unwrap_or_default();
        let after = BUILT.load(Ordering::Relaxed);
        let calls = CALLS.fetch_add(1, Ordering::Relaxed) + 1;
        let message = format!("{before} {after} {calls} {entry}").into();
        Ok(OnRequestResult::Message { message })
    }
}
