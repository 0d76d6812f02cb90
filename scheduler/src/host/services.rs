//! The host side of memory and language models: between the guest's types and the services'.

use super::wit::dormouse::agent::{llm, memory, types::ServiceError as WitError};
use super::{GuestState, HostCall};
use crate::aside::aside;
use dormouse_services::memory::{Entry, Hit, MemoryScope, Query};
use dormouse_services::weight::are_too_heavy;
use dormouse_services::{Desk, Service, ServiceError, llm as service};
use serde_json::Value;
use std::ops::Deref;
use std::sync::Arc;
use wasmtime::component::{Accessor, HasSelf, Resource};

impl memory::Host for GuestState {}

/// What a guest is given: an outer error would be a trap.
pub(super) type Served<T> = wasmtime::Result<Result<T, WitError>>;

/// The desk of a call while something is asked there, and what says that it is.
pub(super) struct Asking {
    desk: Arc<Desk>,
    _open: Arc<()>,
}

impl Deref for Asking {
    type Target = Desk;

    fn deref(&self) -> &Desk {
        &self.desk
    }
}

/// To be kept until the answer is there.
pub(super) fn desk<T: Send>(
    accessor: &Accessor<T, HasSelf<GuestState>>,
    handle: &Resource<HostCall>,
) -> wasmtime::Result<Asking> {
    accessor.with(|mut access| {
        let state = access.get();
        Ok(Asking {
            desk: Arc::clone(&state.table.get(handle)?.desk),
            _open: Arc::clone(&state.open),
        })
    })
}

impl<T: Send> memory::HostWithStore<T> for HasSelf<GuestState> {
    async fn save(
        accessor: &Accessor<T, Self>,
        handle: Resource<HostCall>,
        scope: memory::Scope,
        entry: memory::Entry,
    ) -> Served<()> {
        let desk = desk(accessor, &handle)?;
        let memory = desk.memory();
        let entry = Entry {
            key: entry.key,
            value: entry.value,
            vector: entry.vector,
        };
        Ok(memory.save(scope.into(), entry).await.map_err(refusal))
    }

    async fn load(
        accessor: &Accessor<T, Self>,
        handle: Resource<HostCall>,
        scope: memory::Scope,
        key: String,
    ) -> Served<Option<memory::Entry>> {
        let desk = desk(accessor, &handle)?;
        let memory = desk.memory();
        let loaded = memory.load(scope.into(), &key).await;
        Ok(loaded.map(|entry| entry.map(Into::into)).map_err(refusal))
    }

    async fn delete(
        accessor: &Accessor<T, Self>,
        handle: Resource<HostCall>,
        scope: memory::Scope,
        key: String,
    ) -> Served<bool> {
        let desk = desk(accessor, &handle)?;
        let memory = desk.memory();
        Ok(memory.delete(scope.into(), &key).await.map_err(refusal))
    }

    async fn list(
        accessor: &Accessor<T, Self>,
        handle: Resource<HostCall>,
        scope: memory::Scope,
        prefix: String,
        after: Option<String>,
        limit: u32,
    ) -> Served<Vec<memory::Entry>> {
        let desk = desk(accessor, &handle)?;
        let memory = desk.memory();
        let listed = memory.list(scope.into(), &prefix, after.as_deref(), limit as usize);
        let entries = listed.await.map_err(refusal);
        Ok(entries.map(|entries| entries.into_iter().map(Into::into).collect()))
    }

    async fn search(
        accessor: &Accessor<T, Self>,
        handle: Resource<HostCall>,
        scope: memory::Scope,
        query: memory::Query,
    ) -> Served<Vec<memory::Hit>> {
        let desk = desk(accessor, &handle)?;
        let memory = desk.memory();
        let query = Query {
            text: query.text,
            vector: query.vector,
            limit: query.limit as usize,
            min_score: query.min_score,
        };
        let hits = memory.search(scope.into(), query).await.map_err(refusal);
        let hit = |Hit { entry, score }| memory::Hit {
            entry: entry.into(),
            score,
        };
        Ok(hits.map(|hits| hits.into_iter().map(hit).collect()))
    }
}

impl From<memory::Scope> for MemoryScope {
    fn from(scope: memory::Scope) -> Self {
        match scope {
            memory::Scope::Agent => Self::Agent,
            memory::Scope::Context => Self::Context,
            memory::Scope::Principal => Self::Principal,
        }
    }
}

impl From<Entry> for memory::Entry {
    fn from(entry: Entry) -> Self {
        Self {
            key: entry.key,
            value: entry.value,
            vector: entry.vector,
        }
    }
}

impl llm::Host for GuestState {}

impl<T: Send> llm::HostWithStore<T> for HasSelf<GuestState> {
    async fn generate(
        accessor: &Accessor<T, Self>,
        handle: Resource<HostCall>,
        request: llm::Request,
    ) -> Served<llm::Response> {
        let desk = desk(accessor, &handle)?;
        let request = match granted(&desk, request).await {
            Ok(request) => request,
            Err(refused) => return Ok(Err(refusal(refused))),
        };
        let answered = desk.generate(request).await;
        Ok(answered.map(Into::into).map_err(refusal))
    }

    async fn stream(
        accessor: &Accessor<T, Self>,
        handle: Resource<HostCall>,
        request: llm::Request,
    ) -> Served<Resource<HostAnswer>> {
        let desk = desk(accessor, &handle)?;
        let request = match granted(&desk, request).await {
            Ok(request) => request,
            Err(refused) => return Ok(Err(refusal(refused))),
        };
        let begun = desk.stream(request).await;
        // Its end is the end of the call, although the guest may keep the handle.
        drop(desk);
        match begun {
            Ok(stream) => {
                let answer = HostAnswer(Arc::new(stream));
                accessor.with(|mut access| Ok(Ok(access.get().table.push(answer)?)))
            }
            Err(refused) => Ok(Err(refusal(refused))),
        }
    }
}

/// What a guest holds as `llm.answer`.
#[expect(
    unreachable_pub,
    reason = "the generated bindings re-export it as `pub`"
)]
pub struct HostAnswer(Arc<service::AnswerStream>);

impl llm::HostAnswer for GuestState {
    fn drop(&mut self, handle: Resource<HostAnswer>) -> wasmtime::Result<()> {
        self.table.delete(handle)?;
        Ok(())
    }
}

impl<T: Send> llm::HostAnswerWithStore<T> for HasSelf<GuestState> {
    async fn next(
        accessor: &Accessor<T, Self>,
        handle: Resource<HostAnswer>,
    ) -> Served<llm::Piece> {
        let (answer, _open) = accessor.with(|mut access| {
            let state = access.get();
            let answer = state.table.get(&handle);
            answer.map(|answer| (Arc::clone(&answer.0), Arc::clone(&state.open)))
        })?;
        let piece = answer.next().await.map_err(refusal);
        Ok(piece.map(|piece| match piece {
            service::Piece::Text(text) => llm::Piece::Text(text),
            service::Piece::Done(response) => llm::Piece::Done(response.into()),
        }))
    }
}

/// What a guest asks a model, if it may, and if it is not too much.
async fn granted(desk: &Desk, request: llm::Request) -> Result<service::Request, ServiceError> {
    desk.allows(&Service::Llm)?;
    let bytes = measured(&request)?;
    let lifted = aside(bytes, move || lifted(request)).await;
    lifted.map_err(ServiceError::Invalid)
}

/// The bytes of the JSON in it.
///
/// # Errors
/// Limit if it is too much to be parsed.
fn measured(request: &llm::Request) -> Result<usize, ServiceError> {
    let json = json_of(request);
    let bytes = json.clone().map(str::len).sum();
    service::check_size(bytes)?;
    if are_too_heavy(json.map(str::as_bytes)) {
        let sentence = "the JSON of a request to a model has at most 64 MiB in memory";
        return Err(ServiceError::Limit(sentence.to_owned()));
    }
    Ok(bytes)
}

/// The JSON in it.
fn json_of(request: &llm::Request) -> impl Iterator<Item = &str> + Clone {
    let calls = request.turns.iter().flat_map(|turn| match turn {
        llm::Turn::Assistant(said) => &*said.tool_calls,
        llm::Turn::User(_) | llm::Turn::ToolResults(_) => &[],
    });
    let tools = request.tools.iter().map(|tool| &*tool.parameters);
    let calls = calls.map(|call| &*call.arguments);
    tools.chain(calls).chain(request.schema.as_deref())
}

fn lifted(request: llm::Request) -> Result<service::Request, String> {
    let tools = request.tools.into_iter().map(|tool| {
        Ok(service::Tool {
            name: tool.name,
            description: tool.description,
            parameters: json("the parameters of a tool", &tool.parameters)?,
        })
    });
    let schema = request.schema.as_deref();
    Ok(service::Request {
        model: request.model,
        system: request.system,
        turns: request
            .turns
            .into_iter()
            .map(turn)
            .collect::<Result<_, _>>()?,
        tools: tools.collect::<Result<_, String>>()?,
        schema: schema.map(|text| json("the schema", text)).transpose()?,
        max_tokens: request.max_tokens,
        temperature: request.temperature,
    })
}

fn turn(turn: llm::Turn) -> Result<service::Turn, String> {
    Ok(match turn {
        llm::Turn::User(text) => service::Turn::User(text),
        llm::Turn::Assistant(said) => {
            let calls = said.tool_calls.into_iter().map(|call| {
                Ok(service::ToolCall {
                    id: call.id,
                    name: call.name,
                    arguments: json("the arguments of a tool call", &call.arguments)?,
                })
            });
            service::Turn::Assistant(service::Said {
                text: said.text,
                tool_calls: calls.collect::<Result<_, String>>()?,
            })
        }
        llm::Turn::ToolResults(results) => {
            let results = results.into_iter().map(|result| service::ToolResult {
                call_id: result.call_id,
                content: result.content,
                is_error: result.is_error,
            });
            service::Turn::ToolResults(results.collect())
        }
    })
}

fn json(what: &str, text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("{what} is not JSON: {error}"))
}

impl From<service::Response> for llm::Response {
    fn from(response: service::Response) -> Self {
        let calls = response.said.tool_calls.into_iter();
        Self {
            said: llm::Said {
                text: response.said.text,
                tool_calls: calls
                    .map(|call| llm::ToolCall {
                        id: call.id,
                        name: call.name,
                        arguments: call.arguments.to_string(),
                    })
                    .collect(),
            },
            stop: match response.stop {
                service::Stop::End => llm::Stop::End,
                service::Stop::Tools => llm::Stop::Tools,
                service::Stop::Length => llm::Stop::Length,
                service::Stop::Refused => llm::Stop::Refused,
            },
            model: response.model,
            input_tokens: response.input_tokens,
            output_tokens: response.output_tokens,
        }
    }
}

pub(super) fn refusal(error: ServiceError) -> WitError {
    match error {
        ServiceError::Denied(text) => WitError::Denied(text),
        ServiceError::Limit(text) => WitError::Limit(text),
        ServiceError::Invalid(text) => WitError::Invalid(text),
        ServiceError::Unavailable(text) => WitError::Unavailable(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(parameters: &str, arguments: &str, schema: &str) -> llm::Request {
        let tool = llm::Tool {
            name: "a-tool".to_owned(),
            description: String::new(),
            parameters: parameters.to_owned(),
        };
        let call = llm::ToolCall {
            id: String::new(),
            name: "a-tool".to_owned(),
            arguments: arguments.to_owned(),
        };
        let said = llm::Said {
            text: String::new(),
            tool_calls: vec![call],
        };
        llm::Request {
            model: None,
            system: String::new(),
            turns: vec![llm::Turn::Assistant(said)],
            tools: vec![tool],
            schema: Some(schema.to_owned()),
            max_tokens: None,
            temperature: None,
        }
    }

    #[test]
    fn all_json_of_a_request_to_a_model_is_measured_before_it_is_parsed() {
        assert_eq!(measured(&request("{}", "{ }", "[[]]")), Ok(9));
        let third = format!("[{}0]", r#"{"a":0},"#.repeat(40_000));
        assert!(measured(&request(&third, &third, "{}")).is_ok());
        for heavy in [
            request(&third, &third, &third),
            request(&" ".repeat(5 << 20), "{}", "{}"),
            request("{}", &" ".repeat(5 << 20), "{}"),
            request("{}", "{}", &" ".repeat(5 << 20)),
        ] {
            let refused = measured(&heavy);
            assert!(
                matches!(refused, Err(ServiceError::Limit(_))),
                "{refused:?}"
            );
        }
    }
}
