//! Files named by the digest of their content: `ab/<64 hex digits>` under one folder.
//!
//! A file appears whole or not at all: bytes go to a temporary file in the same tree, which is fsynced, then
//! renamed, then the folders are fsynced. Every read hashes again.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use prometheus::IntCounter;
use tempfile::NamedTempFile;

use crate::{Digest, StoreError};

/// Holds files on their way in; what is left in it at open was never acknowledged.
const TEMPORARY: &str = "tmp";

pub(crate) struct ContentFiles {
    root: PathBuf,
    /// Damaged files go here.
    quarantine: PathBuf,
    corrupt_total: IntCounter,
}

impl ContentFiles {
    /// Creates the folder where needed and sweeps temporary files of an earlier process.
    pub(crate) fn open(
        root: PathBuf,
        quarantine: PathBuf,
        corrupt_total: IntCounter,
    ) -> Result<Self, StoreError> {
        let temporary = root.join(TEMPORARY);
        match fs::remove_dir_all(&temporary) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(StoreError::io(|| format!("sweep {}", temporary.display()))(
                    error,
                ));
            }
            _ => {}
        }
        fs::create_dir_all(&temporary)
            .map_err(StoreError::io(|| format!("create {}", temporary.display())))?;
        sync_folder(&root)?;
        Ok(Self {
            root,
            quarantine,
            corrupt_total,
        })
    }

    /// Durable when it returns. A file that is there already is checked, and replaced when it is damaged.
    pub(crate) fn write(&self, digest: &Digest, bytes: &[u8]) -> Result<(), StoreError> {
        match self.read(digest) {
            // The file may be a moment old and another thread's: its folder entry is fsynced below in any case.
            Ok(Some(_)) => {}
            Ok(None) | Err(StoreError::Corrupt { .. }) => {
                self.write_new(&self.path(digest), bytes)
                    .map_err(StoreError::io(|| format!("write {digest}")))?;
            }
            Err(error) => return Err(error),
        }
        sync_folder(&self.shard(digest))?;
        sync_folder(&self.root)
    }

    fn write_new(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = NamedTempFile::new_in(self.root.join(TEMPORARY))?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        if let Some(shard) = path.parent() {
            match fs::create_dir(shard) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        file.persist(path)?;
        Ok(())
    }

    /// The content, verified. A file that does not match is moved to the quarantine folder.
    pub(crate) fn read(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.path(digest);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::io(|| format!("read {}", path.display()))(error)),
        };
        if Digest::of(&bytes) == *digest {
            return Ok(Some(bytes));
        }
        self.corrupt_total.inc();
        let moved_to = self.set_aside(&path, digest)?;
        tracing::error!(%digest, file = %path.display(), moved_to = %moved_to.display(), "stored bytes are damaged");
        Err(StoreError::Corrupt {
            what: digest.to_string(),
        })
    }

    fn set_aside(&self, path: &Path, digest: &Digest) -> Result<PathBuf, StoreError> {
        let target = self
            .quarantine
            .join(format!("{}-{}", unix_ms(), digest.hex()));
        fs::create_dir_all(&self.quarantine)
            .and_then(|()| fs::rename(path, &target))
            .map_err(StoreError::io(|| {
                format!("move {} to quarantine", path.display())
            }))?;
        Ok(target)
    }

    /// False when there was no such file. Not fsynced: after a crash the file may be back, which harms nobody.
    pub(crate) fn remove(&self, digest: &Digest) -> Result<bool, StoreError> {
        match fs::remove_file(self.path(digest)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(StoreError::io(|| format!("remove {digest}"))(error)),
        }
    }

    /// Every file with its size, by name only: nothing is read or verified.
    pub(crate) fn walk(&self) -> Result<Vec<(Digest, u64)>, StoreError> {
        self.walk_shards()
            .map_err(StoreError::io(|| format!("list {}", self.root.display())))
    }

    fn walk_shards(&self) -> io::Result<Vec<(Digest, u64)>> {
        let mut found = Vec::new();
        for shard in fs::read_dir(&self.root)? {
            let shard = shard?;
            if shard.file_name() == TEMPORARY || !shard.file_type()?.is_dir() {
                continue;
            }
            for file in fs::read_dir(shard.path())? {
                let file = file?;
                if let Some(digest) = file.file_name().to_str().and_then(Digest::from_hex) {
                    found.push((digest, file.metadata()?.len()));
                }
            }
        }
        Ok(found)
    }

    fn shard(&self, digest: &Digest) -> PathBuf {
        self.root.join(&digest.hex()[..2])
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.shard(digest).join(digest.hex())
    }
}

/// Makes created, renamed and removed entries of a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(StoreError::io(|| format!("fsync {}", folder.display())))
}

pub(crate) fn unix_ms() -> u128 {
    // A clock before 1970 only costs a readable name.
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since_epoch.unwrap_or_default().as_millis()
}
