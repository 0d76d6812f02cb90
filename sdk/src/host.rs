//! What a call may ask of whoever runs it: the platform through WebAssembly imports, or this
//! process when the agent is built natively.

use std::pin::Pin;
use std::time::Duration;

use crate::{
    AgentError, Artifact, Content, Level, LlmRequest, LlmResponse, MemoryEntry, MemoryHit,
    MemoryQuery, MemoryScope, Turn,
};

pub(crate) type LocalFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Whose state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    Task,
    Context,
}

pub(crate) trait CallHost {
    fn update(&self, content: Content) -> LocalFuture<'_, Result<(), AgentError>>;
    fn artifact(
        &self,
        artifact: Artifact,
        append: bool,
        last: bool,
    ) -> LocalFuture<'_, Result<(), AgentError>>;
    fn history(&self, limit: u32) -> LocalFuture<'_, Result<Vec<Turn>, AgentError>>;
    /// A value as JSON text.
    fn state_get(&self, scope: Scope, key: &str) -> Result<Option<String>, AgentError>;
    fn state_set(&self, scope: Scope, key: &str, value: Option<String>) -> Result<(), AgentError>;
    fn log(&self, level: Level, message: &str, fields: &[(&str, &str)]);
    fn sleep(&self, time: Duration) -> LocalFuture<'_, ()>;
    fn memory_save(
        &self,
        scope: MemoryScope,
        entry: MemoryEntry,
    ) -> LocalFuture<'_, Result<(), AgentError>>;
    fn memory_load(
        &self,
        scope: MemoryScope,
        key: String,
    ) -> LocalFuture<'_, Result<Option<MemoryEntry>, AgentError>>;
    fn memory_delete(
        &self,
        scope: MemoryScope,
        key: String,
    ) -> LocalFuture<'_, Result<bool, AgentError>>;
    fn memory_list(
        &self,
        scope: MemoryScope,
        prefix: String,
        after: Option<String>,
        limit: u32,
    ) -> LocalFuture<'_, Result<Vec<MemoryEntry>, AgentError>>;
    fn memory_search(
        &self,
        scope: MemoryScope,
        query: MemoryQuery,
    ) -> LocalFuture<'_, Result<Vec<MemoryHit>, AgentError>>;
    /// What the imports of a call take, for those that are not behind this trait.
    #[cfg(target_family = "wasm")]
    fn handle(&self) -> &crate::wasm::bindings::dormouse::agent::tasks::Call;
    #[cfg(not(target_family = "wasm"))]
    fn config(&self, key: &str) -> Option<String>;
    #[cfg(not(target_family = "wasm"))]
    fn call_agent(
        &self,
        request: crate::AgentRequest,
    ) -> LocalFuture<'_, Result<crate::AgentReply, AgentError>>;
    #[cfg(not(target_family = "wasm"))]
    fn http(
        &self,
        request: crate::HttpRequest,
    ) -> LocalFuture<'_, Result<crate::HttpResponse, AgentError>>;
    /// All pieces of an answer, and how it ends.
    #[cfg(not(target_family = "wasm"))]
    fn stream(
        &self,
        request: LlmRequest,
    ) -> LocalFuture<'_, Result<Vec<crate::LlmPiece>, AgentError>>;
    fn generate(&self, request: LlmRequest) -> LocalFuture<'_, Result<LlmResponse, AgentError>>;
}
