//! Modules: content-addressed files, with an index of sizes in the registry database.
//!
//! The index decides what exists. A file without an entry is a put that was never acknowledged; the next put of
//! the same bytes adopts it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::database::Database;
use crate::files::ContentFiles;
use crate::keys::Key;
use crate::{Digest, ModuleStore, Put, StoreError, Totals};

const MODULE: u8 = b'm';

pub(crate) struct Modules {
    database: Arc<Database>,
    files: ContentFiles,
    /// Also keeps a put and a remove of one module apart: the file and its index entry go together.
    totals: Mutex<Totals>,
}

impl Modules {
    pub(crate) fn open(database: Arc<Database>, files: ContentFiles) -> Result<Self, StoreError> {
        if database.commits() == 0 {
            rebuild_index(&database, &files)?;
        }
        let mut totals = Totals::default();
        for entry in database.scan(&[MODULE], None) {
            totals.modules += 1;
            totals.bytes += size_in(&database, &entry?.1)?;
        }
        Ok(Self {
            database,
            files,
            totals: Mutex::new(totals),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Totals> {
        // The numbers change only after everything that can fail, so they are right even when poisoned.
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A new database beside files that are there already: the old one went to quarantine, and its modules still count.
fn rebuild_index(database: &Database, files: &ContentFiles) -> Result<(), StoreError> {
    let found = files.walk()?;
    if !found.is_empty() {
        tracing::warn!(
            modules = found.len(),
            "rebuilding the module index from the files"
        );
    }
    // One commit: a crash half way must not leave an index that looks complete.
    let mut changes = database.begin()?;
    for (digest, size) in &found {
        changes.put(key(digest), &size.to_be_bytes())?;
    }
    changes.commit()?;
    database.settle()
}

impl ModuleStore for Modules {
    fn put(&self, bytes: &[u8]) -> Result<Put, StoreError> {
        let digest = Digest::of(bytes);
        let size = bytes.len() as u64;
        let mut totals = self.lock();
        self.files.write(&digest, bytes)?;
        if self.size(&digest)?.is_some() {
            return Ok(Put { digest, new: false });
        }
        let mut changes = self.database.begin()?;
        changes.put(key(&digest), &size.to_be_bytes())?;
        changes.commit()?;
        totals.modules += 1;
        totals.bytes += size;
        self.database.settle()?;
        Ok(Put { digest, new: true })
    }

    fn get(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        if self.size(digest)?.is_none() {
            return Ok(None);
        }
        match self.files.read(digest)? {
            Some(bytes) => Ok(Some(bytes)),
            // Removed since, or lost: the index knows.
            None if self.size(digest)?.is_none() => Ok(None),
            None => Err(StoreError::Corrupt {
                what: digest.to_string(),
            }),
        }
    }

    fn size(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        let value = self.database.get(&key(digest))?;
        value
            .map(|value| size_in(&self.database, &value))
            .transpose()
    }

    fn remove(&self, digest: &Digest) -> Result<bool, StoreError> {
        let mut totals = self.lock();
        let Some(size) = self.size(digest)? else {
            return Ok(false);
        };
        let mut changes = self.database.begin()?;
        changes.remove(key(digest))?;
        changes.commit()?;
        totals.modules -= 1;
        totals.bytes -= size;
        self.database.settle()?;
        self.files.remove(digest)?;
        Ok(true)
    }

    fn totals(&self) -> Totals {
        *self.lock()
    }
}

fn key(digest: &Digest) -> Vec<u8> {
    Key::new(MODULE).raw(digest.as_bytes()).done()
}

fn size_in(database: &Database, value: &[u8]) -> Result<u64, StoreError> {
    let bytes = value
        .try_into()
        .map_err(|_| database.corrupt("a module's size"))?;
    Ok(u64::from_be_bytes(bytes))
}
