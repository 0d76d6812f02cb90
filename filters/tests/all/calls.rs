//! What reaches a filter, and what comes back.

use crate::harness::{header, hostile, metadata, policy, told};
use dormouse_filters::{
    Decision, Event, HeaderOp, WasmAgentConfig, WasmAgentRuntime, WasmRuntimeError,
};

#[test]
fn a_decision_comes_with_its_edits_and_its_audit_record() {
    let (_runtime, agent) = hostile(WasmAgentConfig::default());
    let response = told(&agent, "").unwrap();
    assert_eq!(response.decision, Decision::Allow);
    assert_eq!(
        response.request_headers,
        [HeaderOp::Set(header("x-seen", "1"))]
    );
    assert_eq!(
        response.response_headers,
        [HeaderOp::Set(header("x-count", "1"))]
    );
    assert_eq!(response.audit.confidence, Some(0.5));
    let Decision::Block(block) = told(&agent, "block").unwrap().decision else {
        panic!("not blocked")
    };
    assert_eq!(block.status, 403);
    assert_eq!(
        block.headers,
        [header("set-cookie", "a=1"), header("set-cookie", "b=2")]
    );
    assert_eq!(told(&agent, "block").unwrap().audit.reason_codes, ["asked"]);
    let Decision::Redirect(redirect) = told(&agent, "redirect 307").unwrap().decision else {
        panic!("not redirected")
    };
    assert_eq!(redirect.status, 307);
}

#[test]
fn bodies_and_response_heads_reach_it() {
    let (_runtime, agent) = hostile(WasmAgentConfig::default());
    let allowed = agent.on_request_body("c-1", b"hello", 0, true).unwrap();
    assert_eq!(allowed.audit.tags, ["5"]);
    let blocked = agent
        .on_request_body("c-1", b"a BLOCK! b", 1, true)
        .unwrap();
    assert!(matches!(blocked.decision, Decision::Block(block) if block.status == 422));
    let response = agent.on_response_headers("c-1", 201, &[]).unwrap();
    assert_eq!(
        response.response_headers,
        [HeaderOp::Set(header("x-status-seen", "201"))]
    );
    assert_eq!(
        agent
            .on_response_body("c-1", b"", 0, true)
            .unwrap()
            .decision,
        Decision::Allow
    );
}

#[tokio::test]
async fn one_that_is_called_is_busy_until_it_has_answered() {
    let (_runtime, agent) = tokio::task::spawn_blocking(|| hostile(WasmAgentConfig::default()))
        .await
        .unwrap();
    assert!(!agent.is_busy());
    let metadata = metadata();
    let headers = [header("x-do", "sleep 1")];
    let event = Event::RequestHeaders {
        metadata: &metadata,
        method: "GET",
        uri: "/",
        headers: &headers,
    };
    let mut asked = std::pin::pin!(agent.on(event));
    assert!(futures_util::poll!(&mut asked).is_pending());
    assert!(agent.is_busy());
    asked.await.unwrap();
    assert!(!agent.is_busy());
}

#[test]
fn the_allow_list_keeps_strangers_out() {
    let runtime = WasmAgentRuntime::new(WasmAgentConfig::default()).unwrap();
    runtime
        .compile_component("list", &policy("allow-list"))
        .unwrap();
    let load = |config| runtime.load_agent("list", "list", config);
    let open = load(r#"{"allow": {"addresses": ["192.0.2.0/24"]}}"#).unwrap();
    assert_eq!(open.info().supported_events, ["request_headers"]);
    assert_eq!(told(&open, "").unwrap().decision, Decision::Allow);
    let shut = load(r#"{"deny": {"addresses": ["192.0.2.1"]}, "status": 404}"#).unwrap();
    let Decision::Block(block) = told(&shut, "").unwrap().decision else {
        panic!("not blocked")
    };
    assert_eq!(block.status, 404);
    match load(r#"{"deny": {"adresses": []}}"#) {
        Err(WasmRuntimeError::Configuration(words)) => assert!(words.contains("adresses")),
        other => panic!("{other:?}"),
    }
    // A refusal has changed nothing.
    assert!(std::sync::Arc::ptr_eq(
        &runtime.get_agent("list").unwrap(),
        &shut
    ));
    assert!(matches!(
        open.on_request_headers(&metadata(), "GET", "/", &[]),
        Err(WasmRuntimeError::Shutdown)
    ));
}
