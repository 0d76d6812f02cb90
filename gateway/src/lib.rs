//! The hyper server of Dormouse: the deploy API and the A2A bindings over one operations layer.
//!
//! Nothing here knows sled or wasmtime: the store, the task engine and the scheduler are handed in.
//! Reading order: [`config`] (every limit with its reason), [`server`] (accept, serve, drain), `route`
//! and `handle` (which path is what), `platform` (modules and the registry of agents), `agents` (what is
//! kept in memory of an agent, and its card), `ops` (the A2A operations, wire-free), `jsonrpc`,
//! `rest` and `sse` (how they look on the wire), `negotiate` and `validate` (what is let in), `errors` (what a
//! refusal looks like everywhere), `metrics`.

mod agents;
mod body;
pub mod config;
mod errors;
mod handle;
mod jsonrpc;
mod metrics;
mod negotiate;
mod ops;
mod platform;
mod respond;
mod rest;
mod route;
pub mod server;
mod sse;
mod uri;
mod validate;

pub use config::GatewayConfig;
pub use errors::GatewayError;
pub use server::Gateway;
