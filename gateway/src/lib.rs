//! The hyper server of Dormouse: the deploy API and the A2A bindings over one operations layer.
//!
//! Nothing here knows sled or wasmtime: the store, the task engine and the scheduler are handed in.
//! Reading order: [`config`] (every limit with its reason), [`server`] (accept, serve, drain), `connection` (HTTP/1.1 or HTTP/2), `tls`, `stall` (clients that stop reading), `route`
//! and `handle` (which path is what), `auth` (who asks, and what they may), `platform` (modules and the registry of agents), `limits` (what single agents may use), `catalog` (finding agents), `agents` (what is
//! kept in memory of an agent, its cards and their signatures), `document` (what anybody may cache), `ops` (the A2A operations, wire-free), `jsonrpc`,
//! `rest`, `sse` and `grpc` (how they look on the wire), `negotiate` and `validate` (what is let in), `errors` (what a
//! refusal looks like everywhere), `metrics`, `fuzz` (the doors of the fuzz targets).

mod activity;
mod again;
mod agents;
mod auth;
mod body;
mod catalog;
pub mod config;
mod configuration;
mod connection;
mod document;
mod errors;
mod filters;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
mod grpc;
mod handle;
mod jsonrpc;
mod limits;
mod metrics;
mod naming;
mod negotiate;
mod ops;
mod platform;
mod probe;
mod respond;
mod rest;
mod route;
pub mod server;
mod sse;
mod stall;
mod timer;
pub mod tls;
mod trace;
mod uri;
mod validate;
mod versions;

pub use agents::{CardKey, CardKeyError};
pub use auth::tokens;
pub use config::{FilterRules, GatewayConfig, MAX_CONNECTIONS, WithoutTokens};
pub use errors::GatewayError;
pub use server::Gateway;
