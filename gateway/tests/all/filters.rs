//! Filters before agents that have no module: what becomes of a request before it gets there.

use crate::support::{Answer, Server, call, message, start, start_on};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dormouse_gateway::{FilterRules, GatewayConfig};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A component of `policies/`.
pub(crate) fn policy(name: &str) -> Vec<u8> {
    let file = format!("{}.wasm", name.replace('-', "_"));
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../policies/target/wasm32-wasip2/release")
        .join(file);
    std::fs::read(&path).unwrap_or_else(|error| {
        panic!(
            "{}: {error}; `cargo xtask guests` builds it",
            path.display()
        )
    })
}

impl Server {
    pub(crate) async fn put_filter(
        &self,
        name: &str,
        component: &[u8],
        mut settings: Value,
    ) -> Answer {
        settings["wasm"] = STANDARD.encode(component).into();
        if settings["instances"].is_null() {
            settings["instances"] = 1.into();
        }
        let path = format!("PUT /v1/filters/{name}");
        self.ask(&path, settings.to_string().as_bytes()).await
    }

    /// Puts one that must be taken.
    pub(crate) async fn filter(&self, name: &str, component: &[u8], settings: Value) -> Value {
        let answer = self.put_filter(name, component, settings).await;
        let body = answer.json();
        assert!([200, 201].contains(&answer.status), "{body}");
        body
    }

    /// Asks an agent, with a header for the hostile filter.
    pub(crate) async fn told(&self, agent: &str, what: &str) -> Answer {
        let request = format!(
            "POST /agents/{agent}\ncontent-type: application/json\na2a-version: 1.0\nx-do: {what}"
        );
        let body = call("SendMessage", &message("hi")).to_string();
        self.ask(&request, body.as_bytes()).await
    }

    /// The status, and the code of a refusal.
    pub(crate) async fn code(&self, what: &str) -> (u16, String) {
        let answer = self.told("echo", what).await;
        let code = answer.json()["error"]["code"].as_str().map(str::to_owned);
        (answer.status, code.unwrap_or_default())
    }

    /// The sum of a metric's samples that have all of these labels (`name="value"`).
    pub(crate) async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let answer = crate::support::ask(&self.metrics_address, "GET /metrics", b"").await;
        let text = String::from_utf8(answer.body).unwrap();
        text.lines()
            .filter(|line| {
                line.strip_prefix(name)
                    .is_some_and(|rest| rest.starts_with([' ', '{']))
            })
            .filter(|line| labels.iter().all(|label| line.contains(label)))
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum()
    }
}

pub(crate) async fn with_rules(change: impl FnOnce(&mut FilterRules)) -> Server {
    start(|config| change(&mut config.filters)).await
}

#[tokio::test]
async fn the_breaker_opens_and_closes_again_when_the_filter_works() {
    let server = with_rules(|rules| {
        rules.open_after = 2;
        // Longer than a request takes on a busy machine.
        rules.open_for = Duration::from_secs(3);
        rules.close_after = 2;
    })
    .await;
    server.filter("guard", &policy("hostile"), json!({})).await;
    let breaker = async || {
        let answer = server.ask("GET /v1/filters/guard", b"").await;
        answer.json()["breaker"].as_str().unwrap().to_owned()
    };
    let open = (503, "filter_breaker_open".to_owned());
    assert_eq!(server.code("trap").await.1, "filter_failed");
    assert_eq!(breaker().await, "closed");
    assert_eq!(server.code("trap").await.1, "filter_failed");
    assert_eq!(breaker().await, "open");
    assert_eq!(server.code("").await, open);
    while server.code("trap").await == open {
        tokio::task::yield_now().await;
    }
    // That one was let in, and failed.
    assert_eq!(breaker().await, "open");
    while server.code("").await == open {
        tokio::task::yield_now().await;
    }
    assert_eq!(breaker().await, "half_open");
    assert_eq!(server.code("").await.0, 200);
    assert_eq!(breaker().await, "closed");
}

/// It answers well about heads, and so would never open if that counted.
#[tokio::test]
async fn a_filter_that_fails_in_one_phase_only_opens_its_breaker_there() {
    let server = with_rules(|rules| rules.open_after = 3).await;
    server.filter("guard", &policy("hostile"), json!({})).await;
    let send = async |text: &str| {
        let request = "POST /agents/echo\ncontent-type: application/json\na2a-version: 1.0";
        let body = call("SendMessage", &message(text)).to_string();
        let answer = server.ask(request, body.as_bytes()).await;
        let code = answer.json()["error"]["code"].as_str().map(str::to_owned);
        (answer.status, code.unwrap_or_default())
    };
    for _ in 0..3 {
        let answer = server.ask("GET /v1/filters/guard", b"").await;
        assert_eq!(answer.json()["breaker"], "closed");
        assert_eq!(send("TRAP!").await, (503, "filter_failed".to_owned()));
    }
    let answer = server.ask("GET /v1/filters/guard", b"").await;
    assert_eq!(answer.json()["breaker"], "open");
    assert_eq!(send("hello").await.1, "filter_breaker_open");
    // Heads are looked at all the same.
    assert_eq!(server.told("echo", "block").await.status, 403);
}

#[tokio::test]
async fn who_is_refused_gets_the_headers_that_filters_have_set() {
    let server = start(|_| {}).await;
    let before = json!({"order": 0});
    server.filter("edits", &policy("hostile"), before).await;
    let only = json!({"order": 1, "config": {"values": {"x-do": ["x"]}}});
    server.filter("rules", &policy("header-rules"), only).await;
    for (what, text, status) in [("x", "hi", 200), ("y", "hi", 400), ("x", "TRAP!", 503)] {
        let request = format!(
            "POST /agents/echo\ncontent-type: application/json\na2a-version: 1.0\nx-do: {what}"
        );
        let body = call("SendMessage", &message(text)).to_string();
        let answer = server.ask(&request, body.as_bytes()).await;
        assert_eq!(answer.status, status);
        assert!(answer.header("x-count").is_some(), "{}", answer.head);
    }
}

/// All filters share the event loop of this test.
#[tokio::test]
async fn a_filter_that_loops_or_sleeps_holds_up_no_other() {
    let server = start(|_| {}).await;
    let before = |agent: &str| json!({"agents": [agent]});
    let hostile = policy("hostile");
    server.filter("stuck", &hostile, before("calc")).await;
    server.filter("well", &hostile, before("echo")).await;
    for what in ["loop", "sleep 60000"] {
        let stuck = server.told("calc", what);
        let others = async {
            for _ in 0..5 {
                assert_eq!(server.told("echo", "").await.status, 200, "beside {what}");
            }
        };
        let (stuck, ()) = tokio::join!(stuck, others);
        assert_eq!(stuck.status, 504, "{what}");
        assert_eq!(stuck.json()["error"]["code"], "filter_timeout");
    }
    let well = ["filter=\"well\"", "decision=\"failed_closed\""];
    let failed = server.metric("dormouse_filter_decisions_total", &well);
    assert_eq!(failed.await, 0.0);
}

#[tokio::test]
async fn what_is_not_well_is_replaced_without_being_asked_for() {
    let server = with_rules(|rules| rules.health_interval = Duration::from_millis(20)).await;
    server.filter("guard", &policy("hostile"), json!({})).await;
    // It calls itself ill when it was asked 13 times.
    for _ in 0..13 {
        server.told("echo", "").await;
    }
    let replaced = async || {
        let name = "dormouse_filter_replaced_total";
        server.metric(name, &["filter=\"guard\""]).await
    };
    while replaced().await == 0.0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(replaced().await, 1.0);
    let fresh = server.told("echo", "").await;
    assert_eq!(fresh.header("x-count"), Some("1"));
}

#[tokio::test]
async fn what_did_not_start_keeps_everybody_out_until_it_starts() {
    let hostile = policy("hostile");
    let quick = |config: &mut GatewayConfig| {
        config.filters.health_interval = Duration::from_millis(20);
    };
    let server = start(quick).await;
    let entry = server.filter("guard", &hostile, json!({})).await;
    assert_eq!(server.code("").await.0, 200);
    let store = server.leave().await;
    let digest = entry["digest"].as_str().unwrap().parse().unwrap();
    assert!(store.modules.remove(&digest).unwrap());
    let server = start_on(store, quick, |_scheduler| {}).await;
    let refused = (503, "filter_not_loaded".to_owned());
    assert_eq!(server.code("").await, refused);
    server.store.modules.put(&hostile).unwrap();
    let again = async {
        while server.code("").await.0 != 200 {
            tokio::task::yield_now().await;
        }
    };
    let patience = Duration::from_secs(20);
    tokio::time::timeout(patience, again).await.unwrap();
    let answer = server.told("echo", "").await;
    assert!(answer.header("x-count").is_some());
}

/// The path that a client says is not the one that is routed, until it is decoded.
#[tokio::test]
async fn a_path_that_is_denied_is_denied_however_it_is_spelled() {
    let server = start(|_| {}).await;
    let deny = json!({"config": {"deny": {"paths": ["/agents/calc"]}}});
    server.filter("list", &policy("allow-list"), deny).await;
    let list = |path: &str| format!("GET {path}/tasks\na2a-version: 1.0");
    for (path, status) in [
        ("/agents/calc", 403),
        ("/agents/%63alc", 403),
        ("/%61gents/calc", 403),
        ("/agents/calc/versions/1", 403),
        ("/calc", 403),
        ("/c%61lc", 403),
        ("/agents/echo", 200),
        ("/%65cho", 200),
    ] {
        let answer = server.ask(&list(path), b"").await;
        assert_eq!(answer.status, status, "{path}");
    }
}

/// Any client chooses the name in the path.
#[tokio::test]
async fn a_name_that_no_agent_can_have_makes_no_filter_fail() {
    let server = with_rules(|rules| rules.open_after = 1).await;
    let facts = json!({"config": {"facts": {"x-agent": "agent"}}});
    server.filter("facts", &policy("enrich"), facts).await;
    for name in ["a%0Ab", "%00", "%7F", "a%0D%0Ax-b:%20c", "%C3%A4"] {
        let path = format!("GET /agents/{name}/.well-known/agent-card.json");
        assert_eq!(server.ask(&path, b"").await.status, 404, "{name}");
        let path = format!("GET /{name}/tasks\na2a-version: 1.0");
        assert_eq!(server.ask(&path, b"").await.status, 404, "{name}");
    }
    assert_eq!(server.told("echo", "").await.status, 200);
}

/// As the table in the whole binary's tests, with what an operator sees of each.
#[tokio::test]
async fn every_way_to_go_wrong_is_a_failure_with_a_name() {
    let server = with_rules(|rules| rules.open_after = u32::MAX).await;
    let wrong = [
        ("trap", 503, "filter_failed"),
        ("loop", 504, "filter_timeout"),
        ("sleep 60000", 504, "filter_timeout"),
        ("allocate", 503, "filter_failed"),
        ("print 1000000", 503, "filter_over_limit"),
        ("flood 1000000", 503, "filter_over_limit"),
        ("status 9999", 503, "filter_answer_invalid"),
        ("status 99", 503, "filter_answer_invalid"),
        ("redirect 200", 503, "filter_answer_invalid"),
        ("hop-by-hop", 503, "filter_answer_invalid"),
        ("newline", 503, "filter_answer_invalid"),
    ];
    let hostile = policy("hostile");
    server
        .filter("guard", &hostile, json!({"fail": "closed"}))
        .await;
    for (what, status, code) in wrong {
        assert_eq!(server.code(what).await, (status, code.to_owned()), "{what}");
    }
    server
        .filter("guard", &hostile, json!({"fail": "open"}))
        .await;
    for (what, _, _) in wrong {
        assert_eq!(server.told("echo", what).await.status, 200, "{what}");
    }
    for decision in ["failed_closed", "failed_open"] {
        let labels = [
            "phase=\"request_headers\"",
            &format!("decision=\"{decision}\""),
        ];
        let counted = server.metric("dormouse_filter_decisions_total", &labels);
        assert_eq!(counted.await, wrong.len() as f64, "{decision}");
    }
}

#[tokio::test]
async fn numbers_of_a_filter_are_metrics_and_their_names_are_bounded() {
    let server = start(|_| {}).await;
    let two = json!({"instances": 2});
    server.filter("guard", &policy("hostile"), two).await;
    for _ in 0..2 {
        assert_eq!(server.told("echo", "metrics 30").await.status, 200);
    }
    let of = async |name: &str, label: &str| {
        let labels = ["filter=\"guard\"", label];
        server.metric(name, &labels).await
    };
    // Two instances, one sum.
    let counter = "dormouse_filter_counter_total";
    assert_eq!(of(counter, "name=\"asked\"").await, 4.0);
    assert_eq!(of("dormouse_filter_gauge", "name=\"level\"").await, 0.5);
    let sizes = of("dormouse_filter_histogram_sum", "name=\"size\"").await;
    assert_eq!(sizes, 60.0);
    // Sixteen names, three of which are those above.
    assert_eq!(of(counter, "name=\"flood_").await, 13.0 * 2.0);
    server.ask("DELETE /v1/filters/guard", b"").await;
    assert_eq!(of(counter, "name=").await, 0.0);
}

/// What is misspelled would stand before nobody, or keep nobody out.
#[tokio::test]
async fn settings_that_mean_nothing_are_refused_with_a_sentence() {
    let server = start(|_| {}).await;
    let hostile = policy("hostile");
    for (settings, word) in [
        (json!({"fial": "open"}), "fial"),
        (json!({"agent": "echo"}), "\"agent\""),
        (json!({"agents": ["echo", "Echo"]}), "Echo"),
        (json!({"agents": ["echo/versions/1"]}), "echo/versions/1"),
        (json!({"config": "x".repeat(70_000)}), "65536 bytes"),
    ] {
        let answer = server.put_filter("guard", &hostile, settings).await;
        let error = &answer.json()["error"];
        assert_eq!(
            (answer.status, &error["code"]),
            (400, &json!("invalid_body"))
        );
        assert!(error["message"].as_str().unwrap().contains(word), "{error}");
    }
    let answer = server.ask("GET /v1/filters/guard", b"").await;
    assert_eq!(answer.status, 404, "nothing is left of them");
    let whole = json!({"config": "x".repeat(60_000), "order": 1, "fail": "open", "agents": ["echo"],
                       "body": "buffer", "max_body_bytes": 10});
    server.filter("guard", &hostile, whole).await;
}

#[tokio::test]
async fn who_asks_before_sending_is_told_at_once() {
    let server = start(|_| {}).await;
    server.filter("guard", &policy("hostile"), json!({})).await;
    let head = "POST /agents/echo\nx-do: block\nexpect: 100-continue\ncontent-length: 10";
    // No byte of it is sent.
    let answer = server.ask(head, b"").await;
    assert_eq!(answer.status, 403, "{}", answer.head);
}

#[tokio::test]
async fn instructions_are_counted_where_the_platform_counts_them() {
    let server = crate::support::start_with(
        |_| {},
        |scheduler| scheduler.limits.fuel = Some(1_000_000_000),
    )
    .await;
    server.add("echo", &["say"]);
    server.filter("guard", &policy("hostile"), json!({})).await;
    assert_eq!(server.told("echo", "").await.status, 200);
    // Ten million instructions are what a filter may use.
    assert_eq!(
        server.code("spin 20000000").await,
        (503, "filter_over_limit".to_owned())
    );
    assert_eq!(server.told("echo", "").await.status, 200);
}

#[tokio::test]
async fn code_of_a_filter_is_compiled_once() {
    let server = start(|_| {}).await;
    let compiles = async || server.metric("dormouse_compiles_total", &[]).await;
    server.filter("guard", &policy("hostile"), json!({})).await;
    assert_eq!(compiles().await, 1.0);
    server.filter("guard", &policy("hostile"), json!({})).await;
    server.filter("other", &policy("hostile"), json!({})).await;
    assert_eq!(compiles().await, 1.0);
    // Its code goes with the last filter that is made of it.
    for name in ["guard", "other"] {
        server.ask(&format!("DELETE /v1/filters/{name}"), b"").await;
    }
    server.filter("guard", &policy("hostile"), json!({})).await;
    assert_eq!(compiles().await, 2.0);
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn who_has_decided_and_why_is_in_the_log() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .finish();
    // This thread is the whole server.
    let _guard = tracing::subscriber::set_default(subscriber);
    let server = start(|_| {}).await;
    server.filter("guard", &policy("hostile"), json!({})).await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let request = format!("POST /agents/echo\nx-do: block\ntraceparent: {trace}");
    assert_eq!(server.ask(&request, b"{}").await.status, 403);
    let line_with = |part: &str| {
        let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        let line = log.lines().find(|line| line.contains(part));
        line.unwrap_or_else(|| panic!("{log}")).to_owned()
    };
    let line = line_with("decided_by");
    for part in [
        "decided_by=\"guard\"",
        "decision=\"block\"",
        "phase=\"request_headers\"",
        "rule_ids=[\"r1\"]",
        "reason_codes=[\"asked\"]",
        trace,
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    // A refusal in its place is its decision, too.
    assert_eq!(server.code("trap").await.1, "filter_failed");
    let line = line_with("failed_closed");
    assert!(line.contains("decided_by=\"guard\""), "{line}");
}
