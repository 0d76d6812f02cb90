//! A skill that asks once, and finds what it left in slot, task and session state.

use dormouse_sdk::prelude::*;

/// Completes with `FIRST, SECOND (task: FIRST, session: N)`, where N counts the questions asked in
/// this context.
#[skill(
    id = "ask",
    name = "ask",
    description = "Asks for a second text, then completes with both."
)]
pub struct Ask;

impl SkillHandler for Ask {
    async fn on_request(
        &self,
        state: &mut State,
        _progress: &ProgressSender,
        _runtime: &Runtime,
        content: Content,
    ) -> Result<OnRequestResult, AgentError> {
        let first = content.text();
        let asked = state.session().load::<u32>("asked")?.unwrap_or(0) + 1;
        state.session().save("asked", &asked)?;
        state.task().save("first", &first)?;
        Ok(OnRequestResult::InputRequired {
            message: "And the second?".into(),
            slot: SkillSlot::new(&first),
        })
    }

    async fn on_input_received(
        &self,
        state: &mut State,
        _progress: &ProgressSender,
        _runtime: &Runtime,
        content: Content,
    ) -> Result<OnInputResult, AgentError> {
        let lost = || AgentError::failed("what the first call left is gone");
        let slot: String = state.slot()?.ok_or_else(lost)?;
        let first: String = state.task().load("first")?.ok_or_else(lost)?;
        let asked: u32 = state.session().load("asked")?.ok_or_else(lost)?;
        state.task().remove("first")?;
        let second = content.text();
        Ok(OnInputResult::completed(format!(
            "{slot}, {second} (task: {first}, session: {asked})"
        )))
    }
}
