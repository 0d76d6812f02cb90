//! Engine, code cache, instance pool: the life of an instance, from compiled code to eviction.
//!
//! Reading order: [`config`] (every limit with its reason), [`engine`] (one wasmtime engine),
//! [`deploy`] (lift, compile, discover), [`code`] (compiled code on disk and loaded), [`host`] (the
//! host side of the WIT), [`instance`] (one live instance), [`policy`] (whom to evict, a pure
//! function), [`pool`] (parked instances), [`dispatch`] (a call finds an instance and runs).

pub mod call;
mod code;
pub mod config;
mod convert;
pub mod deploy;
mod dispatch;
mod engine;
mod host;
mod instance;
mod lane;
mod metrics;
pub mod policy;
mod pool;

pub use call::{CallFailure, CallReport, CallRequest, Entry, Temperature, VersionRef};
pub use config::{CallLimits, SchedulerConfig};
pub use deploy::{DeployError, ModuleKind, Prepared};
pub use dispatch::{Scheduler, SchedulerError};
