//! One filter, as requests meet it: its instances, its queue, its breaker, and what its failure means.

use super::audit::{audit_of, tell};
use super::breaker::Breaker;
use super::edits::{self, Verdict, Wrong};
use super::metrics::{ALLOW, Meter, Metrics};
use super::question::{ALL_PHASES, PHASES, Phase, Question, Words};
use super::said::{About, Asking, Failure, Finding, Heard, Opinion, Said, Unanswered};
use super::standing::Standing;
use super::stored::{BodyMode, Fail, Record};
use super::waiting::Waiting;
use crate::config::FilterRules;
use dormouse_filters::message::{self, Decision};
use dormouse_filters::{Turn, WasmAgentInstance, WasmRuntimeError, World};
use dormouse_scheduler::Scheduler;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, warn};

/// What all filters of a server share.
pub(super) struct Tools {
    pub(super) rules: FilterRules,
    pub(super) scheduler: Scheduler,
    pub(super) metrics: Arc<Metrics>,
    /// Weak, because it holds filters, which hold this.
    pub(super) standing: Weak<Standing>,
}

pub(crate) struct Filter {
    pub(super) record: Record,
    /// None of a filter that did not start.
    pub(super) instances: Vec<Arc<WasmAgentInstance>>,
    pub(super) waiting: Waiting,
    /// By phase: an answer in one says nothing about another.
    breakers: [Mutex<Breaker>; PHASES],
    /// By phase: whether it has declared the event.
    wants: [bool; PHASES],
    /// By phase.
    meters: [OnceLock<Meter>; PHASES],
    pub(super) tools: Arc<Tools>,
    /// Cancelled when nobody has the filter any more.
    pub(super) unused: CancellationToken,
    _used: DropGuard,
}

static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The number of a thread that has asked filters.
    static THREAD: usize = THREADS.fetch_add(1, Ordering::Relaxed);
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
        let unused = CancellationToken::new();
        Self {
            _used: unused.clone().drop_guard(),
            unused,
            record,
            waiting: Waiting::new(instances.len(), tools.rules.queue),
            instances,
            wants,
            breakers: Default::default(),
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
        self.waiting.free_from(first).unwrap_or(first)
    }

    /// The worst of its phases.
    pub(super) fn breaker(&self) -> &'static str {
        let breakers = ALL_PHASES.map(|phase| *self.lock(phase));
        let worst = breakers.iter().max_by_key(|one| one.badness());
        worst.map_or("", Breaker::as_str)
    }

    pub(super) fn lock(&self, phase: Phase) -> std::sync::MutexGuard<'_, Breaker> {
        let breaker = &self.breakers[phase as usize];
        breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks about HTTP, and says what becomes of the request. `room` is for edits.
    pub(super) async fn ask(
        &self,
        turn: usize,
        about: About<'_>,
        question: Question,
        room: usize,
    ) -> Said<Opinion> {
        let mut question = match self.ask_here(turn, about, question, room).await {
            Ok(said) => return said,
            Err(question) => question,
        };
        // Seldom, so none of this is on the way of others.
        Box::pin(async move {
            let mut last = None;
            loop {
                let heir = match self.heir(last, question.phase(), question.bytes(), about) {
                    ControlFlow::Continue(heir) => heir,
                    ControlFlow::Break(said) => return said,
                };
                match heir.ask_here(turn, about, *question, room).await {
                    Ok(said) => return said,
                    Err(unasked) => question = unasked,
                }
                last = Some(heir);
            }
        })
        .await
    }

    /// Gives the question back if the filter has left.
    async fn ask_here(
        &self,
        turn: usize,
        about: About<'_>,
        question: Question,
        room: usize,
    ) -> Result<Said<Opinion>, Box<Question>> {
        let (started, phase) = (Instant::now(), question.phase());
        let work = |turn: Turn| -> Asking<_, _> {
            Box::pin(async move {
                let answer = turn.on(question.event()).await;
                answer.map_err(|error| Unanswered::of(error, question))
            })
        };
        let check = |response| Ok((edits::check(&response, room)?, response));
        let heard = self
            .call((turn, phase, started), about.client, work, check)
            .await?;
        let said = self.settle(phase, about, heard, |(checked, response)| Finding {
            decision: match checked.verdict {
                Verdict::Allow => ALLOW,
                Verdict::Block { .. } => "block",
                Verdict::Redirect { .. } => "redirect",
            },
            audit: &response.audit,
        });
        Ok(said.map(|(checked, response)| Opinion {
            checked,
            needs_more: response.needs_more,
        }))
    }

    /// Asks about a message or a result. `check` looks at the answer; nothing of a wrong one counts.
    pub(super) async fn ask_about<T>(
        &self,
        turn: usize,
        about: About<'_>,
        words: Words,
        check: impl Fn(message::Answer) -> Result<T, Wrong>,
    ) -> Said<T> {
        let mut words = match self.ask_about_here(turn, about, words, &check).await {
            Ok(said) => return said,
            Err(words) => words,
        };
        // As in `ask`.
        Box::pin(async move {
            let mut last = None;
            loop {
                let heir = match self.heir(last, words.phase, words.content.bytes() as u64, about) {
                    ControlFlow::Continue(heir) => heir,
                    ControlFlow::Break(said) => return said,
                };
                match heir.ask_about_here(turn, about, *words, &check).await {
                    Ok(said) => return said,
                    Err(unasked) => words = unasked,
                }
                last = Some(heir);
            }
        })
        .await
    }

    async fn ask_about_here<T>(
        &self,
        turn: usize,
        about: About<'_>,
        words: Words,
        check: impl Fn(message::Answer) -> Result<T, Wrong>,
    ) -> Result<Said<T>, Box<Words>> {
        let (started, phase) = (Instant::now(), words.phase);
        let apart = words.are_in_a_call();
        let work = |turn: Turn| -> Asking<_, _> {
            let asking: Asking<_, _> = Box::pin(async move {
                let answer = match words.phase {
                    Phase::Message => turn.on_message(&words.subject, &words.content).await,
                    _ => turn.on_result(&words.subject, &words.content).await,
                };
                answer.map_err(|error| Unanswered::of(error, words))
            });
            if !apart {
                return asking;
            }
            // Moves to other threads by itself when it is long, and is dropped with whoever waits for it.
            let (tools, name) = (Arc::clone(&self.tools), self.record.name.clone());
            let asking = tokio::spawn(async move { tools.scheduler.aside(&name, asking).await });
            let task = AbortOnDropHandle::new(asking);
            Box::pin(async move {
                let died = |_died| Err(Unanswered::Failed(WasmRuntimeError::Shutdown));
                task.await.unwrap_or_else(died)
            })
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
        let heard = self
            .call((turn, phase, started), about.client, work, check)
            .await?;
        let said = self.settle(phase, about, heard, |(_, decision, audit)| Finding {
            decision,
            audit,
        });
        Ok(said.map(|(checked, _, _)| checked))
    }

    /// Who is asked in the place of this one, which has left: whoever has its name now. One that was deleted has nobody.
    /// `last` has left, too.
    fn heir<T>(
        &self,
        last: Option<Arc<Self>>,
        phase: Phase,
        bytes: u64,
        about: About<'_>,
    ) -> ControlFlow<Said<T>, Arc<Self>> {
        let Some(standing) = self.tools.standing.upgrade() else {
            return ControlFlow::Break(self.gone(phase, about));
        };
        let Some(heir) = standing.find(&self.record.name) else {
            return ControlFlow::Break(Said::Skip);
        };
        if last.is_some_and(|last| Arc::ptr_eq(&last, &heir)) {
            return ControlFlow::Break(self.gone(phase, about));
        }
        if !heir.is_of(phase.world()) || !heir.wants(phase) {
            return ControlFlow::Break(Said::Skip);
        }
        if bytes > heir.max_body() {
            return ControlFlow::Break(heir.too_large(phase, about));
        }
        ControlFlow::Continue(heir)
    }

    /// There is nobody to ask, because the server ends.
    fn gone<T>(&self, phase: Phase, about: About<'_>) -> Said<T> {
        let failed = Heard::<T> {
            answer: Err(Failure::Failed(WasmRuntimeError::Shutdown)),
            took: Duration::ZERO,
        };
        self.settle(phase, about, failed, |_| unreachable!("there is no answer"))
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
        let is_open = matches!(self.record.settings.fail, Fail::Open);
        let goes_on = |failure: &Failure| is_open && !failure.is_of_the_queue();
        let Heard {
            answer: heard,
            took,
        } = heard;
        let mut span = about.trace.map(|trace| self.span(trace, phase, took));
        let decision = match &heard {
            Ok(answer) => {
                let finding = finding(answer);
                self.audit(phase, about, &finding);
                if let Some(span) = &mut span {
                    tell(span, finding.audit);
                }
                finding.decision
            }
            Err(failure) if goes_on(failure) => "failed_open",
            Err(_) => "failed_closed",
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
            Err(failure @ Failure::ShareFull) => {
                debug!(
                    decided_by = name,
                    phase,
                    correlation_id = about.id,
                    "{failure}"
                );
                Said::Refuse(failure)
            }
            Err(failure) => {
                let id = about.id;
                warn!(
                    filter = name,
                    decided_by = name,
                    phase,
                    correlation_id = id,
                    decision,
                    %failure,
                    "a filter failed"
                );
                if goes_on(&failure) {
                    Said::Skip
                } else {
                    Said::Refuse(failure)
                }
            }
        }
    }
}
