//! Compiled code on disk, each file with the hash of what it holds at its end.

use crate::deploy::DeployError;
use dormouse_store::Digest;
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes of the hash behind the code. Wasmtime finds its sections from the front, so it does not meet them.
const HASH_BYTES: u64 = 32;

/// Bytes of code that are looked at before anybody needs them: about the 2,000 modules that are used most.
const LOOKED_AT_BYTES: u64 = 1 << 30;

/// The folder of one engine's code: `<first two digits>/<digest>.cwasm`.
pub(crate) struct CodeFiles {
    dir: PathBuf,
    /// Files that are being written. Emptied at each start.
    unfinished: PathBuf,
    /// Files whose hash was found right, or that were written, by this process.
    whole: Mutex<HashSet<Digest>>,
}

impl CodeFiles {
    /// Opens the folder of an engine below `root` and removes those of others: their code is rebuilt, never
    /// trusted.
    pub(crate) fn open(root: &Path, fingerprint: &str) -> io::Result<Self> {
        let dir = root.join(fingerprint);
        let unfinished = dir.join("unfinished");
        // What a process has left that was killed while it wrote.
        match fs::remove_dir_all(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::create_dir_all(&unfinished)?,
        }
        remove_others(root, &dir)?;
        Ok(Self {
            dir,
            unfinished,
            whole: Mutex::default(),
        })
    }

    pub(crate) fn path(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        self.dir.join(&hex[..2]).join(format!("{hex}.cwasm"))
    }

    pub(crate) fn exists(&self, digest: &Digest) -> bool {
        self.path(digest).exists()
    }

    /// Whether this process has found a file right or written it. It may have been removed since.
    pub(crate) fn is_known(&self, digest: &Digest) -> bool {
        self.lock().contains(digest)
    }

    /// Whether there is code, and it is what was written. A file is read for this once in the life of the process:
    /// hashing a megabyte takes as long as half a cold start. Blocks on the disk.
    pub(crate) fn is_whole(&self, digest: &Digest) -> bool {
        if self.is_known(digest) {
            return self.exists(digest);
        }
        let is_whole = check(&self.path(digest)).unwrap_or(false);
        if is_whole {
            self.lock().insert(*digest);
        }
        is_whole
    }

    /// Those of the first [`LOOKED_AT_BYTES`] that are there and not whole. Blocks on the disk.
    pub(crate) fn damaged(&self, digests: impl Iterator<Item = Digest>) -> Vec<Digest> {
        let mut looked_at = 0;
        let within = |digest: &Digest| {
            let size = fs::metadata(self.path(digest)).map_or(0, |file| file.len());
            looked_at += size;
            looked_at <= LOOKED_AT_BYTES
        };
        digests
            .take_while(within)
            .filter(|digest| !self.is_whole(digest) && self.exists(digest))
            .collect()
    }

    /// Writes a file that is either whole under its name or not there at all.
    pub(crate) fn write(&self, digest: &Digest, code: &[u8]) -> Result<(), DeployError> {
        self.place(digest, code).map_err(DeployError::disk)
    }

    fn place(&self, digest: &Digest, code: &[u8]) -> io::Result<()> {
        let path = self.path(digest);
        let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        fs::create_dir_all(dir)?;
        let mut temporary = tempfile::NamedTempFile::new_in(&self.unfinished)?;
        temporary.write_all(code)?;
        temporary.write_all(Digest::of(code).as_bytes())?;
        temporary.as_file().sync_all()?;
        // In one step, so that nobody takes it for what another process has left.
        let mut whole = self.lock();
        temporary.persist(&path)?;
        whole.insert(*digest);
        drop(whole);
        File::open(dir)?.sync_all()
    }

    /// Removes the code that no module has any more: what uploads have left that ended with their process. What this
    /// process has made or found is somebody's. Returns how many files that were. Blocks on the disk.
    pub(crate) fn remove_unnamed(&self, named: &HashSet<Digest>) -> io::Result<usize> {
        let mut removed = 0;
        for folder in fs::read_dir(&self.dir)? {
            let folder = folder?.path();
            if folder == self.unfinished || !folder.is_dir() {
                continue;
            }
            for file in fs::read_dir(folder)? {
                let path = file?.path();
                let hex = path.file_stem().and_then(|stem| stem.to_str());
                let digest = hex.and_then(|hex| format!("blake3:{hex}").parse().ok());
                let Some(digest) = digest.filter(|digest| !named.contains(digest)) else {
                    continue;
                };
                let whole = self.lock();
                if !whole.contains(&digest) {
                    fs::remove_file(path)?;
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }

    pub(crate) fn remove(&self, digest: &Digest) {
        self.lock().remove(digest);
        match fs::remove_file(self.path(digest)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%digest, %error, "compiled code could not be removed");
            }
            _ => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<Digest>> {
        self.whole.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a file ends with the hash of what is before.
fn check(path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let Some(code) = file.metadata()?.len().checked_sub(HASH_BYTES) else {
        return Ok(false);
    };
    let found = Digest::of_reader(Read::by_ref(&mut file).take(code))?;
    let mut expected = [0; HASH_BYTES as usize];
    file.seek(SeekFrom::Start(code))?;
    file.read_exact(&mut expected)?;
    Ok(found.as_bytes() == &expected)
}

fn remove_others(root: &Path, keep: &Path) -> io::Result<()> {
    for entry in fs::read_dir(root)? {
        let path = entry?.path();
        if path != keep && path.is_dir() {
            tracing::info!(path = %path.display(), "removing code compiled by another engine");
            fs::remove_dir_all(&path)?;
        }
    }
    Ok(())
}
