//! One filter, as requests meet it: its instances, its queue, its breaker, and what its failure means.

use super::breaker::Breaker;
use super::edits::{self, Checked, Verdict};
use super::metrics::Metrics;
use super::stored::{Fail, Record};
use dormouse_filters::{AgentResponse, Event, WasmAgentInstance, WasmRuntimeError};
use hyper::StatusCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tracing::{info, warn};

/// Calls that may be in a filter or wait for it. One more counts as its failure, so that a stuck filter keeps
/// nobody else waiting.
const QUEUE: usize = 100;
/// How long a call may take, its turn included.
const PATIENCE: Duration = Duration::from_secs(1);

pub(crate) struct Filter {
    pub(super) record: Record,
    /// None of a filter that did not start.
    pub(super) instances: Vec<Arc<WasmAgentInstance>>,
    next: AtomicUsize,
    queue: Semaphore,
    breaker: Mutex<Breaker>,
    metrics: Arc<Metrics>,
}

/// When a filter is asked. The names are those that filters declare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    RequestHeaders,
    RequestBody,
    ResponseHeaders,
    ResponseBody,
}

impl Phase {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::RequestHeaders => "request_headers",
            Self::RequestBody => "request_body",
            Self::ResponseHeaders => "response_headers",
            Self::ResponseBody => "response_body",
        }
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Failure {
    NotLoaded,
    Open,
    QueueFull,
    Timeout,
    TooLarge,
    Failed(String),
    Invalid(String),
}

impl Failure {
    /// What a request is refused with when the filter fails closed.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::NotLoaded => "filter_not_loaded",
            Self::Open => "filter_breaker_open",
            Self::QueueFull => "filter_queue_full",
            Self::Timeout => "filter_timeout",
            Self::TooLarge => "too_large_to_inspect",
            Self::Failed(_) => "filter_failed",
            Self::Invalid(_) => "filter_answer_invalid",
        }
    }
}

/// What a filter says, or that its failure is no obstacle, or that it is one.
#[derive(Debug)]
pub(super) enum Said {
    Answer { checked: Checked, needs_more: bool },
    Skip,
    Refuse(Failure),
}

impl Filter {
    pub(super) fn new(
        record: Record,
        instances: Vec<Arc<WasmAgentInstance>>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            record,
            instances,
            next: AtomicUsize::new(0),
            queue: Semaphore::new(QUEUE),
            breaker: Mutex::default(),
            metrics,
        }
    }

    /// `agent` is none for what is about no one agent, or one that is not known yet: then it applies.
    pub(super) fn stands_before(&self, agent: Option<&str>) -> bool {
        match (&self.record.settings.agents, agent) {
            (Some(agents), Some(agent)) => agents.iter().any(|one| one == agent),
            _ => true,
        }
    }

    /// Whether it has declared the event. One that did not start is asked at once, to fail.
    pub(super) fn wants(&self, phase: Phase) -> bool {
        match self.instances.first() {
            Some(instance) => instance.wants(phase.as_str()),
            None => phase == Phase::RequestHeaders,
        }
    }

    pub(super) fn max_body(&self) -> u64 {
        let instance = self.instances.first();
        instance.map_or(0, |instance| instance.info().max_body_size)
    }

    pub(super) fn streams(&self) -> bool {
        let instance = self.instances.first();
        instance.is_some_and(|instance| instance.info().supports_streaming)
    }

    /// The instance that sees all of one request.
    pub(super) fn turn(&self) -> usize {
        self.next.fetch_add(1, Ordering::Relaxed) % self.instances.len().max(1)
    }

    pub(super) fn breaker(&self) -> &'static str {
        self.lock().as_str()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks, and says what becomes of the request.
    pub(super) async fn ask(&self, turn: usize, phase: Phase, id: &str, event: Event<'_>) -> Said {
        let started = Instant::now();
        let answered = self.call(turn, event).await;
        self.settle(phase, id, started, answered)
    }

    /// A body that it would not have seen whole.
    pub(super) fn too_large(&self, phase: Phase, id: &str) -> Said {
        self.settle(phase, id, Instant::now(), Err(Failure::TooLarge))
    }

    fn settle(
        &self,
        phase: Phase,
        id: &str,
        started: Instant,
        answered: Result<(AgentResponse, Checked), Failure>,
    ) -> Said {
        let fail = self.record.settings.fail;
        let decision = match (&answered, fail) {
            (Ok((_, checked)), _) => match checked.verdict {
                Verdict::Allow => "allow",
                Verdict::Block { .. } => "block",
                Verdict::Redirect { .. } => "redirect",
            },
            (Err(_), Fail::Open) => "failed_open",
            (Err(_), Fail::Closed) => "failed_closed",
        };
        let name = &*self.record.name;
        let took = started.elapsed();
        self.metrics.observe(name, phase.as_str(), decision, took);
        match answered {
            Ok((response, checked)) => {
                self.audit(phase, id, decision, &response);
                Said::Answer {
                    checked,
                    needs_more: response.needs_more,
                }
            }
            Err(failure) => {
                let phase = phase.as_str();
                warn!(
                    filter = name,
                    phase,
                    correlation_id = id,
                    decision,
                    ?failure,
                    "a filter failed"
                );
                match fail {
                    Fail::Open => Said::Skip,
                    Fail::Closed => Said::Refuse(failure),
                }
            }
        }
    }

    /// Decisions against a request, and whatever the filter has to say of one.
    fn audit(&self, phase: Phase, id: &str, decision: &str, response: &AgentResponse) {
        let audit = &response.audit;
        let is_silent =
            audit.tags.is_empty() && audit.rule_ids.is_empty() && audit.reason_codes.is_empty();
        if decision == "allow" && is_silent {
            return;
        }
        info!(
            decided_by = self.record.name,
            phase = phase.as_str(),
            correlation_id = id,
            decision,
            tags = ?audit.tags,
            rule_ids = ?audit.rule_ids,
            reason_codes = ?audit.reason_codes,
            confidence = audit.confidence,
            "a filter has decided"
        );
    }

    async fn call(
        &self,
        turn: usize,
        event: Event<'_>,
    ) -> Result<(AgentResponse, Checked), Failure> {
        let instance = self.instances.get(turn).ok_or(Failure::NotLoaded)?;
        let _place = self
            .queue
            .try_acquire()
            .map_err(|_full| Failure::QueueFull)?;
        if !self.lock().admits(Instant::now()) {
            return Err(Failure::Open);
        }
        let answered = match tokio::time::timeout(PATIENCE, instance.on(event)).await {
            Err(_) | Ok(Err(WasmRuntimeError::Timeout(_))) => Err(Failure::Timeout),
            Ok(Err(error)) => Err(Failure::Failed(error.to_string())),
            Ok(Ok(response)) => match edits::check(&response) {
                Ok(checked) => Ok((response, checked)),
                Err(wrong) => Err(Failure::Invalid(wrong)),
            },
        };
        self.lock().ended(answered.is_ok(), Instant::now());
        answered
    }
}
