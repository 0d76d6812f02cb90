//! One live instance of an agent: a store, the component in it, and the budgets of a call.

use crate::agent::Event;
use crate::clock::Clock;
use crate::config::{FUEL_PER_LOOK, WasmAgentConfig};
use crate::error::WasmRuntimeError;
use crate::limiter::Limiter;
use crate::message::{self, Content, Subject};
use crate::metrics::MetricSink;
use crate::output::{Flood, Printed, Stream};
use crate::patience::limited;
use crate::spent::Spent;
use crate::world::http::exports::zentinel::agent::handler;
use crate::world::http::zentinel::agent::types::{AgentInfo, AgentResponse};
use crate::world::{Code, Guest};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};
use thiserror::Error;
use wasmtime::component::ResourceTable;
use wasmtime::{Store, Trap, UpdateDeadline};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

/// Handles of one instance: it has three streams, and may hold some clocks.
const MAX_HANDLES: usize = 100;
/// Random bytes in one call of the host: they are made one after the other, while nothing else runs on the thread.
const RANDOM_BYTES: u64 = 64 << 10;
/// Bytes of an id in the log.
const MAX_SHOWN_ID: usize = 64;

/// What an agent is stopped with at the first tick after its time.
#[derive(Debug, Error)]
#[error("the time of the call has passed")]
struct TimePassed(Duration);

/// The engine that agents run on, its clock, and who keeps their numbers.
pub(crate) struct Engine {
    pub(crate) wasmtime: wasmtime::Engine,
    /// None with epochs switched off.
    pub(crate) clock: Option<Arc<Clock>>,
    pub(crate) metrics: Option<Arc<dyn MetricSink>>,
}

/// The data of a store.
pub(crate) struct State {
    pub(crate) id: Arc<str>,
    pub(crate) metrics: Option<Arc<dyn MetricSink>>,
    /// Numbers that the running call has reported.
    pub(crate) readings: u32,
    table: ResourceTable,
    wasi: WasiCtx,
    limiter: Limiter,
    started: Instant,
    limit: Duration,
    spent: Spent,
    processor_limit: Duration,
    tick: Duration,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

/// What is asked of an instance.
pub(crate) enum Call<'a> {
    Event(&'a Event<'a>),
    /// What a client says to an agent.
    Message(&'a Subject, &'a Content),
    /// What an agent says.
    Result(&'a Subject, &'a Content),
    Health,
    Shutdown,
}

/// What it says.
pub(crate) enum Answer {
    Response(AgentResponse),
    Message(message::Answer),
    Health(Result<String, String>),
    Done,
}

pub(crate) struct Live {
    store: Store<State>,
    guest: Guest,
    spent: Spent,
    printed: Printed,
}

impl Live {
    /// Instantiates, configures, and asks who it is: as configured, it may need fewer events. Each of the three has the budget
    /// of a call.
    pub(crate) async fn start(
        engine: &Engine,
        code: &Code,
        settings: &WasmAgentConfig,
        id: &Arc<str>,
        config: &str,
    ) -> Result<(Self, AgentInfo), WasmRuntimeError> {
        let spent = Spent::default();
        let printed = Printed::of(id);
        let ending = printed.begin(None);
        let mut store = store(engine, settings, id, &spent, &printed)?;
        let _running = engine.clock.as_ref().map(|clock| clock.enter());
        let time = refill(&mut store, settings)?;
        let instance = {
            let starting = pin!(code.instantiate(&mut store));
            within(&spent, time, "instantiation", starting).await?
        };
        let guest = code.guest(&mut store, &instance)?;
        let time = refill(&mut store, settings)?;
        let configured = {
            let configuring = pin!(guest.configure(&mut store, config));
            within(&spent, time, "configure", configuring).await?
        };
        configured.map_err(WasmRuntimeError::Configuration)?;
        let time = refill(&mut store, settings)?;
        let info = within(&spent, time, "get-info", pin!(guest.info(&mut store))).await?;
        drop(ending);
        let live = Self {
            store,
            guest,
            spent,
            printed,
        };
        Ok((live, info))
    }

    /// One call, and the instructions it took. After an error, or when the future is dropped in the middle, the
    /// instance must not be used again.
    pub(crate) async fn call(
        &mut self,
        engine: &Engine,
        settings: &WasmAgentConfig,
        call: Call<'_>,
    ) -> Result<(Answer, Option<u64>), WasmRuntimeError> {
        let _running = engine.clock.as_ref().map(|clock| clock.enter());
        let store = &mut self.store;
        let time = refill(store, settings)?;
        if let Call::Message(_, content) | Call::Result(_, content) = &call {
            // What is redacted may be as long as what was there.
            store.set_hostcall_fuel(settings.limits.max_output + 2 * content.bytes());
        }
        let function = call.function();
        let _ending = self.printed.begin(call.about());
        let answer = {
            let asking = pin!(self.guest.answer(store, call));
            within(&self.spent, time, function, asking).await?
        };
        Ok((answer, self.fuel_used(settings)?))
    }

    /// Instructions of the call that has ended. The engine looks at the budget at loops and entries only, so a call
    /// may end over it; such an answer does not count.
    fn fuel_used(&self, settings: &WasmAgentConfig) -> Result<Option<u64>, WasmRuntimeError> {
        if !settings.fuel_enabled {
            return Ok(None);
        }
        match self.store.get_fuel() {
            Ok(left) if left > 0 => Ok(Some(filled(settings) - left)),
            _ => Err(out_of_fuel()),
        }
    }
}

impl Guest {
    async fn info(&self, store: &mut Store<State>) -> wasmtime::Result<AgentInfo> {
        match self {
            Self::Http(guest) => guest.zentinel_agent_handler().call_get_info(store).await,
            Self::Message(guest) => {
                let info = guest
                    .dormouse_filter_messages()
                    .call_get_info(store)
                    .await?;
                Ok(AgentInfo {
                    agent_id: info.id,
                    name: info.name,
                    version: info.version,
                    supported_events: info.events,
                    max_body_size: info.max_bytes,
                    supports_streaming: false,
                })
            }
        }
    }

    async fn configure(
        &self,
        store: &mut Store<State>,
        config: &str,
    ) -> wasmtime::Result<Result<(), String>> {
        match self {
            Self::Http(guest) => {
                let handler = guest.zentinel_agent_handler();
                handler.call_configure(store, config).await
            }
            Self::Message(guest) => {
                let messages = guest.dormouse_filter_messages();
                messages.call_configure(store, config).await
            }
        }
    }

    async fn answer(&self, store: &mut Store<State>, call: Call<'_>) -> wasmtime::Result<Answer> {
        Ok(match (self, call) {
            (Self::Http(guest), Call::Event(event)) => {
                let handler = guest.zentinel_agent_handler();
                Answer::Response(respond(store, handler, event).await?)
            }
            (Self::Message(guest), Call::Message(subject, content)) => {
                let messages = guest.dormouse_filter_messages();
                Answer::Message(messages.call_on_message(store, subject, content).await?)
            }
            (Self::Message(guest), Call::Result(subject, content)) => {
                let messages = guest.dormouse_filter_messages();
                Answer::Message(messages.call_on_result(store, subject, content).await?)
            }
            (Self::Http(guest), Call::Health) => {
                let lifecycle = guest.zentinel_agent_lifecycle();
                Answer::Health(lifecycle.call_health_check(store).await?)
            }
            (Self::Message(guest), Call::Health) => {
                let lifecycle = guest.dormouse_filter_lifecycle();
                Answer::Health(lifecycle.call_health_check(store).await?)
            }
            (Self::Http(guest), Call::Shutdown) => {
                let lifecycle = guest.zentinel_agent_lifecycle();
                lifecycle.call_shutdown(store).await?;
                Answer::Done
            }
            (Self::Message(guest), Call::Shutdown) => {
                let lifecycle = guest.dormouse_filter_lifecycle();
                lifecycle.call_shutdown(store).await?;
                Answer::Done
            }
            _ => unreachable!("an agent is only asked what its world knows"),
        })
    }
}

async fn respond(
    store: &mut Store<State>,
    handler: &handler::Guest,
    event: &Event<'_>,
) -> wasmtime::Result<AgentResponse> {
    match *event {
        Event::RequestHeaders {
            metadata,
            method,
            uri,
            headers,
        } => {
            handler
                .call_on_request_headers(store, metadata, method, uri, headers)
                .await
        }
        Event::RequestBody {
            id,
            data,
            index,
            last,
        } => {
            handler
                .call_on_request_body(store, id, data, index, last)
                .await
        }
        Event::ResponseHeaders {
            id,
            status,
            headers,
        } => {
            handler
                .call_on_response_headers(store, id, status, headers)
                .await
        }
        Event::ResponseBody {
            id,
            data,
            index,
            last,
        } => {
            handler
                .call_on_response_body(store, id, data, index, last)
                .await
        }
    }
}

impl Call<'_> {
    fn function(&self) -> &'static str {
        match self {
            Self::Event(event) => event.function(),
            Self::Message(..) => "on-message",
            Self::Result(..) => "on-result",
            Self::Health => "health-check",
            Self::Shutdown => "shutdown",
        }
    }
}

impl<'a> Call<'a> {
    /// The id by which the log knows what it is about. A client chooses that of its message.
    fn about(&self) -> Option<&'a str> {
        match *self {
            Self::Event(event) => Some(event.correlation_id()),
            Self::Message(subject, _) | Self::Result(subject, _) => {
                let id = subject.task_id.as_ref().unwrap_or(&subject.message_id);
                Some(&id[..id.floor_char_boundary(MAX_SHOWN_ID)])
            }
            Self::Health | Self::Shutdown => None,
        }
    }
}

/// A store with every limit in it.
fn store(
    engine: &Engine,
    settings: &WasmAgentConfig,
    id: &Arc<str>,
    spent: &Spent,
    printed: &Printed,
) -> Result<Store<State>, WasmRuntimeError> {
    let limits = &settings.limits;
    let output = |stream| printed.stream(stream, limits.max_output);
    let wasi = WasiCtxBuilder::new()
        .stdout(output(Stream::Stdout))
        .stderr(output(Stream::Stderr))
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .max_random_size(RANDOM_BYTES)
        .build();
    let state = State {
        id: Arc::clone(id),
        metrics: engine.metrics.clone(),
        readings: 0,
        table: ResourceTable::new(),
        wasi,
        limiter: Limiter::new(limits.max_memory, limits.max_table_elements),
        started: Instant::now(),
        limit: limits.max_execution_time,
        spent: spent.clone(),
        processor_limit: limits.max_processor_time,
        tick: engine
            .clock
            .as_ref()
            .map_or(Duration::MAX, |clock| clock.tick()),
    };
    let mut store = Store::new(&engine.wasmtime, state);
    store.limiter(|state| &mut state.limiter);
    store.set_hostcall_fuel(limits.max_output);
    store.set_max_component_handles(MAX_HANDLES);
    if engine.clock.is_some() {
        store.epoch_deadline_callback(|state| {
            let state = state.data();
            let taken = state.started.elapsed();
            if taken >= state.limit {
                return Err(TimePassed(state.limit).into());
            }
            if state.spent.so_far(taken) >= state.processor_limit {
                return Err(TimePassed(state.processor_limit).into());
            }
            // Most calls are over before they see a tick; one that does has not had a whole one yet.
            Ok(if taken < state.tick {
                UpdateDeadline::Continue(1)
            } else {
                UpdateDeadline::Yield(1)
            })
        });
    } else {
        store
            .fuel_async_yield_interval(Some(FUEL_PER_LOOK))
            .map_err(|error| WasmRuntimeError::EngineCreation(error.to_string()))?;
    }
    Ok(store)
}

/// The wall time of a call.
#[derive(Clone, Copy)]
struct Time {
    started: Instant,
    limit: Duration,
}

/// Gives the store what one call may use, from now on.
fn refill(store: &mut Store<State>, settings: &WasmAgentConfig) -> Result<Time, WasmRuntimeError> {
    if settings.fuel_enabled {
        let done = store.set_fuel(filled(settings));
        done.map_err(|error| WasmRuntimeError::EngineCreation(error.to_string()))?;
    }
    if store.data().tick < Duration::MAX {
        store.set_epoch_deadline(1);
    }
    let state = store.data_mut();
    state.started = Instant::now();
    state.spent.reset();
    state.readings = 0;
    Ok(Time {
        started: state.started,
        limit: state.limit,
    })
}

/// The budget and one more: whoever has left nothing is over it.
fn filled(settings: &WasmAgentConfig) -> u64 {
    settings.limits.max_fuel.saturating_add(1)
}

fn out_of_fuel() -> WasmRuntimeError {
    WasmRuntimeError::ResourceLimit("instructions (max_fuel)".into())
}

/// Runs guest code for at most its time, waits in the host included. The work is large, so it stays where it is.
async fn within<T>(
    spent: &Spent,
    time: Time,
    function: &'static str,
    work: Pin<&mut impl Future<Output = wasmtime::Result<T>>>,
) -> Result<T, WasmRuntimeError> {
    let work = pin!(spent.over(time.started, work));
    let done = limited(time.started, time.limit, work).await;
    let done = done.ok_or(WasmRuntimeError::Timeout(time.limit))?;
    done.map_err(|error| failure(&error, function))
}

fn failure(error: &wasmtime::Error, function: &'static str) -> WasmRuntimeError {
    if let Some(TimePassed(limit)) = error.downcast_ref() {
        return WasmRuntimeError::Timeout(*limit);
    }
    if error.downcast_ref::<Trap>() == Some(&Trap::OutOfFuel) {
        return out_of_fuel();
    }
    let cause = error.root_cause().to_string();
    // Wasmtime has no type for the second of these; a test holds it to its words.
    if error.downcast_ref::<Flood>().is_some() || cause.contains("fuel allocated for hostcalls") {
        return WasmRuntimeError::ResourceLimit("output (max_output)".into());
    }
    if function == "instantiation" {
        return WasmRuntimeError::Instantiation(format!("{error:#}"));
    }
    WasmRuntimeError::FunctionCall { function, cause }
}
