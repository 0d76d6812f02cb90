//! Engine, code cache, instance pool: the life of an instance, from compiled code to eviction.
//!
//! Reading order: [`config`] (every limit with its reason), [`machine`] (what the machine allows of it),
//! [`engine`] (one wasmtime engine),
//! [`deploy`] (check, lift, discover), [`uploads`] (of one module at a time), [`snapshot`] (initialise before that), [`compile`] (who is compiled when),
//! [`popularity`] (who is used most), [`code_files`] (compiled code on disk), [`code`] (loaded), [`host`] (the host side of the WIT), [`instance`] (one live instance), [`policy`] (who starts, waits or
//! is refused, a pure function), [`queue`] (who is next), [`keep_alive`] and [`pressure`] (how long instances
//! are kept), [`pool`] (parked instances), [`shared`] (one instance, many calls), [`dispatch`] (a call finds an
//! instance and runs), [`lane`] and [`turns`] (where its guest runs), [`usage`] (what calls have used), [`watchdog`] (whether the event loops still turn).

mod aside;
pub mod call;
mod code;
mod code_files;
mod compile;
pub mod config;
mod convert;
pub mod deploy;
mod dispatch;
mod engine;
mod filter_code;
mod habit;
mod host;
mod inspect;
mod instance;
pub mod keep_alive;
mod lane;
pub mod machine;
mod metrics;
pub mod policy;
mod pool;
mod popularity;
pub mod pressure;
pub mod queue;
mod shared;
mod shortage;
mod snapshot;
#[doc(hidden)]
pub mod steps;
mod turns;
mod uploads;
mod usage;
mod watchdog;

pub use call::{CallFailure, CallReport, CallRequest, Entry, Temperature, VersionRef};
pub use config::{CallLimits, Ceiling, Preset, SchedulerConfig, UnknownPreset};
pub use deploy::{DeployError, ModuleKind, Prepared, is_label};
pub use dispatch::{NoPlace, Place, Scheduler, SchedulerError};
pub use inspect::{Inspection, inspect};
pub use usage::{Usage, Used};
