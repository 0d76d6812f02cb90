//! Opening and closing a data folder.
//!
//! ```text
//! lock                      held while the store is open
//! modules/ab/<hex>          modules
//! registry/, tasks/         one database each:
//!   sled/                     sled's own files
//!   commits                   the number of the last commit
//!   payloads/ab/<hex>         values too large for sled
//! quarantine/               what was found damaged; nothing here is read again
//! ```

use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::sync::Arc;

use crate::database::{Database, DatabaseOptions};
use crate::files::{ContentFiles, sync_folder};
use crate::memory::{MemoryModules, MemoryRegistry, MemoryTasks, MemoryTokens};
use crate::modules::Modules;
use crate::registry::SledRegistry;
use crate::tasks::SledTasks;
use crate::tokens::SledTokens;
use crate::{ModuleStore, Registry, StoreError, StoreMetrics, TaskStore, TokenStore};

/// The whole store: four views on one data folder. Closed when dropped.
pub struct Store {
    pub modules: Arc<dyn ModuleStore>,
    pub registry: Arc<dyn Registry>,
    pub tasks: Arc<dyn TaskStore>,
    pub tokens: Arc<dyn TokenStore>,
    pub metrics: StoreMetrics,
    backend: Option<Backend>,
}

/// How to open a data folder.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// A database that lost acknowledged commits or cannot be read is moved to `quarantine/` and an empty one
    /// takes its place, instead of an error.
    pub accept_data_loss: bool,
    /// Memory sled aims at for its caches, both databases together. It is no hard bound.
    pub cache_bytes: u64,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            accept_data_loss: false,
            cache_bytes: 32 << 20,
        }
    }
}

impl Store {
    /// Opens a data folder, creating it where needed.
    ///
    /// Takes a moment per 100 MB of database: each is copied before sled may touch it, and the copy removed.
    ///
    /// # Errors
    ///
    /// [`StoreError::Locked`], [`StoreError::RolledBack`] and [`StoreError::Unreadable`] leave every file as it was.
    pub fn open(dir: &Path, options: &OpenOptions) -> Result<Store, StoreError> {
        create_durably(dir)?;
        let lock = lock(dir)?;
        let metrics = StoreMetrics::new();
        let open = |name| {
            let options = DatabaseOptions {
                name,
                data: dir,
                cache_bytes: options.cache_bytes / 2,
                accept_data_loss: options.accept_data_loss,
            };
            Database::open(&options, &metrics).map(Arc::new)
        };
        let registry = open("registry")?;
        let tasks = open("tasks")?;
        let quarantine = dir.join("quarantine").join("modules");
        let files = ContentFiles::open(
            dir.join("modules"),
            quarantine,
            metrics.corrupt_total.clone(),
        )?;
        sync_folder(dir)?;
        let commit_seconds = || metrics.commit_seconds.clone();
        let modules = Modules::open(Arc::clone(&registry), files)?;
        let agents = SledRegistry::open(Arc::clone(&registry), commit_seconds())?;
        let task_store = Arc::new(SledTasks::open(Arc::clone(&tasks), commit_seconds())?);
        Ok(Store {
            modules: Arc::new(modules),
            registry: Arc::new(agents),
            tasks: Arc::clone(&task_store) as Arc<dyn TaskStore>,
            tokens: Arc::new(SledTokens::new(Arc::clone(&registry))),
            metrics,
            backend: Some(Backend {
                task_store,
                databases: [registry, tasks],
                _lock: lock,
            }),
        })
    }

    /// A store that forgets everything when it is dropped.
    pub fn in_memory() -> Store {
        let metrics = StoreMetrics::new();
        Store {
            modules: Arc::new(MemoryModules::default()),
            registry: Arc::new(MemoryRegistry::default()),
            tasks: Arc::new(
                MemoryTasks::start(&metrics).expect("a process can start one more thread"),
            ),
            tokens: Arc::new(MemoryTokens::default()),
            metrics,
            backend: None,
        }
    }

    /// Finishes the task writes that wait, refuses later ones, and makes everything durable. Dropping the store
    /// does the same and logs what fails. Clones of its parts must be gone before the folder is opened again.
    pub fn close(mut self) -> Result<(), StoreError> {
        self.backend
            .take()
            .map_or(Ok(()), |backend| backend.close())
    }
}

struct Backend {
    task_store: Arc<SledTasks>,
    databases: [Arc<Database>; 2],
    _lock: File,
}

impl Backend {
    fn close(&self) -> Result<(), StoreError> {
        self.task_store.stop();
        self.databases
            .iter()
            .try_for_each(|database| database.close())
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(%error, "the store did not close cleanly");
        }
    }
}

fn create_durably(dir: &Path) -> Result<(), StoreError> {
    if dir.exists() {
        return Ok(());
    }
    let created = fs::create_dir_all(dir).and_then(|()| dir.canonicalize());
    let created = created.map_err(StoreError::io(|| format!("create {}", dir.display())))?;
    created.parent().map_or(Ok(()), sync_folder)
}

fn lock(dir: &Path) -> Result<File, StoreError> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(dir.join("lock"))
        .map_err(StoreError::io(|| {
            format!("open the lock file in {}", dir.display())
        }))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked {
            dir: dir.to_owned(),
        }),
        Err(TryLockError::Error(error)) => {
            Err(StoreError::io(|| format!("lock {}", dir.display()))(error))
        }
    }
}
