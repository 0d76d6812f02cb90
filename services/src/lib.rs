//! What a guest may ask for and what A2A needs kept.
//!
//! The [`TaskEngine`] owns every task: its state machine, its one ordered event log, and whoever
//! reads that log. A task's events become visible only after the store has made them durable, so no
//! reader ever saw something that a crash can take back.
//!
//! Reading order: [`model`] (the A2A 1.0 data model and what an agent declares), [`engine`] (from a
//! request's side), [`call`] (from a running call's side), [`reader`] (from a subscriber's side),
//! [`push`] (from a webhook's side), [`screen`] (who looks at what agents say), [`desk`] with [`memory`] and [`llm`] (what a call may ask for besides), [`chooser`] (a model that
//! chooses skills), [`net`] (the way out), [`trace`] (how it is told afterwards).

pub mod agents;
pub mod call;
mod chooser;
pub mod desk;
pub mod egress;
pub mod engine;
pub mod error;
mod find;
pub mod grants;
mod listing;
mod live;
pub mod llm;
pub mod log_book;
pub mod logs;
pub mod memory;
pub mod model;
pub mod net;
pub mod once;
pub mod push;
pub mod reader;
mod record;
mod room;
pub mod screen;
pub mod trace;
pub mod weight;

pub use call::{Call, Settled};
pub use chooser::{Choice, Chooser, MAX_SHOWN};
pub use desk::{Desk, ServiceError, Services};
pub use engine::{Along, Begun, Continuation, NewTask, TaskEngine, TaskLimits, TaskScope};
pub use error::TaskError;
pub use grants::{Grants, Origin, Service};
pub use listing::{Listing, TaskFilter};
pub use log_book::{LogBook, LogPage, LogRecord};
pub use once::{Attempt, Once};
pub use reader::{TaskEvent, TaskReader};
pub use room::Room;
