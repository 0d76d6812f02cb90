//! An agent in radkit's form: what it took to bring it here is in the comments, and it is the table "Moving from
//! radkit" in docs/writing-agents.md.

// Before: radkit::agent::{…}, radkit::errors::AgentError, radkit::macros::{skill, LLMOutput},
// radkit::models::Content, radkit::runtime::{AgentRuntime, context::{ProgressSender, State}}.
use dormouse_sdk::{
    Agent, AgentDefinition, AgentError, Artifact, Content, LlmFunction, LlmResponse, OnInputResult,
    OnRequestResult, ProgressSender, Runtime, SkillHandler, SkillSlot, State, skill,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

// Before: also #[derive(LLMOutput)].
#[derive(Serialize, Deserialize, JsonSchema)]
struct Ticket {
    title: String,
    room: String,
    severity: String,
}

#[derive(Serialize, Deserialize)]
enum TicketSlot {
    Room,
    Severity,
}

#[skill(
    id = "open_ticket",
    name = "Ticket Desk",
    description = "Turns a complaint about the house into a ticket",
    tags = ["tickets", "house"],
    examples = ["The heating in room 12 is broken, urgent"],
    input_modes = ["text/plain"],
    output_modes = ["application/json"]
)]
struct TicketDesk;

// Before: #[async_trait] on the implementation, and `runtime: &dyn AgentRuntime`.
impl SkillHandler for TicketDesk {
    async fn on_request(
        &self,
        state: &mut State,
        progress: &ProgressSender,
        runtime: &Runtime,
        content: Content,
    ) -> Result<OnRequestResult, AgentError> {
        progress.send_update("Reading the complaint").await?;
        let ticket = LlmFunction::<Ticket>::new_with_system_instructions(
            runtime.default_llm(),
            "Read title, room and severity out of the complaint; leave empty what it does not say.",
        )
        .run(content.first_text().unwrap())
        .await?;
        progress
            .send_partial_artifact(Artifact::from_text("complaint.txt", content.text()))
            .await?;
        state.task().save("ticket", &ticket)?;
        Ok(match missing(&ticket) {
            Some((question, slot)) => OnRequestResult::InputRequired {
                message: Content::from_text(question),
                slot: SkillSlot::new(slot),
            },
            None => OnRequestResult::Completed {
                message: Some(Content::from_text("Ticket opened")),
                artifacts: vec![Artifact::from_json("ticket.json", &ticket)?],
            },
        })
    }

    async fn on_input_received(
        &self,
        state: &mut State,
        _progress: &ProgressSender,
        _runtime: &Runtime,
        content: Content,
    ) -> Result<OnInputResult, AgentError> {
        let slot: TicketSlot = state.slot()?.unwrap();
        let mut ticket: Ticket = state
            .task()
            .load("ticket")?
            .ok_or_else(|| AgentError::failed("there is no ticket yet"))?;
        let answer = content.first_text().unwrap().to_owned();
        match slot {
            TicketSlot::Room if answer.parse::<u32>().is_err() => {
                return Ok(OnInputResult::Failed {
                    error: Content::from_text("There is no such room"),
                });
            }
            TicketSlot::Room => ticket.room = answer,
            TicketSlot::Severity => ticket.severity = answer,
        }
        state.task().save("ticket", &ticket)?;
        if let Some((question, slot)) = missing(&ticket) {
            return Ok(OnInputResult::InputRequired {
                message: Content::from_text(question),
                slot: SkillSlot::new(slot),
            });
        }
        let count = state.session().load::<u32>("tickets")?.unwrap_or(0) + 1;
        state.session().save("tickets", &count)?;
        Ok(OnInputResult::Completed {
            message: Some(Content::from_text(format!("Ticket {count} opened"))),
            artifacts: vec![Artifact::from_json("ticket.json", &ticket)?],
        })
    }
}

fn missing(ticket: &Ticket) -> Option<(&'static str, TicketSlot)> {
    if ticket.room.is_empty() {
        return Some(("Which room?", TicketSlot::Room));
    }
    let is_missing = ticket.severity.is_empty();
    is_missing.then_some(("How bad is it?", TicketSlot::Severity))
}

// Before: one definition per process, without #[entrypoint], and a runtime built around it in `main`.
fn configure_agent() -> AgentDefinition {
    Agent::builder()
        .with_name("ticket-desk")
        .with_description("Takes complaints")
        .with_skill(TicketDesk)
        .build()
}

mod tests {
    use super::*;
    use dormouse_sdk::Outcome;
    use dormouse_sdk::testing::{Answer, Conversation};

    fn desk(read: &'static str) -> Conversation {
        let desk = Conversation::with_agent(configure_agent());
        desk.with_llm(move |_| Ok(LlmResponse::text(read)))
    }

    fn waits(answer: &Answer) -> bool {
        matches!(answer.outcome, Outcome::InputRequired { .. })
    }

    #[test]
    fn it_asks_for_what_is_missing_one_thing_after_another() {
        let mut desk = desk(r#"{"title": "Heating", "room": "", "severity": ""}"#);
        let question = desk.send("The heating is broken");
        assert!(waits(&question) && question.text() == "Which room?");
        assert_eq!(question.updates(), ["Reading the complaint"]);
        assert_eq!(question.artifacts()[0].text(), "The heating is broken");
        let question = desk.send("12");
        assert!(waits(&question) && question.text() == "How bad is it?");
        let done = desk.send("urgent");
        assert_eq!(done.text(), "Ticket 1 opened");
        let artifact = &done.artifacts()[0];
        assert_eq!(artifact.name.as_deref(), Some("ticket.json"));
        let content = Content::from(artifact.parts[0].clone());
        let ticket: Ticket = content.data().unwrap().unwrap();
        assert_eq!(
            (&*ticket.title, &*ticket.room, &*ticket.severity),
            ("Heating", "12", "urgent")
        );
    }

    #[test]
    fn it_asks_nothing_that_it_knows_and_fails_in_its_own_words() {
        let complete = r#"{"title": "Heating", "room": "12", "severity": "low"}"#;
        assert_eq!(desk(complete).send("…").text(), "Ticket opened");
        let mut desk = desk(r#"{"title": "Heating", "room": "", "severity": "low"}"#);
        desk.send("The heating is broken");
        let failed = Outcome::Failed("There is no such room".into());
        assert_eq!(desk.send("the attic").outcome, failed);
    }
}
