//! One loaded agent, as it is called. Its calls are one at a time: further ones wait for their turn.

use crate::AgentInfo;
use crate::blocking::Blocking;
use crate::config::{Limits, WasmAgentConfig};
use crate::error::WasmRuntimeError;
use crate::live::{Answer, Call, Engine, Live};
use crate::message::{self, Content, Subject};
use crate::world::Code;
use crate::{AgentResponse, Header, RequestMetadata};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tracing::warn;

/// What an agent is asked about. `id` is the correlation id of the request's metadata; pieces of a body count
/// from 0, and `last` is true once.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    RequestHeaders {
        metadata: &'a RequestMetadata,
        method: &'a str,
        uri: &'a str,
        headers: &'a [Header],
    },
    RequestBody {
        id: &'a str,
        data: &'a [u8],
        index: u32,
        last: bool,
    },
    ResponseHeaders {
        id: &'a str,
        status: u16,
        headers: &'a [Header],
    },
    ResponseBody {
        id: &'a str,
        data: &'a [u8],
        index: u32,
        last: bool,
    },
}

impl<'a> Event<'a> {
    pub(crate) fn correlation_id(&self) -> &'a str {
        match *self {
            Self::RequestHeaders { metadata, .. } => &metadata.correlation_id,
            Self::RequestBody { id, .. }
            | Self::ResponseHeaders { id, .. }
            | Self::ResponseBody { id, .. } => id,
        }
    }

    pub(crate) fn function(&self) -> &'static str {
        match self {
            Self::RequestHeaders { .. } => "on-request-headers",
            Self::RequestBody { .. } => "on-request-body",
            Self::ResponseHeaders { .. } => "on-response-headers",
            Self::ResponseBody { .. } => "on-response-body",
        }
    }
}

/// What an agent is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum World {
    /// `zentinel:agent@2.0.0`: heads and bodies.
    Http,
    /// `dormouse:filter@1.0.0`: messages and results.
    Message,
}

impl World {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "zentinel:agent@2.0.0",
            Self::Message => "dormouse:filter@1.0.0",
        }
    }
}

/// A loaded agent. What fails drops the instance in it, and the next call starts a fresh one with the same
/// configuration.
pub struct WasmAgentInstance {
    id: Arc<str>,
    info: AgentInfo,
    config: String,
    code: Code,
    shared: Arc<Shared>,
    /// Those of the runtime, with this agent's limits.
    settings: WasmAgentConfig,
    /// In a box, because it is taken out and put back for each call.
    live: Arc<Mutex<Option<Box<Live>>>>,
    unloaded: AtomicBool,
    fuel: AtomicU64,
}

/// The right to call an agent next: for who does not want to wait for it, or for so long only. Dropping it lets the next
/// one in.
pub struct Turn {
    agent: Arc<WasmAgentInstance>,
    place: OwnedMutexGuard<Option<Box<Live>>>,
}

/// What all agents of a runtime have in common.
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) settings: WasmAgentConfig,
    pub(crate) blocking: Blocking,
}

impl fmt::Debug for WasmAgentInstance {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = formatter.debug_struct("WasmAgentInstance");
        debug.field("id", &self.id).finish_non_exhaustive()
    }
}

impl WasmAgentInstance {
    pub(crate) async fn load(
        shared: Arc<Shared>,
        code: Code,
        limits: &Limits,
        id: &str,
        config: &str,
    ) -> Result<Self, WasmRuntimeError> {
        let id: Arc<str> = id.into();
        let settings = WasmAgentConfig {
            limits: limits.clone(),
            ..shared.settings.clone()
        };
        let (live, info) = Live::start(&shared.engine, &code, &settings, &id, config).await?;
        Ok(Self {
            id,
            info,
            config: config.to_owned(),
            code,
            shared,
            settings,
            live: Arc::new(Mutex::new(Some(Box::new(live)))),
            unloaded: AtomicBool::new(false),
            fuel: AtomicU64::new(0),
        })
    }

    pub fn agent_id(&self) -> &str {
        &self.id
    }

    /// What `get-info` said when the agent was loaded.
    pub fn info(&self) -> &AgentInfo {
        &self.info
    }

    /// What it may use.
    pub fn limits(&self) -> &Limits {
        &self.settings.limits
    }

    /// Whether the agent has declared that it wants this event.
    pub fn wants(&self, event: &str) -> bool {
        self.info.supported_events.iter().any(|one| one == event)
    }

    /// Instructions of the last call that ended well; 0 when they are not counted.
    pub fn last_fuel_consumed(&self) -> u64 {
        self.fuel.load(Ordering::Relaxed)
    }

    /// Whether a call is in it at this moment, so that another one would wait.
    pub fn is_busy(&self) -> bool {
        self.live.try_lock().is_err()
    }

    /// The next turn, if no call is in the agent.
    pub fn try_turn(self: &Arc<Self>) -> Option<Turn> {
        let place = Arc::clone(&self.live).try_lock_owned().ok()?;
        Some(Turn {
            agent: Arc::clone(self),
            place,
        })
    }

    /// Waits for its turn behind those who do so already, as long as that takes.
    pub async fn turn(self: &Arc<Self>) -> Turn {
        Turn {
            place: Arc::clone(&self.live).lock_owned().await,
            agent: Arc::clone(self),
        }
    }

    /// Which world it is of.
    pub fn world(&self) -> World {
        match self.code {
            Code::Http(_) => World::Http,
            Code::Message(_) => World::Message,
        }
    }

    fn expect(&self, world: World) -> Result<(), WasmRuntimeError> {
        if self.world() == world {
            return Ok(());
        }
        Err(WasmRuntimeError::OtherWorld(self.world().as_str()))
    }

    /// Asks one of the world of messages about what a client says to an agent.
    ///
    /// # Errors
    /// As of [`on`](Self::on).
    pub async fn on_message(
        &self,
        subject: &Subject,
        content: &Content,
    ) -> Result<message::Answer, WasmRuntimeError> {
        self.expect(World::Message)?;
        said(self.call(Call::Message(subject, content)).await)
    }

    /// Asks one of the world of messages about what an agent says.
    ///
    /// # Errors
    /// As of [`on`](Self::on).
    pub async fn on_result(
        &self,
        subject: &Subject,
        content: &Content,
    ) -> Result<message::Answer, WasmRuntimeError> {
        self.expect(World::Message)?;
        said(self.call(Call::Result(subject, content)).await)
    }

    /// Asks one of the world of HTTP.
    ///
    /// # Errors
    /// When the agent is of the other world. After any other error its memory is gone; see [`WasmRuntimeError`].
    pub async fn on(&self, event: Event<'_>) -> Result<AgentResponse, WasmRuntimeError> {
        self.expect(World::Http)?;
        responded(self.call(Call::Event(&event)).await)
    }

    /// # Errors
    /// With what the agent said, or because it failed. Either way its memory is given up.
    pub async fn check_health(&self) -> Result<String, WasmRuntimeError> {
        match self.call(Call::Health).await? {
            Answer::Health(Ok(words)) => Ok(words),
            Answer::Health(Err(words)) => {
                self.replace().await;
                Err(WasmRuntimeError::AgentError(words))
            }
            _ => unreachable!("a health check is answered with health"),
        }
    }

    /// Ends the agent: its `shutdown` is called, once, if it has a live instance. Later calls answer
    /// [`Shutdown`](WasmRuntimeError::Shutdown).
    pub async fn unload(&self) {
        self.unloaded.store(true, Ordering::SeqCst);
        self.replace().await;
    }

    /// Lets the instance go in order. Nobody starts another before it has gone: there may be no place for two.
    async fn replace(&self) {
        let mut place = self.live.lock().await;
        let Some(mut live) = place.take() else {
            return;
        };
        let (engine, settings) = (&self.shared.engine, &self.settings);
        if let Err(error) = live.call(engine, settings, Call::Shutdown).await {
            warn!(filter = &*self.id, %error, "a filter did not shut down cleanly");
        }
    }

    async fn call(&self, call: Call<'_>) -> Result<Answer, WasmRuntimeError> {
        let mut place = self.live.lock().await;
        self.call_in(&mut place, call).await
    }

    async fn call_in(
        &self,
        place: &mut Option<Box<Live>>,
        call: Call<'_>,
    ) -> Result<Answer, WasmRuntimeError> {
        let (engine, settings) = (&self.shared.engine, &self.settings);
        if self.unloaded.load(Ordering::SeqCst) {
            return Err(WasmRuntimeError::Shutdown);
        }
        // Taken out, so that a future that is dropped in the middle leaves nothing behind.
        let mut live = match place.take() {
            Some(live) => live,
            None => {
                let start = Live::start(engine, &self.code, settings, &self.id, &self.config);
                // In a box, because it is seldom, and every call pays for what this future holds.
                Box::new(Box::pin(start).await?.0)
            }
        };
        let (answer, fuel) = live.call(engine, settings, call).await?;
        self.fuel.store(fuel.unwrap_or(0), Ordering::Relaxed);
        *place = Some(live);
        Ok(answer)
    }
}

/// The same, once it is one's turn.
impl Turn {
    /// # Errors
    /// As of [`WasmAgentInstance::on`].
    pub async fn on(mut self, event: Event<'_>) -> Result<AgentResponse, WasmRuntimeError> {
        self.agent.expect(World::Http)?;
        let call = Call::Event(&event);
        responded(self.agent.call_in(&mut self.place, call).await)
    }

    /// # Errors
    /// As of [`WasmAgentInstance::on`].
    pub async fn on_message(
        mut self,
        subject: &Subject,
        content: &Content,
    ) -> Result<message::Answer, WasmRuntimeError> {
        self.agent.expect(World::Message)?;
        let call = Call::Message(subject, content);
        said(self.agent.call_in(&mut self.place, call).await)
    }

    /// # Errors
    /// As of [`WasmAgentInstance::on`].
    pub async fn on_result(
        mut self,
        subject: &Subject,
        content: &Content,
    ) -> Result<message::Answer, WasmRuntimeError> {
        self.agent.expect(World::Message)?;
        let call = Call::Result(subject, content);
        said(self.agent.call_in(&mut self.place, call).await)
    }
}

fn responded(answer: Result<Answer, WasmRuntimeError>) -> Result<AgentResponse, WasmRuntimeError> {
    match answer? {
        Answer::Response(response) => Ok(response),
        _ => unreachable!("an event is answered with a response"),
    }
}

fn said(answer: Result<Answer, WasmRuntimeError>) -> Result<message::Answer, WasmRuntimeError> {
    match answer? {
        Answer::Message(answer) => Ok(answer),
        _ => unreachable!("a message is answered with an answer"),
    }
}

/// The same for those who do not wait asynchronously: the calling thread runs the agent, and is held up for
/// [`max_execution_time`](crate::config::Limits::max_execution_time) at most.
impl WasmAgentInstance {
    /// # Errors
    /// As of [`on`](Self::on).
    pub fn on_request_headers(
        &self,
        metadata: &RequestMetadata,
        method: &str,
        uri: &str,
        headers: &[Header],
    ) -> Result<AgentResponse, WasmRuntimeError> {
        self.wait(Event::RequestHeaders {
            metadata,
            method,
            uri,
            headers,
        })
    }

    /// # Errors
    /// As of [`on`](Self::on).
    pub fn on_request_body(
        &self,
        id: &str,
        data: &[u8],
        index: u32,
        last: bool,
    ) -> Result<AgentResponse, WasmRuntimeError> {
        self.wait(Event::RequestBody {
            id,
            data,
            index,
            last,
        })
    }

    /// # Errors
    /// As of [`on`](Self::on).
    pub fn on_response_headers(
        &self,
        id: &str,
        status: u16,
        headers: &[Header],
    ) -> Result<AgentResponse, WasmRuntimeError> {
        self.wait(Event::ResponseHeaders {
            id,
            status,
            headers,
        })
    }

    /// # Errors
    /// As of [`on`](Self::on).
    pub fn on_response_body(
        &self,
        id: &str,
        data: &[u8],
        index: u32,
        last: bool,
    ) -> Result<AgentResponse, WasmRuntimeError> {
        self.wait(Event::ResponseBody {
            id,
            data,
            index,
            last,
        })
    }

    /// # Errors
    /// As of [`check_health`](Self::check_health).
    pub fn health_check(&self) -> Result<String, WasmRuntimeError> {
        self.shared.blocking.wait(self.check_health())
    }

    /// As of [`unload`](Self::unload).
    pub fn shutdown(&self) {
        self.shared.blocking.wait(self.unload());
    }

    fn wait(&self, event: Event<'_>) -> Result<AgentResponse, WasmRuntimeError> {
        self.shared.blocking.wait(self.on(event))
    }
}
