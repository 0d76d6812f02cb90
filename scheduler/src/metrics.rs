//! The scheduler's metrics; names as promised to scrapers.

use crate::call::Temperature;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};
use std::time::Duration;

/// Bounds in seconds from ten microseconds, what a warm start takes, to ten seconds.
const START_BUCKETS: [f64; 14] = [
    1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 2.5e-2, 0.1, 0.5, 2.5, 10.0,
];
const COMPILE_BUCKETS: [f64; 10] = [0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

pub(crate) struct Metrics {
    start_seconds: [Histogram; 4],
    pub(crate) parked: IntGauge,
    pub(crate) busy: IntGauge,
    pub(crate) evictions: IntCounterVec,
    pub(crate) queue_depth: IntGauge,
    pub(crate) rejected: IntCounterVec,
    pub(crate) compiles: IntCounter,
    pub(crate) compile_seconds: Histogram,
}

impl Metrics {
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let start_seconds = HistogramVec::new(
            HistogramOpts::new(
                "dormouse_start_seconds",
                "Time from dispatch until the guest function is entered",
            )
            .buckets(START_BUCKETS.to_vec()),
            &["temperature"],
        )?;
        let instances = IntGaugeVec::new(
            Opts::new("dormouse_instances", "Live instances"),
            &["state"],
        )?;
        let evictions = IntCounterVec::new(
            Opts::new("dormouse_evictions_total", "Instances ended, by reason"),
            &["reason"],
        )?;
        let rejected = IntCounterVec::new(
            Opts::new(
                "dormouse_rejected_total",
                "Calls refused without an instance",
            ),
            &["reason"],
        )?;
        let queue_depth = IntGauge::new("dormouse_queue_depth", "Calls waiting for an instance")?;
        let compiles = IntCounter::new("dormouse_compiles_total", "Modules compiled")?;
        let compile_seconds = Histogram::with_opts(
            HistogramOpts::new(
                "dormouse_compile_seconds",
                "Time to lift and compile a module",
            )
            .buckets(COMPILE_BUCKETS.to_vec()),
        )?;
        registry.register(Box::new(start_seconds.clone()))?;
        registry.register(Box::new(instances.clone()))?;
        registry.register(Box::new(evictions.clone()))?;
        registry.register(Box::new(rejected.clone()))?;
        registry.register(Box::new(queue_depth.clone()))?;
        registry.register(Box::new(compiles.clone()))?;
        registry.register(Box::new(compile_seconds.clone()))?;
        for reason in ["idle", "capacity", "pressure", "replaced", "failed"] {
            evictions.with_label_values(&[reason]);
        }
        for reason in ["queue_full", "machine_limit"] {
            rejected.with_label_values(&[reason]);
        }
        Ok(Self {
            start_seconds: Temperature::ALL.map(|t| start_seconds.with_label_values(&[t.as_str()])),
            parked: instances.with_label_values(&["parked"]),
            busy: instances.with_label_values(&["busy"]),
            evictions,
            queue_depth,
            rejected,
            compiles,
            compile_seconds,
        })
    }

    pub(crate) fn started(&self, temperature: Temperature, after: Duration) {
        self.start_seconds[temperature as usize].observe(after.as_secs_f64());
    }

    pub(crate) fn evicted(&self, reason: &'static str, count: usize) {
        self.evictions
            .with_label_values(&[reason])
            .inc_by(count as u64);
    }
}
