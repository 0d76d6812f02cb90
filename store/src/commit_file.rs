//! The number of the last commit, kept beside a database to notice when sled went back.
//!
//! sled drops the end of a damaged log without a word. So every batch carries a counter, and the same counter
//! stands in this file. It is written after the batch is durable: **it may lag behind the database, it never
//! leads**. A database with a lower counter than this file has lost acknowledged commits.
//!
//! Each commit writes the file without fsync (the kernel keeps it when the process dies). It is fsynced at close,
//! after [`MAX_UNSYNCED`] commits, and when commits pause; so after a power failure at most that many lost commits
//! go unnoticed.
//!
//! Two slots take turns, so a torn write leaves the number before it.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::StoreError;
use crate::files::sync_folder;

const MAGIC: u64 = u64::from_be_bytes(*b"dormcmt1");
const SLOT_BYTES: usize = 32;
/// Slots lie in different pages, so that one torn page cannot hold both.
const SLOT_SPACING: u64 = 4096;
/// Commits after which the file is fsynced even under constant load.
pub(crate) const MAX_UNSYNCED: u64 = 256;

pub(crate) struct CommitFile {
    file: File,
    path: PathBuf,
    unsynced: u64,
}

/// What was found at open.
pub(crate) enum Found {
    Missing,
    Damaged,
    Commit(u64),
}

impl CommitFile {
    pub(crate) fn path_in(folder: &Path) -> PathBuf {
        folder.join("commits")
    }

    pub(crate) fn read(folder: &Path) -> Result<Found, StoreError> {
        let path = Self::path_in(folder);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Missing),
            Err(error) => return Err(StoreError::io(|| format!("open {}", path.display()))(error)),
        };
        let slots = [read_slot(&file, 0), read_slot(&file, 1)];
        Ok(slots
            .into_iter()
            .flatten()
            .max()
            .map_or(Found::Damaged, Found::Commit))
    }

    /// Opens the file, or creates it with this number.
    pub(crate) fn open_at(folder: &Path, commit: u64) -> Result<Self, StoreError> {
        let path = Self::path_in(folder);
        if !path.exists() {
            Self::create(folder, &path, commit)?;
        }
        let file = File::options()
            .write(true)
            .open(&path)
            .map_err(StoreError::io(|| format!("open {}", path.display())))?;
        Ok(Self {
            file,
            path,
            unsynced: 0,
        })
    }

    fn create(folder: &Path, path: &Path, commit: u64) -> Result<(), StoreError> {
        let mut image = vec![0; SLOT_SPACING as usize + SLOT_BYTES];
        let slot = encode(commit);
        image[..SLOT_BYTES].copy_from_slice(&slot);
        image[SLOT_SPACING as usize..].copy_from_slice(&slot);
        NamedTempFile::new_in(folder)
            .and_then(|mut file| {
                file.write_all(&image)?;
                file.as_file().sync_all()?;
                Ok(file.persist(path)?)
            })
            .map_err(StoreError::io(|| format!("create {}", path.display())))?;
        sync_folder(folder)
    }

    /// Call only when the commit is durable in the database.
    pub(crate) fn record(&mut self, commit: u64) -> Result<(), StoreError> {
        self.file
            .write_all_at(&encode(commit), (commit % 2) * SLOT_SPACING)
            .map_err(StoreError::io(|| format!("write {}", self.path.display())))?;
        self.unsynced += 1;
        if self.unsynced >= MAX_UNSYNCED {
            self.sync()?;
        }
        Ok(())
    }

    pub(crate) fn sync(&mut self) -> Result<(), StoreError> {
        if self.unsynced > 0 {
            self.file
                .sync_data()
                .map_err(StoreError::io(|| format!("fsync {}", self.path.display())))?;
            self.unsynced = 0;
        }
        Ok(())
    }
}

fn encode(commit: u64) -> [u8; SLOT_BYTES] {
    let mut slot = [0; SLOT_BYTES];
    slot[..8].copy_from_slice(&MAGIC.to_be_bytes());
    slot[8..16].copy_from_slice(&commit.to_be_bytes());
    let checksum = blake3::hash(&slot[..16]);
    slot[16..].copy_from_slice(&checksum.as_bytes()[..16]);
    slot
}

fn read_slot(file: &File, index: u64) -> Option<u64> {
    let mut slot = [0; SLOT_BYTES];
    file.read_exact_at(&mut slot, index * SLOT_SPACING).ok()?;
    let commit = u64::from_be_bytes(slot[8..16].try_into().ok()?);
    (slot == encode(commit)).then_some(commit)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn commit_in(folder: &Path) -> Option<u64> {
        match CommitFile::read(folder).unwrap() {
            Found::Commit(commit) => Some(commit),
            Found::Missing | Found::Damaged => None,
        }
    }

    #[test]
    fn a_torn_slot_leaves_the_number_before_it() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(
            CommitFile::read(folder.path()).unwrap(),
            Found::Missing
        ));
        let mut file = CommitFile::open_at(folder.path(), 0).unwrap();
        assert_eq!(commit_in(folder.path()), Some(0));
        for commit in 1..=5 {
            file.record(commit).unwrap();
            assert_eq!(commit_in(folder.path()), Some(commit));
        }
        file.file.write_all_at(b"torn", SLOT_SPACING + 10).unwrap();
        assert_eq!(commit_in(folder.path()), Some(4));
        file.file.write_all_at(b"torn", 10).unwrap();
        assert!(matches!(
            CommitFile::read(folder.path()).unwrap(),
            Found::Damaged
        ));
    }
}
