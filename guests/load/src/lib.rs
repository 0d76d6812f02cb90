//! Agents in any number for the load generator (`loadtest/src/module.rs`). It finds [`LABEL`] in the bytes of
//! this module and writes another one in its place, so that one build gives as many modules and agents as a
//! measurement needs, each with names of its own.

use std::hint::black_box;
use std::thread;
use std::time::Duration;

use dormouse_sdk::prelude::*;

/// What the load generator rewrites: a mark that is nowhere else, the count of agents in two digits, the
/// beginning of their names in nine letters, and seven digits that nobody reads, which make the bytes differ.
static LABEL: [u8; 40] = *b"dormouse-load-label:01:load-0000:0000000";

const COUNT: std::ops::Range<usize> = 20..22;
const PREFIX: std::ops::Range<usize> = 23..32;

/// How long `wait` waits, as an agent does for a model.
const WAIT: Duration = Duration::from_secs(2);

/// Agents called `PREFIX-NN`, where NN counts from 00.
#[entrypoint]
fn configure_agents() -> Vec<AgentDefinition> {
    // Without the black box the compiler would build the names in, and no label could change them.
    let label = std::str::from_utf8(black_box(&LABEL)).unwrap_or_default();
    let count: usize = label[COUNT].parse().unwrap_or_default();
    let agent = |number| {
        Agent::builder()
            .with_name(format!("{}-{number:02}", &label[PREFIX]))
            .with_description("One of many, for measuring")
            .with_skill(Echo)
            .with_skill(Wait)
            .with_skill(Spin)
            .build()
    };
    (0..count).map(agent).collect()
}

/// A skill of one turn.
macro_rules! skill {
    ($id:literal, $name:ident, $description:literal, |$content:ident| $body:expr) => {
        #[skill(id = $id, name = $id, description = $description)]
        struct $name;

        impl SkillHandler for $name {
            async fn on_request(
                &self,
                _state: &mut State,
                _progress: &ProgressSender,
                _runtime: &Runtime,
                $content: Content,
            ) -> Result<OnRequestResult, AgentError> {
                $body
            }
        }
    };
}

skill!(
    "echo",
    Echo,
    "Answers with the text, without a task.",
    |content| {
        let message = content.text().into();
        Ok(OnRequestResult::Message { message })
    }
);

skill!(
    "wait",
    Wait,
    "Waits in the host, then completes its task.",
    |_content| {
        thread::sleep(WAIT);
        Ok(OnRequestResult::completed("awake"))
    }
);

skill!("spin", Spin, "Computes for ever.", |_content| loop {
    black_box(());
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_label_says_who_there_is() {
        let names: Vec<String> = configure_agents()
            .into_iter()
            .map(|agent| agent.name)
            .collect();
        assert_eq!(names, ["load-0000-00"]);
    }
}
