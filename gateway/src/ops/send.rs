//! Sending a message: a new task or the next turn of one, run detached from the client.

use super::{Detached, Operations, Sent, skill};
use crate::agents::AgentEntry;
use crate::errors::{A2aError, Kind};
use crate::metrics::AgentMetrics;
use dormouse_scheduler::{CallFailure, CallRequest, Entry, Scheduler};
use dormouse_services::model::{FailureClass, Message, Metadata, Outcome, StreamResponse, Task};
use dormouse_services::push::PushConfig;
use dormouse_services::{Call, NewTask, Settled, TaskError, TaskEvent, TaskReader};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tracing::debug;

/// A SendMessageRequest that has passed validation.
#[derive(Debug)]
pub(crate) struct SendRequest {
    pub(crate) message: Message,
    pub(crate) metadata: Option<Metadata>,
    /// `None`: the whole history.
    pub(crate) history_length: Option<usize>,
    pub(crate) return_immediately: bool,
    pub(crate) push: Option<PushConfig>,
}

/// How a stream begins (A2A 1.0 §3.1.2): a task and what follows, or exactly one message.
pub(crate) struct Opening {
    pub(crate) first: StreamResponse,
    /// The place in the task's log that `first` shows.
    pub(crate) seq: Option<u64>,
    /// What the reader has said already.
    pub(crate) next: Option<TaskEvent>,
    pub(crate) reader: Option<TaskReader>,
}

impl Opening {
    pub(super) fn task(task: Task, seq: u64, next: Option<TaskEvent>, reader: TaskReader) -> Self {
        let first = StreamResponse::Task(task);
        Self {
            first,
            seq: Some(seq),
            next,
            reader: Some(reader),
        }
    }

    fn message(message: Message) -> Self {
        Self {
            first: StreamResponse::Message(message),
            seq: None,
            next: None,
            reader: None,
        }
    }
}

/// A call with all it needs to run.
struct Ready {
    request: CallRequest,
    scheduler: Scheduler,
    metrics: Arc<AgentMetrics>,
    acceptance_grace: Duration,
}

impl Operations {
    pub(super) async fn send(
        &self,
        agent: &Arc<AgentEntry>,
        request: SendRequest,
    ) -> Result<Sent, A2aError> {
        let SendRequest {
            history_length,
            return_immediately,
            ..
        } = request;
        let ready = self.ready(agent, request).await?;
        let mut task = if return_immediately {
            let call = Arc::clone(&ready.request.task);
            call.accept().await?;
            let (task, _, _) = call.follow().await?;
            self.calls.spawn(ready.run());
            task
        } else {
            match Detached::new(&self.calls, ready.run()).await? {
                Settled::Message(message) => return Ok(Sent::Message(message)),
                Settled::Task(task) => task,
            }
        };
        trim_history(&mut task, history_length);
        Ok(Sent::Task(task))
    }

    /// Returns when it is known whether the answer is a task: the client then sees every event from
    /// the first on, or exactly one message.
    pub(super) async fn stream(
        &self,
        agent: &Arc<AgentEntry>,
        request: SendRequest,
    ) -> Result<Opening, A2aError> {
        let history_length = request.history_length;
        let ready = self.ready(agent, request).await?;
        let call = Arc::clone(&ready.request.task);
        // Of a new task this is the state before its first event, which nobody has seen yet.
        let (mut task, seq, mut reader) = call.follow().await?;
        trim_history(&mut task, history_length);
        let (settled, settling) = oneshot::channel();
        self.calls.spawn(async move {
            // Fails when the stream has begun already: then its reader sees how the call ends.
            let _ = settled.send(ready.run().await);
        });
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

    /// Creates the task or gives it its next turn.
    async fn ready(
        &self,
        agent: &Arc<AgentEntry>,
        request: SendRequest,
    ) -> Result<Ready, A2aError> {
        if let Some(config) = &request.push {
            self.check_push(Some(config))?;
        }
        match request.message.task_id.clone() {
            None => self.begin(agent, request),
            Some(id) => self.resume(agent, &id, request).await,
        }
    }

    fn begin(&self, agent: &Arc<AgentEntry>, request: SendRequest) -> Result<Ready, A2aError> {
        let SendRequest {
            message,
            metadata,
            push,
            ..
        } = request;
        let definition = &agent.definition;
        let skill = skill::choose(definition, &message, metadata.as_ref())?;
        skill::check_modes(definition, skill, &message)?;
        let scope = self.scope(agent);
        let principal = scope.principal.clone();
        let call = self.engine.begin(NewTask {
            scope,
            version: agent.version.number,
            skill: skill.id.clone(),
            message: message.clone(),
        });
        if let Some(config) = push {
            call.notify(config)?;
        }
        Ok(self.with_call(
            agent,
            CallRequest {
                version: Arc::clone(&agent.version),
                entry: Entry::Request,
                skill: skill.id.clone(),
                message,
                metadata,
                principal,
                task: Arc::new(call),
            },
        ))
    }

    /// Continues on the version that the task began with.
    async fn resume(
        &self,
        agent: &Arc<AgentEntry>,
        id: &str,
        request: SendRequest,
    ) -> Result<Ready, A2aError> {
        let SendRequest {
            message,
            metadata,
            push,
            ..
        } = request;
        let scope = self.scope(agent);
        let turn = self.engine.resume_with(&scope, id, message, push).await?;
        let version = if turn.version == agent.version.number {
            Some(Arc::clone(agent))
        } else {
            let found = self.agents.find_version(&scope.agent, turn.version).await;
            found.map_err(|error| A2aError::internal("the registry could not be read", &error))?
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
            CallRequest {
                version: Arc::clone(&version.version),
                entry: Entry::Input { slot: turn.slot },
                skill: turn.skill,
                message: turn.message,
                metadata,
                principal: scope.principal,
                task: Arc::new(turn.call),
            },
        ))
    }

    fn with_call(&self, agent: &Arc<AgentEntry>, request: CallRequest) -> Ready {
        Ready {
            request,
            scheduler: self.scheduler.clone(),
            metrics: Arc::clone(&agent.metrics),
            acceptance_grace: self.acceptance_grace,
        }
    }
}

impl Ready {
    /// Runs the call and settles its task. The task becomes known at the latest when the grace has
    /// passed; a call that is quicker than that writes once, at its end.
    async fn run(self) -> Result<Settled, TaskError> {
        let Self {
            request,
            scheduler,
            metrics,
            acceptance_grace,
        } = self;
        let task = Arc::clone(&request.task);
        let mut calling = pin!(scheduler.call(request));
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
            metrics.observe_call(temperature, report.ran);
        }
        settle(&task, report.result).await
    }
}

async fn settle(task: &Call, result: Result<Outcome, CallFailure>) -> Result<Settled, TaskError> {
    let (class, sentence) = match result {
        Ok(outcome) => match task.finish(outcome).await {
            Err(error @ TaskError::Limit { .. }) => (FailureClass::Limit, error.to_string()),
            settled => return settled,
        },
        Err(failure) => (failure.class, failure.sentence),
    };
    Ok(Settled::Task(task.fail(class, &sentence).await?))
}

/// Keeps the newest turns (A2A 1.0 §3.2.4); none means no `history` at all.
pub(super) fn trim_history(task: &mut Task, length: Option<usize>) {
    let (Some(length), Some(history)) = (length, &mut task.history) else {
        return;
    };
    if length == 0 {
        task.history = None;
    } else {
        history.drain(..history.len().saturating_sub(length));
    }
}
