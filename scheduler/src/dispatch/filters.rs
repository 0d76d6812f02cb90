//! What filters have of the scheduler: their engine, its compiled code, and threads for those that compute for long.

use super::{Scheduler, SchedulerError};
use crate::engine::TICK;
use crate::filter_code::FilterCode;
use crate::lane::{Lane, Owner, Pace};
use crate::machine::filter_slots;
use dormouse_filters::config::Limits;
use dormouse_filters::metrics::MetricSink;
use dormouse_filters::{WasmAgentConfig, WasmAgentRuntime};
use dormouse_store::Digest;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

/// Wall time of one call of a filter: five times its processor time, because filters that compute share the threads of
/// their lane with each other, and none is to fail by what others do.
const WALL_TIME: Duration = Duration::from_millis(500);

impl Scheduler {
    /// A runtime for filters on their engine (`docs/decisions/0027`). One per process: it has all the slots there are.
    ///
    /// # Errors
    /// When the engine cannot link what a filter may import.
    pub fn filters(
        &self,
        metrics: Arc<dyn MetricSink>,
    ) -> Result<WasmAgentRuntime, SchedulerError> {
        let (usual, ceiling) = (Limits::default(), self.0.config.ceiling());
        let slots = filter_slots(self.0.config.max_instances);
        // The rest is for what takes the place of others.
        let usable = slots * 4 / 5;
        let settings = WasmAgentConfig {
            // Compiled into all code of the engine, or into none.
            fuel_enabled: self.0.config.limits.fuel.is_some(),
            epoch_enabled: true,
            epoch_tick_interval: self.0.config.tick,
            limits: Limits {
                max_instances: usable,
                max_memory: usual.max_memory.min(ceiling.memory_bytes),
                max_table_elements: usual.max_table_elements.min(ceiling.table_elements),
                max_execution_time: WALL_TIME,
                ..usual
            },
        };
        let (engine, clock) = (&self.0.engine.filters, &self.0.engine.clock);
        let code = Box::new(FilterCode(Arc::clone(&self.0.code)));
        let (engine, clock) = (engine.clone(), Arc::clone(clock));
        WasmAgentRuntime::on_engine(engine, clock, settings, slots - usable, code, metrics)
            .map_err(|error| SchedulerError::Engine(error.into()))
    }

    /// Removes the compiled code of a filter's module.
    pub fn forget_filter(&self, digest: &Digest) {
        FilterCode(Arc::clone(&self.0.code)).forget(digest);
    }

    /// Runs a filter's work where its caller is, and moves it to threads of its own when it keeps that thread for a
    /// tick. Dropping it ends the work.
    pub async fn aside<T: Send + 'static>(
        &self,
        mut work: Pin<Box<dyn Future<Output = T> + Send>>,
    ) -> T {
        let begun = Instant::now();
        // Most of it is done at once, and needs no lane.
        if let Poll::Ready(done) = poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await {
            return done;
        }
        let lane = Lane::new(&self.0.filter_lane, Owner::Filters, Pace::of_polls(), work);
        if begun.elapsed() < TICK {
            lane.await
        } else {
            lane.moved().await
        }
    }
}
