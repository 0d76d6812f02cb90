//! Sending a message: a new task or the next turn of one, run detached from the client.

use super::read::trim_history;
use super::{Detached, Opening, Operations, Sent, skill};
use crate::agents::AgentEntry;
use crate::auth::Caller;
use crate::errors::{A2aError, Kind};
use crate::filters::Guard;
use crate::metrics::AgentMetrics;
use crate::trace;
use dormouse_scheduler::{CallFailure, CallRequest, Entry, Place, Scheduler};
use dormouse_services::agents::Chain;
use dormouse_services::model::{FailureClass, Isolation, Message, Metadata, Outcome, Task};
use dormouse_services::push::PushConfig;
use dormouse_services::trace::{Span, Trace};
use dormouse_services::{
    Along, Attempt, Call, NewTask, Once, Room, Settled, TaskError, TaskReader,
};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::debug;

/// A SendMessageRequest that has passed validation.
#[derive(Debug)]
pub(crate) struct SendRequest {
    pub(crate) message: Message,
    pub(crate) metadata: Option<Metadata>,
    /// `None`: the whole history.
    pub(crate) history_length: Option<usize>,
    pub(crate) return_immediately: bool,
    /// Those of the agent's extensions that the client has activated.
    pub(crate) extensions: Vec<String>,
    /// Stands for this message: sent again, it leads to the same task.
    pub(crate) idempotency_key: Option<String>,
    pub(crate) push: Option<PushConfig>,
    /// The agents that wait for the answer; `None` if a client sends.
    pub(crate) chain: Option<Arc<Chain>>,
    /// Where in a trace it is.
    pub(crate) trace: Option<Trace>,
    /// What its JSON takes in memory, if that was not known before it was decoded.
    pub(crate) weight: usize,
    /// For that.
    pub(crate) room: Room,
}

/// A call that runs, and how to learn what comes of it.
struct Started {
    task: Task,
    seq: u64,
    reader: TaskReader,
    /// `None` if the call was begun by an earlier request.
    settling: Option<oneshot::Receiver<Result<Settled, TaskError>>>,
}

/// What a send leads to.
enum Turn {
    Run(Box<Ready>),
    /// The task of the first message with this idempotency key.
    Known(String),
}

/// A call with all it needs to run.
struct Ready {
    request: Box<CallRequest>,
    /// `None`: what was had is not of the version that the task began with.
    place: Option<Place>,
    scheduler: Scheduler,
    metrics: Arc<AgentMetrics>,
    acceptance_grace: Duration,
    span: Option<Span>,
}

impl Operations {
    /// From its first write on a task goes on without its client, and so does all that leads there.
    pub(super) async fn send(
        self: &Arc<Self>,
        caller: &Caller,
        agent: &Arc<AgentEntry>,
        request: Box<SendRequest>,
    ) -> Result<Sent, A2aError> {
        let (operations, caller) = (Arc::clone(self), caller.clone());
        let agent = Arc::clone(agent);
        let sending = async move { operations.send_to_end(&caller, &agent, request).await };
        Detached::new(&self.calls, sending).await
    }

    async fn send_to_end(
        &self,
        caller: &Caller,
        agent: &Arc<AgentEntry>,
        request: Box<SendRequest>,
    ) -> Result<Sent, A2aError> {
        let SendRequest {
            history_length,
            return_immediately,
            ..
        } = *request;
        let mut task = match self.turn(caller, agent, request).await? {
            Turn::Known(id) => Box::pin(self.known(caller, agent, &id, return_immediately)).await?,
            Turn::Run(ready) if return_immediately => {
                let call = Arc::clone(&ready.request.task);
                call.accept().await?;
                let (task, _, _) = call.follow().await?;
                self.calls.spawn(ready.run());
                task
            }
            Turn::Run(ready) => match ready.run().await? {
                Settled::Message(message) => return Ok(Sent::Message(message)),
                Settled::Task(task) => task,
            },
        };
        trim_history(&mut task, history_length);
        Ok(Sent::Task(task))
    }

    /// Returns when it is known whether the answer is a task: the client then sees every event from
    /// the first on, or exactly one message.
    pub(super) async fn stream(
        self: &Arc<Self>,
        caller: &Caller,
        agent: &Arc<AgentEntry>,
        request: Box<SendRequest>,
    ) -> Result<Opening, A2aError> {
        let (operations, caller) = (Arc::clone(self), caller.clone());
        let agent = Arc::clone(agent);
        let starting = async move { operations.start(&caller, &agent, request).await };
        let Started {
            task,
            seq,
            mut reader,
            settling,
        } = Detached::new(&self.calls, starting).await?;
        let Some(settling) = settling else {
            return Ok(Opening::task(task, seq, None, reader));
        };
        tokio::select! {
            biased;
            settled = settling => match settled {
                Ok(Ok(Settled::Message(message))) => Ok(Opening::message(message)),
                Ok(Ok(Settled::Task(_))) => Ok(Opening::task(task, seq, None, reader)),
                Ok(Err(error)) => Err(error.into()),
                Err(died) => Err(A2aError::internal("the call was lost", &died)),
            },
            next = reader.next() => Ok(Opening::task(task, seq, next?, reader)),
        }
    }

    async fn start(
        &self,
        caller: &Caller,
        agent: &Arc<AgentEntry>,
        request: Box<SendRequest>,
    ) -> Result<Started, A2aError> {
        let history_length = request.history_length;
        let ready = match self.turn(caller, agent, request).await? {
            Turn::Run(ready) => ready,
            Turn::Known(id) => {
                let (mut task, seq, reader) = self
                    .engine
                    .follow(&caller.scope(&agent.version.agent), &id)
                    .await?;
                trim_history(&mut task, history_length);
                return Ok(Started {
                    task,
                    seq,
                    reader,
                    settling: None,
                });
            }
        };
        let call = Arc::clone(&ready.request.task);
        // Of a new task this is the state before its first event, which nobody has seen yet.
        let (mut task, seq, reader) = call.follow().await?;
        trim_history(&mut task, history_length);
        let (settled, settling) = oneshot::channel();
        self.calls.spawn(async move {
            // Fails when the stream has begun already: then its reader sees how the call ends.
            let _ = settled.send(ready.run().await);
        });
        Ok(Started {
            task,
            seq,
            reader,
            settling: Some(settling),
        })
    }

    /// Has the filters before the agent look at the message; they look at what it says, too.
    async fn look(
        &self,
        caller: &Caller,
        agent: &AgentEntry,
        request: &mut SendRequest,
    ) -> Result<Option<Arc<Guard>>, A2aError> {
        let scope = caller.scope(&agent.version.agent);
        let skill = match &request.message.task_id {
            None => {
                let metadata = request.metadata.as_ref();
                let skill = skill::choose(&agent.definition, &mut request.message, metadata)?;
                skill.id.clone()
            }
            Some(id) => self.engine.begun_as(&scope, id).await?.skill,
        };
        let (name, client) = (&scope.agent, caller.client());
        let Some(guard) = self.filters.guard(name, client, &skill, request) else {
            return Ok(None);
        };
        guard.enter(request).await?;
        Ok(Some(Arc::new(guard)))
    }

    /// Creates the task or gives it its next turn, unless that was done before.
    async fn turn(
        &self,
        caller: &Caller,
        agent: &Arc<AgentEntry>,
        mut request: Box<SendRequest>,
    ) -> Result<Turn, A2aError> {
        if let Some(config) = &request.push {
            self.check_push(agent, Some(config))?;
        }
        // A key stands for what the client has said, not for what filters leave of it.
        let mut once = None;
        if let Some(key) = &request.idempotency_key {
            let scope = caller.scope(&agent.version.agent);
            let skill = skill::named(&request.message, request.metadata.as_ref());
            match Box::pin(self.engine.once(&scope, key, &request.message, skill)).await? {
                Attempt::Repeated(id) => return Ok(Turn::Known(id)),
                Attempt::First(first) => once = Some(first),
            }
        }
        if agent.version.isolation == Isolation::Context && request.message.context_id.is_none() {
            Box::pin(self.know_context(caller, agent, &mut request.message)).await?;
        }
        if self.engine.has_chooser() {
            Box::pin(self.choose_by_model(caller, agent, &mut request)).await?;
        }
        // Seldom there, so its future is in a box.
        let guard = if self.filters.see_messages() {
            Box::pin(self.look(caller, agent, &mut request)).await?
        } else {
            None
        };
        let mut place = None;
        if request.chain.is_some() {
            // In a box of its own: it is seldom, and every send pays for what this future holds.
            let context = request.message.context_id.as_deref();
            let entering = Box::pin(self.enter_soon(agent, &caller.principal, context));
            place = Some(Box::new(entering.await?));
        }
        let ready = match request.message.task_id.clone() {
            Some(id) => Box::pin(self.resume(caller, agent, &id, request, once, place)).await?,
            None => {
                let ready = self.begin(caller, agent, request, place)?;
                if let Some(once) = once {
                    Box::pin(ready.request.task.accept_once(once)).await?;
                }
                ready
            }
        };
        if let Some(guard) = guard {
            ready.request.task.screen(guard);
        }
        Ok(Turn::Run(Box::new(ready)))
    }

    fn begin(
        &self,
        caller: &Caller,
        agent: &Arc<AgentEntry>,
        request: Box<SendRequest>,
        place: Option<Box<Place>>,
    ) -> Result<Ready, A2aError> {
        let SendRequest {
            mut message,
            metadata,
            extensions,
            push,
            chain,
            trace,
            room,
            ..
        } = *request;
        let definition = &agent.definition;
        let skill = skill::choose(definition, &mut message, metadata.as_ref())?;
        skill::check_modes(definition, skill, &message)?;
        let scope = caller.scope(&agent.version.agent);
        let principal = scope.principal.clone();
        let mut call = self.engine.begin(NewTask {
            scope,
            version: agent.version.number,
            skill: skill.id.clone(),
            message: message.clone(),
        });
        // Before anything is kept: a call that is refused leaves nothing behind.
        let place = match place {
            Some(place) => *place,
            None => self.enter(agent, &principal, Some(&call.context_id()))?,
        };
        call.called_by(chain);
        call.keep_room(room);
        let span =
            trace.map(|trace| trace::of_call(&trace, agent.version.number, &skill.id, &mut call));
        if let Some(config) = push {
            call.notify(config)?;
        }
        Ok(self.with_call(
            agent,
            Some(place),
            span,
            Box::new(CallRequest {
                version: Arc::clone(&agent.version),
                entry: Entry::Request,
                skill: skill.id.clone(),
                message,
                metadata,
                principal,
                extensions,
                task: Arc::new(call),
            }),
        ))
    }

    /// Continues on the version that the task began with.
    async fn resume(
        &self,
        caller: &Caller,
        agent: &Arc<AgentEntry>,
        id: &str,
        request: Box<SendRequest>,
        once: Option<Once>,
        place: Option<Box<Place>>,
    ) -> Result<Ready, A2aError> {
        let SendRequest {
            message,
            metadata,
            extensions,
            push,
            chain,
            trace,
            room,
            ..
        } = *request;
        let scope = caller.scope(&agent.version.agent);
        // Refused before the task has taken its input, it waits as before.
        if message.parts.iter().any(|part| part.media_type.is_some()) {
            Box::pin(self.check_turn(&scope, agent, id, &message)).await?;
        }
        let place = match place {
            Some(place) => *place,
            None => self.enter(agent, &scope.principal, message.context_id.as_deref())?,
        };
        let along = Along { once, push };
        let mut turn = self.engine.resume_with(&scope, id, message, along).await?;
        turn.call.called_by(chain);
        turn.call.keep_room(room);
        let span =
            trace.map(|trace| trace::of_call(&trace, turn.version, &turn.skill, &mut turn.call));
        let mut place = Some(place);
        let version = if turn.version == agent.version.number {
            Some(Arc::clone(agent))
        } else {
            place = None;
            self.version_of(&scope.agent, turn.version).await?
        };
        let Some(version) = version else {
            let sentence = format!(
                "Version {} of {:?}, which this task began with, is no longer deployed.",
                turn.version, scope.agent
            );
            turn.call.fail(FailureClass::Unavailable, &sentence).await?;
            return Err(A2aError::new(Kind::UnsupportedOperation, sentence));
        };
        Ok(self.with_call(
            &version,
            place,
            span,
            Box::new(CallRequest {
                version: Arc::clone(&version.version),
                entry: Entry::Input { slot: turn.slot },
                skill: turn.skill,
                message: turn.message,
                metadata,
                principal: scope.principal,
                extensions,
                task: Arc::new(turn.call),
            }),
        ))
    }

    pub(super) fn enter(
        &self,
        agent: &AgentEntry,
        principal: &str,
        context: Option<&str>,
    ) -> Result<Place, A2aError> {
        let place = self.scheduler.enter(&agent.version, principal, context);
        place.map_err(|none| A2aError::new(Kind::Unavailable, none.to_string()))
    }

    fn with_call(
        &self,
        agent: &Arc<AgentEntry>,
        place: Option<Place>,
        span: Option<Span>,
        request: Box<CallRequest>,
    ) -> Ready {
        Ready {
            request,
            place,
            scheduler: self.scheduler.clone(),
            metrics: Arc::clone(&agent.metrics),
            acceptance_grace: self.acceptance_grace,
            span,
        }
    }
}

impl Ready {
    /// Runs the call and settles its task. The task becomes known at the latest when the grace has
    /// passed; a call that is quicker than that writes once, at its end.
    async fn run(self) -> Result<Settled, TaskError> {
        let Self {
            request,
            place,
            scheduler,
            metrics,
            acceptance_grace,
            mut span,
        } = self;
        let begun = Instant::now();
        let task = Arc::clone(&request.task);
        let usage = Arc::clone(&request.version.usage);
        let mut calling = pin!(async {
            match place {
                Some(place) => scheduler.call_at(place, request).await,
                None => Box::pin(scheduler.call(*request)).await,
            }
        });
        let accepting = async {
            tokio::time::sleep(acceptance_grace).await;
            task.accept().await
        };
        let report = tokio::select! {
            biased;
            report = &mut calling => report,
            accepted = accepting => {
                if let Err(error) = accepted {
                    // A store that does not take the task does not take its outcome either, and
                    // that is what the client is told.
                    debug!(%error, "a running task was not accepted");
                }
                calling.await
            }
        };
        if let Some((temperature, _)) = report.start {
            // What calls used that were answered before they had left their instance is counted with the next one.
            let processor = report.processor + usage.take_late();
            metrics.observe_call(temperature, report.ran, processor);
        }
        trace::report(span.as_mut(), &report, begun.elapsed());
        settle(&task, report.result).await
    }
}

async fn settle(task: &Call, result: Result<Outcome, CallFailure>) -> Result<Settled, TaskError> {
    let (class, sentence) = match result {
        Ok(outcome) => match task.finish(outcome).await {
            Err(error @ TaskError::Limit { .. }) => (FailureClass::Limit, error.to_string()),
            Err(TaskError::Refused { class, sentence }) => (class, sentence),
            settled => return settled,
        },
        Err(failure) => (failure.class, failure.sentence),
    };
    Ok(Settled::Task(task.fail(class, &sentence).await?))
}
