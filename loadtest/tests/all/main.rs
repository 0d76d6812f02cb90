#![allow(clippy::unwrap_used, reason = "tests")]

mod fake;
mod metrics;
mod module;
mod open_loop;
mod pool;
mod scenarios;
mod usage;
mod whole_tool;
