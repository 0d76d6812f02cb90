//! Answers of models that stream to a real guest.

use crate::harness::{Platform, answer, task, text};
use dormouse_scheduler::Temperature;
use dormouse_services::llm::{Budgets, Llm, LlmMetrics, Model, Script};
use dormouse_services::model::Role;
use dormouse_services::{Services, Settled};
use std::time::Duration;

const SCRIPT: &str = r#"{"replies": [
    {"when": "story", "text": "Once upon a time"},
    {"when": "broken", "text": "Once upon", "error": "the model fell asleep"},
    {"when": "endless", "text": "Once upon", "hangs": true},
    {"when": "long", "text": "a b c d e f g h i j k l m n o p q r s t u v w x y z"}
]}"#;

async fn platform(budgets: Budgets) -> (Platform, LlmMetrics) {
    let script = Model::Script(Script::parse(SCRIPT.as_bytes()).unwrap());
    let llm = Llm::new([("s".to_owned(), script)].into(), "s".to_owned(), budgets);
    let metrics = llm.metrics();
    let services = Services {
        llm: Some(llm),
        ..Services::default()
    };
    (Platform::with_services(services).await, metrics)
}

/// Waits, by looking: a request is counted when the model has been told, and that is after the call.
async fn until_dropped(metrics: &LlmMetrics, count: u64) {
    let dropped = metrics.requests.with_label_values(&["s", "dropped"]);
    tokio::time::timeout(Duration::from_secs(20), async {
        while dropped.get() != count {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("it is counted");
}

/// What was said before the end.
fn updates(settled: Settled) -> Vec<String> {
    let history = task(settled).history.unwrap_or_default();
    let said = history.iter().filter(|said| said.role == Role::Agent);
    said.map(|said| said.text().unwrap_or_default().to_owned())
        .collect()
}

#[tokio::test]
async fn a_guest_hears_an_answer_word_by_word() {
    let (platform, metrics) = platform(Budgets::default()).await;
    let agent = platform.deploy("services").await;
    let (_, settled) = platform.call(&agent, "tell", text("a story")).await;
    assert_eq!(answer(&settled), "Once upon a time (2+4)");
    assert_eq!(updates(settled), ["Once ", "upon ", "a ", "time"]);
    let tokens = metrics.tokens.with_label_values(&["s", "output"]);
    assert_eq!(tokens.get(), 4);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_an_error_after_its_words() {
    let (platform, metrics) = platform(Budgets::default()).await;
    let agent = platform.deploy("services").await;
    let (_, settled) = platform.call(&agent, "tell", text("broken")).await;
    let told = answer(&settled);
    assert!(
        told.starts_with("error: ") && told.contains("fell asleep"),
        "{told}"
    );
    assert_eq!(updates(settled), ["Once ", "upon"]);
    let failed = metrics.requests.with_label_values(&["s", "failed"]);
    assert_eq!(failed.get(), 1);
    let (_, settled) = platform.call(&agent, "tell", text("unheard of")).await;
    let told = answer(&settled);
    assert!(told.starts_with("not begun: "), "{told}");
}

#[tokio::test]
async fn an_answer_that_is_dropped_is_paid_for_and_the_instance_goes_on() {
    let budgets = Budgets {
        agent: Some(4_097 + 3),
        principal: None,
    };
    let (platform, metrics) = platform(budgets).await;
    let agent = platform.deploy("services").await;
    let (_, settled) = platform.call(&agent, "tell", text("first: long")).await;
    assert_eq!(answer(&settled), "enough");
    until_dropped(&metrics, 1).await;
    let (_, settled) = platform.call(&agent, "tell", text("a story")).await;
    let told = answer(&settled);
    assert!(
        told.starts_with("not begun: ") && told.contains("the agent's budget of 4100"),
        "{told}"
    );
}

#[tokio::test]
async fn an_answer_that_is_held_past_its_call_has_ended_with_it() {
    let (platform, metrics) = platform(Budgets::default()).await;
    let agent = platform.deploy("services").await;
    for (round, concurrency) in [(1, 1), (2, 4)] {
        let agent = agent.with_concurrency(concurrency);
        let (_, settled) = platform.call(&agent, "tell", text("hold: long")).await;
        assert_eq!(answer(&settled), "kept");
        until_dropped(&metrics, round).await;
        let (_, settled) = platform.call(&agent, "tell", text("held")).await;
        let told = answer(&settled);
        assert!(
            told.starts_with("error: ") && told.contains("has ended"),
            "{concurrency}: {told}"
        );
        platform.scheduler.retire("services", None);
    }
}

#[tokio::test]
async fn the_deadline_of_a_call_ends_an_answer_that_hangs() {
    let (platform, metrics) = platform(Budgets::default()).await;
    let agent = platform.deploy("services").await;
    let agent = agent.limited(|limits| limits.deadline = Duration::from_secs(1));
    let (_, settled) = platform.call(&agent, "tell", text("endless")).await;
    assert_eq!(
        task(settled).status.message.unwrap().metadata.unwrap()["errorClass"],
        "deadline"
    );
    until_dropped(&metrics, 1).await;
}

#[tokio::test]
async fn a_guest_that_ends_its_call_in_the_middle_of_a_question_is_not_kept() {
    let (platform, _metrics) = platform(Budgets::default()).await;
    let agent = platform.deploy("services").await;
    for concurrency in [1, 4] {
        let agent = agent.with_concurrency(concurrency);
        let mut starts = Vec::new();
        for order in ["first: a story", "leave: endless", "first: a story"] {
            let (report, settled) = platform.call(&agent, "tell", text(order)).await;
            let said = if order.starts_with("leave") {
                "left"
            } else {
                "enough"
            };
            assert_eq!(answer(&settled), said);
            starts.push(report.start.unwrap().0);
        }
        // The one in the middle was still in the instance of the first.
        assert_eq!(
            starts[1..],
            [Temperature::Hot, Temperature::Warm],
            "{concurrency}"
        );
        platform.scheduler.retire("services", None);
    }
}
