//! Push notifications (A2A 1.0 §3.5.3, §4.3): a task's events, posted to whoever asked for them.
//!
//! A task's log is the queue. A configuration ([`config`]) is kept beside the task with a cursor, the
//! number of the last event that its receiver has taken; [`book`] keeps both. [`delivery`] sees to it
//! that the cursors move on: it is woken when a write of such a task is durable ([`wakes`]), and at the
//! start it looks for cursors that are behind. A [`worker`] moves one cursor, and [`retry`] says when it
//! tries again and when it gives up.

mod book;
pub mod config;
mod delivery;
mod metrics;
mod retry;
mod wakes;
mod worker;
mod workers;

pub use book::PushPage;
pub use config::{Authentication, PushConfig, PushConfigError, Secret};
pub use delivery::Deliveries;
pub use metrics::PushMetrics;
pub use retry::RetryPolicy;
pub(crate) use wakes::{Upto, Wakes};

pub(crate) use book::{Book, NewConfig};
