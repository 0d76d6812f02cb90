//! The components of `policies/`, and requests for them.

use dormouse_filters::{
    AgentResponse, Header, RequestMetadata, WasmAgentConfig, WasmAgentInstance, WasmAgentRuntime,
    WasmRuntimeError,
};
use std::path::Path;
use std::sync::Arc;

/// A component of `policies/`.
pub(crate) fn policy(name: &str) -> Vec<u8> {
    let file = format!("{}.wasm", name.replace('-', "_"));
    let folder = "../policies/target/wasm32-wasip2/release";
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(folder)
        .join(file);
    std::fs::read(&path).unwrap_or_else(|error| {
        panic!(
            "{}: {error}; `cargo xtask guests` builds it",
            path.display()
        )
    })
}

pub(crate) fn runtime(config: WasmAgentConfig) -> WasmAgentRuntime {
    let runtime = WasmAgentRuntime::new(config).unwrap();
    runtime
        .compile_component("hostile", &policy("hostile"))
        .unwrap();
    runtime
}

/// A runtime and an agent that does what it is told.
pub(crate) fn hostile(config: WasmAgentConfig) -> (WasmAgentRuntime, Arc<WasmAgentInstance>) {
    let runtime = runtime(config);
    let agent = runtime.load_agent("a", "hostile", "{}").unwrap();
    (runtime, agent)
}

pub(crate) fn metadata() -> RequestMetadata {
    RequestMetadata {
        correlation_id: "c-1".into(),
        request_id: "r-1".into(),
        client_ip: "192.0.2.1".into(),
        client_port: 4711,
        server_name: None,
        protocol: "HTTP/1.1".into(),
        tls_version: None,
        route_id: Some("echo".into()),
        upstream_id: None,
        timestamp_ms: 1,
        traceparent: None,
    }
}

pub(crate) fn header(name: &str, value: &str) -> Header {
    Header {
        name: name.into(),
        value: value.into(),
    }
}

/// Tells it to do this.
pub(crate) fn told(
    agent: &WasmAgentInstance,
    what: &str,
) -> Result<AgentResponse, WasmRuntimeError> {
    let headers = [header("accept", "*/*"), header("x-do", what)];
    agent.on_request_headers(&metadata(), "POST", "/agents/echo", &headers)
}

/// Its one word about what it did.
pub(crate) fn word(agent: &WasmAgentInstance, what: &str) -> String {
    told(agent, what).unwrap().audit.tags.remove(0)
}
