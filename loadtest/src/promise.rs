//! The promises of SPECIFICATION.md, section 9, as far as this tool measures them, and whether they are kept.

use serde::Serialize;

use crate::{finding::Finding, report::Row, workload::Workload};

/// A number that a workload's figure is held against.
struct Promise {
    workload: Workload,
    /// The name of a figure, or of a field of the row.
    figure: &'static str,
    bound: Bound,
    says: &'static str,
    /// The figure that says how large the run was, and how large it must be to be judged: in a small one, what the
    /// server needs once is most of what each agent seems to need.
    size: Option<(&'static str, f64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// A promise that was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Verdict {
    pub workload: Workload,
    pub promise: &'static str,
    pub figure: &'static str,
    pub bound: Bound,
    /// `None` if the workload ran but did not come to this figure, which is as bad as a miss.
    pub measured: Option<f64>,
    pub verdict: Is,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Is {
    Met,
    Missed,
    /// The promise speaks of more agents than the run had.
    NotJudged,
}

use Bound::{AtLeast, AtMost};

const fn promise(
    workload: Workload,
    figure: &'static str,
    bound: Bound,
    says: &'static str,
) -> Promise {
    Promise {
        workload,
        figure,
        bound,
        says,
        size: None,
    }
}

impl Promise {
    const fn with(self, count_of: &'static str, at_least: f64) -> Self {
        Promise {
            size: Some((count_of, at_least)),
            ..self
        }
    }
}

#[rustfmt::skip]
const PROMISES: [Promise; 22] = [
    promise(Workload::Hot, "requests_ratio", AtLeast(0.6), "hot send, of the bare echo"),
    promise(Workload::Hot, "one_connection_p50_ratio", AtMost(1.4), "the same, p50 at 1 connection"),
    promise(Workload::Task, "requests_ratio", AtLeast(0.15), "durable task, of the bare echo"),
    promise(Workload::Task, "requests_per_second", AtLeast(5_000.0), "durable tasks per second"),
    promise(Workload::Warm, "requests_ratio", AtLeast(0.35), "fresh instance for every call, of the bare echo"),
    promise(Workload::Warm, "wake_us", AtMost(50.0), "wake, warm: µs added to a hot call's p50"),
    promise(Workload::Cold, "p50_us", AtMost(500.0), "wake, cold: p50, µs"),
    promise(Workload::Cold, "p99_us", AtMost(5_000.0), "wake, cold: p99, µs"),
    promise(Workload::Storm, "woken_per_second", AtLeast(5_000.0), "distinct agents woken per second"),
    promise(Workload::Storm, "memory_after", AtMost(1.1), "memory after the idle timeout, of the idle baseline"),
    promise(Workload::Neighbour, "p99_ratio", AtMost(2.0), "p99 beside endless loops, of p99 alone"),
    promise(Workload::Neighbour, "worst_p99_ratio", AtMost(2.0), "p99 beside the worst hostile guest, of p99 alone"),
    promise(Workload::Mixed, "throughput_ratio", AtLeast(0.9), "throughput beside waiting calls, of that alone"),
    promise(Workload::Filters, "added_us", AtMost(50.0), "five filters: µs added to a hot call's p50"),
    promise(Workload::Deploy, "failed_calls", AtMost(0.0), "calls failed during redeploys"),
    promise(Workload::Deploy, "upload_to_answer_us", AtMost(3e6), "1 MB module: upload to first answer, µs"),
    promise(Workload::Density, "kib_per_idle_agent", AtMost(1.0), "resident per idle agent, KiB").with("agents", 100_000.0),
    promise(Workload::Density, "kib_per_live_instance", AtMost(80.0), "resident per live instance, KiB").with("live", 10_000.0),
    promise(Workload::Density, "memory_after", AtMost(1.1), "memory after the idle timeout, of the idle baseline"),
    promise(Workload::Soak, "failed_calls", AtMost(0.0), "calls failed"),
    promise(Workload::Soak, "memory_growth", AtMost(1.1), "memory at the end, of that after the first fifth"),
    promise(Workload::Soak, "counter_gaps", AtMost(0.0), "calls and instances that the counters lose"),
];

/// Holds every promise of a workload that ran against what came of it.
pub fn judge(rows: &[Row], findings: &[Finding]) -> Vec<Verdict> {
    let ran = |promise: &&Promise| {
        let workload = promise.workload;
        rows.iter().any(|row| row.workload == workload)
            || findings.iter().any(|f| f.workload == workload)
    };
    let judged = PROMISES.iter().filter(ran).filter(|promise| {
        // Without a hot row in the same run there is nothing to compare with.
        promise.figure != "wake_us" || rows.iter().any(|row| row.workload == Workload::Hot)
    });
    judged
        .map(|promise| {
            let finding = findings.iter().find(|f| f.workload == promise.workload);
            let measured = match finding {
                Some(finding) => finding.value(promise.figure),
                None => of_row(rows, promise),
            };
            let too_small = finding
                .zip(promise.size)
                .is_some_and(|(finding, (of, least))| {
                    finding.value(of).is_some_and(|size| size < least)
                });
            let holds = measured.is_some_and(|measured| promise.bound.holds(measured));
            Verdict {
                workload: promise.workload,
                promise: promise.says,
                figure: promise.figure,
                bound: promise.bound,
                measured,
                verdict: match holds {
                    _ if too_small => Is::NotJudged,
                    true => Is::Met,
                    false => Is::Missed,
                },
            }
        })
        .collect()
}

impl Bound {
    pub fn holds(self, measured: f64) -> bool {
        match self {
            AtLeast(bound) => measured >= bound,
            AtMost(bound) => measured <= bound,
        }
    }
}

fn of_row(rows: &[Row], promise: &Promise) -> Option<f64> {
    let row = rows.iter().find(|row| row.workload == promise.workload)?;
    let alone = |row: &Row| row.one_connection;
    match promise.figure {
        "requests_ratio" => row.requests_ratio,
        "requests_per_second" => row.requests_per_second,
        "one_connection_p50_ratio" => row.one_connection_p50_ratio,
        "p50_us" => Some(alone(row)?.p50_us),
        "p99_us" => Some(alone(row)?.p99_us),
        "wake_us" => {
            let hot = rows.iter().find(|row| row.workload == Workload::Hot)?;
            Some(alone(row)?.p50_us - alone(hot)?.p50_us)
        }
        _ => None,
    }
}
