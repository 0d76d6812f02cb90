//! Agents of the world `dormouse:filter@1.0.0`.

use crate::harness::{hostile, metadata, policy};
use dormouse_filters::message::{Content, Decision, Kind, Part, PartContent, Subject};
use dormouse_filters::{Event, WasmAgentConfig, WasmAgentInstance, WasmAgentRuntime};
use dormouse_filters::{WasmRuntimeError, World};
use std::sync::Arc;

pub(crate) fn subject() -> Subject {
    Subject {
        agent: "echo".into(),
        skill: "say".into(),
        principal: "ann".into(),
        task_id: None,
        context_id: None,
        message_id: "m".into(),
    }
}

pub(crate) fn text(text: &str) -> Content {
    Content {
        kind: Kind::Message,
        parts: vec![Part {
            content: PartContent::Text(text.into()),
            filename: None,
            media_type: None,
            metadata: None,
        }],
        metadata: None,
        name: None,
        description: None,
    }
}

async fn load(runtime: &WasmAgentRuntime, config: &str) -> Arc<WasmAgentInstance> {
    let component = policy("hostile-messages");
    runtime.compile_component("m", &component).unwrap();
    runtime.load("m", "m", config).await.unwrap()
}

#[tokio::test]
async fn what_a_component_exports_says_which_world_it_is_of() {
    let runtime = WasmAgentRuntime::new(WasmAgentConfig::default()).unwrap();
    let agent = load(&runtime, "{}").await;
    assert_eq!(agent.world(), World::Message);
    assert_eq!(agent.info().supported_events, ["message", "result"]);
    let metadata = metadata();
    let wrong = agent.on(Event::RequestHeaders {
        metadata: &metadata,
        method: "GET",
        uri: "/",
        headers: &[],
    });
    assert!(matches!(
        wrong.await,
        Err(WasmRuntimeError::OtherWorld("dormouse:filter@1.0.0"))
    ));
    assert_eq!(agent.check_health().await.unwrap(), "ok");
    let (_other, http) = hostile_on_a_thread();
    assert_eq!(http.world(), World::Http);
    let wrong = http.on_message(&subject(), &text("hello")).await;
    assert!(matches!(wrong, Err(WasmRuntimeError::OtherWorld(_))));
    runtime.close().await;
}

fn hostile_on_a_thread() -> (WasmAgentRuntime, Arc<WasmAgentInstance>) {
    let start = || hostile(WasmAgentConfig::default());
    std::thread::scope(|scope| scope.spawn(start).join().unwrap())
}

#[tokio::test]
async fn it_blocks_redacts_and_annotates_both_ways() {
    let runtime = WasmAgentRuntime::new(WasmAgentConfig::default()).unwrap();
    let agent = load(&runtime, r#""reply=redact""#).await;
    let blocked = agent.on_message(&subject(), &text("do: block")).await;
    let blocked = blocked.unwrap();
    assert_eq!(blocked.decision, Decision::Block("as asked".into()));
    assert_eq!(blocked.audit.reason_codes, ["asked"]);
    let annotated = agent.on_message(&subject(), &text("do: annotate")).await;
    let annotation = annotated.unwrap().annotations.remove(0);
    assert_eq!(annotation.name, "seen");
    assert!(
        annotation.value.contains(r#""principal": "ann""#),
        "{annotation:?}"
    );
    let reply = Content {
        kind: Kind::Reply,
        ..text("anything")
    };
    let redacted = agent.on_result(&subject(), &reply).await.unwrap();
    let content = &redacted.redactions[0].content;
    assert_eq!(*content, PartContent::Text("[redacted]".into()));
}

/// What is redacted may be as long as what was there, beyond what other answers may have.
#[tokio::test]
async fn a_long_text_can_be_redacted() {
    let runtime = WasmAgentRuntime::new(WasmAgentConfig {
        fuel_enabled: false,
        ..WasmAgentConfig::default()
    })
    .unwrap();
    let most = runtime.config().limits.max_output;
    let component = policy("pii");
    runtime.compile_component("pii", &component).unwrap();
    let config = r#"{"action": "redact"}"#;
    let agent = runtime.load("pii", "pii", config).await.unwrap();
    let long = format!("{} me@example.com", "x ".repeat(most));
    let answer = agent.on_message(&subject(), &text(&long)).await.unwrap();
    let PartContent::Text(rest) = &answer.redactions[0].content else {
        panic!("{:?}", answer.audit)
    };
    assert!(rest.ends_with("x  [mail]") && rest.len() > 2 * most);
    let flooding = load(&runtime, "{}").await;
    let flood = flooding.on_message(&subject(), &text("do: flood")).await;
    assert!(
        matches!(flood, Err(WasmRuntimeError::ResourceLimit(_))),
        "{flood:?}"
    );
}

/// All functions are there, and none has the right type.
#[test]
fn a_wrong_signature_is_named() {
    let export = |name: &&str| format!("(export \"{name}\" (func $f))");
    let exports = |names: &[&str]| names.iter().map(export).collect::<String>();
    let messages = ["get-info", "configure", "on-message", "on-result"];
    let text = format!(
        r#"(component
        (core module $m (func (export "f") (result i32) i32.const 1))
        (core instance $i (instantiate $m))
        (func $f (result u32) (canon lift (core func $i "f")))
        (instance $messages {})
        (instance $lifecycle {})
        (export "dormouse:filter/messages@1.0.0" (instance $messages))
        (export "dormouse:filter/lifecycle@1.0.0" (instance $lifecycle)))"#,
        exports(&messages),
        exports(&["health-check", "shutdown"])
    );
    let runtime = WasmAgentRuntime::new(WasmAgentConfig::default()).unwrap();
    let bytes = wat::parse_str(text).unwrap();
    let error = runtime.load_agent_from_bytes("a", &bytes, "{}");
    let error = error.unwrap_err().to_string();
    for name in messages {
        assert!(error.contains(&format!("{name}: ")), "{error}");
    }
}
