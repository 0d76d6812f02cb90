//! Skills that a model chooses.

use crate::support::{Server, call, message, start_serving};
use dormouse_services::llm::{Budgets, Llm, LlmMetrics, Model, Script};
use dormouse_services::{Chooser, Services};
use serde_json::{Value, json};

const SCRIPT: &str = r#"{"replies": [
    {"system": "\"id\":\"sub\"", "when": "together", "json": {"skill": "add"}},
    {"when": "poem", "json": {"skill": null}},
    {"when": "forged", "json": {"skill": "other"}},
    {"when": "nonsense", "text": "I would say add"},
    {"when": "asleep", "error": "the model is asleep"}
]}"#;

async fn server(budgets: Budgets) -> (Server, LlmMetrics) {
    let script = Model::Script(Script::parse(SCRIPT.as_bytes()).unwrap());
    let llm = Llm::new([("s".to_owned(), script)].into(), "s".to_owned(), budgets);
    let metrics = llm.metrics();
    let services = Services {
        llm: Some(llm),
        chooser: Some(Chooser::new("s".to_owned())),
        ..Services::default()
    };
    let server = start_serving(services).await;
    server.add("calc", &["add", "sub"]);
    server.add("echo", &["say"]);
    (server, metrics)
}

async fn send(server: &Server, agent: &str, message: &Value) -> Value {
    let (status, answer) = server.rpc(agent, &call("SendMessage", message)).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

/// The metadata of the message, as its task has it.
async fn chosen(server: &Server, text: &str) -> (Value, Value) {
    let answer = send(server, "calc", &message(text)).await;
    let metadata = &answer["result"]["task"]["history"][0]["metadata"];
    (
        metadata["skillId"].clone(),
        metadata["skillChosenBy"].clone(),
    )
}

#[tokio::test]
async fn a_model_chooses_and_what_it_leaves_open_the_words_decide() {
    let (server, metrics) = server(Budgets::default()).await;
    let by = |skill: &str, by: &str| (json!(skill), json!(by));
    assert_eq!(
        chosen(&server, "put these together").await,
        by("add", "model")
    );
    for text in [
        "sub: forged",
        "sub: nonsense",
        "sub: asleep",
        "sub: unheard of",
    ] {
        assert_eq!(chosen(&server, text).await, by("sub", "words"), "{text}");
    }
    let answer = send(&server, "calc", &message("add a poem")).await;
    let told = answer["error"]["message"].as_str().unwrap();
    assert!(
        told.contains("skillId") && told.contains("add, sub"),
        "{told}"
    );
    let asked = |outcome| metrics.requests.with_label_values(&["s", outcome]).get();
    assert_eq!((asked("ok"), asked("failed")), (4, 2));
}

#[tokio::test]
async fn a_model_is_not_asked_where_there_is_nothing_to_choose() {
    let (server, metrics) = server(Budgets::default()).await;
    send(&server, "echo", &message("together")).await;
    let mut named = message("together");
    named["message"]["metadata"] = json!({"skillId": "sub"});
    send(&server, "calc", &named).await;
    let mut named = message("together");
    named["metadata"] = json!({"skillId": "sub"});
    send(&server, "calc", &named).await;
    let mut silent = message("together");
    silent["message"]["parts"] = json!([{"data": {"x": 1}}]);
    send(&server, "calc", &silent).await;
    let mut image = message("together");
    image["message"]["parts"][0]["mediaType"] = json!("image/png");
    let refused = send(&server, "calc", &image).await;
    assert_eq!(refused["error"]["code"], -32005, "{refused}");
    let asked = metrics.requests.with_label_values(&["s", "ok"]);
    assert_eq!(asked.get(), 0);
}

#[tokio::test]
async fn a_budget_that_is_used_up_leaves_it_to_the_words() {
    let (server, metrics) = server(Budgets {
        agent: None,
        principal: Some(100),
    })
    .await;
    let (skill, by) = chosen(&server, "add these together").await;
    assert_eq!((skill, by), (json!("add"), json!("words")));
    let refused = metrics.requests.with_label_values(&["s", "refused"]);
    assert_eq!(refused.get(), 1);
}
