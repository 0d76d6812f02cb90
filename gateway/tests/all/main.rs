//! The gateway against real sockets, as far as it goes without a guest.
#![allow(clippy::unwrap_used, reason = "tests")]

mod a2a;
mod auth;
mod cards;
mod catalog;
mod connections;
mod drain;
mod platform;
mod push;
mod support;
