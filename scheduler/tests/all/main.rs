//! The scheduler against real guests (built by `cargo xtask guests`) and inline WAT.
#![allow(clippy::unwrap_used, reason = "a test that cannot unwrap has failed")]

mod code;
mod deploy;
mod harness;
mod hostile;
mod http;
mod keep_alive;
mod life;
mod limits;
mod machine;
mod parts;
mod policy;
mod pressure;
mod services;
mod shared;
mod snapshot;
mod streams;
