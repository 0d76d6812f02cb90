//! Agents that use the platform's services as they are told: `services` says that it needs them, `needless` does not.
//! `filed` has no code of its own: its skill is a file.

use dormouse_sdk::prelude::*;
use dormouse_sdk::{
    FunctionTool, Json, LlmWorker, MemoryEntry, MemoryQuery, MemoryScope, Service, join_all,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[entrypoint]
fn configure_agents() -> Vec<AgentDefinition> {
    let agent = |name: &str| {
        Agent::builder()
            .with_name(name)
            .with_description("Uses services")
            .with_concurrency(4)
            .with_skill(Remember)
            .with_skill(Ask)
            .with_skill(Work)
    };
    vec![
        agent("services").with_grant(Service::Llm).build(),
        agent("needless").build(),
        Agent::builder()
            .with_name("filed")
            .with_skill_def(include_skill!("skills/advise"))
            .build(),
    ]
}

/// What a client tells the memory skill to do.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "lowercase")]
enum Order {
    Save {
        key: String,
        value: Value,
        #[serde(default)]
        vector: Vec<f32>,
    },
    Load {
        key: String,
    },
    Delete {
        key: String,
    },
    List {
        prefix: String,
        after: Option<String>,
        limit: u32,
    },
    Search {
        text: String,
        #[serde(default)]
        vector: Vec<f32>,
    },
}

#[skill(
    id = "remember",
    name = "Remember",
    description = "Saves, loads, deletes, lists, searches."
)]
struct Remember;

impl SkillHandler for Remember {
    async fn on_request(
        &self,
        _state: &mut State,
        _progress: &ProgressSender,
        runtime: &Runtime,
        content: Content,
    ) -> Result<OnRequestResult, AgentError> {
        let order: Value = content.data()?.unwrap_or_default();
        let scope = match order["scope"].as_str() {
            Some("agent") => MemoryScope::Agent,
            Some("context") => MemoryScope::Context,
            _ => MemoryScope::Principal,
        };
        let memory = runtime.memory(scope);
        let done = match serde_json::from_value(order)? {
            Order::Save { key, value, vector } => {
                let value = Json::from(value);
                memory
                    .save_entry(MemoryEntry { key, value, vector })
                    .await?;
                Value::Null
            }
            Order::Load { key } => memory.load(&key).await?.unwrap_or_default(),
            Order::Delete { key } => memory.delete(&key).await?.into(),
            Order::List {
                prefix,
                after,
                limit,
            } => {
                let entries = memory.list(&prefix, after.as_deref(), limit).await?;
                entries.into_iter().map(|entry| entry.key).collect()
            }
            Order::Search { text, vector } => {
                let query = MemoryQuery {
                    text,
                    vector,
                    limit: 10,
                    min_score: 0.0,
                };
                let hits = memory.search_with(query).await?;
                hits.into_iter().map(|hit| hit.entry.key).collect()
            }
        };
        Ok(OnRequestResult::Message {
            message: done.to_string().into(),
        })
    }
}

#[skill(
    id = "ask",
    name = "Ask",
    description = "Asks the model each line of the message, all at once."
)]
struct Ask;

impl SkillHandler for Ask {
    async fn on_request(
        &self,
        _state: &mut State,
        _progress: &ProgressSender,
        runtime: &Runtime,
        content: Content,
    ) -> Result<OnRequestResult, AgentError> {
        let questions = content.text();
        let asked = questions.lines().map(|line| runtime.llm().generate(line));
        let answers = join_all(asked).await;
        let said: Vec<String> = answers
            .into_iter()
            .map(|answer| match answer {
                Ok(answer) => format!(
                    "{} ({}+{})",
                    answer.text, answer.usage.input, answer.usage.output
                ),
                Err(AgentError::Denied(text)) => format!("denied: {text}"),
                Err(AgentError::Limit(text)) => format!("limit: {text}"),
                Err(error) => format!("error: {error}"),
            })
            .collect();
        Ok(OnRequestResult::Message {
            message: said.join("\n").into(),
        })
    }
}

#[derive(Deserialize, JsonSchema)]
struct Place {
    city: String,
}

#[derive(Deserialize, Serialize, JsonSchema)]
struct Advice {
    advice: String,
}

#[skill(
    id = "work",
    name = "Work",
    description = "Lets the model use a tool; its answer is an artifact."
)]
struct Work;

impl SkillHandler for Work {
    async fn on_request(
        &self,
        _state: &mut State,
        _progress: &ProgressSender,
        runtime: &Runtime,
        content: Content,
    ) -> Result<OnRequestResult, AgentError> {
        let forecast =
            FunctionTool::new("forecast", "Forecasts the weather.", async |at: Place| {
                Ok(json!(format!("rain in {}", at.city)))
            });
        let worker = LlmWorker::<Advice>::builder(runtime.llm())
            .with_system_instructions("Give advice.")
            .with_tool(forecast)
            .build();
        let advice = worker.run(content.text()).await?;
        let artifacts = vec![Artifact::from_json("advice", &advice)?];
        Ok(OnRequestResult::Completed {
            message: None,
            artifacts,
        })
    }
}
