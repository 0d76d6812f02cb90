//! An agent that lets a language model use a tool, takes its answer as a Rust type, and remembers who asked for what.
//!
//! It needs a model: `dormouse serve --llm-script examples/travel-adviser/script.json` has one that answers a single
//! question, and `dormouse deploy examples/travel-adviser --grant llm` lets the agent use it.

use dormouse_sdk::prelude::*;
use dormouse_sdk::{LlmWorker, MemoryScope, Service};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const INSTRUCTIONS: &str =
    "You give advice to travellers. Look up the climate of the places that they name.";

/// The agent of this module.
#[entrypoint]
pub fn configure_agents() -> Vec<AgentDefinition> {
    vec![
        Agent::builder()
            .with_name("travel-adviser")
            .with_version("1.0.0")
            .with_description("Says where to go and what to pack")
            .with_grant(Service::Llm)
            .with_skill(Advise)
            .build(),
    ]
}

/// What the model is to answer with.
#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Advice {
    /// One or two sentences.
    pub advice: String,
    /// What to take along.
    pub pack: Vec<String>,
}

/// What the model may ask for.
#[derive(Deserialize, JsonSchema)]
struct Climate {
    city: String,
    /// 1 to 12.
    month: u32,
}

#[skill(
    id = "advise",
    name = "Travel advice",
    description = "Says where to go and what to pack.",
    tags = ["travel"],
    examples = ["Oslo in November, or rather Bergen?"]
)]
pub struct Advise;

impl SkillHandler for Advise {
    async fn on_request(
        &self,
        _state: &mut State,
        progress: &ProgressSender,
        runtime: &Runtime,
        content: Content,
    ) -> Result<OnRequestResult, AgentError> {
        let question = content.text();
        progress.send_update("Looking up climates").await?;
        let worker = LlmWorker::<Advice>::builder(runtime.llm())
            .with_system_instructions(INSTRUCTIONS)
            .with_tool(climate)
            .build();
        let advice = worker.run(&*question).await?;
        let memory = runtime.memory(MemoryScope::Principal);
        memory.save("last-question", &question).await?;
        Ok(OnRequestResult::Completed {
            message: Some(advice.advice.clone().into()),
            artifacts: vec![Artifact::from_json("advice", &advice)?],
        })
    }
}

/// Tells the usual weather of a city in a month.
#[tool]
async fn climate(place: Climate) -> Result<String, AgentError> {
    // A real agent would ask a service.
    let Climate { city, month } = place;
    if !(1..=12).contains(&month) {
        return Err(AgentError::invalid_input("a month is 1 to 12"));
    }
    let cold = matches!(month, 1..=3 | 11..=12);
    let weather = match (&*city.to_lowercase(), cold) {
        ("oslo", true) => "around freezing, some snow",
        ("oslo", false) => "mild, some rain",
        ("bergen", true) => "5 degrees, rain on most days",
        ("bergen", false) => "12 degrees, rain on many days",
        _ => return Err(AgentError::failed(format!("nothing is known of {city}"))),
    };
    Ok(format!("{city} in month {month}: {weather}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dormouse_sdk::testing::Conversation;
    use dormouse_sdk::{Json, LlmResponse, LlmTurn};

    #[test]
    fn the_model_hears_what_its_tool_says() {
        let mut conversation =
            Conversation::new(Advise).with_llm(|request| match request.thread.turns.last() {
                Some(LlmTurn::ToolResults(results)) => {
                    let advice = Advice {
                        advice: results[0].content.clone(),
                        pack: vec!["umbrella".to_owned()],
                    };
                    Ok(LlmResponse::text(Json::new(&advice)?.into_string()))
                }
                _ => {
                    let tool = &request.tools[0];
                    assert_eq!(tool.name, "climate");
                    assert!(tool.description.starts_with("Tells the usual weather"));
                    let place = Json::parse(r#"{"city": "Bergen", "month": 7}"#)?;
                    Ok(LlmResponse::tool_call("climate", place))
                }
            });
        let answer = conversation.send("Bergen in July?");
        assert_eq!(
            answer.text(),
            "Bergen in month 7: 12 degrees, rain on many days"
        );
        assert_eq!(answer.updates(), ["Looking up climates"]);
        assert_eq!(answer.artifacts().len(), 1);
    }

    #[test]
    fn without_a_model_the_task_fails_with_a_sentence() {
        let answer = Conversation::new(Advise).send("Oslo?");
        assert!(
            answer.text().contains("language model"),
            "{}",
            answer.text()
        );
    }
}
