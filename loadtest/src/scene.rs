//! What the workloads with a course of their own have in common: a server that they may start again, and steps
//! that end up in a finding.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use tokio::time::{Instant, sleep};

use crate::{
    finding::Finding,
    fleet::{Fleet, Layout},
    load::{Connections, Pace},
    metrics::Counters,
    module::Template,
    options::Plan,
    probe,
    procfs::Resident,
    report::PhaseReport,
    server::Server,
    stats::Quantiles,
    workload::Workload,
};

/// How often the server is looked at while something is waited for.
const LOOK: Duration = Duration::from_millis(200);

/// Memory is at rest when it moves by less than this share in a second.
const REST: f64 = 0.005;
const REST_LIMIT: Duration = Duration::from_secs(10);

/// How much more memory than before is "back to where it was".
const BACK: f64 = 1.1;

/// No phase that counts its calls may last longer.
pub const PHASE_LIMIT: Duration = Duration::from_secs(3600);

/// A workload while it is measured.
pub struct Scene<'a> {
    pub plan: &'a Plan,
    pub template: Arc<Template>,
    pub finding: Finding,
    folder: &'a Path,
    running: &'a mut Option<Server>,
}

impl<'a> Scene<'a> {
    pub fn new(
        plan: &'a Plan,
        template: Arc<Template>,
        workload: Workload,
        folder: &'a Path,
        running: &'a mut Option<Server>,
    ) -> Self {
        Scene {
            plan,
            template,
            finding: Finding::new(workload),
            folder,
            running,
        }
    }

    /// Starts the server with these flags, in place of the one that runs and on its data; answers how long it took
    /// until it listened.
    pub async fn serve(&mut self, flags: &[&str]) -> anyhow::Result<Duration> {
        self.stop().await?;
        let begun = Instant::now();
        let name = self.finding.workload.name();
        let server = Server::start(self.plan, name, flags, self.folder).await?;
        let took = begun.elapsed();
        *self.running = Some(server);
        Ok(took)
    }

    pub async fn stop(&mut self) -> anyhow::Result<()> {
        match self.running.take() {
            Some(server) => server.stop().await,
            None => Ok(()),
        }
    }

    pub fn server(&self) -> anyhow::Result<&Server> {
        self.running.as_ref().context("no server runs")
    }

    pub fn authority(&self) -> anyhow::Result<String> {
        Ok(self.server()?.authority().to_owned())
    }

    pub async fn deploy(
        &self,
        kind: char,
        agents: u32,
        layout: impl Into<Layout>,
    ) -> anyhow::Result<Fleet> {
        Fleet::deploy(
            self.server()?.authority(),
            &self.template,
            kind,
            agents,
            layout.into(),
        )
        .await
    }

    /// Measures a phase and keeps it.
    pub async fn phase(
        &mut self,
        name: &str,
        connections: Connections,
        pace: Pace,
    ) -> anyhow::Result<&PhaseReport> {
        let phase = probe::phase(self.server()?, name, connections, pace, true).await?;
        self.finding.phase(phase);
        self.finding.phases.last().context("a phase was just kept")
    }

    pub async fn counters(&self) -> anyhow::Result<Counters> {
        Counters::read(self.server()?.authority()).await
    }

    /// Waits until no instance lives.
    pub async fn until_idle(&self, limit: Duration) -> anyhow::Result<()> {
        self.until(limit, "instances are still alive", |c| c.live == 0)
            .await
    }

    /// Waits until so many instances run a call.
    pub async fn until_busy(&self, instances: u64, limit: Duration) -> anyhow::Result<()> {
        let wanted = format!("fewer than {instances} instances run a call");
        self.until(limit, &wanted, |c| c.busy >= instances).await
    }

    async fn until(
        &self,
        limit: Duration,
        otherwise: &str,
        done: impl Fn(&Counters) -> bool,
    ) -> anyhow::Result<()> {
        let by = Instant::now() + limit;
        loop {
            let counters = self.counters().await?;
            if done(&counters) {
                return Ok(());
            }
            if Instant::now() > by {
                bail!("after {limit:?} {otherwise}: {counters:?}");
            }
            sleep(LOOK).await;
        }
    }

    /// Resident memory once it no longer moves.
    pub async fn memory_at_rest(&self) -> anyhow::Result<Resident> {
        let by = Instant::now() + REST_LIMIT;
        let mut before = self.memory()?;
        loop {
            sleep(Duration::from_secs(1)).await;
            let now = self.memory()?;
            let moved = now.all_kib.abs_diff(before.all_kib) as f64;
            if moved < REST * before.all_kib as f64 || Instant::now() > by {
                return Ok(now);
            }
            before = now;
        }
    }

    pub fn memory(&self) -> anyhow::Result<Resident> {
        self.server()?.resident()
    }

    /// Waits until all instances are gone and memory is back to within a tenth of what it was `before`, for at most
    /// `limit`; the figures say where it ended.
    pub async fn memory_after(&mut self, before: Resident, limit: Duration) -> anyhow::Result<()> {
        let begun = Instant::now();
        self.until_idle(limit).await?;
        let mut now = self.memory()?;
        while of(now.all_kib, before.all_kib) > BACK && begun.elapsed() < limit {
            sleep(LOOK).await;
            now = self.memory()?;
        }
        let waited_us = begun.elapsed().as_secs_f64() * 1e6;
        let ratio = of(now.all_kib, before.all_kib);
        let anonymous = of(now.anonymous_kib, before.anonymous_kib);
        let found = &mut self.finding;
        found.kib(
            "memory_before",
            before.all_kib as f64,
            "memory when idle, nothing called yet",
        );
        found.kib(
            "memory_back",
            now.all_kib as f64,
            "memory after the idle timeout",
        );
        found.ratio("memory_after", ratio, "of that before");
        found.ratio(
            "anonymous_after",
            anonymous,
            "the same without mapped files",
        );
        found.time(
            "memory_after_us",
            waited_us,
            "until memory was back, or given up",
        );
        Ok(())
    }
}

fn of(now: u64, before: u64) -> f64 {
    now as f64 / before.max(1) as f64
}

/// The quantiles of a phase; there are some if a call was answered.
pub fn latency(phase: &PhaseReport) -> anyhow::Result<Quantiles> {
    phase
        .latency
        .with_context(|| format!("{}: no call was answered", phase.name))
}
