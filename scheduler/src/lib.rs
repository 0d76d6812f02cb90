//! Engine, code cache, instance pool: the life of an instance, from compiled code to eviction.
//!
//! Reading order: [`config`] (every limit with its reason), [`machine`] (what the machine allows of it),
//! [`engine`] (one wasmtime engine),
//! [`deploy`] (lift, compile, discover), [`code`] (compiled code on disk and loaded), [`host`] (the
//! host side of the WIT), [`instance`] (one live instance), [`policy`] (who starts, waits or
//! is refused, a pure function), [`queue`] (who is next), [`keep_alive`] and [`pressure`] (how long instances
//! are kept), [`pool`] (parked instances), [`shared`] (one instance, many calls), [`dispatch`] (a call finds an
//! instance and runs), [`usage`] (what calls have used), [`watchdog`] (whether the event loops still turn).

pub mod call;
mod code;
pub mod config;
mod convert;
pub mod deploy;
mod dispatch;
mod engine;
mod host;
mod instance;
pub mod keep_alive;
mod lane;
pub mod machine;
mod metrics;
pub mod policy;
mod pool;
pub mod pressure;
pub mod queue;
mod shared;
mod shortage;
mod usage;
mod watchdog;

pub use call::{CallFailure, CallReport, CallRequest, Entry, Temperature, VersionRef};
pub use config::{CallLimits, Ceiling, Preset, SchedulerConfig, UnknownPreset};
pub use deploy::{DeployError, ModuleKind, Prepared};
pub use dispatch::{Place, QueueFull, Scheduler, SchedulerError};
pub use usage::{Usage, Used};
