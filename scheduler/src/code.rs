//! Compiled code: on disk under a name that says what it was compiled from and by what, and
//! loaded while it is in use.

use crate::call::Temperature;
use crate::config::SchedulerConfig;
use crate::deploy::{DeployError, lift};
use crate::engine::Engine;
use crate::host::wit::AgentPre;
use crate::host::{GuestState, linker};
use crate::metrics::Metrics;
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

pub(crate) struct CodeCache {
    engine: Arc<Engine>,
    linker: Linker<GuestState>,
    dir: PathBuf,
    modules: Arc<dyn ModuleStore>,
    metrics: Arc<Metrics>,
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

    /// The code of a module and how it was had. Compiles only if there is no compiled code at all.
    pub(crate) async fn get(
        self: &Arc<Self>,
        digest: Digest,
    ) -> Result<(Code, Temperature), CodeError> {
        if let Some(code) = self.loaded.as_ref().and_then(|loaded| loaded.get(&digest)) {
            return Ok((code, Temperature::Warm));
        }
        let cache = Arc::clone(self);
        let cold = tokio::task::spawn_blocking(move || {
            if cache.path(&digest).exists() {
                cache.load(digest).map(Some)
            } else {
                Ok(None)
            }
        });
        match cold.await.map_err(|_died| CodeError::Died)? {
            Ok(Some(code)) => return Ok((code, Temperature::Cold)),
            Ok(None) => {}
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(%digest, error, "compiled code is damaged and is made again");
                self.forget(&digest);
            }
        }
        self.compile_stored(digest).await?;
        let cache = Arc::clone(self);
        let load = tokio::task::spawn_blocking(move || cache.load(digest));
        Ok((
            load.await.map_err(|_died| CodeError::Died)??,
            Temperature::Stored,
        ))
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
                .map_err(|e| DeployError::Compile(format!("{e:#}")))?;
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

    /// Maps compiled code and links it. Blocks on the disk.
    pub(crate) fn load(&self, digest: Digest) -> Result<Code, CodeError> {
        let Some(loaded) = &self.loaded else {
            return self.map(&digest).map_err(|e| CodeError::Load(Arc::new(e)));
        };
        // Many calls of one cold agent map its code once.
        loaded
            .try_get_with(digest, || self.map(&digest))
            .map_err(CodeError::Load)
    }

    /// Maps code for discovery, without keeping it: most uploads wait long for their first call.
    pub(crate) fn load_unshared(&self, digest: Digest) -> Result<Code, DeployError> {
        self.map(&digest)
    }

    fn map(&self, digest: &Digest) -> Result<Code, DeployError> {
        #[allow(
            unsafe_code,
            reason = "wasmtime offers no other way to load compiled code"
        )]
        // SAFETY: the file was written by `write_new` in this folder, whole (renamed after fsync),
        // by an engine with this fingerprint, and never changes; nothing but this process writes
        // there, and nothing that came from outside is ever placed there.
        let component =
            unsafe { Component::deserialize_file(&self.engine.wasmtime, self.path(digest)) }
                .map_err(|e| DeployError::Engine(format!("{e:#}")))?;
        let pre = self
            .linker
            .instantiate_pre(&component)
            .map_err(|e| DeployError::UnknownImport(format!("{e:#}")))?;
        AgentPre::new(pre).map_err(|e| DeployError::NoEntrypoint(format!("{e:#}")))
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
