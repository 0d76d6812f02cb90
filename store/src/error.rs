//! What can go wrong in the store, and what to do about it.

use std::io;
use std::path::PathBuf;

/// Every failure of the store. Apart from [`Busy`](StoreError::Busy), [`TooMany`](StoreError::TooMany) and
/// [`LimitExceeded`](StoreError::LimitExceeded) the fault is the platform's, never the caller's or an agent's.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file system refused.
    #[error(
        "cannot {what}: {source}; check that the disk has space and the folder belongs to this user"
    )]
    Io {
        what: String,
        #[source]
        source: io::Error,
    },
    /// sled refused.
    #[error(
        "the {database} database failed: {source}; restart the platform, and check the disk if it happens again"
    )]
    Database {
        database: &'static str,
        #[source]
        source: sled::Error,
    },
    /// sled cannot read its own files.
    #[error(
        "the {database} database cannot be opened ({reason}); nothing was changed: restore it from a backup, or open with \
         accept-data-loss, which moves it to the quarantine folder and starts an empty one"
    )]
    Unreadable {
        database: &'static str,
        reason: String,
    },
    /// Stored bytes are not what was written. The damaged file is in the quarantine folder.
    #[error("{what} is damaged; upload or restore it again")]
    Corrupt { what: String },
    /// The database holds fewer commits than were acknowledged: sled dropped the end of its log.
    #[error(
        "the {database} database went back to commit {found} but {expected} were acknowledged; nothing was \
         changed: restore it from a backup, or open with accept-data-loss, which moves it to the quarantine \
         folder and starts an empty one"
    )]
    RolledBack {
        database: &'static str,
        expected: u64,
        found: u64,
    },
    /// A name, key or write is larger than the store accepts.
    #[error("{what} has {actual} bytes and at most {limit} are stored; make it shorter")]
    LimitExceeded {
        what: &'static str,
        limit: usize,
        actual: usize,
    },
    /// There are as many of a thing as the store keeps.
    #[error("there are {limit} {what}, and no more are kept; remove one first")]
    TooMany { what: &'static str, limit: usize },
    /// The commit queue is full.
    #[error("too many task writes are waiting to be stored; try again shortly")]
    Busy,
    /// The store was closed while the write was on its way.
    #[error("the store is closed; the platform is shutting down")]
    Closed,
    /// An earlier commit failed in a way after which nothing can be promised until the next open.
    #[error(
        "the {database} database stopped taking writes after a failed commit; see the log for its cause and restart"
    )]
    Stopped { database: &'static str },
    /// Another process works in this data folder.
    #[error("{} is in use by another process; stop it or choose another data folder", dir.display())]
    Locked { dir: PathBuf },
}

impl StoreError {
    /// Names the operation an I/O error belongs to: `.map_err(StoreError::io(|| format!("read {path}")))`.
    pub(crate) fn io<W: Into<String>>(
        what: impl FnOnce() -> W,
    ) -> impl FnOnce(io::Error) -> StoreError {
        |source| StoreError::Io {
            what: what().into(),
            source,
        }
    }
}
