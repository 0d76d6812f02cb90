//! Limits of single filters: what was set for one holds for that one.

use crate::filters::{policy, with_rules};
use crate::support::{Server, start, start_on, start_with};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::cell::Cell;
use std::time::Duration;

/// Two filters of one component; `limits` are those of the first, which stands before `calc`. The other has what all have.
async fn beside(limits: Value) -> Server {
    let server = start(|_| {}).await;
    put(&server, limits).await;
    let hostile = policy("hostile");
    let usual = json!({"agents": ["echo"]});
    server.filter("usual", &hostile, usual).await;
    server
}

async fn put(server: &Server, limits: Value) -> Value {
    let settings = json!({"agents": ["calc"], "limits": limits});
    server.filter("tight", &policy("hostile"), settings).await
}

/// The code of a refusal by the filter before this agent.
async fn code(server: &Server, agent: &str, what: &str) -> Option<String> {
    let answer = server.told(agent, what).await;
    // The agents have no modules, and `calc` has two skills: their own errors have numbers.
    let body = answer.json();
    body["error"]["code"].as_str().map(str::to_owned)
}

#[tokio::test]
async fn one_byte_of_output_more_is_too_much_for_that_filter_alone() {
    let bytes = 16 << 10;
    let server = beside(json!({"output_bytes": bytes})).await;
    // A line has its end besides.
    let (fits, one_more) = (format!("print {}", bytes - 1), format!("print {bytes}"));
    assert_eq!(code(&server, "calc", &fits).await, None);
    let over = Some("filter_over_limit".to_owned());
    assert_eq!(code(&server, "calc", &one_more).await, over);
    assert_eq!(code(&server, "echo", &one_more).await, None);
}

#[tokio::test]
async fn one_page_of_memory_more_is_not_to_be_had_for_that_filter_alone() {
    let server = beside(json!({"memory_bytes": 4 << 20})).await;
    let word = async |agent: &str, what: &str| {
        let answer = server.told(agent, what).await;
        answer.header("x-word").map(str::to_owned).unwrap()
    };
    let pages: usize = word("calc", "pages").await.parse().unwrap();
    let left = (4 << 20) / (64 << 10) - pages;
    let one_more = format!("grow {}", left + 1);
    assert_eq!(word("calc", &one_more).await, "refused");
    assert_eq!(word("calc", &format!("grow {left}")).await, "grown");
    assert_eq!(word("calc", "grow 1").await, "refused");
    assert_eq!(word("echo", &one_more).await, "grown");
    // With less than it begins with it does not start, and the one that is there stays.
    let settings = json!({"agents": ["calc"], "limits": {"memory_bytes": 64 << 10}});
    let hostile = policy("hostile");
    let refused = server.put_filter("tight", &hostile, settings).await;
    let refused = refused.json();
    assert_eq!(refused["error"]["code"], "filter_limit", "{refused}");
    let entry = server.ask("GET /v1/filters/tight", b"").await.json();
    assert_eq!(entry["overrides"], json!({"memory_bytes": 4 << 20}));
}

#[tokio::test]
async fn time_that_is_over_for_one_filter_is_not_for_another() {
    let server = beside(json!({"call_seconds": 10})).await;
    let timeout = Some("filter_timeout".to_owned());
    // What is usual is half a second.
    assert_eq!(code(&server, "calc", "sleep 600").await, None);
    assert_eq!(code(&server, "echo", "sleep 600").await, timeout);
    // Its processor time is the usual one.
    assert_eq!(code(&server, "calc", "loop").await, timeout);
}

#[tokio::test]
async fn instructions_of_one_filter_are_counted_against_its_own_budget() {
    let counted = |scheduler: &mut dormouse_scheduler::SchedulerConfig| {
        scheduler.limits.fuel = Some(1_000_000_000);
    };
    let server = start_with(|_| {}, counted).await;
    server.add("calc", &["add"]);
    server.add("echo", &["say"]);
    let entry = put(&server, json!({"fuel": 1_000_000})).await;
    assert_eq!(entry["limits"]["fuel"], 1_000_000);
    let hostile = policy("hostile");
    let usual = json!({"agents": ["echo"]});
    let entry = server.filter("usual", &hostile, usual).await;
    assert_eq!(entry["limits"]["fuel"], 10_000_000);
    let over = Some("filter_over_limit".to_owned());
    assert_eq!(code(&server, "calc", "spin 200000").await, over);
    assert_eq!(code(&server, "echo", "spin 200000").await, None);
}

#[tokio::test]
async fn what_is_wrong_with_limits_is_said_and_changes_nothing() {
    let server = start(|_| {}).await;
    let hostile = policy("hostile");
    for (limits, word) in [
        (json!({"memory": 1}), "memory"),
        (json!({"memory_bytes": 1_u64 << 40}), "memory_bytes"),
        (json!({"call_seconds": 11}), "0.001 to 10"),
        (json!({"preset": "generous"}), "high-performance"),
        (json!({"fuel": 1}), "--fuel"),
        (json!("strict"), "JSON object"),
        (json!(null), "JSON object"),
    ] {
        let settings = json!({"limits": limits});
        let answer = server.put_filter("guard", &hostile, settings).await;
        let error = &answer.json()["error"];
        assert_eq!(
            (answer.status, &error["code"]),
            (422, &json!("invalid_limits"))
        );
        assert!(error["message"].as_str().unwrap().contains(word), "{error}");
    }
    let answer = server.ask("GET /v1/filters", b"").await;
    assert_eq!(answer.json(), json!({"filters": []}));
    // The component itself is over these.
    for limits in [
        json!({"component_bytes": hostile.len() - 1}),
        json!({"function_bytes": 100}),
        json!({"preset": "strict"}),
    ] {
        let settings = json!({"limits": limits});
        let answer = server.put_filter("guard", &hostile, settings).await;
        assert_eq!(answer.json()["error"]["code"], "filter_limit", "{limits}");
    }
}

#[tokio::test]
async fn limits_are_kept_with_their_filter_and_shown_as_they_hold() {
    let server = start(|_| {}).await;
    let set = json!({"preset": "high-performance", "output_bytes": 1 << 20});
    let settings = json!({"limits": set});
    server.filter("guard", &policy("hostile"), settings).await;
    server.filter("usual", &policy("hostile"), json!({})).await;
    let shown = json!({
        "preset": "high-performance", "call_seconds": 2.5, "processor_seconds": 0.5, "memory_bytes": 256 << 20,
        "table_elements": 50_000, "tables": 4, "function_bytes": 1 << 20, "component_bytes": 32 << 20,
        "output_bytes": 1 << 20,
    });
    let usual = json!({
        "preset": "default", "call_seconds": 0.5, "processor_seconds": 0.1, "memory_bytes": 64 << 20,
        "table_elements": 10_000, "tables": 1, "function_bytes": 1 << 20, "component_bytes": 10 << 20,
        "output_bytes": 256 << 10,
    });
    let check = async |server: &Server| {
        let all = server.ask("GET /v1/filters", b"").await.json();
        let all = &all["filters"];
        for (entry, limits, overrides) in [(&all[0], &shown, &set), (&all[1], &usual, &json!({}))] {
            assert_eq!(&entry["limits"], limits);
            assert_eq!(&entry["overrides"], overrides);
        }
        let one = server.ask("GET /v1/filters/guard", b"").await;
        assert_eq!(one.json(), all[0]);
    };
    check(&server).await;
    let store = server.leave().await;
    let server = start_on(store, |_| {}, |_scheduler| {}).await;
    check(&server).await;
    // What is left out of a later request is as for all.
    let answer = server.ask("PUT /v1/filters/guard", b"{}").await;
    assert_eq!(answer.json()["overrides"], json!({}));
    assert_eq!(answer.json()["limits"], usual);
}

/// It must have begun, and would not end for ten seconds; then it would count as a failure.
#[tokio::test]
async fn a_client_that_leaves_ends_the_call_of_the_filter() {
    let server = with_rules(|rules| rules.patience = Duration::ZERO).await;
    let settings = json!({"limits": {"call_seconds": 10}});
    server.filter("guard", &policy("hostile"), settings).await;
    let busy = (503, "filter_busy".to_owned());
    let refused = Cell::new(0);
    let is_refused = async |what: &str| {
        let is_busy = server.code(what).await == busy;
        refused.set(refused.get() + u32::from(is_busy));
        is_busy
    };
    let sleeping = async {
        // The others may be in it first.
        while is_refused("sleep 60000").await {}
    };
    let until_it_is_in = async {
        while !is_refused("").await {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = sleeping => panic!("it sleeps for longer"),
        () = until_it_is_in => {}
    }
    // Its connection is closed now.
    while is_refused("").await {
        tokio::task::yield_now().await;
    }
    let failed = ["filter=\"guard\"", "decision=\"failed_closed\""];
    let failed = server.metric("dormouse_filter_decisions_total", &failed);
    assert_eq!(
        failed.await,
        f64::from(refused.get()),
        "only those that met it"
    );
}

#[tokio::test]
async fn the_largest_component_is_taken_under_its_own_limit() {
    let server = start(|_| {}).await;
    let mut large = policy("hostile");
    // A custom section of eleven mebibytes, which says nothing.
    let size: u32 = 11 << 20;
    large.push(0);
    let mut rest = size;
    while rest >= 0x80 {
        large.push((rest as u8 & 0x7f) | 0x80);
        rest >>= 7;
    }
    large.push(rest as u8);
    let begin = large.len();
    large.resize(begin + size as usize, 0);
    let put = async |limits: Value| {
        let body = json!({"wasm": STANDARD.encode(&large), "limits": limits, "instances": 1});
        let body = body.to_string();
        let answer = server.ask("PUT /v1/filters/guard", body.as_bytes()).await;
        answer.json()
    };
    let refused = put(json!({})).await;
    assert_eq!(refused["error"]["code"], "filter_limit", "{refused}");
    let taken = put(json!({"component_bytes": large.len()})).await;
    assert_eq!(taken["limits"]["component_bytes"], large.len(), "{taken}");
}
