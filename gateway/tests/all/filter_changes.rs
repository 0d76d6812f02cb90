//! Filters that come and go: what a change leaves behind, and what becomes of requests that are on their way.

use crate::filters::policy;
use crate::support::{start, start_on};
use serde_json::json;

#[tokio::test]
async fn what_does_not_start_with_the_server_holds_no_place() {
    let server = start(|_| {}).await;
    let hostile = policy("hostile");
    server
        .filter(
            "pair",
            &hostile,
            json!({"instances": 2, "agents": ["calc"]}),
        )
        .await;
    let store = server.leave().await;
    // Room for one instance of a filter.
    let small = start_on(store, |_| {}, |scheduler| scheduler.max_instances = 16).await;
    assert_eq!(small.told("calc", "").await.status, 503);
    small
        .filter("one", &hostile, json!({"agents": ["echo"]}))
        .await;
    assert_eq!(small.told("echo", "").await.status, 200);
}

#[tokio::test]
async fn what_is_refused_leaves_no_code_behind() {
    let server = start(|_| {}).await;
    let hostile = policy("hostile");
    let compiles = async || server.metric("dormouse_compiles_total", &[]).await;
    for (settings, code) in [
        (json!({"config": "refuse"}), "configuration_refused"),
        (json!({"body": "stream"}), "invalid_filter"),
    ] {
        let before = compiles().await;
        let refused = server.put_filter("guard", &hostile, settings).await;
        assert_eq!(refused.json()["error"]["code"], code);
        assert_eq!(compiles().await, before + 1.0, "it was compiled anew");
    }
    server.filter("guard", &hostile, json!({})).await;
    let before = compiles().await;
    // What another filter is made of stays.
    let refuse = json!({"config": "refuse"});
    let refused = server.put_filter("other", &hostile, refuse).await;
    assert_eq!(refused.status, 422);
    server.filter("other", &hostile, json!({})).await;
    assert_eq!(compiles().await, before);
    assert_eq!(server.told("echo", "").await.status, 200);
}
