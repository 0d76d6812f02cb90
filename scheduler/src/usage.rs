//! What the calls of an agent have used, summed up since the process began. A call adds to counters; nothing is
//! locked or allocated for it.

use crate::habit::Habits;
use dormouse_filters::spent::nanos;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use wasmtime::ResourceLimiter;

/// The counters of one agent.
#[derive(Debug, Default)]
pub struct Usage {
    calls: AtomicU64,
    processor_ns: AtomicU64,
    /// What of it nobody has taken yet who adds up reports.
    late_ns: AtomicU64,
    duration_ns: AtomicU64,
    fuel: AtomicU64,
    peak_memory_bytes: AtomicU64,
    pub(crate) habits: Habits,
}

/// What they showed at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Used {
    /// Calls that have ended, however they did.
    pub calls: u64,
    /// Processor time of the calls, the starts of their instances included.
    pub processor: Duration,
    /// From dispatch to the end, summed over the calls: the queue, starts and waits included.
    pub duration: Duration,
    /// Units of fuel; zero if none is counted.
    pub fuel: u64,
    /// The most linear memory that one instance was granted, in bytes; those to which the machine then had none to
    /// give are counted, too.
    pub peak_memory_bytes: u64,
}

impl Usage {
    pub(crate) fn add(&self, processor: Duration, duration: Duration, fuel: Option<u64>) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.processor_ns
            .fetch_add(nanos(processor), Ordering::Relaxed);
        self.duration_ns
            .fetch_add(nanos(duration), Ordering::Relaxed);
        if let Some(fuel) = fuel {
            self.fuel.fetch_add(fuel, Ordering::Relaxed);
        }
    }

    /// Adds processor time of calls that are reported already: given up, they were still in an instance with others.
    pub(crate) fn add_late(&self, processor: Duration) {
        if !processor.is_zero() {
            let processor = nanos(processor);
            self.processor_ns.fetch_add(processor, Ordering::Relaxed);
            self.late_ns.fetch_add(processor, Ordering::Relaxed);
        }
    }

    /// Processor time that came too late for its call's report, since this was asked last.
    pub fn take_late(&self) -> Duration {
        if self.late_ns.load(Ordering::Relaxed) == 0 {
            return Duration::ZERO;
        }
        Duration::from_nanos(self.late_ns.swap(0, Ordering::Relaxed))
    }

    pub fn read(&self) -> Used {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Used {
            calls: read(&self.calls),
            processor: Duration::from_nanos(read(&self.processor_ns)),
            duration: Duration::from_nanos(read(&self.duration_ns)),
            fuel: read(&self.fuel),
            peak_memory_bytes: read(&self.peak_memory_bytes),
        }
    }
}

/// The counters of all agents that were asked for. As many as are deployed at most: a deleted agent is forgotten.
#[derive(Default)]
pub(crate) struct Book(Mutex<HashMap<String, Arc<Usage>>>);

impl Book {
    /// Not for every call: whoever calls an agent keeps what it gets here.
    pub(crate) fn of(&self, agent: &str) -> Arc<Usage> {
        let mut agents = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = agents.get(agent) {
            return Arc::clone(known);
        }
        Arc::clone(agents.entry(agent.to_owned()).or_default())
    }

    pub(crate) fn forget(&self, agent: &str) {
        let mut agents = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        agents.remove(agent);
    }
}

/// Holds an instance to its limits of memory and tables, and tells its agent's counters how large it became. A
/// memory grows seldom and never shrinks.
pub(crate) struct Limiter {
    limits: dormouse_filters::Limiter,
    usage: Arc<Usage>,
}

impl Limiter {
    pub(crate) fn new(memory_bytes: usize, table_elements: usize, usage: Arc<Usage>) -> Self {
        let limits = dormouse_filters::Limiter::new(memory_bytes, table_elements);
        Self { limits, usage }
    }

    /// Bytes of all memories of the instance.
    pub(crate) fn granted(&self) -> usize {
        self.limits.granted()
    }

    pub(crate) fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let granted = self.limits.memory_growing(current, desired, maximum)?;
        if granted {
            let peak = self.granted() as u64;
            self.usage
                .peak_memory_bytes
                .fetch_max(peak, Ordering::Relaxed);
        }
        Ok(granted)
    }

    pub(crate) fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        self.limits.table_growing(current, desired, maximum)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn two_memories_share_what_an_instance_may_have() {
        let usage = Arc::new(Usage::default());
        let mut limiter = Limiter::new(100, 10, Arc::clone(&usage));
        assert!(limiter.memory_growing(0, 60, None).unwrap());
        assert!(!limiter.memory_growing(0, 60, None).unwrap());
        assert!(limiter.memory_growing(0, 40, None).unwrap());
        assert!(!limiter.memory_growing(60, 61, None).unwrap());
        assert_eq!(usage.read().peak_memory_bytes, 100);
    }
}
