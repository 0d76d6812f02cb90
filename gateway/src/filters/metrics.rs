//! What filters decide, how long they take, and the numbers that they report of themselves.

use super::question::{ALL_PHASES, Phase};
use dormouse_filters::metrics::{MetricSink, Reading};
use prometheus::core::{MetricVec, MetricVecBuilder};
use prometheus::{
    GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry,
    exponential_buckets,
};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Labels are bounded: there are as many filters as the engine has slots for.
pub(super) struct Metrics {
    seconds: HistogramVec,
    decisions: IntCounterVec,
    skips: IntCounterVec,
    replaced: IntCounterVec,
    breakers: GaugeVec,
    counters: IntCounterVec,
    gauges: GaugeVec,
    observations: HistogramVec,
    /// Names of numbers by filter.
    names: Mutex<HashMap<String, Vec<String>>>,
}

/// The usual decision.
pub(super) const ALLOW: &str = "allow";

/// All that a filter decides, and what becomes of a request when it fails.
const DECISIONS: [&str; 6] = [
    ALLOW,
    "block",
    "redirect",
    "redact",
    "failed_open",
    "failed_closed",
];

/// Looked up once, because every request passes it.
pub(super) struct Meter {
    seconds: Histogram,
    allowed: IntCounter,
}

/// Numbers that one filter may report, of all kinds together.
const MAX_NAMES: usize = 16;

impl Metrics {
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let seconds = HistogramOpts::new(
            "dormouse_filter_seconds",
            "Time that a filter took for one event, its queue included",
        );
        let buckets = vec![
            5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 5e-3, 0.02, 0.1, 0.5,
        ];
        let decisions = Opts::new(
            "dormouse_filter_decisions_total",
            "What filters decided: allow, block, redirect, redact, and for failures what became of the request: \
             failed_open, failed_closed",
        );
        let skips = Opts::new(
            "dormouse_filter_body_skips_total",
            "Bodies, messages and artifacts that a filter did not see because they were too large for it",
        );
        let replaced = Opts::new(
            "dormouse_filter_replaced_total",
            "Instances of filters that were not well and were replaced",
        );
        let breakers = Opts::new(
            "dormouse_filter_breaker_open",
            "1 while the breaker of a filter is open or half open, else 0",
        );
        let counters = Opts::new(
            "dormouse_filter_counter_total",
            "Counters that filters report of themselves",
        );
        let gauges = Opts::new(
            "dormouse_filter_gauge",
            "Gauges that filters report of themselves",
        );
        let observations = HistogramOpts::new(
            "dormouse_filter_histogram",
            "Observations that filters report of themselves",
        );
        // What they are of, only the filter knows.
        let decades = exponential_buckets(1e-6, 10.0, 13)?;
        let metrics = Self {
            seconds: HistogramVec::new(seconds.buckets(buckets), &["filter", "phase"])?,
            decisions: IntCounterVec::new(decisions, &["filter", "phase", "decision"])?,
            skips: IntCounterVec::new(skips, &["filter", "phase"])?,
            replaced: IntCounterVec::new(replaced, &["filter"])?,
            breakers: GaugeVec::new(breakers, &["filter", "phase"])?,
            counters: IntCounterVec::new(counters, &["filter", "name"])?,
            gauges: GaugeVec::new(gauges, &["filter", "name"])?,
            observations: HistogramVec::new(observations.buckets(decades), &["filter", "name"])?,
            names: Mutex::default(),
        };
        registry.register(Box::new(metrics.seconds.clone()))?;
        registry.register(Box::new(metrics.decisions.clone()))?;
        registry.register(Box::new(metrics.skips.clone()))?;
        registry.register(Box::new(metrics.replaced.clone()))?;
        registry.register(Box::new(metrics.breakers.clone()))?;
        registry.register(Box::new(metrics.counters.clone()))?;
        registry.register(Box::new(metrics.gauges.clone()))?;
        registry.register(Box::new(metrics.observations.clone()))?;
        Ok(metrics)
    }

    /// What one filter is measured by in one phase.
    pub(super) fn meter(&self, filter: &str, phase: &str) -> Meter {
        let decisions = &self.decisions;
        // Of a filter that is asked for the first time it is closed.
        self.breaker(filter, phase, false);
        Meter {
            seconds: self.seconds.with_label_values(&[filter, phase]),
            allowed: decisions.with_label_values(&[filter, phase, ALLOW]),
        }
    }

    pub(super) fn observe(
        &self,
        meter: &Meter,
        [filter, phase, decision]: [&str; 3],
        took: Duration,
    ) {
        meter.seconds.observe(took.as_secs_f64());
        if decision == ALLOW {
            return meter.allowed.inc();
        }
        let decisions = &self.decisions;
        decisions
            .with_label_values(&[filter, phase, decision])
            .inc();
    }

    pub(super) fn skipped(&self, filter: &str, phase: &str) {
        self.skips.with_label_values(&[filter, phase]).inc();
    }

    pub(super) fn replaced(&self, filter: &str) {
        self.replaced.with_label_values(&[filter]).inc();
    }

    /// Told when it opens and when it closes.
    pub(super) fn breaker(&self, filter: &str, phase: &str, is_open: bool) {
        let breaker = self.breakers.with_label_values(&[filter, phase]);
        breaker.set(f64::from(u8::from(is_open)));
    }

    /// Whether there is room for a number of this name.
    fn knows(&self, filter: &str, name: &str) -> bool {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = names.get_mut(filter) {
            let is_new = !known.iter().any(|one| one == name);
            if is_new && known.len() < MAX_NAMES {
                known.push(name.to_owned());
                return true;
            }
            return !is_new;
        }
        names.insert(filter.to_owned(), vec![name.to_owned()]);
        true
    }

    /// Takes away the numbers of a filter that is no more: its own, and ours of it.
    pub(super) fn forget(&self, filter: &str) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        for name in names.remove(filter).unwrap_or_default() {
            remove(&self.counters, &[filter, &name]);
            remove(&self.gauges, &[filter, &name]);
            remove(&self.observations, &[filter, &name]);
        }
        for phase in ALL_PHASES.map(Phase::as_str) {
            remove(&self.seconds, &[filter, phase]);
            remove(&self.skips, &[filter, phase]);
            remove(&self.breakers, &[filter, phase]);
            for decision in DECISIONS {
                remove(&self.decisions, &[filter, phase, decision]);
            }
        }
        remove(&self.replaced, &[filter]);
    }
}

/// Not every filter has every number.
fn remove<T: MetricVecBuilder>(numbers: &MetricVec<T>, labels: &[&str]) {
    let _was_not_there = numbers.remove_label_values(labels);
}

impl MetricSink for Metrics {
    /// Instances are called `FILTER#…`, so that those of one filter share its numbers.
    fn report(&self, agent: &str, name: &str, reading: Reading) {
        let filter = agent.split('#').next().unwrap_or_default();
        if !self.knows(filter, name) {
            return;
        }
        let labels = [filter, name];
        match reading {
            Reading::Count(more) => self.counters.with_label_values(&labels).inc_by(more),
            Reading::Gauge(value) => self.gauges.with_label_values(&labels).set(value),
            Reading::Observation(value) => {
                let numbers = self.observations.with_label_values(&labels);
                numbers.observe(value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn shown(registry: &Registry) -> String {
        prometheus::TextEncoder::new()
            .encode_to_string(&registry.gather())
            .unwrap()
    }

    #[test]
    fn numbers_of_filters_are_bounded_and_end_with_them() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        for number in 0..MAX_NAMES + 5 {
            let name = format!("n{number}");
            metrics.report("guard#0.0", &name, Reading::Count(1));
            metrics.report("guard#0.1", &name, Reading::Count(2));
        }
        metrics.report("guard#0.1", "n0", Reading::Gauge(2.5));
        metrics.report("guard#0.1", "n1", Reading::Observation(0.5));
        metrics.report("other#1.0", "n99", Reading::Count(1));
        let text = shown(&registry);
        let counters = text.matches("dormouse_filter_counter_total{filter=\"guard\"");
        assert_eq!(counters.count(), MAX_NAMES, "{text}");
        assert!(
            text.contains("{filter=\"guard\",name=\"n0\"} 3\n"),
            "{text}"
        );
        assert!(text.contains("dormouse_filter_gauge{filter=\"guard\",name=\"n0\"} 2.5"));
        for phase in ALL_PHASES.map(Phase::as_str) {
            let meter = metrics.meter("guard", phase);
            metrics.skipped("guard", phase);
            for decision in DECISIONS {
                let labels = ["guard", phase, decision];
                metrics.observe(&meter, labels, Duration::from_millis(1));
            }
        }
        metrics.replaced("guard");
        metrics.breaker("guard", "message", true);
        metrics.forget("guard");
        let text = shown(&registry);
        assert!(!text.contains("guard"), "{text}");
        assert!(text.contains("n99"), "{text}");
    }
}
