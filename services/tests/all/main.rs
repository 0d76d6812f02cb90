//! The task engine through its public API, over the store in memory; restarts use a data folder.
#![allow(clippy::unwrap_used, reason = "tests")]

mod acceptance;
mod cancel;
mod egress;
mod embeddings;
mod events;
mod limits;
mod listing;
mod llm;
mod llm_calls;
mod llm_cut;
mod llm_stream;
mod logs;
mod lost;
mod memory;
mod once;
mod push;
mod refusal;
mod restart;
mod scope;
mod state;
mod support;
mod trace_export;
mod turns;
