//! Every limit of the server, with its reason beside it.

use crate::agents::CardKey;
use crate::tls::Tls;
use dormouse_services::net::AllowList;
use dormouse_services::trace::Tracer;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What happens to requests while there is no token. As soon as there is one, requests need one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithoutTokens {
    /// Everybody is let in: for loopback, and where something else keeps strangers out.
    Open,
    /// Nobody is let in.
    Closed,
}

/// Connections at a time, if nobody says otherwise and the limit of open files allows it.
pub const MAX_CONNECTIONS: usize = 10_000;

/// How the server listens and what one client may use.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// The origin in cards and URLs, without a slash at its end. Never taken from a request's Host,
    /// which any client can choose.
    pub public_url: String,
    /// The agent whose card is served at the root; without one, the only agent there is.
    pub root_agent: Option<String>,
    pub without_tokens: WithoutTokens,
    /// What cards are signed with; without a key they are not signed.
    pub card_key: Option<CardKey>,
    /// What the public listener shows; without it, requests travel in clear text. The metrics' own listener has none.
    pub tls: Option<Arc<Tls>>,
    /// Connections at a time; one more waits in the kernel's queue.
    pub max_connections: usize,
    /// Requests in progress on one HTTP/2 connection. What a client may have at once in a hundred
    /// connections of HTTP/1.1; browsers and gRPC clients wait for a free one.
    pub max_streams_per_connection: u32,
    /// Requests in progress on all HTTP/2 connections, so that they cost no more memory than
    /// [`Self::max_connections`] of HTTP/1.1. One more is refused.
    pub max_streams: usize,
    /// Bytes of a request's head; a larger one is answered 431.
    pub max_header_bytes: usize,
    /// From a connection's readiness to a whole head. Ends idle keep-alive connections too, of HTTP/2
    /// at the latest after twice this time.
    pub header_timeout: Duration,
    /// Between two pieces of a body.
    pub body_frame_timeout: Duration,
    /// From a request's head to the end of its body, and to the start of an upload's compilation.
    pub body_timeout: Duration,
    /// A connection, or a stream of HTTP/2, is ended when bytes have waited this long for a client that
    /// takes none: until then they are held in memory. As long as a client may be silent, and longer
    /// than a phone needs to change its network.
    pub stall_timeout: Duration,
    /// Bytes of an A2A request. Also what one event of a task may have, so that a message that gets
    /// in can be kept.
    pub max_request_bytes: usize,
    /// Bytes of an uploaded module.
    pub max_module_bytes: usize,
    /// Uploads read and compiled at a time: each holds a module in memory. More of them wait.
    pub max_uploads: usize,
    /// A send that has not touched its task for this long makes it known and durable. Shorter ones
    /// cost a single commit, or none when the agent answers with a plain message.
    pub acceptance_grace: Duration,
    /// A comment is sent on a stream after this long without an event, so that proxies keep it open
    /// and a client that is gone is noticed. HTTP/2 connections are pinged as often.
    pub stream_keep_alive: Duration,
    /// Whether clients may ask for push notifications; cards say so.
    pub push_notifications: bool,
    /// Receivers of push notifications that may be reached although they are not on the public internet.
    pub webhook_allow: AllowList,
    /// Calls may finish for this long after the server was asked to stop; then they are interrupted.
    pub drain_grace: Duration,
    /// Agents and pinned versions whose card and definition are kept in memory, 16 KiB each at most or fewer of them.
    pub cached_agents: u64,
    /// Agents with a metrics label of their own; the others share "other".
    pub labelled_agents: usize,
    /// What guests read as their configuration, by agent; what was set at the server goes before it.
    pub agent_config: BTreeMap<String, BTreeMap<String, String>>,
    pub filters: FilterRules,
    /// Where traces begin; the default records none.
    pub tracer: Tracer,
}

/// What holds for every filter.
#[derive(Debug, Clone)]
pub struct FilterRules {
    /// Requests and messages that may wait for a filter which has not seen them yet. One more is refused, so that a stuck
    /// filter keeps nobody else waiting. A client alone may have two thirds of them, and less beside others.
    pub queue: usize,
    /// How long a call waits for its turn. Twice what a filter may take for one.
    pub patience: Duration,
    /// Failures in a row after which a filter is not asked any more.
    pub open_after: u32,
    /// For how long it is not asked. Long enough not to be a burden, and short enough for a person who waits.
    pub open_for: Duration,
    /// Successes in a row, asked for one at a time, after which all is as before.
    pub close_after: u32,
    /// How often filters are asked for their health.
    pub health_interval: Duration,
    /// For how long a filter that was replaced or deleted looks at what began under it, at most. Long enough for nearly
    /// all calls; what lasts longer is a stream, whose events are looked at one by one.
    pub linger: Duration,
}

impl Default for FilterRules {
    fn default() -> Self {
        Self {
            queue: 100,
            patience: Duration::from_secs(1),
            open_after: 5,
            open_for: Duration::from_secs(30),
            close_after: 2,
            health_interval: Duration::from_secs(10),
            linger: Duration::from_secs(10 * 60),
        }
    }
}

impl GatewayConfig {
    /// The defaults, for a server reached at `public_url`.
    pub fn new(public_url: impl Into<String>) -> Self {
        let mut public_url: String = public_url.into();
        public_url.truncate(public_url.trim_end_matches('/').len());
        Self {
            public_url,
            root_agent: None,
            without_tokens: WithoutTokens::Open,
            card_key: None,
            tls: None,
            max_connections: MAX_CONNECTIONS,
            max_streams_per_connection: 100,
            max_streams: 10_000,
            max_header_bytes: 16 << 10,
            header_timeout: Duration::from_secs(30),
            body_frame_timeout: Duration::from_secs(20),
            body_timeout: Duration::from_secs(120),
            stall_timeout: Duration::from_secs(30),
            max_request_bytes: 4 << 20,
            max_module_bytes: 32 << 20,
            max_uploads: 8,
            acceptance_grace: Duration::from_millis(250),
            stream_keep_alive: Duration::from_secs(15),
            push_notifications: true,
            webhook_allow: AllowList::default(),
            drain_grace: Duration::from_secs(20),
            cached_agents: 10_000,
            labelled_agents: 100,
            agent_config: BTreeMap::new(),
            filters: FilterRules::default(),
            tracer: Tracer::default(),
        }
    }
}
