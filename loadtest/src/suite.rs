//! The run: rounds in which every workload has its turn, each with a server of its own.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Context;

use crate::{
    a2a::{Call, DeployedAgent, Expected, deploy},
    load::{Connections, Pace},
    metrics::Starts,
    options::{Plan, Workload},
    procfs::{self, Machine},
    report::{Measured, PhaseReport, Report, Round},
    schedule::Schedule,
    server::Server,
};

/// Load of the open loop as a share of the capacity measured just before, when no rate is asked for. At half
/// load a server queues a little, as it would in service; near capacity latency says only how long the run was.
const OPEN_LOOP_SHARE: f64 = 0.5;

/// Measures what the plan says. The server that runs at the moment is in `running`, so that whoever gives up
/// this future can stop it.
///
/// Only one server runs at a time: even an idle neighbour ticks, and two cores are soon full.
pub async fn run(
    plan: &Plan,
    folder: &Path,
    running: &mut Option<Server>,
) -> anyhow::Result<Report> {
    let machine = Machine::look(folder)?;
    let described = serde_json::to_value(plan).context("the plan cannot be written as JSON")?;
    let mut measured: Vec<Measured> = plan.workloads.iter().map(|w| Measured::new(*w)).collect();
    for number in 1..=plan.rounds {
        for row in measured.iter_mut().filter(|row| row.failure.is_none()) {
            eprintln!("round {number}/{} {}", plan.rounds, row.workload.name());
            match round(plan, row.workload, u64::from(number), folder, running).await {
                Ok(round) => row.rounds.push(round),
                Err(failure) => {
                    eprintln!("  failed: {failure:#}");
                    row.failure = Some(format!("{failure:#}"));
                }
            }
            if let Some(server) = running.take() {
                server.stop().await?;
            }
        }
    }
    Ok(Report::new(described, machine, measured))
}

/// One turn of one workload: start, deploy, the three phases.
async fn round(
    plan: &Plan,
    workload: Workload,
    number: u64,
    folder: &Path,
    running: &mut Option<Server>,
) -> anyhow::Result<Round> {
    let server = running.insert(Server::start(plan, workload, folder).await?);
    let call = Arc::new(prepare(plan, workload, server.authority()).await?);
    let probe = Probe {
        server,
        call,
        workload,
    };

    let one_connection = probe
        .phase("1 connection", 1, Pace::BackToBack(plan.phase))
        .await?;
    let capacity = probe
        .phase("capacity", plan.connections, Pace::BackToBack(plan.phase))
        .await?;
    let rate = plan
        .rate
        .map_or(capacity.requests_per_second * OPEN_LOOP_SHARE, f64::from)
        .max(1.0);
    let due = Pace::Due(Schedule::new(rate, plan.phase, number));
    let open_loop = probe.phase("open loop", plan.connections, due).await?;
    Ok(Round {
        one_connection,
        capacity,
        open_loop,
        open_loop_rate: rate,
        resident_kib: server.resident_kib()?,
    })
}

/// Deploys what the workload calls, and says how to call it.
async fn prepare(plan: &Plan, workload: Workload, authority: &str) -> anyhow::Result<Call> {
    match workload {
        Workload::Baseline => Call::new(&format!("http://{authority}/"), None, Expected::Message),
        Workload::Task => {
            let module = plan
                .task_agent_wasm
                .as_deref()
                .context("the plan has no module for `task`")?;
            let agents = deploy(authority, module).await?;
            let skill = &plan.task_skill;
            let agent = agents.iter().find(|agent| agent.has_skill(skill));
            let agent =
                agent.with_context(|| format!("no agent of the module has the skill {skill:?}"))?;
            Call::new(&agent.url, Some(skill), Expected::CompletedTask)
        }
        Workload::Hot | Workload::Warm | Workload::Cold => {
            let module = plan
                .agent_wasm
                .as_deref()
                .context("the plan has no module")?;
            let agents = deploy(authority, module).await?;
            let agent = choose(&agents, &plan.agent)?;
            Call::new(&agent.url, plan.skill.as_deref(), Expected::Message)
        }
    }
}

/// The agent of that name, or the only one there is.
fn choose<'a>(agents: &'a [DeployedAgent], name: &str) -> anyhow::Result<&'a DeployedAgent> {
    let named = agents.iter().find(|agent| agent.name == name);
    let only = (agents.len() == 1).then(|| &agents[0]);
    named.or(only).with_context(|| {
        let names: Vec<&str> = agents.iter().map(|agent| agent.name.as_str()).collect();
        format!(
            "the module has no agent {name:?}, but: {}",
            names.join(", ")
        )
    })
}

/// A server with what is asked of it, ready to be measured.
struct Probe<'a> {
    server: &'a Server,
    call: Arc<Call>,
    workload: Workload,
}

impl Probe<'_> {
    async fn phase(
        &self,
        name: &str,
        connections: usize,
        pace: Pace,
    ) -> anyhow::Result<PhaseReport> {
        let connections = Connections::open(&self.call, connections).await?;
        let starts = self.starts().await?;
        let cpu = self.cpu_times()?;
        let tally = connections.drive(pace).await?;
        let cpu_after = self.cpu_times()?;
        let counted = self
            .starts()
            .await?
            .map(|after| after.since(&starts.unwrap_or_default()));

        let seconds = tally.elapsed.as_secs_f64();
        let per_reply = |used: Duration| used.as_secs_f64() * 1e6 / tally.replies.max(1) as f64;
        let calls = tally.replies + tally.errors;
        let report = PhaseReport {
            seconds,
            replies: tally.replies,
            requests_per_second: tally.replies as f64 / seconds,
            latency: tally.latencies.quantiles(),
            server_cpu_us_per_request: per_reply(cpu_after.server.saturating_sub(cpu.server)),
            generator_cpu_us_per_request: per_reply(
                cpu_after.generator.saturating_sub(cpu.generator),
            ),
            temperature_share: counted
                .as_ref()
                .zip(self.workload.temperature())
                .map(|(counted, claimed)| counted.share(claimed, calls)),
            starts: counted
                .map(|counted| counted.counts().clone())
                .unwrap_or_default(),
            errors: tally.errors,
            error_samples: tally.samples,
        };
        eprintln!(
            "  {name}: {:.0} requests/s, p50 {:.0} µs, {} errors",
            report.requests_per_second,
            report.latency.map_or(f64::NAN, |latency| latency.p50_us),
            report.errors
        );
        Ok(report)
    }

    /// What the platform counted so far; the bare echo counts nothing.
    async fn starts(&self) -> anyhow::Result<Option<Starts>> {
        match self.workload.temperature() {
            None => Ok(None),
            Some(_) => Starts::read(self.server.authority()).await.map(Some),
        }
    }

    fn cpu_times(&self) -> anyhow::Result<CpuTimes> {
        Ok(CpuTimes {
            server: self.server.cpu_time()?,
            generator: procfs::cpu_time(std::process::id())?,
        })
    }
}

struct CpuTimes {
    server: Duration,
    generator: Duration,
}
