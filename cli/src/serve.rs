//! `dormouse serve`: config, build, run, drain.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use dormouse_gateway::{CardKey, Gateway, GatewayConfig, WithoutTokens};
use dormouse_scheduler::Scheduler;
use dormouse_scheduler::machine::{self, Machine};
use dormouse_scheduler::policy::share_of_one;
use dormouse_services::egress::Egress;
use dormouse_services::llm::LlmMetrics;
use dormouse_services::{Services, TaskEngine, TaskLimits};
use dormouse_store::{Digest, Registry, Store, StoreError};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

use crate::Usage;
use crate::args::ServeArgs;
use crate::config::{Config, DEFAULT_LISTEN};
use crate::log::Log;

/// After the drain, for threads that are still at the store.
const LAST_THREADS: Duration = Duration::from_secs(5);
/// Agents read from the registry at a time.
const PAGE: usize = 1_000;

pub(crate) fn serve(args: ServeArgs) -> anyhow::Result<ExitCode> {
    let log = Log::start(args.log_format).context("cannot start threads")?;
    let mut config = Config::new(args.settings, args.config.as_deref())?;
    fit(&mut config);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start threads")?;
    let store = open(&config)?;
    check_access(&config, &store)?;
    runtime.block_on(run(config, &store, &log))?;
    // Nothing may hold the store when it is closed.
    runtime.shutdown_timeout(LAST_THREADS);
    store.close().context("the store did not close cleanly")?;
    info!("stopped");
    Ok(ExitCode::SUCCESS)
}

fn open(config: &Config) -> anyhow::Result<Store> {
    // The store's sentences name their cause and what to do.
    Store::open(&config.data_dir, &config.store).map_err(|error| {
        anyhow!(
            "cannot open the data folder {}: {error}",
            config.data_dir.display()
        )
    })
}

/// Lowers what does not fit into the limits of this machine, and says how to raise them.
fn fit(config: &mut Config) {
    machine::raise_open_files();
    let machine = Machine::read();
    let scheduler = &mut config.scheduler;
    let lowered = machine.fit(&mut scheduler.max_instances, &mut scheduler.max_loaded_code);
    if let Some(lowered) = lowered {
        warn!(
            wanted = lowered.wanted,
            instances = lowered.instances,
            "fewer instances may live at a time than --max-instances says, because of {}; to have them all: {}",
            lowered.bound,
            lowered.mend()
        );
    }
    let share = share_of_one(scheduler.max_instances);
    scheduler.max_instances_per_agent = scheduler.max_instances_per_agent.min(share);
    scheduler.memory_budget = scheduler.memory_budget.or(machine.memory_budget());
    let wanted = config.max_connections;
    config.max_connections = machine.connections(wanted);
    if config.max_connections < wanted {
        warn!(
            wanted,
            connections = config.max_connections,
            "fewer connections at a time than usual, because of the limit of open files; to have them all: {}",
            machine::OPEN_FILES_MEND
        );
    }
}

/// On an address that others reach there must be a way in, and not for everybody.
fn check_access(config: &Config, store: &Store) -> anyhow::Result<()> {
    if config.without_tokens == WithoutTokens::Open || !store.tokens.tokens()?.is_empty() {
        return Ok(());
    }
    Err(Usage::error(format!(
        "without tokens, anybody who reaches {} could deploy and call agents: make one with `dormouse token \
         create NAME --scope admin --data-dir {}`, listen on a loopback address such as {DEFAULT_LISTEN}, or add \
         --insecure if something else keeps strangers out",
        config.listen,
        config.data_dir.display()
    )))
}

/// Of a large machine, large requests and tasks may have more.
fn task_limits(memory_budget: Option<u64>) -> TaskLimits {
    let limits = TaskLimits::default();
    let share = memory_budget.map_or(0, |budget| budget / 4);
    TaskLimits {
        room_bytes: limits.room_bytes.max(share),
        ..limits
    }
}

async fn run(config: Config, store: &Store, log: &Log) -> anyhow::Result<()> {
    let shutdown = stop_signal()?;
    let listener = listen(config.listen).await?;
    let address = listener.local_addr()?;
    let metrics = prometheus::Registry::new();
    metrics.register(Box::new(log.dropped()))?;
    let services = config.services;
    register(&services, &config.scheduler.egress, &metrics)?;
    let limits = task_limits(config.scheduler.memory_budget);
    let scheduler = Scheduler::new(config.scheduler, Arc::clone(&store.modules), &metrics)?;
    let (engine, interrupted) =
        TaskEngine::open_with(Arc::clone(&store.tasks), limits, services).await?;
    if interrupted > 0 {
        warn!(
            tasks = interrupted,
            "tasks that ran when the server stopped are failed"
        );
    }
    let scheme = if config.tls.is_some() {
        "https"
    } else {
        "http"
    };
    let origin = config
        .public_url
        .unwrap_or_else(|| format!("{scheme}://{address}"));
    let mut limits = GatewayConfig::new(origin);
    limits.tls = config.tls;
    limits.root_agent = config.root_agent;
    limits.max_connections = config.max_connections;
    limits.without_tokens = config.without_tokens;
    limits.card_key = Some(CardKey::open(&config.card_key)?);
    limits.drain_grace = config.drain_timeout;
    limits.push_notifications = config.push_notifications;
    limits.agent_config = config.agent_config;
    limits.webhook_allow = config.webhook_allow;
    let exporter = match config.traces {
        Some(collector) => {
            let (tracer, exporter) = collector.start(&metrics)?;
            limits.tracer = tracer;
            Some(exporter)
        }
        None => None,
    };
    let mut gateway = Gateway::new(limits, store, engine, scheduler.clone(), metrics)?;
    if let Some(address) = config.metrics_listen {
        gateway = gateway.metrics_on(listen(address).await?);
    }
    let compiling = tokio::spawn(compile_missing(scheduler, Arc::clone(&store.registry)));
    writeln!(io::stdout(), "listening on {scheme}://{address}")?;
    gateway.run(listener, shutdown).await;
    if let Some(exporter) = exporter {
        exporter.close().await;
    }
    compiling.abort();
    Ok(())
}

/// The metrics of what calls may ask for.
fn register(
    services: &Services,
    egress: &Egress,
    metrics: &prometheus::Registry,
) -> anyhow::Result<()> {
    metrics.register(Box::new(services.denied.clone()))?;
    metrics.register(Box::new(egress.outcomes()))?;
    metrics.register(Box::new(services.agent_calls.clone()))?;
    if let Some(chooser) = &services.chooser {
        metrics.register(Box::new(chooser.outcomes()))?;
    }
    if let Some(llm) = &services.llm {
        let LlmMetrics { requests, tokens } = llm.metrics();
        metrics.register(Box::new(requests))?;
        metrics.register(Box::new(tokens))?;
    }
    Ok(())
}

async fn listen(address: std::net::SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.with_context(|| format!("cannot listen on {address}"))
}

/// Resolves at the first SIGTERM or SIGINT; the second ends the process at once.
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    let mut signals = [
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    ];
    Ok(async move {
        any(&mut signals).await;
        info!("stopping; a second signal stops at once");
        tokio::spawn(async move {
            any(&mut signals).await;
            warn!("stopped at once: running calls are lost");
            std::process::exit(1);
        });
    })
}

async fn any([terminate, interrupt]: &mut [Signal; 2]) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// After an upgrade of the engine, or without the folder of compiled code: compiles what is deployed
/// before a call has to.
async fn compile_missing(scheduler: Scheduler, registry: Arc<dyn Registry>) {
    let deployed = tokio::task::spawn_blocking(move || deployed(&*registry)).await;
    match deployed {
        Ok(Ok(digests)) => {
            scheduler.compile_missing(digests).await;
        }
        Ok(Err(error)) => error!(%error, "the registry cannot be read"),
        Err(error) => error!(%error, "reading the registry ended early"),
    }
}

/// The modules of all versions.
fn deployed(registry: &dyn Registry) -> Result<Vec<Digest>, StoreError> {
    let mut digests = BTreeSet::new();
    let mut after: Option<String> = None;
    loop {
        let page = registry.agents(after.as_deref(), PAGE)?;
        let Some(last) = page.last() else {
            return Ok(digests.into_iter().collect());
        };
        after = Some(last.name.clone());
        for agent in &page {
            let versions = registry.versions(&agent.name)?;
            digests.extend(versions.into_iter().map(|version| version.digest));
        }
    }
}
