//! Load generator for A2A servers.
//!
//! It starts `dormouse serve` and a bare hyper echo as children, calls both over HTTP as any stranger would, and
//! prints what a call costs: throughput, its ratio to the echo, processor time, and latency measured from the time
//! a request was *due* (an open loop, so a stall is not hidden by the requests that it kept from being sent).
//!
//! This library is the inside of the `loadtest` binary; it is apart from `main.rs` so that tests can reach it.

pub mod options;
pub mod sizes;
pub mod suite;
pub mod workload;

pub mod a2a;
pub mod connection;
pub mod load;
pub mod probe;
pub mod schedule;
pub mod targets;

pub mod fleet;
pub mod module;
pub mod scenario;
pub mod scene;

pub mod awake;
pub mod baseline;
pub mod callers;
pub mod metrics;
pub mod native;
pub mod procfs;
pub mod server;

pub mod finding;
pub mod plot;
pub mod promise;
pub mod report;
pub mod stats;
pub mod table;
