//! The scheduler's metrics; names as promised to scrapers.

use crate::call::Temperature;
use moka::notification::RemovalCause;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};
use std::sync::Arc;
use std::time::Duration;

/// Bounds in seconds from ten microseconds, what a warm start takes, to ten seconds.
const START_BUCKETS: [f64; 14] = [
    1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 2.5e-2, 0.1, 0.5, 2.5, 10.0,
];
const COMPILE_BUCKETS: [f64; 10] = [0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

pub(crate) struct Metrics {
    start_seconds: [Histogram; 4],
    parked: IntGauge,
    busy: IntGauge,
    started: IntCounter,
    ended: [IntCounter; Ended::ALL.len()],
    pub(crate) queue_depth: IntGauge,
    pub(crate) rejected: IntCounterVec,
    pub(crate) compiles: IntCounter,
    pub(crate) compile_seconds: Histogram,
    pub(crate) compiles_pending: IntGauge,
    pub(crate) code: CodeMetrics,
    pub(crate) stalls: IntCounter,
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
        let instances = Opts::new("dormouse_instances", "Live instances");
        let instances = IntGaugeVec::new(instances, &["state"])?;
        let evictions = IntCounterVec::new(
            Opts::new("dormouse_evictions_total", "Instances ended, by reason"),
            &["reason"],
        )?;
        let started = IntCounter::new(
            "dormouse_instances_started_total",
            "Instances started; as many as have ended and live",
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
        let compiles_pending = IntGauge::new(
            "dormouse_compiles_pending",
            "Modules that are compiled now or wait for it",
        )?;
        registry.register(Box::new(compiles_pending.clone()))?;
        let stalls = IntCounter::new(
            "dormouse_stalls_total",
            "Times that the event loops stood still",
        )?;
        registry.register(Box::new(stalls.clone()))?;
        registry.register(Box::new(start_seconds.clone()))?;
        registry.register(Box::new(instances.clone()))?;
        registry.register(Box::new(started.clone()))?;
        registry.register(Box::new(evictions.clone()))?;
        registry.register(Box::new(rejected.clone()))?;
        registry.register(Box::new(queue_depth.clone()))?;
        registry.register(Box::new(compiles.clone()))?;
        registry.register(Box::new(compile_seconds.clone()))?;
        for reason in ["queue_full", "machine_limit", "compiling"] {
            rejected.with_label_values(&[reason]);
        }
        Ok(Self {
            start_seconds: Temperature::ALL.map(|t| start_seconds.with_label_values(&[t.as_str()])),
            parked: instances.with_label_values(&["parked"]),
            busy: instances.with_label_values(&["busy"]),
            started,
            ended: Ended::ALL.map(|end| evictions.with_label_values(&[end.as_str()])),
            queue_depth,
            rejected,
            compiles,
            compile_seconds,
            compiles_pending,
            code: CodeMetrics::register(registry)?,
            stalls,
        })
    }

    /// Instances in which a call runs.
    pub(crate) fn busy(&self) -> i64 {
        self.busy.get()
    }

    pub(crate) fn started(&self, temperature: Temperature, after: Duration) {
        self.start_seconds[temperature as usize].observe(after.as_secs_f64());
    }
}

/// Of compiled code between disk and memory.
pub(crate) struct CodeMetrics {
    pub(crate) loaded: IntGauge,
    pub(crate) load_seconds: Histogram,
    pub(crate) idle: IntCounter,
    pub(crate) capacity: IntCounter,
    pub(crate) dropped: IntCounter,
}

impl CodeMetrics {
    fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let loaded = IntGauge::new("dormouse_code_loaded", "Modules whose code is kept loaded")?;
        let load_seconds = Histogram::with_opts(
            HistogramOpts::new(
                "dormouse_code_load_seconds",
                "Time to map and link the code of a module that is on disk",
            )
            .buckets(START_BUCKETS.to_vec()),
        )?;
        let unloads = IntCounterVec::new(
            Opts::new(
                "dormouse_code_unloads_total",
                "Modules whose loaded code was let go, by reason",
            ),
            &["reason"],
        )?;
        registry.register(Box::new(loaded.clone()))?;
        registry.register(Box::new(load_seconds.clone()))?;
        registry.register(Box::new(unloads.clone()))?;
        Ok(Self {
            loaded,
            load_seconds,
            idle: unloads.with_label_values(&["idle"]),
            capacity: unloads.with_label_values(&["capacity"]),
            dropped: unloads.with_label_values(&["dropped"]),
        })
    }

    /// Code is not kept any more.
    pub(crate) fn unloaded(&self, cause: RemovalCause) {
        self.loaded.dec();
        match cause {
            RemovalCause::Expired => self.idle.inc(),
            RemovalCause::Size => self.capacity.inc(),
            RemovalCause::Explicit | RemovalCause::Replaced => self.dropped.inc(),
        }
    }
}

/// Why an instance has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Nobody called it for its keep-alive.
    Idle,
    /// Its place was needed.
    Capacity,
    /// Memory was over its budget.
    Pressure,
    /// Another version is active, or none.
    Replaced,
    /// Its call did not return cleanly; also what ends with the process.
    Failed,
    /// It was started for one call: isolation `call`, or nothing is parked.
    Spent,
    /// It was started to be asked for its definitions.
    Discovery,
}

impl Ended {
    const ALL: [Self; 7] = [
        Self::Idle,
        Self::Capacity,
        Self::Pressure,
        Self::Replaced,
        Self::Failed,
        Self::Spent,
        Self::Discovery,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Capacity => "capacity",
            Self::Pressure => "pressure",
            Self::Replaced => "replaced",
            Self::Failed => "failed",
            Self::Spent => "spent",
            Self::Discovery => "discovery",
        }
    }
}

/// A live instance as the metrics see it: counted once when it starts, once when it ends, and in between as
/// busy or parked.
pub(crate) struct Counted {
    metrics: Arc<Metrics>,
    is_parked: bool,
    pub(crate) end: Ended,
}

impl Counted {
    pub(crate) fn start(metrics: &Arc<Metrics>) -> Self {
        metrics.started.inc();
        metrics.busy.inc();
        Self {
            metrics: Arc::clone(metrics),
            is_parked: false,
            end: Ended::Failed,
        }
    }

    pub(crate) fn park(&mut self) {
        self.is_parked = true;
        self.metrics.busy.dec();
        self.metrics.parked.inc();
    }

    pub(crate) fn unpark(&mut self) {
        self.is_parked = false;
        self.metrics.parked.dec();
        self.metrics.busy.inc();
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if self.is_parked {
            self.metrics.parked.dec();
        } else {
            self.metrics.busy.dec();
        }
        self.metrics.ended[self.end as usize].inc();
    }
}
