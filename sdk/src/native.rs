//! Call services in this process, for tests and for the local server.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use crate::host::{CallHost, LocalFuture, Scope};
use crate::native_services::{self, NativeServices};
use crate::{
    AgentError, AgentReply, AgentRequest, Artifact, CallContext, Content, HttpRequest,
    HttpResponse, Level, LlmPiece, LlmRequest, LlmResponse, MemoryEntry, MemoryHit, MemoryQuery,
    MemoryScope, Turn,
};

/// What agents remember, by scope, id of the task or context, and key.
pub(crate) type Memory = BTreeMap<(Scope, String, String), String>;

/// What a call did.
pub(crate) enum Effect {
    Update(Content),
    Artifact {
        artifact: Artifact,
        append: bool,
        last: bool,
    },
    Log {
        level: Level,
        message: String,
        fields: Vec<(String, String)>,
    },
}

/// One call in this process.
pub(crate) struct NativeHost {
    pub(crate) memory: Rc<RefCell<Memory>>,
    /// What this call would change, until it returns.
    changes: RefCell<BTreeMap<(Scope, String, String), Option<String>>>,
    context: CallContext,
    services: Rc<NativeServices>,
    /// Contexts are told apart per agent, so the agent's name is part of it.
    context_key: String,
    history: Vec<Turn>,
    effects: Box<dyn Fn(Effect) -> Result<(), AgentError>>,
}

impl NativeHost {
    pub(crate) fn new(
        memory: Rc<RefCell<Memory>>,
        services: Rc<NativeServices>,
        context: &CallContext,
        history: Vec<Turn>,
        effects: impl Fn(Effect) -> Result<(), AgentError> + 'static,
    ) -> Self {
        NativeHost {
            memory,
            changes: RefCell::default(),
            context: context.clone(),
            services,
            context_key: format!("{}/{}", context.agent, context.context_id),
            history,
            effects: Box::new(effects),
        }
    }

    /// Makes the state changes of a call that has returned.
    pub(crate) fn keep_state(&self) {
        let mut memory = self.memory.borrow_mut();
        for (key, value) in self.changes.take() {
            match value {
                Some(value) => memory.insert(key, value),
                None => memory.remove(&key),
            };
        }
    }

    fn key(&self, scope: Scope, key: &str) -> (Scope, String, String) {
        let id = match scope {
            Scope::Task => &self.context.task_id,
            Scope::Context => &self.context_key,
        };
        (scope, id.clone(), key.to_owned())
    }
}

impl CallHost for NativeHost {
    fn update(&self, content: Content) -> LocalFuture<'_, Result<(), AgentError>> {
        let sent = (self.effects)(Effect::Update(content));
        Box::pin(async move { sent })
    }

    fn artifact(
        &self,
        artifact: Artifact,
        append: bool,
        last: bool,
    ) -> LocalFuture<'_, Result<(), AgentError>> {
        let sent = (self.effects)(Effect::Artifact {
            artifact,
            append,
            last,
        });
        Box::pin(async move { sent })
    }

    fn history(&self, limit: u32) -> LocalFuture<'_, Result<Vec<Turn>, AgentError>> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let skipped = self.history.len().saturating_sub(limit);
        let turns = self.history[skipped..].to_vec();
        Box::pin(async move { Ok(turns) })
    }

    fn state_get(&self, scope: Scope, key: &str) -> Result<Option<String>, AgentError> {
        let key = self.key(scope, key);
        match self.changes.borrow().get(&key) {
            Some(changed) => Ok(changed.clone()),
            None => Ok(self.memory.borrow().get(&key).cloned()),
        }
    }

    fn state_set(&self, scope: Scope, key: &str, value: Option<String>) -> Result<(), AgentError> {
        self.changes
            .borrow_mut()
            .insert(self.key(scope, key), value);
        Ok(())
    }

    fn log(&self, level: Level, message: &str, fields: &[(&str, &str)]) {
        let fields = fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        // A log record that nobody takes any more is no reason to fail the call.
        let _ = (self.effects)(Effect::Log {
            level,
            message: message.to_owned(),
            fields,
        });
    }

    fn sleep(&self, time: Duration) -> LocalFuture<'_, ()> {
        Box::pin(Sleep {
            until: Instant::now() + time,
        })
    }

    fn memory_save(
        &self,
        scope: MemoryScope,
        entry: MemoryEntry,
    ) -> LocalFuture<'_, Result<(), AgentError>> {
        let owner = native_services::owner(scope, &self.context);
        Box::pin(async move { self.services.save(owner, entry) })
    }

    fn memory_load(
        &self,
        scope: MemoryScope,
        key: String,
    ) -> LocalFuture<'_, Result<Option<MemoryEntry>, AgentError>> {
        let owner = native_services::owner(scope, &self.context);
        Box::pin(async move { self.services.load(owner, key) })
    }

    fn memory_delete(
        &self,
        scope: MemoryScope,
        key: String,
    ) -> LocalFuture<'_, Result<bool, AgentError>> {
        let owner = native_services::owner(scope, &self.context);
        Box::pin(async move { self.services.delete(owner, key) })
    }

    fn memory_list(
        &self,
        scope: MemoryScope,
        prefix: String,
        after: Option<String>,
        limit: u32,
    ) -> LocalFuture<'_, Result<Vec<MemoryEntry>, AgentError>> {
        let owner = native_services::owner(scope, &self.context);
        Box::pin(async move { Ok(self.services.list(&owner, &prefix, after.as_deref(), limit)) })
    }

    fn memory_search(
        &self,
        scope: MemoryScope,
        query: MemoryQuery,
    ) -> LocalFuture<'_, Result<Vec<MemoryHit>, AgentError>> {
        let owner = native_services::owner(scope, &self.context);
        Box::pin(async move { Ok(self.services.search(&owner, &query)) })
    }

    fn config(&self, key: &str) -> Option<String> {
        self.services.config.borrow().get(key).cloned()
    }

    fn call_agent(&self, request: AgentRequest) -> LocalFuture<'_, Result<AgentReply, AgentError>> {
        Box::pin(async move { self.services.call_agent(&request) })
    }

    fn http(&self, request: HttpRequest) -> LocalFuture<'_, Result<HttpResponse, AgentError>> {
        Box::pin(async move { self.services.http(&request) })
    }

    fn stream(&self, request: LlmRequest) -> LocalFuture<'_, Result<Vec<LlmPiece>, AgentError>> {
        Box::pin(async move { self.services.stream(&request) })
    }

    fn generate(&self, request: LlmRequest) -> LocalFuture<'_, Result<LlmResponse, AgentError>> {
        Box::pin(async move { self.services.generate(&request) })
    }
}

/// A wait of a native run. It needs no runtime: a thread wakes whoever polls it.
struct Sleep {
    until: Instant,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Poll::Ready(());
        }
        let waker = cx.waker().clone();
        thread::spawn(move || {
            thread::sleep(left);
            waker.wake();
        });
        Poll::Pending
    }
}

/// Puts a chunk where it belongs among the artifacts of a task.
pub(crate) fn merge_artifact(artifacts: &mut Vec<Artifact>, chunk: Artifact, append: bool) {
    let same = artifacts
        .iter_mut()
        .find(|artifact| artifact.id.is_some() && artifact.id == chunk.id);
    match same {
        Some(artifact) if append => artifact.parts.extend(chunk.parts),
        Some(artifact) => *artifact = chunk,
        None => artifacts.push(chunk),
    }
}
