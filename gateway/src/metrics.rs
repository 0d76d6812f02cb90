//! The gateway's metrics, under the names of the platform's interface. Labels are bounded: agents
//! beyond a cap share one.

use dormouse_scheduler::Temperature;
use dormouse_services::push::PushMetrics;
use dormouse_store::{ModuleStore, StoreMetrics, TaskStore};
use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Counter, CounterVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// What a request asked for; the `operation` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Send,
    Stream,
    Get,
    List,
    Cancel,
    Subscribe,
    PushConfig,
    ExtendedCard,
    Card,
    Deploy,
    Module,
    Registry,
    Tokens,
    /// Requests that did not get as far as naming one.
    Unknown,
}

const OPERATIONS: usize = Operation::Unknown as usize + 1;

impl Operation {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Stream => "stream",
            Self::Get => "get",
            Self::List => "list",
            Self::Cancel => "cancel",
            Self::Subscribe => "subscribe",
            Self::PushConfig => "push_config",
            Self::ExtendedCard => "extended_card",
            Self::Card => "card",
            Self::Deploy => "deploy",
            Self::Module => "module",
            Self::Registry => "registry",
            Self::Tokens => "tokens",
            Self::Unknown => "unknown",
        }
    }
}

pub(crate) struct Metrics {
    registry: Registry,
    families: Families,
    modules: IntGauge,
    module_bytes: IntGauge,
    tasks: IntGaugeVec,
    labelled: Mutex<HashMap<String, Arc<AgentMetrics>>>,
    max_labelled: usize,
    other: Arc<AgentMetrics>,
    /// Requests that are about no deployed agent; their label is empty.
    pub(crate) platform: Arc<AgentMetrics>,
}

/// The metrics that have an agent label.
#[derive(Clone)]
struct Families {
    requests: IntCounterVec,
    request_seconds: HistogramVec,
    call_seconds: HistogramVec,
    cpu_seconds: CounterVec,
    starts: IntCounterVec,
}

/// The handles of one agent label, looked up once.
pub(crate) struct AgentMetrics {
    label: String,
    families: Families,
    call_seconds: OnceLock<Histogram>,
    cpu_seconds: OnceLock<Counter>,
    starts: [OnceLock<IntCounter>; Temperature::ALL.len()],
    operations: [OnceLock<(IntCounter, Histogram)>; OPERATIONS],
}

impl AgentMetrics {
    fn new(label: &str, families: &Families) -> Arc<Self> {
        Arc::new(Self {
            label: label.to_owned(),
            families: families.clone(),
            call_seconds: OnceLock::new(),
            cpu_seconds: OnceLock::new(),
            starts: std::array::from_fn(|_| OnceLock::new()),
            operations: std::array::from_fn(|_| OnceLock::new()),
        })
    }

    /// Counts an answered request. `code` is "ok" or an error's.
    pub(crate) fn observe(&self, operation: Operation, code: &'static str, since: Instant) {
        let Self {
            label, families, ..
        } = self;
        let name = operation.as_str();
        let (ok, seconds) = self.operations[operation as usize].get_or_init(|| {
            let ok = families.requests.with_label_values(&[&**label, name, "ok"]);
            (
                ok,
                families
                    .request_seconds
                    .with_label_values(&[&**label, name]),
            )
        });
        if code == "ok" {
            ok.inc();
        } else {
            families
                .requests
                .with_label_values(&[&**label, name, code])
                .inc();
        }
        seconds.observe(since.elapsed().as_secs_f64());
    }

    /// Counts a call that entered its guest, the time it spent there, and the processor time of it all.
    pub(crate) fn observe_call(&self, temperature: Temperature, ran: Duration, cpu: Duration) {
        self.starts[temperature as usize]
            .get_or_init(|| {
                let labels = [&*self.label, temperature.as_str()];
                self.families.starts.with_label_values(&labels)
            })
            .inc();
        self.call_seconds
            .get_or_init(|| {
                self.families
                    .call_seconds
                    .with_label_values(&[&*self.label])
            })
            .observe(ran.as_secs_f64());
        self.cpu_seconds
            .get_or_init(|| self.families.cpu_seconds.with_label_values(&[&*self.label]))
            .inc_by(cpu.as_secs_f64());
    }
}

impl Metrics {
    /// Registers everything of this crate and the store's two numbers.
    pub(crate) fn new(
        registry: Registry,
        store: &StoreMetrics,
        max_labelled: usize,
    ) -> Result<Self, prometheus::Error> {
        let families = Families {
            requests: IntCounterVec::new(
                Opts::new("dormouse_requests_total", "Answered requests"),
                &["agent", "operation", "code"],
            )?,
            request_seconds: histogram(
                "dormouse_request_seconds",
                "From a request's head to its answer, or to the start of its stream",
                &["agent", "operation"],
            )?,
            call_seconds: histogram("dormouse_call_seconds", "Time inside the guest", &["agent"])?,
            cpu_seconds: CounterVec::new(
                Opts::new(
                    "dormouse_call_cpu_seconds_total",
                    "Processor time of calls, the starts of their instances included",
                ),
                &["agent"],
            )?,
            starts: IntCounterVec::new(
                Opts::new(
                    "dormouse_starts_total",
                    "Calls that entered their guest, by how its instance was had",
                ),
                &["agent", "temperature"],
            )?,
        };
        let modules = IntGauge::new("dormouse_modules", "Stored modules")?;
        let module_bytes = IntGauge::new("dormouse_module_bytes", "Bytes of all stored modules")?;
        let tasks = IntGaugeVec::new(Opts::new("dormouse_tasks", "Stored tasks"), &["state"])?;
        let collectors: [Box<dyn Collector>; 11] = [
            Box::new(families.requests.clone()),
            Box::new(families.request_seconds.clone()),
            Box::new(families.call_seconds.clone()),
            Box::new(families.cpu_seconds.clone()),
            Box::new(families.starts.clone()),
            Box::new(modules.clone()),
            Box::new(module_bytes.clone()),
            Box::new(tasks.clone()),
            Box::new(store.commit_seconds.clone()),
            Box::new(store.corrupt_total.clone()),
            Box::new(ProcessCollector::for_self()),
        ];
        for collector in collectors {
            registry.register(collector)?;
        }
        Ok(Self {
            registry,
            modules,
            module_bytes,
            tasks,
            labelled: Mutex::default(),
            max_labelled,
            other: AgentMetrics::new("other", &families),
            platform: AgentMetrics::new("", &families),
            families,
        })
    }

    pub(crate) fn register_push(&self, push: &PushMetrics) -> Result<(), prometheus::Error> {
        self.registry.register(Box::new(push.deliveries.clone()))?;
        self.registry.register(Box::new(push.queued.clone()))
    }

    /// The handles of an agent: its own for the first agents that are asked for, else "other".
    pub(crate) fn agent(&self, name: &str) -> Arc<AgentMetrics> {
        let mut labelled = self.labelled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = labelled.get(name) {
            return Arc::clone(known);
        }
        if labelled.len() >= self.max_labelled {
            return Arc::clone(&self.other);
        }
        let metrics = AgentMetrics::new(name, &self.families);
        labelled.insert(name.to_owned(), Arc::clone(&metrics));
        metrics
    }

    /// Everything in the registry, in Prometheus' text format.
    pub(crate) fn text(
        &self,
        modules: &dyn ModuleStore,
        tasks: &dyn TaskStore,
    ) -> Result<String, prometheus::Error> {
        let totals = modules.totals();
        self.modules.set(gauge(totals.modules));
        self.module_bytes.set(gauge(totals.bytes));
        let counts = tasks.counts();
        for (state, word) in STATES {
            let count = counts.get(&state).copied().unwrap_or(0);
            self.tasks.with_label_values(&[word]).set(gauge(count));
        }
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

/// The status bytes of the task index: the numbers of TaskState in a2a.proto.
const STATES: [(u8, &str); 8] = [
    (1, "submitted"),
    (2, "working"),
    (3, "completed"),
    (4, "failed"),
    (5, "canceled"),
    (6, "input_required"),
    (7, "rejected"),
    (8, "auth_required"),
];

/// 0.1 ms to 10 s: from a hot call to an agent that waits for a model.
const BUCKETS: [f64; 16] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];

fn histogram(name: &str, help: &str, labels: &[&str]) -> Result<HistogramVec, prometheus::Error> {
    HistogramVec::new(
        HistogramOpts::new(name, help).buckets(BUCKETS.to_vec()),
        labels,
    )
}

fn gauge(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
