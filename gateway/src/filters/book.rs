//! Which filters there are, and how they change while requests go on.

use super::filter::{Filter, Tools};
use super::metrics::Metrics;
use super::pipeline::Pipeline;
use super::standing::{Departures, Standing};
use super::stored::{Record, Shared};
use crate::config::FilterRules;
use crate::errors::{ApiError, GatewayError};
use dormouse_filters::config::Limits;
use dormouse_filters::{WasmAgentInstance, WasmAgentRuntime, WasmRuntimeError, World};
use dormouse_scheduler::Scheduler;
use dormouse_store::{Digest, ModuleStore, StoreError};
use futures_util::future::join_all;
use hyper::StatusCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use thiserror::Error;
use tracing::{error, warn};

/// All filters.
pub(crate) struct Filters {
    runtime: Arc<WasmAgentRuntime>,
    standing: Arc<Standing>,
    departures: Arc<Departures>,
    /// Whether there are filters of messages.
    see_messages: AtomicBool,
    pub(super) modules: Arc<dyn ModuleStore>,
    pub(super) store: Shared,
    tools: Arc<Tools>,
    /// Makes the names of instances, so that old and new ones are there at the same time.
    started: AtomicU64,
    /// Held while filters change.
    pub(super) changes: tokio::sync::Mutex<()>,
}

/// What an instance has said of its health.
pub(super) struct Checked {
    pub(super) instance: String,
    pub(super) said: Result<String, WasmRuntimeError>,
}

/// Why a filter that is stored does not start.
#[derive(Debug, Error)]
enum NotStarted {
    #[error("its digest is none")]
    Digest,
    #[error("its module could not be read")]
    Store(#[from] StoreError),
    #[error("its module is gone")]
    Gone,
    #[error(transparent)]
    Refused(#[from] WasmRuntimeError),
}

impl Filters {
    /// Starts what is stored. A filter that does not start stands in its place and fails, so that a request it
    /// was to keep out is not let in.
    pub(crate) fn open(
        scheduler: Scheduler,
        rules: FilterRules,
        modules: Arc<dyn ModuleStore>,
        store: Shared,
        registry: &prometheus::Registry,
    ) -> Result<Self, GatewayError> {
        let metrics = Arc::new(Metrics::register(registry)?);
        let runtime = Arc::new(scheduler.filters(Arc::clone(&metrics) as _)?);
        let standing = Arc::<Standing>::default();
        let filters = Self {
            departures: Departures::new(
                Arc::clone(&runtime),
                Arc::clone(&standing),
                Arc::clone(&metrics),
                rules.linger,
            ),
            runtime,
            see_messages: AtomicBool::new(false),
            modules,
            store,
            tools: Arc::new(Tools {
                rules,
                scheduler,
                metrics,
                standing: Arc::downgrade(&standing),
            }),
            standing,
            started: AtomicU64::new(0),
            changes: tokio::sync::Mutex::default(),
        };
        let records = Record::all(&*filters.store);
        let records = records.map_err(GatewayError::StoredFilters)?;
        let started = records.into_iter().map(|record| {
            let instances = filters.start_stored(&record).unwrap_or_else(|cause| {
                let cause = &cause as &dyn std::error::Error;
                error!(filter = record.name, cause, "a filter did not start");
                Vec::new()
            });
            Arc::new(filters.filter(record, instances))
        });
        filters.swap(started.collect());
        Ok(filters)
    }

    /// `None` when there is no filter at all.
    pub(crate) fn active(&self) -> Option<Arc<Pipeline>> {
        self.standing.active()
    }

    /// Whether there are filters of messages, at the cost of looking at a flag.
    pub(crate) fn see_messages(&self) -> bool {
        self.see_messages.load(Ordering::Acquire)
    }

    pub(super) fn all(&self) -> Vec<Arc<Filter>> {
        self.standing.all()
    }

    pub(super) fn find(&self, name: &str) -> Option<Arc<Filter>> {
        self.standing.find(name)
    }

    /// Whether a filter is made of this module.
    pub(crate) fn uses(&self, digest: &Digest) -> bool {
        let digest = digest.to_string();
        self.all().iter().any(|one| one.record.digest == digest)
    }

    /// What no filter's own limits go beyond.
    pub(super) fn ceiling(&self) -> Limits {
        self.tools.scheduler.filter_ceiling()
    }

    /// Whether instructions are counted.
    pub(super) fn counts_fuel(&self) -> bool {
        self.runtime.config().fuel_enabled
    }

    /// What holds for the calls of a filter.
    pub(super) fn limits(&self, record: &Record) -> Limits {
        let usual = &self.runtime.config().limits;
        record.settings.limits.limits(usual, &self.ceiling())
    }

    fn swap(&self, filters: Vec<Arc<Filter>>) {
        let pipeline = (!filters.is_empty()).then(|| Arc::new(Pipeline::new(filters)));
        let see_messages = pipeline
            .as_ref()
            .is_some_and(|pipeline| pipeline.has(World::Message));
        self.standing.swap(pipeline);
        self.see_messages.store(see_messages, Ordering::Release);
    }

    fn filter(&self, record: Record, instances: Vec<Arc<WasmAgentInstance>>) -> Filter {
        Filter::new(record, instances, Arc::clone(&self.tools))
    }

    fn start_stored(&self, record: &Record) -> Result<Vec<Arc<WasmAgentInstance>>, NotStarted> {
        let digest = record.digest().ok_or(NotStarted::Digest)?;
        let bytes = self.modules.get(&digest)?.ok_or(NotStarted::Gone)?;
        let (runtime, limits) = (&self.runtime, self.limits(record));
        runtime.compile_component_within(&limits, &record.digest, &bytes)?;
        let mut instances: Vec<Arc<WasmAgentInstance>> = Vec::new();
        for id in self.ids(record) {
            let (component, config) = (&record.digest, record.config());
            match runtime.load_agent_within(&limits, &id, component, &config) {
                Ok(instance) => instances.push(instance),
                Err(error) => {
                    for instance in instances {
                        runtime.unload_agent(instance.agent_id());
                    }
                    return Err(error.into());
                }
            }
        }
        Ok(instances)
    }

    fn ids(&self, record: &Record) -> Vec<String> {
        let started = self.started.fetch_add(1, Ordering::Relaxed);
        let id = |index| format!("{}#{started}.{index}", record.name);
        (0..record.settings.instances).map(id).collect()
    }

    /// Compiles and starts fresh instances, beside those of the filter that has this name now. Nothing has changed when it
    /// fails.
    pub(super) async fn start(
        &self,
        record: Record,
        bytes: Vec<u8>,
    ) -> Result<Filter, WasmRuntimeError> {
        self.make_room(&record).await?;
        let limits = self.limits(&record);
        let (runtime, digest) = (Arc::clone(&self.runtime), record.digest.clone());
        let of_bytes = limits.clone();
        let compiling = tokio::task::spawn_blocking(move || {
            runtime.compile_component_within(&of_bytes, &digest, &bytes)
        });
        let compiled = compiling.await.unwrap_or(Err(WasmRuntimeError::Shutdown));
        // What compiles may still not fit, and its code is on the disk then.
        compiled.inspect_err(|_refused| self.forget_unused(&record))?;
        let mut instances = Vec::new();
        let config = record.config();
        for id in self.ids(&record) {
            // Who may stand was said above: those that leave have places of their own.
            let (leaving, digest) = (usize::MAX, &record.digest);
            let runtime = &self.runtime;
            let loading = runtime.load_within(&limits, leaving, &id, digest, &config);
            match loading.await {
                Ok(instance) => instances.push(instance),
                Err(error) => {
                    self.give_up(&record, &instances).await;
                    return Err(error);
                }
            }
        }
        Ok(self.filter(record, instances))
    }

    /// Sees to it that there are places for a filter's instances, beside those of the one in whose place it comes.
    async fn make_room(&self, record: &Record) -> Result<(), WasmRuntimeError> {
        let wanted = record.settings.instances;
        let most = self.runtime.config().limits.max_instances;
        let all = self.all();
        let of_others = all.iter().filter(|one| one.record.name != record.name);
        let others: usize = of_others.map(|one| one.instances.len()).sum();
        drop(all);
        if others + wanted > most {
            return Err(WasmRuntimeError::ResourceLimit(format!(
                "{most} instances for all filters together: others have {others}. Give it or them fewer `instances`"
            )));
        }
        while self.runtime.free() < wanted && self.departures.hurry().await {}
        let free = self.runtime.free();
        if free < wanted {
            return Err(WasmRuntimeError::ResourceLimit(format!(
                "places for instances: {free} are free beside those that it replaces. Give it {free} `instances` now, and \
                 more when it stands"
            )));
        }
        Ok(())
    }

    /// Lets go of what was started for a filter that is not taken.
    pub(super) async fn give_up(&self, record: &Record, instances: &[Arc<WasmAgentInstance>]) {
        self.end(instances).await;
        self.forget_unused(record);
    }

    /// Forgets the component that a filter is made of, unless another one is, too.
    fn forget_unused(&self, record: &Record) {
        let is_used = self
            .all()
            .iter()
            .any(|one| one.record.digest == record.digest);
        if is_used {
            return;
        }
        self.runtime.unload_component(&record.digest);
        if let Some(digest) = record.digest() {
            self.tools.scheduler.forget_filter(&digest);
        }
    }

    /// Puts a filter in the place of the one that has its name, or takes that one away. Requests that have the old one
    /// keep it.
    pub(super) async fn change(&self, name: &str, new: Option<Filter>) {
        let mut filters = self.all();
        let old = filters.iter().position(|one| one.record.name == name);
        let old = old.map(|at| filters.remove(at));
        filters.extend(new.map(Arc::new));
        self.swap(filters);
        if let Some(old) = old {
            self.forget_unused(&old.record);
            self.departures.see_off(old).await;
        }
    }

    /// Lets instances end in order; requests that are in them end first.
    pub(super) async fn end(&self, instances: &[Arc<WasmAgentInstance>]) {
        for instance in instances {
            self.runtime.unload(instance.agent_id()).await;
        }
    }

    /// Starts a filter that did not, if it is still in its place.
    async fn try_again(&self, filter: &Arc<Filter>) {
        let _alone = self.changes.lock().await;
        let record = &filter.record;
        let still = self.find(&record.name);
        if !still.is_some_and(|still| Arc::ptr_eq(&still, filter)) {
            return;
        }
        let started = match self.module(record).await {
            Ok(bytes) => self
                .start(record.clone(), bytes)
                .await
                .map_err(NotStarted::from),
            Err(cause) => Err(cause),
        };
        match started {
            Ok(started) => self.change(&record.name, Some(started)).await,
            Err(cause) => {
                let cause = &cause as &dyn std::error::Error;
                warn!(filter = record.name, cause, "a filter still does not start");
            }
        }
    }

    async fn module(&self, record: &Record) -> Result<Vec<u8>, NotStarted> {
        let digest = record.digest().ok_or(NotStarted::Digest)?;
        let modules = Arc::clone(&self.modules);
        let reading = tokio::task::spawn_blocking(move || modules.get(&digest));
        let read = reading.await.map_err(|_died| WasmRuntimeError::Shutdown)?;
        read?.ok_or(NotStarted::Gone)
    }

    /// Asks all instances for their health until the future is dropped; those that are not well are replaced. What did not
    /// start is started again. One that takes long holds up no other.
    pub(crate) async fn keep_healthy(&self) {
        loop {
            tokio::time::sleep(self.tools.rules.health_interval).await;
            let all = self.all();
            let checks = all.iter().map(|filter| async move {
                if filter.instances.is_empty() {
                    self.try_again(filter).await;
                }
                self.check(filter).await
            });
            join_all(checks).await;
        }
    }

    /// Asks the instances of a filter for their health; those that are not well are replaced.
    pub(super) async fn check(&self, filter: &Filter) -> Vec<Checked> {
        let checks = filter.instances.iter().map(|instance| async move {
            let asked = Arc::clone(instance);
            let check = Box::pin(async move { asked.check_health().await });
            let name = &*filter.record.name;
            let said = self.tools.scheduler.aside(name, check).await;
            // Nothing is wrong with one that has left in the meantime.
            if let Err(error) = &said
                && !matches!(error, WasmRuntimeError::Shutdown)
            {
                warn!(filter = name, %error, "a filter is not well and starts anew");
                self.tools.metrics.replaced(name);
            }
            Checked {
                instance: instance.agent_id().to_owned(),
                said,
            }
        });
        join_all(checks).await
    }

    pub(crate) async fn close(&self) {
        self.runtime.close().await;
        self.departures.close().await;
    }
}

impl Record {
    /// As the component gets it.
    fn config(&self) -> String {
        if self.settings.config.is_null() {
            "{}".to_owned()
        } else {
            self.settings.config.to_string()
        }
    }
}

/// What an operator is told whose filter does not start.
pub(super) fn refused(error: &WasmRuntimeError) -> ApiError {
    let (status, code) = match error {
        WasmRuntimeError::Configuration(_) => {
            (StatusCode::UNPROCESSABLE_ENTITY, "configuration_refused")
        }
        WasmRuntimeError::ResourceLimit(_) => (StatusCode::UNPROCESSABLE_ENTITY, "filter_limit"),
        WasmRuntimeError::Shutdown => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
        WasmRuntimeError::EngineCreation(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        _ => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_filter"),
    };
    ApiError::new(status, code, error.to_string())
}

/// As the other stores' errors.
pub(super) fn kept(result: Result<(), StoreError>) -> Result<(), ApiError> {
    Ok(result?)
}
