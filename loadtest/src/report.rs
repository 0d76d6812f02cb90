//! What was measured, and what it comes to: the shape of `--json`.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    finding::Finding,
    procfs::Machine,
    promise::{self, Is, Verdict},
    stats::{Latencies, Quantiles, median, ratio},
    workload::Workload,
};

/// Below this share of calls with the claimed temperature a row does not show what its name says.
pub const MIN_TEMPERATURE_SHARE: f64 = 0.95;

const MAX_SAMPLES: usize = 3;

#[derive(Debug, Serialize)]
pub struct Report {
    /// No errors, and everything is what it claims to be.
    pub valid: bool,
    pub version: &'static str,
    pub machine: Machine,
    pub plan: serde_json::Value,
    pub rows: Vec<Row>,
    /// The workloads that are not rows.
    pub findings: Vec<Finding>,
    pub verdicts: Vec<Verdict>,
}

/// One workload: medians over the rounds, and the rounds.
#[derive(Debug, Serialize)]
pub struct Row {
    pub workload: Workload,
    pub valid: bool,
    /// Why the row is not valid, in sentences.
    pub problems: Vec<String>,
    pub errors: u64,
    pub error_samples: Vec<String>,
    /// Closed loop over all connections.
    pub requests_per_second: Option<f64>,
    /// Of the bare echo in the same round.
    pub requests_ratio: Option<f64>,
    /// Closed loop over all connections.
    pub server_cpu_us_per_request: Option<f64>,
    pub generator_cpu_us_per_request: Option<f64>,
    /// Closed loop over all connections: mostly a restatement of the throughput.
    pub closed_loop: Option<Quantiles>,
    /// Closed loop over one connection.
    pub one_connection: Option<Quantiles>,
    /// Of the p50 of the bare echo in the same round.
    pub one_connection_p50_ratio: Option<f64>,
    pub open_loop_rate: Option<f64>,
    /// Latency from the time that a call was due.
    pub open_loop: Option<Quantiles>,
    pub temperature: Option<&'static str>,
    /// The worst phase counts.
    pub temperature_share: Option<f64>,
    pub resident_kib: Option<f64>,
    pub rounds: Vec<Round>,
}

/// One turn of a workload.
#[derive(Debug, Clone, Serialize)]
pub struct Round {
    pub one_connection: PhaseReport,
    pub capacity: PhaseReport,
    pub open_loop: PhaseReport,
    pub open_loop_rate: f64,
    pub resident_kib: u64,
}

#[derive(Debug, Clone, Serialize)]
pub struct PhaseReport {
    pub name: String,
    pub seconds: f64,
    pub replies: u64,
    pub requests_per_second: f64,
    pub latency: Option<Quantiles>,
    pub server_cpu_us_per_request: f64,
    /// Processor time of the server over the time of the phase: how many cores it kept busy.
    pub server_cores: f64,
    pub generator_cpu_us_per_request: f64,
    /// Of what the row claims, if it claims anything.
    pub temperature_share: Option<f64>,
    /// Starts by temperature, as the server counted them during the phase.
    pub starts: BTreeMap<String, u64>,
    pub errors: u64,
    pub error_samples: Vec<String>,
    /// What the quantiles are of, for plots.
    #[serde(skip)]
    pub latencies: Latencies,
}

/// The rounds of a workload, before they are compared with the baseline's.
#[derive(Debug)]
pub struct Measured {
    pub workload: Workload,
    pub rounds: Vec<Round>,
    /// Why there are not more rounds.
    pub failure: Option<String>,
}

impl Measured {
    pub fn new(workload: Workload) -> Self {
        Measured {
            workload,
            rounds: Vec::new(),
            failure: None,
        }
    }
}

impl Report {
    pub fn new(
        plan: serde_json::Value,
        machine: Machine,
        measured: Vec<Measured>,
        findings: Vec<Finding>,
    ) -> Self {
        let baseline = measured
            .iter()
            .find(|row| row.workload == Workload::Baseline);
        let baseline = baseline.map(|row| row.rounds.clone()).unwrap_or_default();
        let rows: Vec<Row> = measured
            .into_iter()
            .map(|row| Row::new(row, &baseline))
            .collect();
        Report {
            valid: rows.iter().all(|row| row.valid) && findings.iter().all(Finding::is_valid),
            verdicts: promise::judge(&rows, &findings),
            version: env!("CARGO_PKG_VERSION"),
            machine,
            plan,
            rows,
            findings,
        }
    }

    /// Whether no promise that was measured is missed.
    pub fn keeps_promises(&self) -> bool {
        let mut verdicts = self.verdicts.iter();
        verdicts.all(|verdict| verdict.verdict != Is::Missed)
    }
}

impl Row {
    fn new(measured: Measured, baseline: &[Round]) -> Self {
        let Measured {
            workload,
            rounds,
            failure,
        } = measured;
        let phases = || rounds.iter().flat_map(Round::phases);
        let errors = phases().map(|(_, phase)| phase.errors).sum();
        let problems = problems(workload, &rounds, failure);
        let over = |field: fn(&Round) -> f64| median(rounds.iter().map(field));
        let quantiles = |phase: fn(&Round) -> &PhaseReport| {
            let each: Vec<Quantiles> = rounds
                .iter()
                .filter_map(|round| phase(round).latency)
                .collect();
            Quantiles::of_rounds(each.iter())
        };
        let of_baseline = |number: fn(&Round) -> f64| {
            let pairs = rounds.iter().zip(baseline);
            median(pairs.filter_map(|(round, bare)| ratio(number(round), number(bare))))
        };
        Row {
            workload,
            valid: problems.is_empty(),
            problems,
            errors,
            error_samples: phases()
                .flat_map(|(_, phase)| phase.error_samples.iter().cloned())
                .take(MAX_SAMPLES)
                .collect(),
            requests_per_second: over(|round| round.capacity.requests_per_second),
            requests_ratio: of_baseline(|round| round.capacity.requests_per_second),
            server_cpu_us_per_request: over(|round| round.capacity.server_cpu_us_per_request),
            generator_cpu_us_per_request: over(|round| round.capacity.generator_cpu_us_per_request),
            closed_loop: quantiles(|round| &round.capacity),
            one_connection: quantiles(|round| &round.one_connection),
            one_connection_p50_ratio: of_baseline(|round| {
                round.one_connection.latency.map_or(0.0, |l| l.p50_us)
            }),
            open_loop_rate: over(|round| round.open_loop_rate),
            open_loop: quantiles(|round| &round.open_loop),
            temperature: workload.temperature(),
            temperature_share: phases()
                .filter_map(|(_, phase)| phase.temperature_share)
                .reduce(f64::min),
            resident_kib: over(|round| round.resident_kib as f64),
            rounds,
        }
    }
}

impl Round {
    pub fn phases(&self) -> [(&'static str, &PhaseReport); 3] {
        [
            ("with one connection", &self.one_connection),
            ("in the closed loop", &self.capacity),
            ("in the open loop", &self.open_loop),
        ]
    }
}

fn problems(workload: Workload, rounds: &[Round], failure: Option<String>) -> Vec<String> {
    let mut problems: Vec<String> = failure.into_iter().collect();
    for (number, round) in (1..).zip(rounds) {
        for (place, phase) in round.phases() {
            let calls = phase.replies + phase.errors;
            if phase.errors > 0 || phase.replies == 0 {
                let errors = phase.errors;
                problems.push(format!(
                    "round {number}, {place}: {errors} of {calls} calls failed"
                ));
            }
            let (Some(claimed), Some(share)) = (workload.temperature(), phase.temperature_share)
            else {
                continue;
            };
            if share < MIN_TEMPERATURE_SHARE {
                let percent = share * 100.0;
                let starts = &phase.starts;
                problems.push(format!(
                    "round {number}, {place}: only {percent:.1} % of {calls} calls were {claimed}; counted {starts:?}"
                ));
            }
        }
    }
    problems
}
