//! The SDK as an agent's author meets it.
#![cfg(not(target_family = "wasm"))]
#![allow(clippy::unwrap_used, reason = "tests")]

mod agents;
mod compile_errors;
mod ported;
mod server;
mod skill_files;
mod skills;
mod tools;
mod wit;
