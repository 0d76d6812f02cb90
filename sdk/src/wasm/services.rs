//! Memory and language models through WebAssembly imports.

use super::bindings::dormouse::agent::{llm, memory, types::ServiceError};
use super::skills::Call;
use crate::{
    AgentError, Json, LlmPiece, LlmRequest, LlmResponse, LlmTurn, MemoryEntry, MemoryHit,
    MemoryQuery, MemoryScope, StopReason, TokenUsage, ToolCall,
};

pub(super) async fn save(
    call: &Call,
    scope: MemoryScope,
    entry: MemoryEntry,
) -> Result<(), AgentError> {
    let entry = memory::Entry {
        key: entry.key,
        value: entry.value.into_string(),
        vector: entry.vector,
    };
    Ok(memory::save(call, scope.into(), entry).await?)
}

pub(super) async fn load(
    call: &Call,
    scope: MemoryScope,
    key: String,
) -> Result<Option<MemoryEntry>, AgentError> {
    let entry = memory::load(call, scope.into(), key).await?;
    Ok(entry.map(Into::into))
}

pub(super) async fn delete(
    call: &Call,
    scope: MemoryScope,
    key: String,
) -> Result<bool, AgentError> {
    Ok(memory::delete(call, scope.into(), key).await?)
}

pub(super) async fn list(
    call: &Call,
    scope: MemoryScope,
    prefix: String,
    after: Option<String>,
    limit: u32,
) -> Result<Vec<MemoryEntry>, AgentError> {
    let entries = memory::list(call, scope.into(), prefix, after, limit).await?;
    Ok(entries.into_iter().map(Into::into).collect())
}

pub(super) async fn search(
    call: &Call,
    scope: MemoryScope,
    query: MemoryQuery,
) -> Result<Vec<MemoryHit>, AgentError> {
    let query = memory::Query {
        text: query.text,
        vector: query.vector,
        limit: query.limit,
        min_score: query.min_score,
    };
    let hits = memory::search(call, scope.into(), query).await?;
    let hit = |hit: memory::Hit| MemoryHit {
        entry: hit.entry.into(),
        score: hit.score,
    };
    Ok(hits.into_iter().map(hit).collect())
}

pub(super) async fn generate(call: &Call, request: LlmRequest) -> Result<LlmResponse, AgentError> {
    Ok(llm::generate(call, lowered(request)).await?.into())
}

pub(crate) async fn stream(call: &Call, request: LlmRequest) -> Result<llm::Answer, AgentError> {
    Ok(llm::stream(call, lowered(request)).await?)
}

pub(crate) async fn next(answer: &llm::Answer) -> Result<LlmPiece, AgentError> {
    Ok(match answer.next().await? {
        llm::Piece::Text(text) => LlmPiece::Text(text),
        llm::Piece::Done(response) => LlmPiece::Done(response.into()),
    })
}

fn lowered(request: LlmRequest) -> llm::Request {
    let tools = request.tools.into_iter().map(|tool| llm::Tool {
        name: tool.name,
        description: tool.description,
        parameters: tool.parameters.into_string(),
    });
    llm::Request {
        model: request.model,
        system: request.thread.system,
        turns: request.thread.turns.into_iter().map(turn).collect(),
        tools: tools.collect(),
        schema: request.schema.map(Json::into_string),
        max_tokens: request.max_tokens,
        temperature: request.temperature,
    }
}

impl From<llm::Response> for LlmResponse {
    fn from(response: llm::Response) -> Self {
        let calls = response.said.tool_calls.into_iter();
        LlmResponse {
            text: response.said.text,
            tool_calls: calls
                .map(|call| ToolCall {
                    id: call.id,
                    name: call.name,
                    arguments: Json::from_text_unchecked(call.arguments),
                })
                .collect(),
            stop: match response.stop {
                llm::Stop::End => StopReason::End,
                llm::Stop::Tools => StopReason::Tools,
                llm::Stop::Length => StopReason::Length,
                llm::Stop::Refused => StopReason::Refused,
            },
            model: response.model,
            usage: TokenUsage {
                input: response.input_tokens,
                output: response.output_tokens,
            },
        }
    }
}

fn turn(turn: LlmTurn) -> llm::Turn {
    match turn {
        LlmTurn::User(text) => llm::Turn::User(text),
        LlmTurn::Assistant { text, tool_calls } => {
            let calls = tool_calls.into_iter().map(|call| llm::ToolCall {
                id: call.id,
                name: call.name,
                arguments: call.arguments.into_string(),
            });
            llm::Turn::Assistant(llm::Said {
                text,
                tool_calls: calls.collect(),
            })
        }
        LlmTurn::ToolResults(results) => {
            let results = results.into_iter().map(|result| llm::ToolResult {
                call_id: result.call_id,
                content: result.content,
                is_error: result.is_error,
            });
            llm::Turn::ToolResults(results.collect())
        }
    }
}

impl From<MemoryScope> for memory::Scope {
    fn from(scope: MemoryScope) -> Self {
        match scope {
            MemoryScope::Agent => memory::Scope::Agent,
            MemoryScope::Context => memory::Scope::Context,
            MemoryScope::Principal => memory::Scope::Principal,
        }
    }
}

impl From<memory::Entry> for MemoryEntry {
    fn from(entry: memory::Entry) -> Self {
        MemoryEntry {
            key: entry.key,
            value: Json::from_text_unchecked(entry.value),
            vector: entry.vector,
        }
    }
}

impl From<ServiceError> for AgentError {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Denied(text) => AgentError::Denied(text),
            ServiceError::Limit(text) => AgentError::Limit(text),
            ServiceError::Invalid(text) => AgentError::InvalidInput(text),
            ServiceError::Unavailable(text) => AgentError::Unavailable(text),
        }
    }
}
