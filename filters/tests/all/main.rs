#![allow(clippy::unwrap_used, reason = "tests")]
//! A runtime alone, with real components in it.

mod bytes;
mod calls;
mod harness;
mod life;
mod limits;
mod messages;
mod policies;
mod reach;
