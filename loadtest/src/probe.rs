//! One phase of a workload: what came back, and what it cost the server, by its own account and the kernel's.

use std::time::Duration;

use crate::{
    load::{Connections, Pace},
    metrics::Counters,
    procfs,
    report::PhaseReport,
    server::Server,
};

/// Makes the calls on these connections at this pace. The bare echo counts nothing: `counted` says whether the
/// server is asked what it counted.
pub async fn phase(
    server: &Server,
    name: &str,
    connections: Connections,
    pace: Pace,
    counted: bool,
) -> anyhow::Result<PhaseReport> {
    let before = counters(server, counted).await?;
    let cpu = CpuTimes::now(server)?;
    let tally = connections.drive(pace).await?;
    let cpu_after = CpuTimes::now(server)?;
    let starts = counters(server, counted)
        .await?
        .starts
        .since(&before.starts);

    let seconds = tally.elapsed.as_secs_f64();
    let per_reply = |used: Duration| used.as_secs_f64() * 1e6 / tally.replies.max(1) as f64;
    let server_cpu = cpu_after.server.saturating_sub(cpu.server);
    let report = PhaseReport {
        name: name.to_owned(),
        seconds,
        replies: tally.replies,
        requests_per_second: tally.replies as f64 / seconds,
        latency: tally.latencies.quantiles(),
        server_cpu_us_per_request: per_reply(server_cpu),
        server_cores: server_cpu.as_secs_f64() / seconds,
        generator_cpu_us_per_request: per_reply(cpu_after.generator.saturating_sub(cpu.generator)),
        temperature_share: None,
        starts: starts.counts().clone(),
        errors: tally.errors,
        error_samples: tally.samples,
        latencies: tally.latencies,
    };
    eprintln!(
        "  {name}: {:.0} requests/s, p50 {:.0} µs, {} errors",
        report.requests_per_second,
        report.latency.map_or(f64::NAN, |latency| latency.p50_us),
        report.errors
    );
    Ok(report)
}

async fn counters(server: &Server, counted: bool) -> anyhow::Result<Counters> {
    if !counted {
        return Ok(Counters::default());
    }
    Counters::read(server.authority()).await
}

struct CpuTimes {
    server: Duration,
    generator: Duration,
}

impl CpuTimes {
    fn now(server: &Server) -> anyhow::Result<Self> {
        Ok(CpuTimes {
            server: server.cpu_time()?,
            generator: procfs::cpu_time(std::process::id())?,
        })
    }
}
