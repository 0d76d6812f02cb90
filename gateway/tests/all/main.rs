//! The gateway against real sockets, as far as it goes without a guest.
#![allow(clippy::unwrap_used, reason = "tests")]

mod a2a;
mod agreement;
mod auth;
mod cards;
mod catalog;
mod clauses;
mod connections;
mod door;
mod drain;
mod filter_bodies;
mod filter_changes;
mod filter_heads;
mod filter_limits;
mod filter_messages;
mod filter_tasks;
mod filter_turns;
mod filters;
mod full;
mod grpc;
mod grpc_client;
mod http2;
mod isolation;
mod limits;
mod platform;
mod push;
mod skills;
mod stall;
mod support;
mod tls;
mod uploads;
