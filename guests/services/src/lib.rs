//! Agents that use the platform's services as they are told: `services` says that it needs models, `fetcher` that it
//! sends to a server, `relay-a` and `relay-b` that they call one another, and `needless` nothing.
//! `filed` has no code of its own: its skill is a file.

mod fetch;
mod relay;
mod tell;

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
            .with_skill(tell::Tell)
            .with_skill(fetch::Fetch)
            .with_skill(Configured)
            .with_skill(Keep)
    };
    // Each in an instance of its own.
    let relay = |name: &str| {
        let known = ["relay-a", "relay-b", "relay-c", "needless"];
        let agent = Agent::builder().with_name(name).with_skill(relay::Relay);
        known.into_iter().fold(agent, |agent, known| {
            agent.with_grant(Service::agent(known))
        })
    };
    vec![
        agent("services").with_grant(Service::Llm).build(),
        agent("fetcher")
            .with_grant(Service::http("http://127.77.0.1:8077"))
            .build(),
        agent("needless").build(),
        Agent::builder()
            .with_name("filed")
            .with_skill_def(include_skill!("skills/advise"))
            .build(),
        relay("relay-a").build(),
        relay("relay-b").build(),
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

#[skill(
    id = "configured",
    name = "Configured",
    description = "Says what the value of the message's text is."
)]
struct Configured;

impl SkillHandler for Configured {
    async fn on_request(
        &self,
        _state: &mut State,
        _progress: &ProgressSender,
        runtime: &Runtime,
        content: Content,
    ) -> Result<OnRequestResult, AgentError> {
        let value = runtime.config(&content.text())?;
        Ok(OnRequestResult::Message {
            message: value.unwrap_or_else(|| "none".to_owned()).into(),
        })
    }
}

#[skill(
    id = "keep",
    name = "Keep",
    description = "Puts a line under what was kept in this context, and says all of it."
)]
struct Keep;

impl SkillHandler for Keep {
    async fn on_request(
        &self,
        state: &mut State,
        _progress: &ProgressSender,
        runtime: &Runtime,
        content: Content,
    ) -> Result<OnRequestResult, AgentError> {
        let mut lines: Vec<String> = state.session().load("lines")?.unwrap_or_default();
        // Others may come in here.
        runtime.sleep(std::time::Duration::from_millis(1)).await;
        lines.push(content.text());
        state.session().save("lines", &lines)?;
        Ok(OnRequestResult::completed(lines.join(",")))
    }
}
