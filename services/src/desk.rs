//! What a running call may ask for besides its task: memory, and services that its agent was granted.

use crate::agents::{AgentReply, AgentRequest, Chain, Inside, Switchboard};
use crate::call::Call;
use crate::chooser::Chooser;
use crate::engine::Inner;
use crate::error::TaskError;
use crate::grants::{Grants, Service};
use crate::llm::{self, AnswerStream, Llm, Streams};
use crate::memory::Memory;
use crate::trace::{Kind, Span};
use prometheus::{IntCounterVec, Opts};
use std::sync::{Arc, OnceLock, Weak};
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Why a service did not do what a guest asked it for. The texts are for the agent's author.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ServiceError {
    #[error("{0}")]
    Denied(String),
    #[error("{0}")]
    Limit(String),
    #[error("{0}")]
    Invalid(String),
    #[error("{0}")]
    Unavailable(String),
}

impl From<TaskError> for ServiceError {
    /// The inner causes go to the log.
    fn from(error: TaskError) -> Self {
        let cause = &error as &dyn std::error::Error;
        tracing::error!(error = cause, "a service failed");
        Self::Unavailable(error.to_string())
    }
}

/// The services that the platform has.
pub struct Services {
    pub llm: Option<Llm>,
    /// `None`: skills are chosen by the words of messages.
    pub chooser: Option<Chooser>,
    /// What leads calls of agents by agents; it holds the engine that holds this.
    pub agents: OnceLock<Weak<dyn Switchboard>>,
    /// `dormouse_agent_calls_total`, by `outcome`, and `dormouse_denied_total`, by `service`; whoever serves metrics
    /// registers them.
    pub agent_calls: IntCounterVec,
    pub denied: IntCounterVec,
}

impl Default for Services {
    fn default() -> Self {
        let options = Opts::new(
            "dormouse_denied_total",
            "Calls of services that the agent had no right to",
        );
        let denied =
            IntCounterVec::new(options, &["service"]).expect("the name is constant and valid");
        for kind in Service::KINDS {
            denied.with_label_values(&[kind]);
        }
        let options = Opts::new(
            "dormouse_agent_calls_total",
            "Calls of agents by agents, by what came of them",
        );
        let agent_calls =
            IntCounterVec::new(options, &["outcome"]).expect("the name is constant and valid");
        for outcome in ["ok", "refused"] {
            agent_calls.with_label_values(&[outcome]);
        }
        Self {
            llm: None,
            chooser: None,
            agents: OnceLock::new(),
            agent_calls,
            denied,
        }
    }
}

/// Where a running call asks for services.
pub struct Desk {
    call: Arc<Call>,
    grants: Grants,
    requests: Arc<Semaphore>,
    streams: Arc<Streams>,
}

/// Requests of one call that may be at models and other agents at a time: each is held in memory.
const MAX_REQUESTS: usize = 16;

/// Whose call it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asker {
    pub(crate) agent: String,
    pub(crate) principal: String,
    pub(crate) context: String,
}

impl Desk {
    pub fn new(call: Arc<Call>, grants: Grants) -> Self {
        Self {
            call,
            grants,
            requests: Arc::new(Semaphore::new(MAX_REQUESTS)),
            streams: Arc::default(),
        }
    }

    pub fn call(&self) -> &Arc<Call> {
        &self.call
    }

    pub fn memory(&self) -> Memory {
        let trace = self.call.trace().cloned();
        let embeds = self.grants.has(&Service::Llm);
        let turns = embeds.then(|| Arc::clone(&self.requests));
        Memory::new(Arc::clone(self.inner()), self.call.asker(), trace, turns)
    }

    /// Has a language model answer.
    ///
    /// # Errors
    /// Denied without the grant, Unavailable if the platform has no model, Limit with too many at a time; else what [`Llm::generate`] says.
    pub async fn generate(&self, request: llm::Request) -> Result<llm::Response, ServiceError> {
        self.allows(&Service::Llm)?;
        let llm = llm_of(self.inner())?;
        let _turn = self.turn()?;
        let asker = self.call.asker();
        let mut span = self.span("model");
        let answered = llm.generate(&asker, request).await;
        note(&mut span, &answered);
        let answered = answered?;
        self.inner().keep_budgets(llm, &asker).await;
        Ok(answered)
    }

    /// Has a language model answer, and returns when it begins to. The answer ends with this desk at the latest.
    ///
    /// # Errors
    /// Those of [`Desk::generate`].
    pub async fn stream(&self, request: llm::Request) -> Result<AnswerStream, ServiceError> {
        self.allows(&Service::Llm)?;
        llm_of(self.inner())?;
        let turn = self.turn()?;
        let (inner, asker) = (Arc::clone(self.inner()), self.call.asker());
        let mut span = self.span("model");
        let answer = async move |to: tokio::sync::mpsc::Sender<_>| {
            let Ok(llm) = llm_of(&inner) else { return };
            let answered = llm.stream(&asker, request, &to).await;
            inner.keep_budgets(llm, &asker).await;
            if let Some(answered) = answered {
                note(&mut span, &answered);
                drop(span);
                let _gone = to.send(answered.map(llm::Piece::Done)).await;
            }
        };
        self.streams.start(turn, answer).await
    }

    /// A place among the requests of this call.
    fn turn(&self) -> Result<OwnedSemaphorePermit, ServiceError> {
        Arc::clone(&self.requests).try_acquire_owned().map_err(|_| {
            ServiceError::Limit(format!(
                "a call has at most {MAX_REQUESTS} requests at models and agents at a time"
            ))
        })
    }

    /// Calls another agent for the same principal, and waits until it has answered.
    ///
    /// # Errors
    /// Denied without a grant for that agent. Limit if it waits for this call already, too many wait for one
    /// another, or the call has too many requests. Unavailable if no instance is free for it.
    pub async fn call_agent(&self, request: AgentRequest) -> Result<AgentReply, ServiceError> {
        self.allows(&Service::Agent(request.agent.clone()))?;
        let mut span = self.span("agent");
        if let Some(span) = &mut span {
            span.set("dormouse.callee", &*request.agent);
        }
        let called = self.call_granted(request, span.as_ref()).await;
        note(&mut span, &called);
        let outcome = if called.is_ok() { "ok" } else { "refused" };
        let calls = &self.inner().services.agent_calls;
        calls.with_label_values(&[outcome]).inc();
        called
    }

    async fn call_granted(
        &self,
        request: AgentRequest,
        span: Option<&Span>,
    ) -> Result<AgentReply, ServiceError> {
        let (asker, task) = (self.call.asker(), self.call.task_id());
        let chain = Chain::extend(self.call.chain(), &asker.agent, &task, &request.agent)?;
        let agents = self.inner().services.agents.get();
        let Some(agents) = agents.and_then(Weak::upgrade) else {
            let sentence = "this platform does not lead calls between agents";
            return Err(ServiceError::Unavailable(sentence.to_owned()));
        };
        let turn = self.turn()?;
        let trace = span.map(|span| span.trace().clone());
        let inside = Inside::new(asker, task, chain, trace, turn);
        agents.send(inside, request).await
    }

    /// Whether its agent was granted a service. To be asked before anything is made of what a guest wants from it.
    ///
    /// # Errors
    /// Denied without the grant.
    pub fn allows(&self, service: &Service) -> Result<(), ServiceError> {
        if self.grants.has(service) {
            return Ok(());
        }
        let denied = &self.inner().services.denied;
        denied.with_label_values(&[service.kind()]).inc();
        Err(ServiceError::Denied(format!(
            "the agent has no grant for {service}: its definition must say that it needs it (with_grant), and its \
             operator must grant it (dormouse deploy --grant {service})"
        )))
    }

    /// Something that the call waits for.
    fn span(&self, name: &'static str) -> Option<Span> {
        let trace = self.call.trace();
        trace.map(|trace| trace.span(name, Kind::Client))
    }

    fn inner(&self) -> &Arc<Inner> {
        self.call.inner()
    }
}

/// What came of it.
fn note<T>(span: &mut Option<Span>, result: &Result<T, ServiceError>) {
    if let (Some(span), Err(error)) = (span, result) {
        span.fail(error.to_string());
    }
}

/// # Errors
/// Unavailable if the platform has no model.
fn llm_of(inner: &Inner) -> Result<&Llm, ServiceError> {
    let llm = inner.services.llm.as_ref().filter(|llm| llm.has_models());
    llm.ok_or_else(|| {
        ServiceError::Unavailable(
            "this platform has no language model; its operator configures one (serve --config, [llm.NAME])"
                .to_owned(),
        )
    })
}

impl Inner {
    /// The answer is paid for, so it counts after a restart, too. It is not withheld if that cannot be kept.
    pub(crate) async fn keep_budgets(&self, llm: &Llm, asker: &Asker) {
        let mut kept = None;
        // Queued in the order of what is counted.
        llm.keep_used(asker, |records| {
            let (told, done) = oneshot::channel();
            let tell = Box::new(move |result| drop(told.send(result)));
            self.store.keep(records, tell);
            kept = Some(done);
        });
        let Some(done) = kept else { return };
        if let Ok(Err(error)) = done.await {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "what was used of a budget could not be kept");
        }
    }
}
