//! The A2A operations, without a wire form.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use a2a::{A2AError, StreamResponse};
use serde_json::Value;

use crate::dispatch::{self, Call};
use crate::native::{Memory, NativeHost};
use crate::native_services::NativeServices;
use crate::{AgentDefinition, CallContext};

use super::convert;
use super::task::{Reader, Task};

/// Tasks kept; beyond it the oldest that has ended is forgotten, or the message refused.
const MAX_TASKS: usize = 1_000;
const DEFAULT_PAGE: i32 = 50;

pub(super) struct Operations {
    agents: Rc<[AgentDefinition]>,
    /// Oldest first: task ids grow with time.
    tasks: RefCell<Vec<Rc<Task>>>,
    memory: Rc<RefCell<Memory>>,
    services: Rc<NativeServices>,
}

impl Operations {
    pub(super) fn new(agents: Vec<AgentDefinition>) -> Self {
        Operations {
            agents: agents.into(),
            tasks: RefCell::default(),
            memory: Rc::default(),
            services: Rc::default(),
        }
    }

    pub(super) fn agent(&self, name: &str) -> Option<&AgentDefinition> {
        self.agents.iter().find(|agent| agent.name == name)
    }

    pub(super) fn only_agent(&self) -> Option<&AgentDefinition> {
        match &*self.agents {
            [agent] => Some(agent),
            _ => None,
        }
    }

    /// Waits until the task ends or waits for its client, unless the request says otherwise.
    pub(super) async fn send(
        &self,
        agent: &str,
        request: a2a::SendMessageRequest,
    ) -> Result<a2a::SendMessageResponse, A2AError> {
        let configuration =
            request
                .configuration
                .clone()
                .unwrap_or(a2a::SendMessageConfiguration {
                    accepted_output_modes: None,
                    task_push_notification_config: None,
                    history_length: None,
                    return_immediately: None,
                });
        let (task, mut reader) = self.start(agent, request)?;
        if configuration.return_immediately == Some(true) {
            task.announce();
        } else {
            while let Some(event) = reader.next().await {
                if let StreamResponse::Message(message) = event {
                    return Ok(a2a::SendMessageResponse::Message(message));
                }
            }
        }
        let shown = shown(&task, configuration.history_length, true)?;
        Ok(a2a::SendMessageResponse::Task(shown))
    }

    pub(super) fn stream(
        &self,
        agent: &str,
        request: a2a::SendMessageRequest,
    ) -> Result<Reader, A2AError> {
        Ok(self.start(agent, request)?.1)
    }

    pub(super) fn get(
        &self,
        agent: &str,
        request: &a2a::GetTaskRequest,
    ) -> Result<a2a::Task, A2AError> {
        shown(
            &*self.find(agent, &request.id)?,
            request.history_length,
            true,
        )
    }

    pub(super) fn list(
        &self,
        agent: &str,
        request: &a2a::ListTasksRequest,
    ) -> Result<a2a::ListTasksResponse, A2AError> {
        let page_size = request.page_size.unwrap_or(DEFAULT_PAGE);
        if !(1..=100).contains(&page_size) {
            return Err(A2AError::invalid_params("pageSize is 1 to 100"));
        }
        let token = request
            .page_token
            .as_deref()
            .filter(|token| !token.is_empty());
        let skipped: usize = match token.map(str::parse).transpose() {
            Ok(skipped) => skipped.unwrap_or(0),
            Err(_) => {
                return Err(A2AError::invalid_params(
                    "pageToken is not from an earlier answer",
                ));
            }
        };
        let mut found: Vec<Rc<Task>> = self.tasks.borrow().iter().map(Rc::clone).collect();
        found.retain(|entry| {
            entry.agent == agent && entry.is_announced() && is_asked_for(&entry.task(), request)
        });
        found.sort_by_key(|entry| std::cmp::Reverse(entry.task().status.timestamp));
        let total = found.len();
        let tasks = found
            .iter()
            .skip(skipped)
            .take(usize::try_from(page_size).unwrap_or_default())
            .map(|task| {
                shown(
                    task,
                    request.history_length,
                    request.include_artifacts == Some(true),
                )
            })
            .collect::<Result<Vec<_>, _>>()?;
        let reached = skipped.saturating_add(tasks.len());
        Ok(a2a::ListTasksResponse {
            page_size,
            total_size: i32::try_from(total).unwrap_or(i32::MAX),
            next_page_token: if reached < total {
                reached.to_string()
            } else {
                String::new()
            },
            tasks,
        })
    }

    pub(super) fn cancel(&self, agent: &str, id: &str) -> Result<a2a::Task, A2AError> {
        let task = self.find(agent, id)?;
        if task.task().status.state.is_terminal() {
            return Err(A2AError::task_not_cancelable(id));
        }
        task.cancel();
        shown(&task, None, true)
    }

    pub(super) fn subscribe(&self, agent: &str, id: &str) -> Result<Reader, A2AError> {
        let task = self.find(agent, id)?;
        if task.task().status.state.is_terminal() {
            return Err(A2AError::unsupported_operation(
                "the task has ended; get it instead",
            ));
        }
        Ok(Reader::of_existing(task, false))
    }

    fn start(
        &self,
        agent: &str,
        request: a2a::SendMessageRequest,
    ) -> Result<(Rc<Task>, Reader), A2AError> {
        let message = request.message;
        check(&message)?;
        let metadata = request.metadata.as_ref().map(convert::json_object);
        let content = convert::content(&message);
        let message_id = message.message_id.clone();
        let reference_task_ids = message.reference_task_ids.clone().unwrap_or_default();
        let (task, reader, slot) = match message.task_id.as_deref().filter(|id| !id.is_empty()) {
            Some(id) => {
                let task = self.find(agent, id)?;
                check_continues(&task, &message)?;
                let slot = task.continue_with(message);
                let reader = Reader::of_existing(Rc::clone(&task), true);
                (task, reader, slot)
            }
            None => {
                let skill = self.choose_skill(agent, &message, request.metadata.as_ref())?;
                self.make_room()?;
                let context_id = message.context_id.clone().filter(|id| !id.is_empty());
                let task = Rc::new(Task::new(agent.to_owned(), skill, context_id, message));
                self.tasks.borrow_mut().push(Rc::clone(&task));
                (Rc::clone(&task), Reader::of_new(task), None)
            }
        };
        let call = Call {
            context: CallContext {
                agent: agent.to_owned(),
                task_id: task.task().id.clone(),
                context_id: task.task().context_id.clone(),
                principal: "anonymous".to_owned(),
                metadata,
                message_id,
                reference_task_ids,
                extensions: Vec::new(),
                deadline: Duration::from_secs(24 * 60 * 60),
            },
            skill: task.skill.clone(),
            slot,
            content,
        };
        self.run(&task, call);
        Ok((task, reader))
    }

    /// Runs a call apart from the client's connection. A panic fails the task, as a trap does.
    fn run(&self, task: &Rc<Task>, call: Call) {
        let history = task
            .task()
            .history
            .iter()
            .flatten()
            .map(convert::turn)
            .collect();
        let effects = Rc::clone(task);
        let host = Rc::new(NativeHost::new(
            Rc::clone(&self.memory),
            Rc::clone(&self.services),
            &call.context,
            history,
            move |effect| effects.apply(effect),
        ));
        let agents = Rc::clone(&self.agents);
        let running = tokio::task::spawn_local(async move {
            let outcome = dispatch::run(&agents, call, Rc::clone(&host) as _).await;
            host.keep_state();
            outcome
        });
        task.runs_as(running.abort_handle());
        let task = Rc::clone(task);
        tokio::task::spawn_local(async move {
            match running.await {
                Ok(outcome) => task.finish(outcome),
                Err(error) if error.is_panic() => task.fail("the agent panicked"),
                Err(_cancelled) => {}
            }
        });
    }

    fn find(&self, agent: &str, id: &str) -> Result<Rc<Task>, A2AError> {
        let tasks = self.tasks.borrow();
        let found = tasks
            .iter()
            .find(|task| task.agent == agent && task.task().id == id && task.is_announced());
        found
            .map(Rc::clone)
            .ok_or_else(|| A2AError::task_not_found(id))
    }

    /// The skill that the message or the request names, or the only one.
    fn choose_skill(
        &self,
        agent: &str,
        message: &a2a::Message,
        request: Option<&HashMap<String, Value>>,
    ) -> Result<String, A2AError> {
        let Some(definition) = self.agent(agent) else {
            return Err(A2AError::invalid_params(format!(
                "there is no agent {agent}"
            )));
        };
        let ids: Vec<&str> = definition.skills().map(|skill| skill.id.as_str()).collect();
        let named = [message.metadata.as_ref(), request]
            .into_iter()
            .flatten()
            .find_map(|metadata| metadata.get("skillId"));
        let chosen = match named {
            Some(named) => named.as_str().filter(|named| ids.contains(named)),
            None if ids.len() == 1 => ids.first().copied(),
            None => None,
        };
        chosen.map(str::to_owned).ok_or_else(|| {
            let known = ids.join(", ");
            A2AError::invalid_params(format!("metadata.skillId must be one of: {known}"))
        })
    }

    fn make_room(&self) -> Result<(), A2AError> {
        let mut tasks = self.tasks.borrow_mut();
        // Those that answered with a message are no tasks, and nobody asks for them.
        tasks.retain(|task| task.is_announced() || Rc::strong_count(task) > 1);
        if tasks.len() < MAX_TASKS {
            return Ok(());
        }
        let ended = tasks
            .iter()
            .position(|task| task.task().status.state.is_terminal());
        let Some(oldest) = ended else {
            return Err(A2AError::internal(format!(
                "{MAX_TASKS} tasks have not ended yet"
            )));
        };
        tasks.remove(oldest);
        Ok(())
    }
}

fn check(message: &a2a::Message) -> Result<(), A2AError> {
    if message.parts.is_empty() {
        return Err(A2AError::invalid_params("message.parts must not be empty"));
    }
    if message.message_id.is_empty() {
        return Err(A2AError::invalid_params(
            "message.messageId must not be empty",
        ));
    }
    if message.role != a2a::Role::User {
        return Err(A2AError::invalid_params("message.role must be ROLE_USER"));
    }
    Ok(())
}

fn check_continues(task: &Task, message: &a2a::Message) -> Result<(), A2AError> {
    let context_id = message.context_id.as_deref().filter(|id| !id.is_empty());
    if context_id.is_some_and(|id| id != task.task().context_id) {
        return Err(A2AError::invalid_params(
            "message.contextId is not the task's",
        ));
    }
    if !task.is_interrupted() {
        return Err(A2AError::unsupported_operation(
            "the task does not wait for a message",
        ));
    }
    Ok(())
}

fn is_asked_for(task: &a2a::Task, request: &a2a::ListTasksRequest) -> bool {
    let context = request.context_id.as_deref().filter(|id| !id.is_empty());
    context.is_none_or(|id| task.context_id == id)
        && request
            .status
            .as_ref()
            .is_none_or(|state| task.status.state == *state)
        && request
            .status_timestamp_after
            .is_none_or(|after| task.status.timestamp.is_some_and(|at| at >= after))
}

/// A task as an answer shows it: at most so much history, artifacts if wanted.
fn shown(task: &Task, history_length: Option<i32>, artifacts: bool) -> Result<a2a::Task, A2AError> {
    let mut shown = task.task().clone();
    if let Some(length) = history_length {
        let length = usize::try_from(length)
            .map_err(|_| A2AError::invalid_params("historyLength must not be negative"))?;
        let history = shown.history.take().unwrap_or_default();
        let skipped = history.len().saturating_sub(length);
        shown.history = (length > 0).then(|| history[skipped..].to_vec());
    }
    if !artifacts {
        shown.artifacts = None;
    }
    Ok(shown)
}
