//! Every backend passes `conformance`; the rest is about disks and processes, and so about the sled backend.
#![allow(clippy::unwrap_used, reason = "tests")]

mod conformance;
mod crash;
mod damage;
mod listing;
mod on_disk;
mod support;
