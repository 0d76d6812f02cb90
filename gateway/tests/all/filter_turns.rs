//! Whose turn it is, who is well, and what the breaker is told of both.

use crate::filters::{policy, with_rules};
use crate::support::start;
use serde_json::json;
use std::cell::Cell;
use std::time::Duration;

/// Longer than anything here waits.
const LONG: Duration = Duration::from_secs(60);

/// A filter that is busy has not failed, however many wait for it.
#[tokio::test]
async fn waiting_in_vain_is_no_failure_of_the_filter() {
    let server = with_rules(|rules| {
        rules.open_after = 2;
        rules.patience = Duration::ZERO;
    })
    .await;
    server.filter("guard", &policy("hostile"), json!({})).await;
    let busy = (503, "filter_busy".to_owned());
    let in_vain = async {
        let mut count = 0;
        while count < 10 {
            count += usize::from(server.code("").await == busy);
        }
    };
    let holding = async {
        loop {
            server.told("echo", "sleep 50").await;
        }
    };
    tokio::select! {
        () = in_vain => {}
        () = holding => {}
    }
    let answer = server.ask("GET /v1/filters/guard", b"").await;
    assert_eq!(answer.json()["breaker"], "closed");
    while server.code("").await == busy {
        tokio::task::yield_now().await;
    }
    // What it does itself counts as before.
    for _ in 0..2 {
        assert_eq!(server.code("trap").await.1, "filter_failed");
    }
    assert_eq!(server.code("").await.1, "filter_breaker_open");
}

/// Whoever has a filter asked for much gets nothing past it.
#[tokio::test]
async fn what_finds_no_turn_passes_no_filter_that_fails_open() {
    for (queue, code) in [(100, "filter_busy"), (0, "filter_queue_full")] {
        let server = with_rules(|rules| {
            rules.patience = Duration::ZERO;
            rules.queue = queue;
        })
        .await;
        let open = json!({"fail": "open"});
        server.filter("guard", &policy("hostile"), open).await;
        let in_vain = async {
            let mut count = 0;
            while count < 10 {
                let answer = server.told("echo", "").await;
                if answer.status == 200 {
                    assert!(answer.header("x-count").is_some(), "it was not seen");
                } else {
                    count += usize::from(answer.json()["error"]["code"] == code);
                }
            }
        };
        let holding = async {
            loop {
                server.told("echo", "sleep 50").await;
            }
        };
        tokio::select! {
            () = in_vain => {}
            () = holding => {}
        }
        // Its own failures do pass, as it is configured.
        while server.code("trap").await.0 != 200 {}
    }
}

#[tokio::test]
async fn one_client_has_a_part_of_the_queue_and_does_not_get_past_it() {
    let server = with_rules(|rules| {
        rules.queue = 3;
        rules.patience = LONG;
    })
    .await;
    for fail in ["closed", "open"] {
        let settings = json!({"fail": fail});
        server.filter("guard", &policy("hostile"), settings).await;
        let mut refused = 0;
        while refused == 0 {
            let asked = (0..6).map(|_| server.code("sleep 50"));
            for answer in futures_util::future::join_all(asked).await {
                match answer {
                    (200, _) => {}
                    answer => {
                        assert_eq!(answer, (429, "filter_share_full".to_owned()));
                        refused += 1;
                    }
                }
            }
        }
        assert!(refused <= 3, "one is in it and two wait: {refused}");
        let answer = server.ask("GET /v1/filters/guard", b"").await;
        assert_eq!(answer.json()["breaker"], "closed");
    }
}

#[tokio::test]
async fn a_client_alone_is_not_refused_at_64_connections() {
    let server = with_rules(|rules| rules.patience = LONG).await;
    server.filter("guard", &policy("hostile"), json!({})).await;
    let asked = (0..64).map(|_| server.code("sleep 5"));
    for answer in futures_util::future::join_all(asked).await {
        assert_eq!(answer, (200, String::new()));
    }
}

/// There is no place to wait in, and none is needed for the rest of what was let in.
#[tokio::test]
async fn what_was_let_in_waits_without_a_place_in_the_queue() {
    let server = with_rules(|rules| {
        rules.queue = 0;
        rules.patience = LONG;
    })
    .await;
    server.filter("guard", &policy("hostile"), json!({})).await;
    let (passed, refused) = (Cell::new(0), Cell::new(0));
    let ask = async || {
        while passed.get() < 10 || refused.get() < 10 {
            match server.code("sleep 5").await {
                (200, _) => passed.update(|count| count + 1),
                (_, code) => {
                    let codes = ["filter_queue_full", "filter_share_full"];
                    assert!(codes.contains(&&*code), "{code}");
                    refused.update(|count| count + 1);
                }
            }
        }
    };
    tokio::join!(ask(), ask(), ask());
    for (phase, is_refused) in [
        ("request_headers", true),
        ("request_body", false),
        ("response_headers", false),
    ] {
        let labels = ["decision=\"failed_closed\"", &format!("phase=\"{phase}\"")];
        let failed = server.metric("dormouse_filter_decisions_total", &labels);
        assert_eq!(failed.await > 0.0, is_refused, "{phase}");
    }
}

#[tokio::test]
async fn an_open_breaker_is_a_metric_until_it_closes() {
    let server = with_rules(|rules| {
        rules.open_after = 1;
        rules.open_for = Duration::from_millis(10);
        rules.close_after = 1;
    })
    .await;
    server.filter("guard", &policy("hostile"), json!({})).await;
    let open = async |phase: &str| {
        let labels = ["filter=\"guard\"", &format!("phase=\"{phase}\"")];
        server.metric("dormouse_filter_breaker_open", &labels).await
    };
    assert_eq!(server.code("").await.0, 200);
    assert_eq!(open("request_headers").await, 0.0);
    assert_eq!(server.code("trap").await.1, "filter_failed");
    assert_eq!(open("request_headers").await, 1.0);
    assert_eq!(open("response_headers").await, 0.0);
    while server.code("").await.0 != 200 {
        tokio::task::yield_now().await;
    }
    assert_eq!(open("request_headers").await, 0.0);
    server.ask("DELETE /v1/filters/guard", b"").await;
    let all = server.metric("dormouse_filter_breaker_open", &[]).await;
    assert_eq!(all, 0.0);
}

#[tokio::test]
async fn health_is_asked_for_on_demand() {
    let server = start(|_| {}).await;
    server.filter("guard", &policy("hostile"), json!({})).await;
    let health = async || {
        let answer = server.ask("POST /v1/filters/guard/health", b"").await;
        assert_eq!(answer.status, 200);
        answer.json()
    };
    let well = health().await;
    assert_eq!(
        (&well["name"], &well["healthy"]),
        (&json!("guard"), &json!(true))
    );
    assert_eq!(well["instances"][0]["said"], "0");
    // It calls itself ill when it was asked 13 times.
    for _ in 0..13 {
        server.told("echo", "").await;
    }
    let ill = health().await;
    assert_eq!(ill["healthy"], false);
    let said = ill["instances"][0]["said"].as_str().unwrap();
    assert!(said.contains("thirteen"), "{said}");
    assert_eq!(
        health().await["healthy"],
        true,
        "another has taken its place"
    );
    let labels = ["filter=\"guard\""];
    let replaced = server.metric("dormouse_filter_replaced_total", &labels);
    assert_eq!(replaced.await, 1.0);
    let missing = server.ask("POST /v1/filters/nobody/health", b"").await;
    assert_eq!(missing.json()["error"]["code"], "unknown_filter");
    assert_eq!(
        server.ask("GET /v1/filters/guard/health", b"").await.status,
        405
    );
}
