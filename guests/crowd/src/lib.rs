//! The agent `crowd`: a hundred calls may be in one instance of it. They see each other, and what one does
//! to all.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dormouse_sdk::prelude::*;
use dormouse_sdk::{Json, Level, Part};

/// Calls that have entered this instance.
static ENTERED: AtomicU64 = AtomicU64::new(0);

/// How often a call looks around.
const LOOK: Duration = Duration::from_millis(1);

#[entrypoint]
fn configure_agents() -> Vec<AgentDefinition> {
    vec![
        Agent::builder()
            .with_name("crowd")
            .with_description("Takes a hundred calls at a time")
            .with_concurrency(100)
            .with_skill(Meet)
            .with_skill(Trap)
            .with_skill(Spin)
            .with_skill(Nibble)
            .with_skill(Flood)
            .with_skill(Nonsense)
            .with_skill(Prints)
            .with_skill(Again)
            .build(),
    ]
}

/// Waits until so many calls have entered; the content is the number. Returns the number of this one.
async fn meet(runtime: &Runtime, content: &Content) -> Result<u64, AgentError> {
    let calls: u64 = content.text().parse().unwrap_or_default();
    let own = ENTERED.fetch_add(1, Ordering::Relaxed) + 1;
    while ENTERED.load(Ordering::Relaxed) < calls {
        runtime.sleep(LOOK).await;
    }
    Ok(own)
}

/// A skill that waits for as many calls as it is told, and then does something.
macro_rules! skill {
    ($id:literal, $name:ident, $description:literal, |$runtime:ident, $own:ident| $body:expr) => {
        #[skill(id = $id, name = $id, description = $description)]
        struct $name;

        impl SkillHandler for $name {
            async fn on_request(
                &self,
                _state: &mut State,
                _progress: &ProgressSender,
                $runtime: &Runtime,
                content: Content,
            ) -> Result<OnRequestResult, AgentError> {
                let $own = meet($runtime, &content).await?;
                $body
            }
        }
    };
}

skill!(
    "meet",
    Meet,
    "Says how many came before it.",
    |_runtime, own| {
        let message = own.to_string().into();
        Ok(OnRequestResult::Message { message })
    }
);

skill!("trap", Trap, "Panics.", |_runtime, own| panic!(
    "call {own}"
));

skill!("spin", Spin, "Computes for ever.", |_runtime, own| loop {
    std::hint::black_box(own);
});

/// Less than a tick of the host's clock.
const BITE: Duration = Duration::from_micros(300);

skill!(
    "nibble",
    Nibble,
    "Computes for ever, and rests before anybody looks.",
    |runtime, own| loop {
        let begun = Instant::now();
        while begun.elapsed() < BITE {
            std::hint::black_box(own);
        }
        runtime.sleep(Duration::from_nanos(1)).await;
    }
);

skill!(
    "flood",
    Flood,
    "Logs without an end.",
    |runtime, own| loop {
        runtime.log(Level::Info, "flood", &[("own", &own.to_string())]);
    }
);

skill!(
    "nonsense",
    Nonsense,
    "Answers with data that is not JSON.",
    |_runtime, _own| {
        let message = Content::from(Part::data(Json::from_text_unchecked("{not json")));
        Ok(OnRequestResult::Message { message })
    }
);

skill!(
    "prints",
    Prints,
    "Prints without an end.",
    |_runtime, own| loop {
        println!("call {own}");
    }
);

#[skill(
    id = "again",
    name = "again",
    description = "Asks, and meets others in its second turn."
)]
struct Again;

impl SkillHandler for Again {
    async fn on_request(
        &self,
        _state: &mut State,
        _progress: &ProgressSender,
        _runtime: &Runtime,
        _content: Content,
    ) -> Result<OnRequestResult, AgentError> {
        Ok(OnRequestResult::InputRequired {
            message: "How many?".into(),
            slot: SkillSlot::new(()),
        })
    }

    async fn on_input_received(
        &self,
        _state: &mut State,
        _progress: &ProgressSender,
        runtime: &Runtime,
        content: Content,
    ) -> Result<OnInputResult, AgentError> {
        let own = meet(runtime, &content).await?;
        Ok(OnInputResult::completed(own.to_string()))
    }
}
