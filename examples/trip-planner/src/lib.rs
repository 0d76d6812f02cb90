//! An agent that plans a trip. It needs a destination, a length and a budget, takes what the first
//! message tells ("8 days to Lisbon for 1200 EUR", or a data part with the same fields), and asks
//! for the rest, one question at a time. It shows multi-turn work: each question ends the call as
//! input-required with a typed slot, what is known waits in the task's state, and the next answer
//! may be taken by another instance. `cargo run` serves it on this machine; `dormouse deploy` from
//! this folder puts it on the platform.

mod plan;

use dormouse_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use plan::{Plan, Wishes};

#[entrypoint]
pub fn configure_agents() -> Vec<AgentDefinition> {
    vec![
        Agent::builder()
            .with_name("trip-planner")
            .with_version("1.0.0")
            .with_description("Plans trips, and asks for what it needs to know")
            .with_skill(PlanTrip)
            .build(),
    ]
}

/// The agent's only skill.
#[skill(
    id = "plan-trip",
    name = "Plan a trip",
    description = "Makes a day plan with a daily budget. Asks for destination, length and budget if they are missing.",
    tags = ["travel", "planning"],
    examples = ["8 days to Lisbon for 1200 EUR", "I want to go to Oslo"],
)]
pub struct PlanTrip;

/// What the agent has asked for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Missing {
    Destination,
    Days,
    Budget,
}

/// Where the task's state keeps what is known.
const WISHES: &str = "wishes";
/// Where the session's state counts the plans made in this context.
const PLANS: &str = "plans";

/// What to do next.
enum Next {
    Ask {
        question: &'static str,
        missing: Missing,
    },
    Deliver {
        summary: String,
        artifact: Artifact,
    },
}

impl SkillHandler for PlanTrip {
    async fn on_request(
        &self,
        state: &mut State,
        _progress: &ProgressSender,
        _runtime: &Runtime,
        content: Content,
    ) -> Result<OnRequestResult, AgentError> {
        let wishes = content
            .data()?
            .unwrap_or_else(|| Wishes::read(&content.text()));
        Ok(match next(state, &wishes)? {
            Next::Ask { question, missing } => OnRequestResult::InputRequired {
                message: question.into(),
                slot: SkillSlot::new(missing),
            },
            Next::Deliver { summary, artifact } => OnRequestResult::Completed {
                message: Some(summary.into()),
                artifacts: vec![artifact],
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
        let mut wishes: Wishes = state.task().load(WISHES)?.unwrap_or_default();
        let text = content.text();
        match state.slot()? {
            Some(Missing::Destination) => wishes.destination = plan::read_destination(&text),
            Some(Missing::Days) => wishes.days = plan::read_number(&text),
            Some(Missing::Budget) => wishes.budget = plan::read_number(&text),
            None => {}
        }
        Ok(match next(state, &wishes)? {
            Next::Ask { question, missing } => OnInputResult::InputRequired {
                message: question.into(),
                slot: SkillSlot::new(missing),
            },
            Next::Deliver { summary, artifact } => OnInputResult::Completed {
                message: Some(summary.into()),
                artifacts: vec![artifact],
            },
        })
    }
}

/// The same question again if the answer could not be used, the next one, or the plan.
fn next(state: &mut State, wishes: &Wishes) -> Result<Next, AgentError> {
    state.task().save(WISHES, wishes)?;
    let ask = |missing, question| Ok(Next::Ask { question, missing });
    let Some(destination) = wishes.destination.clone() else {
        return ask(Missing::Destination, "Where do you want to go?");
    };
    let Some(days) = wishes.days.filter(|days| (1..=60).contains(days)) else {
        return ask(Missing::Days, "How many days, 1 to 60?");
    };
    let Some(budget) = wishes.budget.filter(|budget| *budget > 0) else {
        return ask(Missing::Budget, "How much may it cost in all, in EUR?");
    };
    let plans = state.session().load::<u32>(PLANS)?.unwrap_or(0) + 1;
    state.session().save(PLANS, &plans)?;
    let plan = Plan::make(destination, days, budget);
    Ok(Next::Deliver {
        summary: format!(
            "{} This is plan {plans} of our conversation.",
            plan.summary()
        ),
        artifact: Artifact::from_json("trip.json", &plan)?,
    })
}

#[cfg(test)]
mod tests {
    use dormouse_sdk::Outcome;
    use dormouse_sdk::testing::{Answer, Conversation};

    use super::*;

    fn asked_for(answer: &Answer) -> Option<Missing> {
        match &answer.outcome {
            Outcome::InputRequired { slot, .. } => slot.deserialize().ok(),
            _ => None,
        }
    }

    #[test]
    fn asks_until_it_knows_everything() {
        let mut conversation = Conversation::new(PlanTrip);
        assert_eq!(
            asked_for(&conversation.send("I want to go to Oslo")),
            Some(Missing::Days)
        );
        assert_eq!(asked_for(&conversation.send("a few")), Some(Missing::Days));
        assert_eq!(
            asked_for(&conversation.send("3 days")),
            Some(Missing::Budget)
        );
        let plan = conversation.send("900");
        assert_eq!(
            plan.text(),
            "3 days in Oslo at 300 EUR a day. This is plan 1 of our conversation."
        );
        assert_eq!(plan.artifacts()[0].name.as_deref(), Some("trip.json"));
    }

    #[test]
    fn asks_nothing_if_the_first_message_says_it_all() {
        let mut conversation = Conversation::new(PlanTrip);
        let words = conversation.send("8 days to Lisbon for 1200 EUR");
        assert!(
            words
                .text()
                .starts_with("8 days in Lisbon at 150 EUR a day"),
            "{}",
            words.text()
        );
        let wishes = Wishes {
            destination: Some("Rome".to_owned()),
            days: Some(2),
            budget: Some(500),
        };
        let data = conversation.send(Content::from_json(&wishes).expect("it is JSON"));
        assert!(
            data.text().ends_with("This is plan 2 of our conversation."),
            "{}",
            data.text()
        );
    }
}
