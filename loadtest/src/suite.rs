//! The run: rounds in which every row of the table has its turn, each with a server of its own; then the workloads
//! that have a course of their own (`scenario`).

use std::{path::Path, sync::Arc};

use anyhow::Context;

use crate::{
    a2a::{Call, DeployedAgent, Expected, deploy_file},
    load::{Connections, Pace},
    metrics,
    options::Plan,
    probe,
    procfs::Machine,
    report::{Measured, PhaseReport, Report, Round},
    scenario,
    schedule::Schedule,
    server::Server,
    workload::Workload,
};

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
    let (rows, others): (Vec<_>, Vec<_>) = plan.workloads.iter().partition(|w| w.is_row());
    let mut measured: Vec<Measured> = rows.into_iter().map(Measured::new).collect();
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
    let mut findings = Vec::new();
    for workload in others {
        eprintln!("{}", workload.name());
        findings.push(scenario::measure(plan, workload, folder, running).await?);
    }
    Ok(Report::new(described, machine, measured, findings))
}

/// One turn of one workload: start, deploy, the three phases.
async fn round(
    plan: &Plan,
    workload: Workload,
    number: u64,
    folder: &Path,
    running: &mut Option<Server>,
) -> anyhow::Result<Round> {
    let server = match workload {
        Workload::Baseline => Server::start_baseline(plan, folder).await?,
        _ => Server::start(plan, workload.name(), workload.serve_flags(), folder).await?,
    };
    let server = running.insert(server);
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
    let rate = plan.open_loop_rate(capacity.requests_per_second);
    let due = Pace::Due(Schedule::new(rate, plan.phase, number));
    let open_loop = probe.phase("open loop", plan.connections, due).await?;
    Ok(Round {
        one_connection,
        capacity,
        open_loop,
        open_loop_rate: rate,
        resident_kib: server.resident()?.all_kib,
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
            let agents = deploy_file(authority, module).await?;
            let skill = &plan.task_skill;
            let agent = agents.iter().find(|agent| agent.has_skill(skill));
            let agent =
                agent.with_context(|| format!("no agent of the module has the skill {skill:?}"))?;
            Call::new(&agent.url, Some(skill), Expected::CompletedTask)
        }
        _ => {
            let module = plan
                .agent_wasm
                .as_deref()
                .context("the plan has no module")?;
            let agents = deploy_file(authority, module).await?;
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
        let claimed = self.workload.temperature();
        let mut phase =
            probe::phase(self.server, name, connections, pace, claimed.is_some()).await?;
        let calls = phase.replies + phase.errors;
        phase.temperature_share =
            claimed.map(|claimed| metrics::share(&phase.starts, claimed, calls));
        Ok(phase)
    }
}
