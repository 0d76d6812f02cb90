//! Accept, serve, drain.

use crate::again::OnceMore;
use crate::agents::{Agents, Issuer};
use crate::auth::Auth;
use crate::auth::tokens::now_ms;
use crate::config::GatewayConfig;
use crate::connection::Protocols;
use crate::errors::GatewayError;
use crate::filters::Filters;
use crate::handle::{Face, Shared};
use crate::metrics::Metrics;
use crate::ops::Operations;
use crate::sse::StreamRules;
use crate::tls::Tls;
use dormouse_scheduler::Scheduler;
use dormouse_services::TaskEngine;
use dormouse_services::net::HttpClient;
use dormouse_services::push::{Deliveries, RetryPolicy};
use dormouse_store::Store;
use std::future::{Future, pending};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

/// After a failed accept: most causes (no file descriptors, no memory) pass when connections end.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
/// For interrupted calls to write their last word, and for answers to leave.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// The server, ready to run.
pub struct Gateway {
    shared: Shared,
    deliveries: Option<Deliveries>,
    metrics_listener: Option<TcpListener>,
}

impl Gateway {
    /// Registers its metrics and the store's in `registry`, which `/metrics` shows.
    ///
    /// # Errors
    /// If the registry has metrics of these names already, or the tokens cannot be read.
    pub fn new(
        config: GatewayConfig,
        store: &Store,
        engine: TaskEngine,
        scheduler: Scheduler,
        registry: prometheus::Registry,
    ) -> Result<Self, GatewayError> {
        let filters = Arc::new(Filters::open(
            scheduler.clone(),
            config.filters.clone(),
            Arc::clone(&store.modules),
            Arc::clone(&store.tasks),
            &registry,
        )?);
        let metrics = Arc::new(Metrics::new(
            registry,
            &store.metrics,
            config.labelled_agents,
        )?);
        let agents = Agents::new(
            store,
            scheduler.clone(),
            Arc::clone(&metrics),
            Issuer {
                origin: config.public_url.clone(),
                key: config.card_key.clone(),
                push_notifications: config.push_notifications,
            },
            &config,
        );
        let webhooks = config
            .push_notifications
            .then(|| HttpClient::new(config.webhook_allow.clone()));
        let deliveries = webhooks
            .clone()
            .map(|client| Deliveries::new(&engine, client, RetryPolicy::default()));
        if let Some(deliveries) = &deliveries {
            metrics.register_push(deliveries.metrics())?;
        }
        let operations = Arc::new(Operations {
            webhooks,
            engine,
            scheduler,
            agents: agents.clone(),
            filters: Arc::clone(&filters),
            calls: TaskTracker::new(),
            acceptance_grace: config.acceptance_grace,
        });
        operations.engine.connect(Arc::downgrade(&operations) as _);
        let stream_rules = StreamRules {
            keep_alive: config.stream_keep_alive,
            end: CancellationToken::new(),
        };
        let shared = Shared {
            uploads: Arc::new(Semaphore::new(config.max_uploads)),
            changes: Mutex::new(()),
            filters,
            auth: Auth::new(&config, &*store.tokens)?,
            token_changes: Arc::default(),
            started_ms: now_ms(),
            draining: CancellationToken::new(),
            separate_metrics: false,
            config,
            modules: Arc::clone(&store.modules),
            registry: Arc::clone(&store.registry),
            tasks: Arc::clone(&store.tasks),
            tokens: Arc::clone(&store.tokens),
            operations,
            agents,
            metrics,
            stream_rules,
        };
        Ok(Self {
            shared,
            deliveries,
            metrics_listener: None,
        })
    }

    /// Serves `/metrics` here instead of on the main listener, with `/healthz` and `/readyz`, until
    /// the drain has ended.
    #[must_use]
    pub fn metrics_on(mut self, listener: TcpListener) -> Self {
        self.shared.separate_metrics = true;
        self.metrics_listener = Some(listener);
        self
    }

    /// Serves until `shutdown` resolves, then drains: no new connections, running calls finish within
    /// the grace or are interrupted, streams end, instances are dropped. When it returns, nothing here
    /// holds the store any more.
    pub async fn run(self, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        let shared = Arc::new(self.shared);
        if let Ok(address) = listener.local_addr() {
            shared.auth.site.listens_on(address.ip());
        }
        let public = Server::new(&shared, Face::Public);
        let metrics = Server::new(&shared, Face::Metrics);
        let mut serving_metrics = pin!(async {
            match self.metrics_listener {
                Some(listener) => metrics.accept(listener).await,
                None => pending().await,
            }
        });
        let delivering = self
            .deliveries
            .clone()
            .map(|deliveries| tokio::spawn(async move { deliveries.run().await }));
        tokio::select! {
            () = public.accept(listener) => {}
            () = serving_metrics.as_mut() => {}
            () = shared.filters.keep_healthy() => {}
            () = keep_fresh(shared.config.tls.as_ref()) => {}
            () = shutdown => {}
        }
        // Whoever watches the drain does so here.
        tokio::select! {
            () = drain(&shared, &public) => {}
            () = serving_metrics => {}
        }
        // What is not delivered by now stays in the store, for the next start.
        if let (Some(deliveries), Some(delivering)) = (self.deliveries, delivering) {
            deliveries.stop();
            if let Err(error) = delivering.await {
                warn!(%error, "the deliveries of push notifications ended early");
            }
        }
        metrics.abort.cancel();
        metrics.connections.close();
        metrics.connections.wait().await;
    }
}

async fn keep_fresh(tls: Option<&Arc<Tls>>) {
    match tls {
        Some(tls) => tls.keep_fresh().await,
        None => pending().await,
    }
}

/// The order matters: whoever comes later may still need what ends later.
async fn drain(shared: &Shared, server: &Server) {
    info!("draining");
    shared.draining.cancel();
    let deadline = Instant::now() + shared.config.drain_grace;
    let Operations {
        engine,
        calls,
        scheduler,
        ..
    } = &*shared.operations;
    calls.close();
    server.connections.close();
    if timeout_at(deadline, calls.wait()).await.is_err() {
        warn!(
            calls = calls.len(),
            "interrupting the calls that are still running"
        );
        engine.interrupt_all();
        // An interrupted call is left behind only if its guest cannot be stopped.
        let _ = timeout(LAST_WORDS, calls.wait()).await;
    }
    shared.stream_rules.end.cancel();
    let answered = deadline.max(Instant::now() + LAST_WORDS);
    if timeout_at(answered, server.connections.wait())
        .await
        .is_err()
    {
        server.abort.cancel();
        server.connections.wait().await;
    }
    // Requests that were still arriving may have begun calls meanwhile.
    engine.interrupt_all();
    let _ = timeout(LAST_WORDS, calls.wait()).await;
    shared.filters.close().await;
    scheduler.drain().await;
    info!("drained");
}

/// What serves the connections of one listener.
struct Server {
    shared: Arc<Shared>,
    face: Face,
    protocols: Arc<Protocols>,
    permits: Arc<Semaphore>,
    connections: TaskTracker,
    /// Cuts the connections that outlive the drain.
    abort: CancellationToken,
}

impl Server {
    fn new(shared: &Arc<Shared>, face: Face) -> Self {
        let config = &shared.config;
        let connections = TaskTracker::new();
        Self {
            shared: Arc::clone(shared),
            face,
            protocols: Arc::new(Protocols::new(config, face, &connections)),
            permits: Arc::new(Semaphore::new(config.max_connections)),
            connections,
            abort: CancellationToken::new(),
        }
    }

    /// Accepts until the future is dropped; no error of a connection ends it.
    async fn accept(&self, listener: TcpListener) {
        loop {
            let permits = Arc::clone(&self.permits);
            let permit = permits
                .acquire_owned()
                .await
                .expect("the semaphore is never closed");
            match listener.accept().await {
                Ok((stream, _peer)) => self.serve(stream, permit),
                Err(error) if is_of_one_connection(&error) => {
                    debug!(%error, "a connection ended before it was accepted");
                }
                Err(error) => {
                    warn!(%error, "no connection can be accepted for now");
                    sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
    }

    fn serve(&self, stream: TcpStream, permit: OwnedSemaphorePermit) {
        // Small answers must not wait for the acknowledgement of the one before.
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "the connection is gone already");
            return;
        }
        let (shared, face) = (Arc::clone(&self.shared), self.face);
        let draining = match face {
            Face::Public => shared.draining.clone(),
            Face::Metrics => CancellationToken::new(),
        };
        let (protocols, abort) = (Arc::clone(&self.protocols), self.abort.clone());
        self.connections.spawn(OnceMore::new(async move {
            let _permit = permit;
            tokio::select! {
                () = protocols.serve(stream, shared, face, draining) => {}
                () = abort.cancelled() => debug!("a connection was cut by the drain"),
            }
        }));
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}
