//! What filters decide and how long they take.

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};
use std::time::Duration;

/// Labels are bounded: there are as many filters as the engine has slots for.
pub(super) struct Metrics {
    seconds: HistogramVec,
    decisions: IntCounterVec,
}

impl Metrics {
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let seconds = HistogramOpts::new(
            "dormouse_filter_seconds",
            "Time that a filter took for one event, its queue included",
        );
        let buckets = vec![
            5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 5e-3, 0.02, 0.1, 0.5,
        ];
        let seconds = HistogramVec::new(seconds.buckets(buckets), &["filter", "phase"])?;
        let decisions = Opts::new(
            "dormouse_filter_decisions_total",
            "What filters decided: allow, block, redirect, and for failures what became of the request: failed_open, \
             failed_closed",
        );
        let decisions = IntCounterVec::new(decisions, &["filter", "decision"])?;
        registry.register(Box::new(seconds.clone()))?;
        registry.register(Box::new(decisions.clone()))?;
        Ok(Self { seconds, decisions })
    }

    pub(super) fn observe(&self, filter: &str, phase: &str, decision: &str, took: Duration) {
        let seconds = self.seconds.with_label_values(&[filter, phase]);
        seconds.observe(took.as_secs_f64());
        self.decisions.with_label_values(&[filter, decision]).inc();
    }
}
