//! Operations on tasks that never wake a guest.

use super::{Opening, Operations};
use crate::agents::AgentEntry;
use crate::auth::Caller;
use crate::errors::A2aError;
use a2a::ListTasksResponse;
use dormouse_services::TaskFilter;
use dormouse_services::model::{Task, is_interrupted};

/// A ListTasksRequest that has passed validation.
#[derive(Debug)]
pub(crate) struct ListRequest {
    pub(crate) filter: TaskFilter,
    pub(crate) history_length: Option<usize>,
    pub(crate) include_artifacts: bool,
}

impl Operations {
    /// The task of an earlier send, when that send would be answered.
    pub(super) async fn known(
        &self,
        caller: &Caller,
        agent: &AgentEntry,
        id: &str,
        return_immediately: bool,
    ) -> Result<Task, A2aError> {
        let (mut task, _, mut reader) = self
            .engine
            .follow(&caller.scope(&agent.version.agent), id)
            .await?;
        let waits = |task: &Task| {
            let state = &task.status.state;
            !return_immediately && !state.is_terminal() && !is_interrupted(state)
        };
        while waits(&task) && reader.next().await?.is_some() {
            task = self
                .engine
                .get(&caller.scope(&agent.version.agent), id)
                .await?;
        }
        Ok(task)
    }

    pub(super) async fn get(
        &self,
        caller: &Caller,
        agent: &AgentEntry,
        id: &str,
        history_length: Option<usize>,
    ) -> Result<Task, A2aError> {
        let mut task = self
            .engine
            .get(&caller.scope(&agent.version.agent), id)
            .await?;
        trim_history(&mut task, history_length);
        Ok(task)
    }

    pub(super) async fn list(
        &self,
        caller: &Caller,
        agent: &AgentEntry,
        request: ListRequest,
    ) -> Result<ListTasksResponse, A2aError> {
        let page_size = request.filter.page_size;
        let mut page = self
            .engine
            .list(&caller.scope(&agent.version.agent), request.filter)
            .await?;
        for task in &mut page.tasks {
            trim_history(task, request.history_length);
            if !request.include_artifacts {
                task.artifacts = None;
            }
        }
        Ok(ListTasksResponse {
            tasks: page.tasks,
            next_page_token: page.next_page_token,
            page_size: i32::try_from(page_size).unwrap_or(i32::MAX),
            total_size: i32::try_from(page.total).unwrap_or(i32::MAX),
        })
    }

    pub(super) async fn cancel(
        &self,
        caller: &Caller,
        agent: &AgentEntry,
        id: &str,
    ) -> Result<Task, A2aError> {
        Ok(self
            .engine
            .cancel(&caller.scope(&agent.version.agent), id)
            .await?)
    }

    pub(super) async fn subscribe(
        &self,
        caller: &Caller,
        agent: &AgentEntry,
        id: &str,
        after: Option<u64>,
    ) -> Result<Opening, A2aError> {
        let scope = caller.scope(&agent.version.agent);
        if let Some(after) = after {
            let reader = self.engine.follow_from(&scope, id, after).await?;
            return Ok(Opening::rest(reader));
        }
        let (task, seq, reader) = self.engine.subscribe(&scope, id).await?;
        Ok(Opening::task(task, seq, None, reader))
    }
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
