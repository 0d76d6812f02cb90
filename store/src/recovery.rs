//! Opens sled so that whatever it does to its files can be taken back.
//!
//! `sled::open` changes the files it reads: it cuts a damaged log at the damage and reports success, or panics
//! half way. So the files are copied first, and the copy goes away only when the database was found whole. A copy
//! that is there at open belongs to an open that never finished, and nothing was committed since: it is put back.

use std::fs::{self, File, TryLockError};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::StoreError;
use crate::files::sync_folder;

/// Where sled keeps the counter of commits.
pub(crate) const COMMIT_KEY: &[u8] = b"\0commit";
/// sled's log inside its folder.
pub(crate) const SLED_LOG: &str = "db";
const LOCK_ATTEMPTS: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

pub(crate) struct Opening<'a> {
    pub(crate) database: &'static str,
    pub(crate) folder: &'a Path,
    pub(crate) cache_bytes: u64,
    /// The commit the database must have reached.
    pub(crate) expected: u64,
}

/// sled's own folder inside the folder of a database.
pub(crate) fn sled_folder(folder: &Path) -> PathBuf {
    folder.join("sled")
}

enum Snapshots {
    Keep,
    /// sled rebuilds them from the log. One that is empty or damaged keeps an intact log from opening.
    Leave,
}

impl Opening<'_> {
    /// The open database and its last commit. On failure every file is as it was found.
    pub(crate) fn open(&self) -> Result<(sled::Db, u64), StoreError> {
        let live = sled_folder(self.folder);
        let found = self.folder.join("as-found");
        let unfinished = self.folder.join("as-found.tmp");
        self.files("sweep an unfinished copy", || remove_folder(&unfinished))?;
        if found.exists() {
            tracing::warn!(
                database = self.database,
                "the last open did not finish; starting again from its copy"
            );
            self.put_back(&live, &found)?;
        }
        if !live.exists() {
            let opened = self.attempt(&live);
            if opened.is_err() {
                self.files("remove an empty database", || remove_folder(&live))?;
            }
            return opened;
        }
        self.await_lock(&live)?;
        self.files("copy the database before opening it", || {
            copy_folder(&live, &unfinished, Snapshots::Keep)?;
            fs::rename(&unfinished, &found)
        })?;
        sync_folder(self.folder)?;
        let opened = self.attempt(&live).or_else(|first| {
            tracing::warn!(database = self.database, error = %first, "trying once more without sled's snapshots");
            self.files("copy the database for a second attempt", || {
                remove_folder(&live)?;
                copy_folder(&found, &live, Snapshots::Leave)
            })?;
            self.attempt(&live).map_err(|second| match second {
                // The log could be read, so this says what is really missing.
                StoreError::RolledBack { .. } => second,
                _ => first,
            })
        });
        match opened {
            Ok(opened) => {
                // Renamed first: a copy removed by half must never be taken for a whole one.
                self.files("drop the copy", || fs::rename(&found, &unfinished))?;
                sync_folder(self.folder)?;
                self.files("drop the copy", || remove_folder(&unfinished))?;
                Ok(opened)
            }
            Err(error) => {
                self.put_back(&live, &found)?;
                Err(error)
            }
        }
    }

    fn attempt(&self, live: &Path) -> Result<(sled::Db, u64), StoreError> {
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let database = sled::Config::new()
                .path(live)
                .cache_capacity(self.cache_bytes)
                // The store flushes and fsyncs itself, before it acknowledges.
                .flush_every_ms(None)
                .open()?;
            let commit = database.get(COMMIT_KEY)?;
            sled::Result::Ok((database, commit))
        }));
        let (database, commit) = match opened {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => return Err(self.unreadable(error.to_string())),
            Err(panic) => return Err(self.unreadable(panic_text(&*panic))),
        };
        let commit = match commit.as_deref() {
            None => 0,
            Some(bytes) => match bytes.try_into() {
                Ok(bytes) => u64::from_be_bytes(bytes),
                Err(_) => return Err(self.unreadable("its commit counter is malformed".to_owned())),
            },
        };
        if commit < self.expected {
            return Err(StoreError::RolledBack {
                database: self.database,
                expected: self.expected,
                found: commit,
            });
        }
        Ok((database, commit))
    }

    /// Waits until sled's lock on its log is free. The data folder is locked already, so the holder can only be
    /// an earlier handle of this process whose threads are still ending; copying must not race with them.
    fn await_lock(&self, live: &Path) -> Result<(), StoreError> {
        let log = match File::open(live.join(SLED_LOG)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            opened => opened.map_err(StoreError::io(|| {
                format!("open the log of {}", live.display())
            }))?,
        };
        for _ in 0..LOCK_ATTEMPTS {
            match log.try_lock() {
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
                Err(TryLockError::Error(source)) => {
                    return Err(StoreError::io(|| format!("lock {}", live.display()))(
                        source,
                    ));
                }
                Ok(()) => return Ok(()),
            }
        }
        Err(StoreError::Locked {
            dir: live.to_owned(),
        })
    }

    fn put_back(&self, live: &Path, found: &Path) -> Result<(), StoreError> {
        self.files("put the database back as it was found", || {
            remove_folder(live)?;
            fs::rename(found, live)
        })?;
        sync_folder(self.folder)
    }

    fn files(&self, what: &str, work: impl FnOnce() -> io::Result<()>) -> Result<(), StoreError> {
        work().map_err(StoreError::io(|| {
            format!("{what} ({})", self.folder.display())
        }))
    }

    fn unreadable(&self, reason: String) -> StoreError {
        StoreError::Unreadable {
            database: self.database,
            reason,
        }
    }
}

fn copy_folder(from: &Path, to: &Path, snapshots: Snapshots) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_snapshot = name.to_string_lossy().starts_with("snap.");
        if is_snapshot && matches!(snapshots, Snapshots::Leave) {
            continue;
        }
        let target = to.join(&name);
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target, Snapshots::Keep)?;
        } else {
            fs::copy(entry.path(), &target)?;
            File::open(&target)?.sync_all()?;
        }
    }
    File::open(to)?.sync_all()
}

fn remove_folder(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("sled panicked: {}", text.unwrap_or("no reason given"))
}
