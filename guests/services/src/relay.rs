//! Calls of other agents as a client orders them.

use dormouse_sdk::prelude::*;
use dormouse_sdk::{AgentReply, AgentRequest, join_all};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Order {
    /// Agents to be called by one another, the first by this one.
    #[serde(default)]
    path: Vec<String>,
    /// Other orders, each to be given to an agent, all at once.
    #[serde(default)]
    each: Vec<(String, Value)>,
    /// A task of the agent that waits.
    task: Option<String>,
}

#[skill(
    id = "relay",
    name = "Relay",
    description = "Calls agents, and says who it is and what they said."
)]
pub(crate) struct Relay;

impl SkillHandler for Relay {
    async fn on_request(
        &self,
        _state: &mut State,
        _progress: &ProgressSender,
        runtime: &Runtime,
        content: Content,
    ) -> Result<OnRequestResult, AgentError> {
        let order: Option<Order> = content.data()?;
        let Some(order) = order else {
            return Ok(OnRequestResult::InputRequired {
                message: "What?".into(),
                slot: SkillSlot::new(()),
            });
        };
        let context = runtime.context();
        let metadata: Option<Value> = context
            .metadata
            .as_ref()
            .map(|all| all.deserialize())
            .transpose()?;
        let mut said = json!({
            "agent": context.agent,
            "principal": context.principal,
            "context": context.context_id,
            "task": context.task_id,
            "trace": metadata.as_ref().map(|all| all["traceId"].clone()),
            "accepts": metadata.map(|all| all["acceptedOutputModes"].clone()),
            "for": context.reference_task_ids,
        });
        if let Some((next, rest)) = order.path.split_first() {
            said["heard"] = call(runtime, next, &json!({"path": rest}), order.task).await;
        }
        let each = order.each.iter();
        let each = join_all(each.map(|(agent, order)| call(runtime, agent, order, None))).await;
        said["each"] = each.into();
        Ok(OnRequestResult::Message {
            message: said.to_string().into(),
        })
    }

    async fn on_input_received(
        &self,
        _state: &mut State,
        _progress: &ProgressSender,
        _runtime: &Runtime,
        _content: Content,
    ) -> Result<OnInputResult, AgentError> {
        Ok(OnInputResult::completed("thanks"))
    }
}

async fn call(runtime: &Runtime, agent: &str, order: &Value, task: Option<String>) -> Value {
    let message = match order {
        Value::Null => Content::from("hm"),
        Value::String(text) => Content::from(text.clone()),
        order => match Content::from_json(order) {
            Ok(content) => content,
            Err(error) => return json!({"error": error.to_string()}),
        },
    };
    let request = AgentRequest {
        skill: agent.starts_with("relay").then(|| "relay".to_owned()),
        task,
        ..AgentRequest::new(agent, message)
    };
    match runtime.agents().send(request).await {
        Ok(AgentReply::Message(message)) => {
            let text = message.text();
            serde_json::from_str(&text).unwrap_or(Value::String(text))
        }
        Ok(AgentReply::Task(task)) => {
            let text = task.message.map(|message| message.text());
            json!({"id": task.id, "state": format!("{:?}", task.state), "said": text, "artifacts": task.artifacts.len()})
        }
        Err(error) => json!({"error": error.to_string()}),
    }
}
