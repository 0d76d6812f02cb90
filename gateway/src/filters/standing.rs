//! Which filters stand before agents, and those that did: they look at what began under them, and end when nothing of it
//! is left.

use super::filter::Filter;
use super::metrics::Metrics;
use super::pipeline::Pipeline;
use arc_swap::ArcSwapOption;
use dormouse_filters::WasmAgentRuntime;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The filters that requests are asked about now.
#[derive(Default)]
pub(super) struct Standing {
    /// `None` when there are none, so that they cost nothing.
    active: ArcSwapOption<Pipeline>,
    /// Held while they change, and while the numbers of one that is gone are forgotten.
    changing: Mutex<()>,
}

impl Standing {
    pub(super) fn active(&self) -> Option<Arc<Pipeline>> {
        self.active.load_full()
    }

    pub(super) fn all(&self) -> Vec<Arc<Filter>> {
        self.active()
            .map_or_else(Vec::new, |pipeline| pipeline.0.clone())
    }

    pub(super) fn find(&self, name: &str) -> Option<Arc<Filter>> {
        let active = self.active()?;
        let mut filters = active.0.iter();
        filters.find(|one| one.record.name == name).cloned()
    }

    pub(super) fn swap(&self, pipeline: Option<Arc<Pipeline>>) {
        let _alone = self.changing();
        self.active.store(pipeline);
    }

    /// Forgets the numbers of a filter, unless one of that name stands.
    fn forget(&self, name: &str, metrics: &Metrics) {
        let _alone = self.changing();
        if self.find(name).is_none() {
            metrics.forget(name);
        }
    }

    fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Filters that were replaced or deleted and are not gone yet.
pub(super) struct Departures {
    runtime: Arc<WasmAgentRuntime>,
    standing: Arc<Standing>,
    metrics: Arc<Metrics>,
    linger: Duration,
    /// The oldest first.
    leaving: Mutex<VecDeque<Leaving>>,
    tasks: TaskTracker,
    closing: CancellationToken,
}

/// One that was asked to go.
#[derive(Clone)]
struct Leaving {
    /// The names of its instances, which nobody else has.
    ids: Arc<[String]>,
    /// It is not to wait for those who have it.
    hurry: CancellationToken,
    /// Its instances have ended.
    gone: CancellationToken,
}

impl Departures {
    pub(super) fn new(
        runtime: Arc<WasmAgentRuntime>,
        standing: Arc<Standing>,
        metrics: Arc<Metrics>,
        linger: Duration,
    ) -> Arc<Self> {
        Arc::new(Self {
            runtime,
            standing,
            metrics,
            linger,
            leaving: Mutex::default(),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
        })
    }

    /// Ends a filter that stands no more when nobody has it, at once if that is so now; else when its time is over or
    /// its places are wanted. What still has it then asks its heir.
    pub(super) async fn see_off(self: &Arc<Self>, filter: Arc<Filter>) {
        let ids = filter.instances.iter();
        let one = Leaving {
            ids: ids.map(|one| one.agent_id().to_owned()).collect(),
            hurry: self.closing.child_token(),
            gone: CancellationToken::new(),
        };
        self.lock().push_back(one.clone());
        let unused = filter.unused.clone();
        let name = filter.record.name.clone();
        drop(filter);
        let is_unused = unused.is_cancelled();
        let (this, gone) = (Arc::clone(self), one.gone.clone());
        self.tasks.spawn(async move {
            // Also if this task dies.
            let _gone = one.gone.drop_guard();
            tokio::select! {
                () = unused.cancelled() => {}
                () = one.hurry.cancelled() => {}
                () = tokio::time::sleep(this.linger) => {}
            }
            for id in &*one.ids {
                this.runtime.unload(id).await;
            }
            this.lock()
                .retain(|other| !Arc::ptr_eq(&other.ids, &one.ids));
            this.standing.forget(&name, &this.metrics);
        });
        if is_unused {
            gone.cancelled().await;
        }
    }

    /// Ends the one that has waited longest; false when there is none.
    pub(super) async fn hurry(&self) -> bool {
        let Some(oldest) = self.lock().pop_front() else {
            return false;
        };
        oldest.hurry.cancel();
        oldest.gone.cancelled().await;
        true
    }

    /// Ends all of them.
    pub(super) async fn close(&self) {
        self.closing.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Leaving>> {
        self.leaving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
