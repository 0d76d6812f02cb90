//! One filter, as requests meet it: its instances, its queue, its breaker, and what its failure means.

use super::breaker::Breaker;
use super::edits::{self, Checked, Verdict, Wrong};
use super::metrics::{ALLOW, Meter, Metrics};
use super::question::{ALL_PHASES, PHASES, Phase, Question, Words};
use super::stored::{BodyMode, Fail, Record};
use crate::config::FilterRules;
use dormouse_filters::message::{self, Decision};
use dormouse_filters::{AuditMetadata, WasmAgentInstance, WasmRuntimeError, World};
use dormouse_scheduler::Scheduler;
use dormouse_services::trace::{Kind as Side, Span, Trace};
use hyper::StatusCode;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::Poll;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

/// What all filters of a server share.
pub(super) struct Tools {
    pub(super) rules: FilterRules,
    pub(super) scheduler: Scheduler,
    pub(super) metrics: Arc<Metrics>,
}

pub(crate) struct Filter {
    pub(super) record: Record,
    /// None of a filter that did not start.
    pub(super) instances: Vec<Arc<WasmAgentInstance>>,
    queue: Semaphore,
    breaker: Mutex<Breaker>,
    /// By phase: whether it has declared the event.
    wants: [bool; PHASES],
    /// By phase.
    meters: [OnceLock<Meter>; PHASES],
    tools: Arc<Tools>,
}

static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The number of a thread that has asked filters.
    static THREAD: usize = THREADS.fetch_add(1, Ordering::Relaxed);
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub(super) enum Failure {
    #[error("it did not start")]
    NotLoaded,
    #[error("its breaker is open")]
    Open,
    #[error("its queue is full")]
    QueueFull,
    #[error("it did not answer in time")]
    Timeout,
    #[error("there is more than it looks at")]
    TooLarge,
    #[error(transparent)]
    Failed(WasmRuntimeError),
    #[error(transparent)]
    Invalid(#[from] Wrong),
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

impl From<WasmRuntimeError> for Failure {
    fn from(error: WasmRuntimeError) -> Self {
        match error {
            WasmRuntimeError::Timeout(_) => Self::Timeout,
            error => Self::Failed(error),
        }
    }
}

/// What a filter says, or that its failure is no obstacle, or that it is one.
#[derive(Debug)]
pub(super) enum Said<T> {
    Answer(T),
    Skip,
    Refuse(Failure),
}

/// An answer that has been looked at.
#[derive(Debug)]
pub(super) struct Opinion {
    pub(super) checked: Checked,
    pub(super) needs_more: bool,
}

/// How one call of a filter has ended, and what that took.
struct Heard<T> {
    answer: Result<T, Failure>,
    took: Duration,
}

/// An instance at work.
type Asking<T> = Pin<Box<dyn Future<Output = Result<T, WasmRuntimeError>> + Send>>;

/// What the log is told of an answer.
struct Finding<'a> {
    decision: &'static str,
    audit: &'a AuditMetadata,
}

/// Of whom the log speaks.
#[derive(Clone, Copy)]
pub(super) struct About<'a> {
    pub(super) id: &'a str,
    pub(super) trace: Option<&'a Trace>,
}

impl Filter {
    pub(super) fn new(
        record: Record,
        instances: Vec<Arc<WasmAgentInstance>>,
        tools: Arc<Tools>,
    ) -> Self {
        // One that did not start is asked at once, to fail.
        let wants = ALL_PHASES.map(|phase| match instances.first() {
            Some(instance) => instance.wants(phase.as_str()),
            None => matches!(phase, Phase::RequestHeaders | Phase::Message),
        });
        Self {
            record,
            instances,
            wants,
            queue: Semaphore::new(tools.rules.queue),
            breaker: Mutex::default(),
            meters: Default::default(),
            tools,
        }
    }

    /// `agent` is none for what is about no one agent, or one that is not known yet: then it applies.
    pub(super) fn stands_before(&self, agent: Option<&str>) -> bool {
        match (&self.record.settings.agents, agent) {
            (Some(agents), Some(agent)) => agents.iter().any(|one| one == agent),
            _ => true,
        }
    }

    /// Whether it is of this world. One that did not start counts to both: calls of agents by agents pass filters of
    /// messages only.
    pub(super) fn is_of(&self, world: World) -> bool {
        let instance = self.instances.first();
        instance.is_none_or(|instance| instance.world() == world)
    }

    pub(super) fn wants(&self, phase: Phase) -> bool {
        self.wants[phase as usize]
    }

    /// Bytes of a body, a message or an artifact.
    pub(super) fn max_body(&self) -> u64 {
        let instance = self.instances.first();
        // One that did not start fails because of that.
        let declared = instance.map_or(u64::MAX, |instance| instance.info().max_body_size);
        let configured = self.record.settings.max_body_bytes;
        configured.map_or(declared, |configured| declared.min(configured))
    }

    pub(super) fn streams(&self) -> bool {
        let instance = self.instances.first();
        instance.is_some_and(|instance| instance.info().supports_streaming)
    }

    pub(super) fn body_mode(&self) -> BodyMode {
        self.record.settings.body
    }

    /// The instance that sees all of one request: that of the thread which it begins on, because its memory is in that
    /// core's cache; the next one when a call is in that; and the first again when all are busy.
    pub(super) fn turn(&self) -> usize {
        let count = self.instances.len().max(1);
        let first = THREAD.with(|number| *number) % count;
        let mut others = (first..first + count).map(|number| number % count);
        let free = |number: &usize| {
            self.instances
                .get(*number)
                .is_some_and(|one| !one.is_busy())
        };
        others.find(free).unwrap_or(first)
    }

    pub(super) fn breaker(&self) -> &'static str {
        self.lock().as_str()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks about HTTP, and says what becomes of the request.
    pub(super) async fn ask(
        &self,
        turn: usize,
        about: About<'_>,
        question: Question,
    ) -> Said<Opinion> {
        let (started, phase) = (Instant::now(), question.phase());
        let work = |instance: Arc<WasmAgentInstance>| -> Asking<_> {
            Box::pin(async move { instance.on(question.event()).await })
        };
        let check = |response| Ok((edits::check(&response)?, response));
        let heard = self.call(turn, started, work, check).await;
        self.settle(phase, about, heard, |(checked, response)| Finding {
            decision: match checked.verdict {
                Verdict::Allow => ALLOW,
                Verdict::Block { .. } => "block",
                Verdict::Redirect { .. } => "redirect",
            },
            audit: &response.audit,
        })
        .map(|(checked, response)| Opinion {
            checked,
            needs_more: response.needs_more,
        })
    }

    /// Asks about a message or a result. `check` looks at the answer; nothing of a wrong one counts.
    pub(super) async fn ask_about<T>(
        &self,
        turn: usize,
        about: About<'_>,
        words: Words,
        check: impl FnOnce(message::Answer) -> Result<T, Wrong>,
    ) -> Said<T> {
        let (started, phase) = (Instant::now(), words.phase);
        let apart = words.are_in_a_call();
        let work = |instance: Arc<WasmAgentInstance>| -> Asking<_> {
            let asking: Asking<_> = Box::pin(async move {
                match words.phase {
                    Phase::Message => instance.on_message(&words.subject, &words.content).await,
                    _ => instance.on_result(&words.subject, &words.content).await,
                }
            });
            if !apart {
                return asking;
            }
            // Moves to other threads by itself when it is long, and is dropped with whoever waits for it.
            let tools = Arc::clone(&self.tools);
            let asking = tokio::spawn(async move { tools.scheduler.aside(asking).await });
            let task = AbortOnDropHandle::new(asking);
            Box::pin(async move { task.await.unwrap_or(Err(WasmRuntimeError::Shutdown)) })
        };
        let check = |mut answer: message::Answer| {
            let decision = match (&answer.decision, answer.redactions.is_empty()) {
                (Decision::Block(_), _) => "block",
                (Decision::Allow, true) => ALLOW,
                (Decision::Allow, false) => "redact",
            };
            let audit = audit_of(&mut answer.audit);
            Ok((check(answer)?, decision, audit))
        };
        let heard = self.call(turn, started, work, check).await;
        self.settle(phase, about, heard, |(_, decision, audit)| Finding {
            decision,
            audit,
        })
        .map(|(checked, _, _)| checked)
    }

    /// What it would not have seen whole.
    pub(super) fn too_large<T>(&self, phase: Phase, about: About<'_>) -> Said<T> {
        let failed = Heard::<T> {
            answer: Err(Failure::TooLarge),
            took: Duration::ZERO,
        };
        self.tools
            .metrics
            .skipped(&self.record.name, phase.as_str());
        self.settle(phase, about, failed, |_| unreachable!("there is no answer"))
    }

    fn settle<T>(
        &self,
        phase: Phase,
        about: About<'_>,
        heard: Heard<T>,
        finding: impl FnOnce(&T) -> Finding<'_>,
    ) -> Said<T> {
        let fail = self.record.settings.fail;
        let Heard {
            answer: heard,
            took,
        } = heard;
        let mut span = about.trace.map(|trace| self.span(trace, phase, took));
        let decision = match (&heard, fail) {
            (Ok(answer), _) => {
                let finding = finding(answer);
                self.audit(phase, about, &finding);
                if let Some(span) = &mut span {
                    tell(span, finding.audit);
                }
                finding.decision
            }
            (Err(_), Fail::Open) => "failed_open",
            (Err(_), Fail::Closed) => "failed_closed",
        };
        let at = phase as usize;
        let (name, phase) = (&*self.record.name, phase.as_str());
        if let Some(span) = &mut span {
            span.set("dormouse.decision", decision);
            if let Err(failure) = &heard {
                span.fail(failure.to_string());
            }
        }
        let meter = &self.meters[at];
        let meter = meter.get_or_init(|| self.tools.metrics.meter(name, phase));
        let labels = [name, phase, decision];
        self.tools.metrics.observe(meter, labels, took);
        match heard {
            Ok(answer) => Said::Answer(answer),
            Err(failure) => {
                let id = about.id;
                warn!(
                    filter = name,
                    phase,
                    correlation_id = id,
                    decision,
                    %failure,
                    "a filter failed"
                );
                match fail {
                    Fail::Open => Said::Skip,
                    Fail::Closed => Said::Refuse(failure),
                }
            }
        }
    }

    /// Of a question that was answered just now.
    fn span(&self, trace: &Trace, phase: Phase, took: Duration) -> Span {
        let mut span = trace.past("filter", Side::Internal, took, took);
        span.set("dormouse.filter", &*self.record.name);
        span.set("dormouse.phase", phase.as_str());
        span
    }

    /// Decisions against a request, and whatever the filter has to say of one.
    fn audit(&self, phase: Phase, about: About<'_>, finding: &Finding<'_>) {
        let (decision, audit) = (finding.decision, finding.audit);
        let is_silent =
            audit.tags.is_empty() && audit.rule_ids.is_empty() && audit.reason_codes.is_empty();
        if decision == ALLOW && is_silent {
            return;
        }
        info!(
            decided_by = self.record.name,
            phase = phase.as_str(),
            correlation_id = about.id,
            traceparent = about.trace.map(Trace::parent),
            decision,
            tags = ?audit.tags,
            rule_ids = ?audit.rule_ids,
            reason_codes = ?audit.reason_codes,
            confidence = audit.confidence,
            "a filter has decided"
        );
    }

    /// One call of one instance, in its turn. Work that is long moves to other threads.
    /// `check` says whether the answer counts: a wrong one is a failure.
    async fn call<T: Send + 'static, U>(
        &self,
        turn: usize,
        started: Instant,
        work: impl FnOnce(Arc<WasmAgentInstance>) -> Asking<T>,
        check: impl FnOnce(T) -> Result<U, Wrong>,
    ) -> Heard<U> {
        let refused = |failure| Heard {
            answer: Err(failure),
            took: Duration::ZERO,
        };
        let Some(instance) = self.instances.get(turn) else {
            return refused(Failure::NotLoaded);
        };
        let Ok(_place) = self.queue.try_acquire() else {
            return refused(Failure::QueueFull);
        };
        let rules = &self.tools.rules;
        if !self.lock().admits(rules, started) {
            return refused(Failure::Open);
        }
        let work = work(Arc::clone(instance));
        let mut work = pin!(self.tools.scheduler.aside(work));
        // Most filters wait for nothing, and need no timer.
        let done = match poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await {
            Poll::Ready(done) => Ok(done),
            Poll::Pending => tokio::time::timeout(rules.patience, work).await,
        };
        let answer = match done {
            Err(_elapsed) => Err(Failure::Timeout),
            Ok(Err(error)) => Err(error.into()),
            Ok(Ok(answer)) => check(answer).map_err(Failure::Invalid),
        };
        let ended = Instant::now();
        self.lock().ended(rules, answer.is_ok(), ended);
        Heard {
            answer,
            took: ended.duration_since(started),
        }
    }
}

impl<T> Said<T> {
    fn map<U>(self, change: impl FnOnce(T) -> U) -> Said<U> {
        match self {
            Self::Answer(answer) => Said::Answer(change(answer)),
            Self::Skip => Said::Skip,
            Self::Refuse(failure) => Said::Refuse(failure),
        }
    }
}

/// The audit record, as the log has it.
fn tell(span: &mut Span, audit: &AuditMetadata) {
    for (key, texts) in [
        ("dormouse.tags", &audit.tags),
        ("dormouse.rule_ids", &audit.rule_ids),
        ("dormouse.reason_codes", &audit.reason_codes),
    ] {
        if !texts.is_empty() {
            span.set(key, &**texts);
        }
    }
    if let Some(confidence) = audit.confidence {
        span.set("dormouse.confidence", f64::from(confidence));
    }
}

fn audit_of(audit: &mut message::Audit) -> AuditMetadata {
    AuditMetadata {
        tags: std::mem::take(&mut audit.tags),
        rule_ids: std::mem::take(&mut audit.rule_ids),
        confidence: audit.confidence,
        reason_codes: std::mem::take(&mut audit.reason_codes),
    }
}
