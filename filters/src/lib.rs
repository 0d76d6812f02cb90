//! Policy in the path, in microseconds: a sandboxed runtime for components of the world `zentinel:agent@2.0.0`,
//! in this process. It works alone, as here, and on the platform's engine ([`WasmAgentRuntime::on_engine`]). What
//! the world and this interface call an agent is a *filter* everywhere else in Dormouse.
//!
//! ```no_run
//! use dormouse_filters::{Decision, Header, RequestMetadata, WasmAgentConfig, WasmAgentRuntime};
//!
//! # fn answer(metadata: &RequestMetadata, headers: &[Header]) -> Result<u16, dormouse_filters::WasmRuntimeError> {
//! let runtime = WasmAgentRuntime::new(WasmAgentConfig::default())?;
//! runtime.compile_component_file("my-agent", "agents/my-agent.wasm")?;
//! let agent = runtime.load_agent("my-agent-1", "my-agent", r#"{"key": "value"}"#)?;
//!
//! let response = agent.on_request_headers(metadata, "GET", "/api/users", headers)?;
//! let status = match response.decision {
//!     Decision::Allow => 200,
//!     Decision::Block(block) => block.status,
//!     Decision::Redirect(redirect) => redirect.status,
//! };
//! runtime.shutdown();
//! # Ok(status)
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
