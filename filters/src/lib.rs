//! Policy in the path, in microseconds: a sandboxed runtime for components of the world `zentinel:agent@2.0.0`,
//! in this process. It works alone, as here, and on the platform's engine ([`WasmAgentRuntime::on_engine`]). What
//! the world and this interface call an agent is a *filter* everywhere else in Dormouse.
//!
//! ```
//! use dormouse_filters::{Decision, Header, RequestMetadata, WasmAgentConfig, WasmAgentRuntime};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let runtime = WasmAgentRuntime::new(WasmAgentConfig::default())?;
//! // A component that lets everything pass but DELETE.
//! let component = wat::parse_file("tests/no-delete.wat")?;
//! runtime.compile_component("no-delete", &component)?;
//! let agent = runtime.load_agent("no-delete-1", "no-delete", r#"{"key": "value"}"#)?;
//! assert_eq!(agent.info().supported_events, ["request_headers"]);
//!
//! let metadata = RequestMetadata {
//!     correlation_id: "c-1".into(),
//!     request_id: "r-1".into(),
//!     client_ip: "192.0.2.1".into(),
//!     client_port: 4711,
//!     server_name: None,
//!     protocol: "HTTP/1.1".into(),
//!     tls_version: None,
//!     route_id: None,
//!     upstream_id: None,
//!     timestamp_ms: 1_800_000_000_000,
//!     traceparent: None,
//! };
//! let headers = [Header { name: "accept".into(), value: "*/*".into() }];
//! let status = |method: &str| match agent.on_request_headers(&metadata, method, "/api/users", &headers)?.decision {
//!     Decision::Allow => Ok::<_, dormouse_filters::WasmRuntimeError>(200),
//!     Decision::Block(block) => Ok(block.status),
//!     Decision::Redirect(redirect) => Ok(redirect.status),
//! };
//! assert_eq!(status("GET")?, 200);
//! assert_eq!(status("DELETE")?, 405);
//! runtime.shutdown();
//! # Ok(())
//! # }
//! ```
//!
//! There is a second world, `dormouse:filter@1.0.0`: its agents see decoded messages and may redact them
//! ([`WasmAgentInstance::on_message`]). What a component exports says which world it is of.
//!
//! Reading order: [`config`] (every limit), [`runtime`] (components and agents by name), [`agent`] (one of them,
//! as it is called), `live` (the instance in it) and `limiter` (its memory), `world` (the two worlds), [`message`] (what the second one speaks
//! of), [`metrics`] (numbers of agents), `check` (what is refused before it is compiled), `output` (where stdout
//! goes) and [`print`] (as WASI knows it), [`clock`] (what interrupts a loop), [`patience`] (how long is waited), [`spent`] (processor time), `blocking` (calls of those who do not wait asynchronously).

pub mod agent;
mod blocking;
mod check;
pub mod clock;
pub mod config;
mod error;
mod limiter;
mod live;
pub mod message;
pub mod metrics;
mod output;
pub mod patience;
pub mod print;
pub mod runtime;
pub mod spent;
mod world;

pub use agent::{Event, Turn, WasmAgentInstance, World};
pub use config::WasmAgentConfig;
pub use error::WasmRuntimeError;
pub use limiter::Limiter;
pub use runtime::{Compile, RuntimeStats, WasmAgentRuntime};
pub use world::http::zentinel::agent::types::{
    AgentInfo, AgentResponse, AuditMetadata, BlockParams, Decision, Header, HeaderOp,
    RedirectParams, RequestMetadata,
};
