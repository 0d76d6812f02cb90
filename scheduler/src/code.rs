//! The code of modules: loaded while it is in use, else mapped from disk, else compiled.

use crate::call::Temperature;
use crate::code_files::CodeFiles;
use crate::compile::{Compiler, Source, Workshop};
use crate::config::SchedulerConfig;
use crate::deploy::DeployError;
use crate::engine::Engine;
use crate::host::wit::AgentPre;
use crate::host::{GuestState, linker};
use crate::lane::give_way;
use crate::metrics::Metrics;
use crate::popularity::Popularity;
use crate::shortage::is_shortage;
use crate::uploads::Uploads;
use dormouse_store::{Digest, ModuleStore, StoreError};
use moka::sync::Cache;
use std::sync::Arc;
use std::time::{Instant, SystemTime};
use thiserror::Error;
use tokio::sync::oneshot;
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
    pub(crate) files: Arc<CodeFiles>,
    compiler: Compiler,
    popularity: Popularity,
    modules: Arc<dyn ModuleStore>,
    pub(crate) uploads: Arc<Uploads>,
    pub(crate) metrics: Arc<Metrics>,
    /// `None` keeps nothing loaded.
    loaded: Option<Cache<Digest, Code>>,
}

impl CodeCache {
    pub(crate) fn new(
        engine: Arc<Engine>,
        config: &SchedulerConfig,
        modules: Arc<dyn ModuleStore>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, DeployError> {
        let root = &config.code_dir;
        let files = CodeFiles::open(root, &engine.fingerprint()).map_err(DeployError::disk)?;
        let files = Arc::new(files);
        let told = Arc::clone(&metrics);
        let loaded = (!config.code_idle_timeout.is_zero()).then(|| {
            Cache::builder()
                .eviction_listener(move |_digest, _code, cause| told.code.unloaded(cause))
                .max_capacity(config.max_loaded_code)
                .time_to_idle(config.code_idle_timeout)
                .build()
        });
        let workshop = Workshop {
            engine: Arc::clone(&engine),
            limits: config.limits.clone(),
            files: Arc::clone(&files),
            modules: Arc::clone(&modules),
            metrics: Arc::clone(&metrics),
        };
        Ok(Self {
            linker: linker(&engine.wasmtime).map_err(|e| DeployError::Engine(format!("{e:#}")))?,
            engine,
            files,
            compiler: Compiler::new(workshop, config.compile_workers),
            popularity: Popularity::new(root.join("usage")),
            modules,
            uploads: Arc::default(),
            metrics,
            loaded,
        })
    }

    /// The code of a module and how it was had: of many calls at once that find it on disk, one maps it and is
    /// cold; the others wait for it and are warm. If there is no compiled code that the engine takes, the module
    /// is compiled next, and the call waits for that.
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
        let stored = self.stored(digest).await;
        let made = self.compiler.soon(digest, stored);
        made.await.map_err(|_stopped| CodeError::Died)??;
        let cache = Arc::clone(self);
        let load = tokio::task::spawn_blocking(move || cache.load(digest));
        let loaded = load.await.map_err(|_died| CodeError::Died)??;
        Ok(loaded.how(Temperature::Stored))
    }

    /// A module of the store, as it is compiled. One whose size cannot be had waits like a large one.
    async fn stored(&self, digest: Digest) -> Source {
        let modules = Arc::clone(&self.modules);
        let size = tokio::task::spawn_blocking(move || modules.size(&digest).ok().flatten());
        Source::Store(size.await.ok().flatten().unwrap_or(u64::MAX))
    }

    /// Loads what is on disk. Damaged code is forgotten; code that the machine has no room for is not.
    async fn load_if_there(self: &Arc<Self>, digest: Digest) -> Result<Option<Loaded>, CodeError> {
        let cache = Arc::clone(self);
        let load = tokio::task::spawn_blocking(move || {
            let is_there = cache.files.exists(&digest);
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

    /// Whether a call of this module would wait too long for its code. Touches the disk only while many modules are
    /// compiled.
    pub(crate) fn is_too_far(&self, digest: &Digest) -> bool {
        let is_loaded = || {
            let loaded = self.loaded.as_ref();
            loaded.is_some_and(|loaded| loaded.contains_key(digest))
        };
        self.compiler.is_swamped(digest) && !is_loaded() && !self.files.exists(digest)
    }

    /// Counts a call.
    pub(crate) fn called(&self, digest: &Digest) {
        self.popularity.called(digest);
    }

    /// Keeps the counts of calls. Blocks on the disk.
    pub(crate) fn save_popularity(&self) {
        if let Err(error) = self.popularity.save(SystemTime::now()) {
            tracing::warn!(%error, "how often agents are called could not be written");
        }
    }

    /// Those of the modules that have code and those that have none, the most used first. Other code goes. Blocks on the
    /// disk.
    fn present_and_missing(&self, mut digests: Vec<Digest>) -> (Vec<Digest>, Vec<Digest>) {
        match self
            .files
            .remove_unnamed(&digests.iter().copied().collect())
        {
            Ok(0) => {}
            Ok(files) => tracing::info!(files, "removed compiled code that no module has"),
            Err(error) => {
                tracing::warn!(%error, "compiled code that no module has was not removed")
            }
        }
        self.popularity.sort(&mut digests, SystemTime::now());
        let there = |digest: &Digest| self.files.exists(digest);
        digests.into_iter().partition(there)
    }

    /// Compiles what has no code or damaged code, when nothing else wants the processor. Returns how many modules it
    /// compiled.
    pub(crate) async fn compile_missing(self: &Arc<Self>, digests: Vec<Digest>) -> u64 {
        let cache = Arc::clone(self);
        let look = tokio::task::spawn_blocking(move || cache.present_and_missing(digests));
        let Ok((present, missing)) = look.await else {
            return 0;
        };
        let compiled = self.compile_later(missing).await;
        let damaged = damaged(Arc::clone(&self.files), present).await;
        for digest in &damaged {
            tracing::error!(%digest, "compiled code is damaged and is made again");
        }
        compiled + self.compile_later(damaged).await
    }

    async fn compile_later(&self, modules: Vec<Digest>) -> u64 {
        if modules.is_empty() {
            return 0;
        }
        let (begun, engine) = (Instant::now(), self.engine.fingerprint());
        tracing::info!("recompiling {} modules for engine {engine}", modules.len());
        let mut compiled = 0;
        for (digest, made) in modules.iter().zip(self.compiler.later(&modules)) {
            match made.await.unwrap_or(Err(CodeError::Died)) {
                Ok(is_new) => compiled += u64::from(is_new),
                // Its last agent was deleted in the meantime.
                Err(CodeError::Missing(_)) => {}
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(%digest, error, "a stored module cannot be compiled");
                }
            }
        }
        let seconds = begun.elapsed().as_secs_f32();
        tracing::info!("recompiled {compiled} modules in {seconds:.1} s");
        compiled
    }

    /// Compiles an upload before all that nobody waits for. `false` means that its code was there already.
    pub(crate) async fn compile(
        self: &Arc<Self>,
        digest: Digest,
        bytes: Option<bytes::Bytes>,
    ) -> Result<bool, DeployError> {
        let files = Arc::clone(&self.files);
        let is_there = tokio::task::spawn_blocking(move || files.is_whole(&digest));
        if is_there.await.map_err(|_died| DeployError::Stopped)? {
            return Ok(false);
        }
        let source = match bytes {
            Some(bytes) => Source::Upload(bytes),
            None => self.stored(digest).await,
        };
        let made = self.compiler.soon(digest, source);
        match made.await.unwrap_or(Err(CodeError::Died)) {
            Ok(is_new) => Ok(is_new),
            Err(CodeError::Compile(error) | CodeError::Load(error)) => {
                Err(Arc::unwrap_or_clone(error))
            }
            Err(CodeError::Died) => Err(DeployError::Stopped),
            Err(error) => Err(DeployError::Engine(error.to_string())),
        }
    }

    /// As [`compile`](Self::compile), of a module whose code was there a moment ago.
    pub(crate) async fn keep(
        self: &Arc<Self>,
        digest: Digest,
        bytes: bytes::Bytes,
    ) -> Result<(), DeployError> {
        let files = Arc::clone(&self.files);
        let is_there = tokio::task::spawn_blocking(move || files.exists(&digest));
        if is_there.await.map_err(|_died| DeployError::Stopped)? {
            return Ok(());
        }
        self.compile(digest, Some(bytes)).await.map(drop)
    }

    /// Forgets the code of a module unless that is stored.
    pub(crate) async fn forget_refused(self: &Arc<Self>, digest: Digest) {
        let cache = Arc::clone(self);
        let forget = tokio::task::spawn_blocking(move || {
            if matches!(cache.modules.size(&digest), Ok(None)) {
                cache.forget(&digest);
            }
        });
        if forget.await.is_err() {
            tracing::warn!(%digest, "the code of a refused module stays on disk");
        }
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
                        self.metrics.code.loaded.inc();
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
        let begun = Instant::now();
        let linked = self.link(&self.map(&self.engine.wasmtime, digest)?)?;
        let took = begun.elapsed().as_secs_f64();
        self.metrics.code.load_seconds.observe(took);
        Ok(linked)
    }

    pub(crate) fn map(
        &self,
        engine: &wasmtime::Engine,
        digest: &Digest,
    ) -> Result<Component, DeployError> {
        if !self.files.is_known(digest) && !self.files.is_whole(digest) {
            let sentence = "compiled code is not what was written";
            return Err(DeployError::Engine(sentence.to_owned()));
        }
        #[allow(
            unsafe_code,
            reason = "wasmtime offers no other way to load compiled code"
        )]
        // SAFETY: the file was written by `CodeFiles::write` in this folder, whole (renamed after fsync),
        // by engines with this fingerprint, and never changes; nothing but this process writes
        // there, and nothing that came from outside is ever placed there. What the disk makes of it
        // by itself was found above.
        unsafe { Component::deserialize_file(engine, self.files.path(digest)) }
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
        self.files.remove(digest);
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
}

/// Those whose code is damaged, of as many as are looked at. Looking has a thread of its own at the lowest priority,
/// and makes the first loads of what was looked at cheaper.
async fn damaged(files: Arc<CodeFiles>, modules: Vec<Digest>) -> Vec<Digest> {
    let (tell, told) = oneshot::channel();
    let look = move || {
        give_way();
        let is_wanted = |_: &Digest| !tell.is_closed();
        let damaged = files.damaged(modules.into_iter().take_while(is_wanted));
        // Who has asked may be gone: the server stops.
        let _gone = tell.send(damaged);
    };
    let thread = std::thread::Builder::new().name("check".into());
    match thread.spawn(look) {
        Ok(_runs_by_itself) => told.await.unwrap_or_default(),
        // Each is checked when it is loaded for the first time.
        Err(_) => Vec::new(),
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
