#![allow(clippy::unwrap_used, reason = "tests")]

mod fake;
mod metrics;
mod open_loop;
mod usage;
mod whole_tool;
