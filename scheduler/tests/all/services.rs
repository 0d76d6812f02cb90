//! Memory and language models, asked for by a real guest.

use crate::harness::{Deployed, Platform, answer, data, task, text};
use dormouse_scheduler::VersionRef;
use dormouse_services::llm::{Budgets, Llm, Model, Script};
use dormouse_services::model::{Message, Part, Role};
use dormouse_services::{Grants, Service, Services, TaskScope};
use serde_json::{Value, json};
use std::sync::Arc;

const SCRIPT: &str = r#"{"replies": [
    {"when": "all meet", "text": "met", "together": 6},
    {"when": "meet", "text": "met", "together": 3},
    {"when": "broken", "error": "the model is asleep"},
    {"when": "trip to Oslo", "system": "advice",
     "tool_calls": [{"name": "forecast", "arguments": {"city": "Oslo"}}, {"name": "nothing", "arguments": {}}]},
    {"when": "rain in Oslo\nthere is no tool \"nothing\"", "text": "no JSON"},
    {"when": "form asked for", "json": {"advice": "umbrella"}},
    {"when": "2+2", "text": "4"}
]}"#;

async fn platform(budgets: Budgets) -> Platform {
    let script = Model::Script(Script::parse(SCRIPT.as_bytes()).unwrap());
    let llm = Llm::new([("s".to_owned(), script)].into(), "s".to_owned(), budgets);
    let services = Services {
        llm: Some(llm),
        ..Services::default()
    };
    Platform::with_services(services).await
}

/// What the agent answers a principal.
async fn ask(platform: &Platform, agent: &Deployed, questions: &str) -> String {
    let (_, settled) = platform.call(agent, "ask", text(questions)).await;
    answer(&settled)
}

/// A message in the context that everybody names in the same way.
fn here(parts: Vec<Part>) -> Message {
    let mut message = Message::new(Role::User, parts);
    message.context_id = Some("here".to_owned());
    message
}

async fn remember(platform: &Platform, agent: &Deployed, principal: &str, order: Value) -> Value {
    let done = platform.send(agent, "remember", here(data(order)), principal);
    let (_, settled) = done.await;
    let said = answer(&settled);
    serde_json::from_str(&said).unwrap_or(Value::String(said))
}

#[tokio::test]
async fn what_an_agent_needs_is_known_at_deploy_and_denied_without_a_grant() {
    let platform = platform(Budgets::default()).await;
    let agent = platform.deploy("services").await;
    assert_eq!(agent.definition.needs, [Service::Llm]);
    assert_eq!(ask(&platform, &agent, "2+2").await, "4 (1+1)");
    let version = VersionRef {
        grants: Grants::default(),
        ..(*agent.version).clone()
    };
    let bare = Deployed {
        definition: agent.definition.clone(),
        version: Arc::new(version),
    };
    let told = ask(&platform, &bare, "2+2\n2+2").await;
    assert!(
        told.starts_with("denied: ") && told.contains("--grant llm"),
        "{told}"
    );
    let denied = platform.services_denied("llm");
    assert_eq!(denied, 2);
    let saved = remember(
        &platform,
        &bare,
        "ann",
        json!({"do": "save", "key": "k", "value": 1}),
    );
    assert_eq!(saved.await, Value::Null, "memory needs no grant");
}

#[tokio::test]
async fn model_calls_that_are_joined_are_at_the_model_at_once() {
    let platform = platform(Budgets::default()).await;
    let agent = platform.deploy("services").await;
    // The model answers none of them before all three have come.
    let said = ask(&platform, &agent, "meet\nmeet\nmeet").await;
    assert_eq!(said, ["met (1+1)"; 3].join("\n"));
}

#[tokio::test]
async fn a_model_that_fails_is_an_error_that_the_guest_handles() {
    let platform = platform(Budgets::default()).await;
    let agent = platform.deploy("services").await;
    let said = ask(&platform, &agent, "broken\nunheard of\n2+2").await;
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].contains("the model is asleep"), "{said}");
    assert!(lines[1].contains("no reply"), "{said}");
    assert_eq!(lines[2], "4 (1+1)");
}

#[tokio::test]
async fn a_worker_uses_its_tools_and_mends_an_answer_of_the_wrong_form() {
    let platform = platform(Budgets::default()).await;
    let agent = platform.deploy("services").await;
    let (_, settled) = platform.call(&agent, "work", text("A trip to Oslo?")).await;
    let task = task(settled);
    let artifacts = task.artifacts.as_deref().unwrap();
    let advice = serde_json::to_value(&artifacts[0].parts[0]).unwrap();
    assert_eq!(advice["data"], json!({"advice": "umbrella"}), "{advice}");
}

#[tokio::test]
async fn a_budget_that_runs_out_is_a_sentence() {
    let platform = platform(Budgets {
        agent: Some(4_100),
        principal: None,
    })
    .await;
    let agent = platform.deploy("services").await;
    // A request sets 4,096 tokens aside, the longest answer, and uses 2.
    for _ in 0..3 {
        assert_eq!(ask(&platform, &agent, "2+2").await, "4 (1+1)");
    }
    let said = ask(&platform, &agent, "2+2").await;
    assert!(
        said.starts_with("limit: the agent's budget of 4100 tokens a day has 4094 left"),
        "{said}"
    );
}

#[tokio::test]
async fn memory_outlives_its_instance_and_is_each_principals_own() {
    let platform = platform(Budgets::default()).await;
    let agent = platform.deploy("services").await;
    let say = |who: &'static str, order| remember(&platform, &agent, who, order);
    let save = |scope: &str, key: &str, value: &str| json!({"do": "save", "scope": scope, "key": key, "value": value});
    let load = |scope: &str, key: &str| json!({"do": "load", "scope": scope, "key": key});
    for (who, scope) in [("ann", "principal"), ("bob", "principal"), ("ann", "agent")] {
        assert_eq!(say(who, save(scope, "k", who)).await, Value::Null);
    }
    platform.scheduler.retire("services", None);
    assert_eq!(say("ann", load("principal", "k")).await, "ann");
    assert_eq!(say("bob", load("principal", "k")).await, "bob");
    assert_eq!(
        say("bob", load("agent", "k")).await,
        "ann",
        "the agent's own"
    );
    assert_eq!(say("eve", load("principal", "k")).await, Value::Null);
    for (key, value) in [("tea", "Ann drinks green tea"), ("pet", "Ann has a cat")] {
        say("ann", save("principal", key, value)).await;
    }
    let search = json!({"do": "search", "text": "a cat?"});
    assert_eq!(say("ann", search.clone()).await, json!(["pet"]));
    assert_eq!(say("bob", search).await, json!([]));
    let list = json!({"do": "list", "prefix": "", "after": "k", "limit": 10});
    assert_eq!(say("ann", list).await, json!(["pet", "tea"]));
    let delete = json!({"do": "delete", "key": "tea"});
    assert_eq!(say("ann", delete.clone()).await, true);
    assert_eq!(say("ann", delete).await, false);
    let told = say("ann", save("principal", "", "x")).await;
    assert!(told.as_str().unwrap().contains("1 to 128 bytes"), "{told}");
}

#[tokio::test]
async fn two_handlers_that_wait_on_three_model_calls_each_run_at_once() {
    let platform = platform(Budgets::default()).await;
    let agent = platform.deploy("services").await;
    // The model answers none of the six before all have come.
    let questions = "all meet\nall meet\nall meet";
    let (left, right) = tokio::join!(
        ask(&platform, &agent, questions),
        ask(&platform, &agent, questions)
    );
    assert_eq!(
        (&*left, &*right),
        ("met (2+1)\nmet (2+1)\nmet (2+1)", &*left)
    );
}

/// One agent, one context id, instances that both use: neither meets what is the other's.
#[tokio::test]
async fn principals_do_not_meet_in_instances_that_are_used_again() {
    let platform = platform(Budgets::default()).await;
    let agent = platform.deploy("services").await;
    for agent in [agent.with_concurrency(1), agent.with_concurrency(4)] {
        let of = async |who: &'static str| {
            for round in 1..=10 {
                for scope in ["principal", "context"] {
                    let save = json!({"do": "save", "scope": scope, "key": "k", "value": format!("{who}{round}")});
                    assert_eq!(remember(&platform, &agent, who, save).await, Value::Null);
                    let load = json!({"do": "load", "scope": scope, "key": "k"});
                    let loaded = remember(&platform, &agent, who, load).await;
                    assert_eq!(loaded, format!("{who}{round}"));
                }
                let (_, settled) = platform.send(&agent, "keep", here(text(who)), who).await;
                let kept = task(settled);
                let said = kept
                    .status
                    .message
                    .as_ref()
                    .unwrap()
                    .text()
                    .unwrap_or_default()
                    .to_owned();
                assert!(said.split(',').all(|line| line == who), "{who}: {said}");
                for (principal, found) in [(who, true), ("eve", false)] {
                    let scope = TaskScope {
                        agent: agent.version.agent.clone(),
                        principal: principal.to_owned(),
                    };
                    assert_eq!(platform.tasks.get(&scope, &kept.id).await.is_ok(), found);
                }
            }
        };
        tokio::join!(of("ann"), of("bob"));
    }
    assert!(platform.starts("hot") > 50.0, "instances are used again");
}
