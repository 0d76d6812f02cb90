//! The agent `hostile`: a skill for each way in which a guest can go wrong, and a few that behave,
//! for showing that the platform holds and that the next call is answered. Numbers come as a data
//! part, such as `{"ms": 50}` for `slow`.

mod behaved;
mod floods;
mod hoards;
mod multi_turn;
mod stuck;
mod traps;
mod wasi_http;

use dormouse_sdk::prelude::*;

#[entrypoint]
fn configure_agents() -> Vec<AgentDefinition> {
    vec![
        Agent::builder()
            .with_name("hostile")
            .with_description("Goes wrong in every way it knows")
            .with_skill(traps::Trap)
            .with_skill(traps::Unreachable)
            .with_skill(traps::Recurse)
            .with_skill(traps::MemoryBomb)
            .with_skill(traps::TableBomb)
            .with_skill(traps::RecurseInHost)
            .with_skill(hoards::HandleLeak)
            .with_skill(hoards::ManyWaits)
            .with_skill(stuck::Loop)
            .with_skill(stuck::Pending)
            .with_skill(stuck::Sleep)
            .with_skill(floods::HugeOutput)
            .with_skill(floods::HugeArtifact)
            .with_skill(floods::HugeUpdate)
            .with_skill(floods::HugeState)
            .with_skill(floods::HugeLog)
            .with_skill(floods::LogFlood)
            .with_skill(floods::UpdateFlood)
            .with_skill(floods::StateFlood)
            .with_skill(floods::BadData)
            .with_skill(behaved::Echo)
            .with_skill(behaved::EchoTask)
            .with_skill(behaved::Counter)
            .with_skill(behaved::Slow)
            .with_skill(multi_turn::Ask)
            .with_skill(wasi_http::WasiHttp)
            .build(),
    ]
}

/// A skill of one turn: its id, its type, what it does, and what it makes of state, progress sender
/// and content.
macro_rules! skill {
    ($id:literal, $name:ident, $description:literal, |$state:ident, $progress:ident, $content:ident| $body:block) => {
        #[dormouse_sdk::skill(id = $id, name = $id, description = $description)]
        pub struct $name;

        impl dormouse_sdk::SkillHandler for $name {
            async fn on_request(
                &self,
                $state: &mut dormouse_sdk::State,
                $progress: &dormouse_sdk::ProgressSender,
                _runtime: &dormouse_sdk::Runtime,
                $content: dormouse_sdk::Content,
            ) -> Result<dormouse_sdk::OnRequestResult, dormouse_sdk::AgentError> {
                $body
            }
        }
    };
}
pub(crate) use skill;
