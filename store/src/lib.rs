//! Where Dormouse keeps bytes: modules, the registry of agents and versions, API tokens, and tasks with their
//! events.
//!
//! [`Store::open`] works on a data folder, [`Store::in_memory`] on nothing; both pass one conformance suite.
//! What is acknowledged is durable, and what is read is what was written: a damaged module or payload is an error
//! and goes to quarantine, and a database that lost acknowledged commits does not open.
//!
//! sled 0.34.7 keeps small records only, behind rules this crate enforces: its `flush` is no fsync on Linux, it
//! drops the end of a damaged log silently, and it writes large items to files that it never fsyncs.

mod store;
mod traits;

mod digest;
mod error;
mod limits;
mod metrics;

mod modules;
mod registry;
mod tasks;
mod tokens;

mod committer;
mod keys;

mod commit_file;
mod database;
mod files;
mod recovery;

mod memory;

pub use digest::{Digest, InvalidDigest};
pub use error::StoreError;
pub use metrics::StoreMetrics;
pub use store::{OpenOptions, Store};
pub use traits::*;
