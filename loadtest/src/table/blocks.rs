//! The workloads that are not rows, and the promises.

use std::fmt::Write;

use super::{aligned, cell, micros, thousands};
use crate::{
    finding::{Figure, Finding, Unit},
    promise::{Bound, Is, Verdict},
    report::PhaseReport,
};

const PHASE_HEAD: [&str; 11] = [
    "  phase",
    "calls",
    "requests/s",
    "CPU/call",
    "cores",
    "p50",
    "p90",
    "p99",
    "p99.9",
    "max",
    "starts",
];

/// A workload: its phases, its figures, its problems.
pub(super) fn block(text: &mut String, finding: &Finding) {
    let _ = writeln!(text, "\n{}", finding.workload.name());
    if !finding.phases.is_empty() {
        let mut lines = vec![PHASE_HEAD.map(str::to_owned)];
        lines.extend(finding.phases.iter().map(phase_cells));
        text.push_str(&aligned(&lines));
    }
    let figures = finding.figures.iter();
    let lines: Vec<[String; 2]> = figures
        .map(|figure| [format!("  {}", figure.meaning), value(figure)])
        .collect();
    text.push_str(&aligned(&lines));
    for problem in &finding.problems {
        let _ = writeln!(text, "  INVALID: {problem}");
    }
}

/// What was promised, what was found.
pub(super) fn verdicts(text: &mut String, verdicts: &[Verdict]) {
    if verdicts.is_empty() {
        return;
    }
    let head = ["promise", "workload", "promised", "measured", "is"].map(str::to_owned);
    let mut lines = vec![head];
    lines.extend(verdicts.iter().map(|verdict| {
        let bound = match verdict.bound {
            Bound::AtLeast(bound) => format!("≥ {}", plain(bound)),
            Bound::AtMost(bound) => format!("≤ {}", plain(bound)),
        };
        [
            verdict.promise.to_owned(),
            verdict.workload.name().to_owned(),
            bound,
            cell(verdict.measured, plain),
            match verdict.verdict {
                Is::Met => "met",
                Is::Missed => "missed",
                Is::NotJudged => "not judged: too small a run",
            }
            .to_owned(),
        ]
    }));
    let _ = write!(text, "\n{}", aligned(&lines));
}

fn phase_cells(phase: &PhaseReport) -> [String; 11] {
    let latency = |us: Option<f64>| cell(us, micros);
    let starts: Vec<String> = phase
        .starts
        .iter()
        .map(|(temperature, count)| format!("{temperature} {}", thousands(*count as f64)))
        .collect();
    [
        format!("  {}", phase.name),
        thousands(phase.replies as f64),
        thousands(phase.requests_per_second),
        micros(phase.server_cpu_us_per_request),
        format!("{:.2}", phase.server_cores),
        latency(phase.latency.map(|l| l.p50_us)),
        latency(phase.latency.map(|l| l.p90_us)),
        latency(phase.latency.map(|l| l.p99_us)),
        latency(phase.latency.map(|l| l.p999_us)),
        latency(phase.latency.map(|l| l.max_us)),
        starts.join(", "),
    ]
}

fn value(figure: &Figure) -> String {
    match figure.unit {
        Unit::Microseconds => micros(figure.value),
        Unit::Kib if figure.value >= 10_240.0 => format!("{:.0} MiB", figure.value / 1024.0),
        Unit::Kib => format!("{:.2} KiB", figure.value),
        Unit::PerSecond => format!("{}/s", thousands(figure.value)),
        Unit::Ratio => format!("{:.2}", figure.value),
        Unit::Count => plain(figure.value),
    }
}

/// As many digits as tell it apart from its bound.
fn plain(number: f64) -> String {
    match number {
        number if number.fract() == 0.0 || number.abs() >= 1_000.0 => thousands(number),
        number => format!("{number:.2}"),
    }
}
