//! What filters have of the scheduler: their engine, its compiled code, and threads for those that compute for long.

use super::{Scheduler, SchedulerError};
use crate::engine::{FILTER_TABLES, TICK};
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

/// Wall time, and processor time, of one call of a filter that was given much: a request waits for it meanwhile.
const MOST_TIME: Duration = Duration::from_secs(10);
/// Bytes of a component, as of an agent's module. Compiling a function of more than the usual 1 MiB would take minutes, so
/// that has no other ceiling.
const MOST_COMPONENT: usize = 32 << 20;
/// Bytes of one answer are in the host's memory, once for each instance that answers.
const MOST_OUTPUT: usize = 8 << 20;

impl Scheduler {
    /// A runtime for filters on their engine (`docs/decisions/0027`). One per process: it has all the slots there are.
    ///
    /// # Errors
    /// When the engine cannot link what a filter may import.
    pub fn filters(
        &self,
        metrics: Arc<dyn MetricSink>,
    ) -> Result<WasmAgentRuntime, SchedulerError> {
        let slots = filter_slots(self.0.config.max_instances);
        let ceiling = self.filter_ceiling();
        let usable = ceiling.max_instances;
        let settings = WasmAgentConfig {
            // Compiled into all code of the engine, or into none.
            fuel_enabled: self.0.config.limits.fuel.is_some(),
            epoch_enabled: true,
            epoch_tick_interval: self.0.config.tick,
            // Those that compute share the threads of their lane.
            limits: Limits {
                max_instances: usable,
                ..Limits::default().among_others().at_most(&ceiling)
            },
        };
        let (engine, clock) = (&self.0.engine.filters, &self.0.engine.clock);
        let code = Box::new(FilterCode(Arc::clone(&self.0.code)));
        let (engine, clock) = (engine.clone(), Arc::clone(clock));
        WasmAgentRuntime::on_engine(engine, clock, settings, slots - usable, code, metrics)
            .map_err(|error| SchedulerError::Engine(error.into()))
    }

    /// What no filter's own limits go beyond: of memory and tables, what a slot of the engine's pool has.
    pub fn filter_ceiling(&self) -> Limits {
        let slot = self.0.config.ceiling();
        Limits {
            // The rest is for what takes the place of others.
            max_instances: filter_slots(self.0.config.max_instances) * 4 / 5,
            max_memory: slot.memory_bytes,
            max_execution_time: MOST_TIME,
            max_processor_time: MOST_TIME,
            max_fuel: u64::MAX >> 1,
            max_table_elements: slot.table_elements,
            max_tables: FILTER_TABLES,
            max_memories: 1,
            max_function_size: Limits::default().max_function_size,
            max_component_size: MOST_COMPONENT,
            max_output: MOST_OUTPUT,
        }
    }

    /// Removes the compiled code of a filter's module.
    pub fn forget_filter(&self, digest: &Digest) {
        FilterCode(Arc::clone(&self.0.code)).forget(digest);
    }

    /// Runs a filter's work where its caller is, and moves it to threads of its own when it keeps that thread for a
    /// tick: there, filters take turns. Dropping it ends the work.
    pub async fn aside<T: Send + 'static>(
        &self,
        filter: &str,
        mut work: Pin<Box<dyn Future<Output = T> + Send>>,
    ) -> T {
        let begun = Instant::now();
        // Most of it is done at once, and needs no lane.
        if let Poll::Ready(done) = poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await {
            return done;
        }
        let owner = Owner::Filter(filter.into());
        let lane = Lane::new(&self.0.filter_lane, owner, Pace::of_polls(), work);
        if begun.elapsed() < TICK {
            lane.await
        } else {
            lane.moved().await
        }
    }
}
