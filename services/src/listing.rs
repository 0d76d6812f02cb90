//! Lists of tasks, in pages.

use crate::engine::{TaskEngine, TaskScope, blocking};
use crate::error::TaskError;
use crate::model::{Task, TaskState};
use crate::record::{millis, state_byte};
use crate::room::Room;
use chrono::{DateTime, Utc};
use dormouse_store::{TaskId, TaskQuery};
use std::sync::Arc;
use uuid::Uuid;

/// What the tasks of a page of a list may take in memory, in bytes, before the page ends.
const LIST_WEIGHT: u64 = 64 << 20;

/// Which tasks to list (A2A 1.0 §3.1.4).
#[derive(Debug, Clone, Default)]
pub struct TaskFilter {
    pub context_id: Option<String>,
    pub state: Option<TaskState>,
    pub status_after: Option<DateTime<Utc>>,
    /// 1 to 100.
    pub page_size: usize,
    pub page_token: Option<String>,
}

/// One page of tasks, newest status first.
#[derive(Debug)]
pub struct Listing {
    pub tasks: Vec<Task>,
    /// Empty at the end.
    pub next_page_token: String,
    /// Tasks that match, on all pages.
    pub total: u64,
}

impl TaskEngine {
    /// The task, what it takes in memory, and the room for it. Only the first of a page waits for others to give up
    /// theirs: the others have some themselves.
    async fn weighed(
        &self,
        scope: &TaskScope,
        id: TaskId,
        is_first: bool,
    ) -> Result<(Task, u64, Room), TaskError> {
        let live = self.0.find(scope, &id.to_string()).await?;
        let weight = live.weight();
        let room = if is_first {
            self.0.rooms.take(weight).await?
        } else {
            self.0.rooms.try_take(weight).ok_or(TaskError::Crowded)?
        };
        Ok((live.snapshot().await?.0, weight, room))
    }

    /// A page of the scope's tasks, without those that cannot be read; the total counts them. A page that has become large
    /// ends before its limit.
    pub async fn list(&self, scope: &TaskScope, filter: TaskFilter) -> Result<Listing, TaskError> {
        let query = TaskQuery {
            agent: scope.agent.clone(),
            owner: scope.principal.clone(),
            context: filter.context_id,
            status: filter.state.as_ref().map(state_byte),
            updated_after_ms: filter.status_after.map(millis),
            after: filter.page_token.as_deref().map(parse_token).transpose()?,
            limit: filter.page_size,
        };
        let inner = Arc::clone(&self.0);
        let page = blocking(move || Ok(inner.store.list(&query)?)).await?;
        let mut tasks = Vec::with_capacity(page.tasks.len());
        let (mut next, mut last, mut weight) = (page.next, None, 0);
        let mut rooms = Vec::new();
        for (id, ms) in page.tasks {
            if weight > LIST_WEIGHT {
                next = last;
                break;
            }
            // A task listed a moment ago can only be missing if its record is gone: skip it. One that cannot be read keeps
            // nobody from the others.
            match self.weighed(scope, id, tasks.is_empty()).await {
                Ok((task, bytes, room)) => {
                    tasks.push(task);
                    weight += bytes;
                    rooms.push(room);
                }
                Err(TaskError::Crowded) if !tasks.is_empty() => {
                    next = last;
                    break;
                }
                Err(TaskError::NotFound(_)) => {}
                Err(error) if error.is_damage() => self.0.pass_over(id, &error),
                Err(error) => return Err(error),
            }
            last = Some((ms, id));
        }
        let next_page_token = next.map_or_else(String::new, |(ms, id)| format!("{ms:x}.{id}"));
        Ok(Listing {
            tasks,
            next_page_token,
            total: page.total,
        })
    }
}

fn parse_token(token: &str) -> Result<(u64, TaskId), TaskError> {
    token
        .split_once('.')
        .and_then(|(ms, id)| Some((u64::from_str_radix(ms, 16).ok()?, Uuid::try_parse(id).ok()?)))
        .ok_or(TaskError::BadPageToken)
}
