//! Compiled code: on disk under a name that says what it was compiled from and by what, and
//! loaded while it is in use.

use crate::call::Temperature;
use crate::config::SchedulerConfig;
use crate::deploy::{DeployError, lift};
use crate::engine::Engine;
use crate::host::wit::AgentPre;
use crate::host::{GuestState, linker};
use crate::metrics::Metrics;
use crate::shortage::is_shortage;
use dormouse_store::{Digest, ModuleStore, StoreError};
use moka::sync::Cache;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use thiserror::Error;
use tokio::sync::Semaphore;
use wasmtime::component::{Component, Linker};

pub(crate) type Code = AgentPre<GuestState>;

/// Why no code could be had for a module.
#[derive(Debug, Clone, Error)]
pub(crate) enum CodeError {
    #[error("module {0} is not in the store")]
    Missing(Digest),
    #[error("the module could not be read")]
    Store(#[source] Arc<StoreError>),
    #[error("the module could not be compiled")]
    Compile(#[source] Arc<DeployError>),
    #[error("compiled code could not be loaded")]
    Load(#[source] Arc<DeployError>),
    #[error("the thread that loaded the code died")]
    Died,
}

impl CodeError {
    /// Whether the machine has run out of something, and the code is as good as before.
    pub(crate) fn is_shortage(&self) -> bool {
        let (Self::Load(cause) | Self::Compile(cause)) = self else {
            return false;
        };
        matches!(**cause, DeployError::Shortage(_))
    }

    /// Whether other bytes would help: the file is damaged, or the engine says that it was made by another.
    fn is_damage(&self) -> bool {
        matches!(self, Self::Load(cause) if matches!(**cause, DeployError::Engine(_)))
    }
}

pub(crate) struct CodeCache {
    engine: Arc<Engine>,
    linker: Linker<GuestState>,
    dir: PathBuf,
    modules: Arc<dyn ModuleStore>,
    pub(crate) metrics: Arc<Metrics>,
    /// `None` keeps nothing loaded.
    loaded: Option<Cache<Digest, Code>>,
    workers: Semaphore,
    /// One compilation per module at a time. Entries live as long as somebody waits.
    compiling: Mutex<HashMap<Digest, Arc<tokio::sync::Mutex<()>>>>,
}

impl CodeCache {
    pub(crate) fn new(
        engine: Arc<Engine>,
        config: &SchedulerConfig,
        modules: Arc<dyn ModuleStore>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, DeployError> {
        let dir = config.code_dir.join(engine.fingerprint());
        fs::create_dir_all(&dir).map_err(DeployError::Disk)?;
        remove_others(&config.code_dir, &dir).map_err(DeployError::Disk)?;
        let loaded = (!config.code_idle_timeout.is_zero()).then(|| {
            Cache::builder()
                .max_capacity(config.max_loaded_code)
                .time_to_idle(config.code_idle_timeout)
                .build()
        });
        Ok(Self {
            linker: linker(&engine.wasmtime).map_err(|e| DeployError::Engine(format!("{e:#}")))?,
            engine,
            dir,
            modules,
            metrics,
            loaded,
            workers: Semaphore::new(config.compile_workers.max(1)),
            compiling: Mutex::default(),
        })
    }

    /// The code of a module and how it was had: of many calls at once that find it on disk, one maps it and is
    /// cold; the others wait for it and are warm. Compiles only if there is no compiled code that the engine
    /// takes.
    pub(crate) async fn get(
        self: &Arc<Self>,
        digest: Digest,
    ) -> Result<(Code, Temperature), CodeError> {
        if let Some(code) = self.loaded.as_ref().and_then(|loaded| loaded.get(&digest)) {
            return Ok((code, Temperature::Warm));
        }
        if let Some(loaded) = self.load_if_there(digest).await? {
            return Ok(loaded.how(Temperature::Cold));
        }
        self.compile_stored(digest).await?;
        let cache = Arc::clone(self);
        let load = tokio::task::spawn_blocking(move || cache.load(digest));
        let loaded = load.await.map_err(|_died| CodeError::Died)??;
        Ok(loaded.how(Temperature::Stored))
    }

    /// Loads what is on disk. Damaged code is forgotten; code that the machine has no room for is not.
    async fn load_if_there(self: &Arc<Self>, digest: Digest) -> Result<Option<Loaded>, CodeError> {
        let cache = Arc::clone(self);
        let load = tokio::task::spawn_blocking(move || {
            let is_there = cache.path(&digest).exists();
            is_there.then(|| cache.load(digest)).transpose()
        });
        match load.await.map_err(|_died| CodeError::Died)? {
            Err(error) if error.is_damage() => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(%digest, error, "compiled code is damaged and is made again");
                self.forget(&digest);
                Ok(None)
            }
            loaded => loaded,
        }
    }

    /// Compiles a stored module unless that has been done.
    pub(crate) async fn compile_stored(self: &Arc<Self>, digest: Digest) -> Result<(), CodeError> {
        let turn = {
            let mut compiling = self
                .compiling
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            compiling.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(compiling.entry(digest).or_default())
        };
        let _turn = turn.lock().await;
        if self.path(&digest).exists() {
            return Ok(());
        }
        let modules = Arc::clone(&self.modules);
        let read = tokio::task::spawn_blocking(move || modules.get(&digest));
        let bytes = read
            .await
            .map_err(|_died| CodeError::Died)?
            .map_err(|e| CodeError::Store(Arc::new(e)))?
            .ok_or(CodeError::Missing(digest))?;
        self.compile(digest, bytes.into())
            .await
            .map(|_new| ())
            .map_err(|e| CodeError::Compile(Arc::new(e)))
    }

    /// Lifts and compiles a module in the worker pool and writes the code to disk. `false` means
    /// that its code was there already.
    pub(crate) async fn compile(
        self: &Arc<Self>,
        digest: Digest,
        bytes: bytes::Bytes,
    ) -> Result<bool, DeployError> {
        if self.path(&digest).exists() {
            return Ok(false);
        }
        let _worker = self
            .workers
            .acquire()
            .await
            .map_err(|_closed| DeployError::Stopped)?;
        let cache = Arc::clone(self);
        let work = tokio::task::spawn_blocking(move || {
            let begun = Instant::now();
            let component = lift(&bytes)?;
            let code = cache
                .engine
                .wasmtime
                .precompile_component(&component)
                .map_err(|e| unless_short(&e, DeployError::Compile))?;
            write_new(&cache.path(&digest), &code).map_err(DeployError::Disk)?;
            cache.metrics.compiles.inc();
            cache
                .metrics
                .compile_seconds
                .observe(begun.elapsed().as_secs_f64());
            Ok(true)
        });
        work.await.map_err(|_died| DeployError::Stopped)?
    }

    /// Maps compiled code and links it, unless another call does. Blocks on the disk.
    fn load(&self, digest: Digest) -> Result<Loaded, CodeError> {
        let loaded = match &self.loaded {
            None => self.linked(&digest).map(Loaded::Mapped).map_err(Arc::new),
            Some(cache) => {
                let entry = cache
                    .entry(digest)
                    .or_try_insert_with(|| self.linked(&digest));
                entry.map(|entry| {
                    let is_fresh = entry.is_fresh();
                    let code = entry.into_value();
                    if is_fresh {
                        Loaded::Mapped(code)
                    } else {
                        Loaded::Found(code)
                    }
                })
            }
        };
        loaded.map_err(CodeError::Load)
    }

    /// Maps code for discovery, without keeping it: most uploads wait long for their first call.
    pub(crate) fn load_unshared(&self, digest: Digest) -> Result<Code, DeployError> {
        self.linked(&digest)
    }

    fn linked(&self, digest: &Digest) -> Result<Code, DeployError> {
        self.link(&self.map(digest)?)
    }

    pub(crate) fn map(&self, digest: &Digest) -> Result<Component, DeployError> {
        #[allow(
            unsafe_code,
            reason = "wasmtime offers no other way to load compiled code"
        )]
        // SAFETY: the file was written by `write_new` in this folder, whole (renamed after fsync),
        // by an engine with this fingerprint, and never changes; nothing but this process writes
        // there, and nothing that came from outside is ever placed there.
        unsafe { Component::deserialize_file(&self.engine.wasmtime, self.path(digest)) }
            .map_err(|e| unless_short(&e, DeployError::Engine))
    }

    pub(crate) fn link(&self, component: &Component) -> Result<Code, DeployError> {
        let pre = self
            .linker
            .instantiate_pre(component)
            .map_err(|e| unless_short(&e, DeployError::UnknownImport))?;
        AgentPre::new(pre).map_err(|e| unless_short(&e, DeployError::NoEntrypoint))
    }

    /// Forgets a module: its code is dropped from memory and disk. Running instances keep theirs.
    pub(crate) fn forget(&self, digest: &Digest) {
        if let Some(loaded) = &self.loaded {
            loaded.invalidate(digest);
        }
        match fs::remove_file(self.path(digest)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%digest, %error, "compiled code could not be removed");
            }
            _ => {}
        }
    }

    /// Drops all loaded code; live instances keep theirs. `false`: there was none.
    pub(crate) fn drop_loaded(&self) -> bool {
        let Some(loaded) = &self.loaded else {
            return false;
        };
        let had_some = loaded.entry_count() > 0;
        loaded.invalidate_all();
        had_some
    }

    /// Lets the cache act on its idle times; it does nothing by itself.
    pub(crate) fn tick(&self) {
        if let Some(loaded) = &self.loaded {
            loaded.run_pending_tasks();
        }
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        self.dir.join(&hex[..2]).join(format!("{hex}.cwasm"))
    }
}

/// Code, and whose work it was to have it.
enum Loaded {
    /// This call mapped it.
    Mapped(Code),
    /// It was there, or another call has just mapped it.
    Found(Code),
}

impl Loaded {
    fn how(self, if_mapped: Temperature) -> (Code, Temperature) {
        match self {
            Self::Mapped(code) => (code, if_mapped),
            Self::Found(code) => (code, Temperature::Warm),
        }
    }
}

/// What the engine's failure means for a deploy, unless the machine is to blame.
pub(crate) fn unless_short(
    error: &wasmtime::Error,
    means: impl FnOnce(String) -> DeployError,
) -> DeployError {
    let text = format!("{error:#}");
    if is_shortage(error) {
        DeployError::Shortage(text)
    } else {
        means(text)
    }
}

/// Writes a file that is either whole under its name or not there at all.
fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(dir)?;
    let mut temporary = tempfile::NamedTempFile::new_in(dir)?;
    temporary.write_all(bytes)?;
    temporary.as_file().sync_all()?;
    temporary.persist(path)?;
    File::open(dir)?.sync_all()
}

/// Removes the code of other engines and configurations: it is rebuilt, never trusted.
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
