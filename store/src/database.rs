//! The only code that talks to sled: one tree, atomic batches, durable when acknowledged.
//!
//! The order of a commit: payload files (fsynced) → batch with its counter → sled's flush, which on Linux is no
//! fsync → fsync of sled's log through a descriptor of our own → counter file. Only then is it acknowledged.
//!
//! Every value is `[format, place, …]`. Values over [`MAX_RECORD_BYTES`] go to a payload file named by digest and
//! the record holds the digest; another record counts who refers to it, so the file goes with the last one.

use std::collections::HashMap;
use std::fs::{self, File};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use prometheus::IntCounter;

use crate::commit_file::{CommitFile, Found};
use crate::files::{ContentFiles, sync_folder, unix_ms};
use crate::recovery::{COMMIT_KEY, Opening, SLED_LOG, sled_folder};
use crate::{Digest, StoreError, StoreMetrics};

/// Largest value inside sled, its two leading bytes included. sled writes a leaf of 16 such values as one item,
/// and items over 128 KiB would go to files that it never fsyncs.
const MAX_RECORD_BYTES: usize = 4096;
const FORMAT: u8 = 1;
const INLINE: u8 = 0;
const PAYLOAD: u8 = 1;
/// Counts the records that refer to a payload.
const PAYLOAD_PREFIX: u8 = b'p';
/// A payload can vanish between reading its record and its file when a commit replaces it; more often than this
/// in a row it is missing for good.
const READ_ATTEMPTS: u32 = 4;

/// Where a database lies and how it is opened.
pub(crate) struct DatabaseOptions<'a> {
    pub(crate) name: &'static str,
    pub(crate) data: &'a Path,
    pub(crate) cache_bytes: u64,
    pub(crate) accept_data_loss: bool,
}

pub(crate) struct Database {
    name: &'static str,
    sled: sled::Db,
    /// Our own descriptor of sled's log, for fsync.
    log: File,
    blobs: PathBuf,
    payloads: ContentFiles,
    writer: Mutex<Writer>,
    corrupt_total: IntCounter,
}

struct Writer {
    commit: u64,
    file: CommitFile,
    failed: bool,
}

impl Database {
    pub(crate) fn open(
        options: &DatabaseOptions<'_>,
        metrics: &StoreMetrics,
    ) -> Result<Self, StoreError> {
        match Self::open_folder(options, metrics) {
            Err(error @ (StoreError::RolledBack { .. } | StoreError::Unreadable { .. }))
                if options.accept_data_loss =>
            {
                let quarantine = options.data.join("quarantine");
                let target = quarantine.join(format!("{}-{}", unix_ms(), options.name));
                tracing::error!(
                    database = options.name, %error, moved_to = %target.display(),
                    "data loss accepted: the database was moved to quarantine and an empty one takes its place"
                );
                fs::create_dir_all(&quarantine)
                    .and_then(|()| fs::rename(options.folder(), &target))
                    .map_err(StoreError::io(|| {
                        format!("move the {} database to quarantine", options.name)
                    }))?;
                sync_folder(&quarantine)?;
                sync_folder(options.data)?;
                Self::open_folder(options, metrics)
            }
            opened => opened,
        }
    }

    fn open_folder(
        options: &DatabaseOptions<'_>,
        metrics: &StoreMetrics,
    ) -> Result<Self, StoreError> {
        let (name, folder) = (options.name, options.folder());
        fs::create_dir_all(&folder)
            .map_err(StoreError::io(|| format!("create {}", folder.display())))?;
        sync_folder(options.data)?;
        let live = sled_folder(&folder);
        let opening = Opening {
            database: name,
            folder: &folder,
            cache_bytes: options.cache_bytes,
            expected: expected_commit(name, &folder)?,
        };
        let (sled, commit) = opening.open()?;
        let log = File::open(live.join(SLED_LOG))
            .map_err(StoreError::io(|| format!("open the log of {name}")))?;
        log.sync_all()
            .map_err(StoreError::io(|| format!("fsync the log of {name}")))?;
        sync_folder(&live)?;
        sync_folder(&folder)?;
        let file = CommitFile::open_at(&folder, commit)?;
        let quarantine = options
            .data
            .join("quarantine")
            .join(format!("payloads-{name}"));
        let payloads = ContentFiles::open(
            folder.join("payloads"),
            quarantine,
            metrics.corrupt_total.clone(),
        )?;
        let writer = Mutex::new(Writer {
            commit,
            file,
            failed: false,
        });
        let blobs = live.join("blobs");
        Ok(Self {
            name,
            sled,
            log,
            blobs,
            payloads,
            writer,
            corrupt_total: metrics.corrupt_total.clone(),
        })
    }

    /// Commits since the database was created.
    pub(crate) fn commits(&self) -> u64 {
        self.lock().commit
    }

    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        for _ in 0..READ_ATTEMPTS {
            let Some(record) = self.record(key)? else {
                return Ok(None);
            };
            if let Some(value) = self.resolve(&record)? {
                return Ok(Some(value));
            }
        }
        Err(self.corrupt("a record whose payload file is missing"))
    }

    /// Keys with this prefix in ascending order, those after `after` when it is given.
    pub(crate) fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
    ) -> impl Iterator<Item = Result<(sled::IVec, Vec<u8>), StoreError>> {
        let start = match after {
            Some(key) => Bound::Excluded(key.to_vec()),
            None => Bound::Included(prefix.to_vec()),
        };
        let prefix = prefix.to_vec();
        self.sled
            .range((start, Bound::<Vec<u8>>::Unbounded))
            .take_while(move |entry| {
                entry
                    .as_ref()
                    .map_or(true, |(key, _)| key.starts_with(&prefix))
            })
            .filter_map(|entry| self.scanned(entry).transpose())
    }

    fn scanned(
        &self,
        entry: sled::Result<(sled::IVec, sled::IVec)>,
    ) -> Result<Option<(sled::IVec, Vec<u8>)>, StoreError> {
        let (key, record) = entry.map_err(|source| self.failed(source))?;
        let value = match self.resolve(&record)? {
            Some(value) => Some(value),
            // Replaced since the scan saw it: the value it has now, if it still has one.
            None => self.get(&key)?,
        };
        Ok(value.map(|value| (key, value)))
    }

    /// The one way to write. Holds the writer until committed or dropped.
    pub(crate) fn begin(&self) -> Result<Changes<'_>, StoreError> {
        let writer = self.lock();
        if writer.failed {
            return Err(StoreError::Stopped {
                database: self.name,
            });
        }
        Ok(Changes {
            database: self,
            writer,
            staged: HashMap::new(),
        })
    }

    /// Makes the counter file durable; worth calling when no commit is waiting.
    pub(crate) fn settle(&self) -> Result<(), StoreError> {
        self.check_blobs();
        self.lock().file.sync()
    }

    pub(crate) fn close(&self) -> Result<(), StoreError> {
        self.sled.flush().map_err(|source| self.failed(source))?;
        self.sync_log()?;
        self.settle()
    }

    fn sync_log(&self) -> Result<(), StoreError> {
        self.log.sync_data().map_err(StoreError::io(|| {
            format!("fsync the log of the {} database", self.name)
        }))
    }

    /// Files in sled's `blobs` are neither fsynced nor ever freed; the size of records keeps it empty.
    fn check_blobs(&self) {
        let used = fs::read_dir(&self.blobs).is_ok_and(|mut blobs| blobs.next().is_some());
        debug_assert!(!used, "sled wrote a blob file");
        if used {
            tracing::error!(
                database = self.name,
                "sled wrote a blob file, which is not durable; please report this"
            );
        }
    }

    fn record(&self, key: &[u8]) -> Result<Option<sled::IVec>, StoreError> {
        self.sled.get(key).map_err(|source| self.failed(source))
    }

    /// The value of a record; `None` when its payload file is not there.
    fn resolve(&self, record: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match record {
            [FORMAT, INLINE, value @ ..] => Ok(Some(value.to_vec())),
            _ => {
                let digest = self.payload_of(record)?;
                let digest = digest.ok_or_else(|| self.corrupt("a record of an unknown format"))?;
                self.payloads.read(&digest)
            }
        }
    }

    fn payload_of(&self, record: &[u8]) -> Result<Option<Digest>, StoreError> {
        match record {
            [FORMAT, INLINE, ..] => Ok(None),
            [FORMAT, PAYLOAD, digest @ ..] => {
                let digest = digest
                    .try_into()
                    .map_err(|_| self.corrupt("a payload reference"))?;
                Ok(Some(Digest::from_bytes(digest)))
            }
            _ => Err(self.corrupt("a record of an unknown format")),
        }
    }

    pub(crate) fn corrupt(&self, what: &str) -> StoreError {
        StoreError::Corrupt {
            what: format!("{what} in the {} database", self.name),
        }
    }

    /// Somebody who knows what the bytes mean cannot read them.
    pub(crate) fn found_damage(&self) {
        self.corrupt_total.inc();
    }

    fn failed(&self, source: sled::Error) -> StoreError {
        if matches!(source, sled::Error::Corruption { .. }) {
            self.corrupt_total.inc();
        }
        StoreError::Database {
            database: self.name,
            source,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Writer> {
        // A panic in the middle of a commit leaves `failed` set, so the state is sound though poisoned.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Changes that become visible and durable together. Reads through it see them already.
pub(crate) struct Changes<'a> {
    database: &'a Database,
    writer: MutexGuard<'a, Writer>,
    /// Whole records, as sled will hold them.
    staged: HashMap<Vec<u8>, Option<Vec<u8>>>,
}

impl Changes<'_> {
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(record) = self.record(key)? else {
            return Ok(None);
        };
        let value = self.database.resolve(&record)?;
        let missing = || {
            self.database
                .corrupt("a record whose payload file is missing")
        };
        value.ok_or_else(missing).map(Some)
    }

    pub(crate) fn put(&mut self, key: Vec<u8>, value: &[u8]) -> Result<(), StoreError> {
        let mut record = vec![FORMAT];
        if value.len() + 2 <= MAX_RECORD_BYTES {
            record.push(INLINE);
            record.extend_from_slice(value);
        } else {
            let digest = Digest::of(value);
            // Even when others refer to it already: writing checks the file and mends a damaged one.
            self.database.payloads.write(&digest, value)?;
            self.count_payload(&digest, 1)?;
            record.push(PAYLOAD);
            record.extend_from_slice(digest.as_bytes());
        }
        self.replace(key, Some(record))
    }

    pub(crate) fn remove(&mut self, key: Vec<u8>) -> Result<(), StoreError> {
        self.replace(key, None)
    }

    fn replace(&mut self, key: Vec<u8>, record: Option<Vec<u8>>) -> Result<(), StoreError> {
        match self.record(&key)? {
            Some(before) => {
                if let Some(digest) = self.database.payload_of(&before)? {
                    self.count_payload(&digest, -1)?;
                }
            }
            None if record.is_none() => return Ok(()),
            None => {}
        }
        self.staged.insert(key, record);
        Ok(())
    }

    fn count_payload(&mut self, digest: &Digest, by: i64) -> Result<(), StoreError> {
        let key = payload_key(digest);
        let damaged = || self.database.corrupt("a payload count");
        let before = match self.get(&key)? {
            Some(count) => i64::from_be_bytes(count.try_into().map_err(|_| damaged())?),
            None => 0,
        };
        let record = match before + by {
            ..0 => return Err(damaged()),
            0 => None,
            count => Some([&[FORMAT, INLINE], &count.to_be_bytes()[..]].concat()),
        };
        self.staged.insert(key, record);
        Ok(())
    }

    fn record(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.staged.get(key) {
            Some(staged) => Ok(staged.clone()),
            None => Ok(self.database.record(key)?.map(|record| record.to_vec())),
        }
    }

    /// Returns when the changes are durable. After a failure the database takes no more writes: what reached
    /// the disk is unknown until it is opened again.
    pub(crate) fn commit(mut self) -> Result<(), StoreError> {
        if self.staged.is_empty() {
            return Ok(());
        }
        let database = self.database;
        let commit = self.writer.commit + 1;
        let mut batch = sled::Batch::default();
        let mut unused = Vec::new();
        for (key, record) in self.staged.drain() {
            match record {
                Some(record) => batch.insert(key, record),
                None => {
                    unused.extend(unused_payload(&key));
                    batch.remove(key);
                }
            }
        }
        batch.insert(COMMIT_KEY, &commit.to_be_bytes());
        self.writer.failed = true;
        let failed = |source| database.failed(source);
        database.sled.apply_batch(batch).map_err(failed)?;
        database.sled.flush().map_err(failed)?;
        database.sync_log()?;
        self.writer.commit = commit;
        self.writer.file.record(commit)?;
        self.writer.failed = false;
        for digest in unused {
            if let Err(error) = database.payloads.remove(&digest) {
                tracing::warn!(%digest, %error, "an unused payload file stays");
            }
        }
        Ok(())
    }
}

/// The commit this database must have reached, from the file beside it.
fn expected_commit(database: &'static str, folder: &Path) -> Result<u64, StoreError> {
    match CommitFile::read(folder)? {
        Found::Commit(commit) => Ok(commit),
        Found::Damaged => {
            let path = CommitFile::path_in(folder);
            Err(StoreError::Unreadable {
                database,
                reason: format!(
                    "{} is damaged, and removing it means that commits lost until now go unnoticed",
                    path.display()
                ),
            })
        }
        Found::Missing => {
            if sled_folder(folder).exists() {
                tracing::warn!(
                    database,
                    "the commit counter file is missing: commits lost until now go unnoticed"
                );
            }
            Ok(0)
        }
    }
}

fn payload_key(digest: &Digest) -> Vec<u8> {
    [&[PAYLOAD_PREFIX], digest.as_bytes().as_slice()].concat()
}

/// The payload whose last reference goes when this key is removed.
fn unused_payload(key: &[u8]) -> Option<Digest> {
    let digest = key.strip_prefix(&[PAYLOAD_PREFIX])?;
    Some(Digest::from_bytes(digest.try_into().ok()?))
}

impl DatabaseOptions<'_> {
    fn folder(&self) -> PathBuf {
        self.data.join(self.name)
    }
}
