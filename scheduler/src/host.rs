//! The host side of the WIT: what a guest may ask for, and the data of its store.

use crate::config::CallLimits;
use crate::convert;
use crate::lane::Pace;
use crate::shared::Calls;
use crate::usage::{Limiter, Usage};
use dormouse_services::call::StateScope;
use dormouse_services::logs::{CallLog, Level};
use dormouse_services::{Call, Desk, Grants, TaskError};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};
use wasmtime::component::{Access, Accessor, HasData, HasSelf, Linker, Resource, ResourceTable};
use wasmtime::{AsContextMut, ResourceLimiter};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

mod agents;
mod config;
mod http;
mod output;
mod services;

pub(crate) use http::GuestHttp;
use output::{GuestOutput, SharedLog, Stream};

pub(crate) mod wit {
    //! Generated from `wit/agent.wit`.
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "dormouse:agent/agent",
        imports: { "dormouse:agent/log.write": store | trappable, default: trappable },
        exports: { default: async },
        with: {
            "dormouse:agent/tasks.call": super::HostCall,
            "dormouse:agent/llm.answer": super::services::HostAnswer,
        },
        require_store_data_send: true,
    });
}

use wit::dormouse::agent::tasks::{Role, Scope, TaskError as WitTaskError, Turn};
use wit::dormouse::agent::{log, tasks, types};

/// What a guest holds as `tasks.call`: the right to speak for one call.
#[expect(
    unreachable_pub,
    reason = "the generated bindings re-export it as `pub`"
)]
pub struct HostCall {
    desk: Arc<Desk>,
}

impl HostCall {
    pub(crate) fn new(call: Arc<Call>, grants: Grants) -> Self {
        Self {
            desk: Arc::new(Desk::new(call, grants)),
        }
    }

    fn call(&self) -> &Arc<Call> {
        self.desk.call()
    }
}

/// The data of a store: everything that one instance has on the host.
pub(crate) struct GuestState {
    pub(crate) table: ResourceTable,
    limiter: Limiter,
    /// Where its agent's calls are summed up.
    pub(crate) usage: Arc<Usage>,
    /// The running call must end by then; checked at every tick.
    pub(crate) deadline: Instant,
    /// Processor time that a call may take.
    pub(crate) processor: Duration,
    pub(crate) pace: Arc<Pace>,
    /// The calls that are in it, if there may be several.
    pub(crate) calls: Option<Box<Calls>>,
    wasi: WasiCtx,
    http: GuestHttp,
    log: SharedLog,
    /// Held by everything that is asked of services and not answered yet.
    open: Arc<()>,
}

/// Random bytes that a guest gets at once: they are made on the host, where no clock stops it.
const RANDOM_BYTES: u64 = 64 << 10;

impl GuestState {
    pub(crate) fn new(
        limits: &CallLimits,
        usage: Arc<Usage>,
        deadline: Instant,
        pace: Arc<Pace>,
        http: GuestHttp,
    ) -> Self {
        let log = SharedLog::default();
        let wasi = WasiCtxBuilder::new()
            .stdout(GuestOutput::stream(&log, Stream::Out))
            .stderr(GuestOutput::stream(&log, Stream::Err))
            .max_random_size(RANDOM_BYTES)
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .build();
        let counted = Arc::clone(&usage);
        let limiter = Limiter::new(limits.memory_bytes, limits.table_elements, counted);
        Self {
            table: ResourceTable::new(),
            limiter,
            usage,
            deadline,
            processor: limits.processor,
            pace,
            calls: None,
            wasi,
            http,
            log,
            open: Arc::default(),
        }
    }

    /// Whether its guest has asked services for something and ended its call without waiting for it.
    pub(crate) fn has_left_something(&self) -> bool {
        Arc::strong_count(&self.open) > 1
    }

    /// Bytes of linear memory that its instance has.
    pub(crate) fn memory(&self) -> usize {
        self.limiter.granted()
    }

    /// Says to a call that has entered how much memory its instance has.
    pub(crate) fn tell_memory(&self, call: &Pace) {
        call.has_memory(self.limiter.granted());
    }

    /// Whose records follow from now on.
    pub(crate) fn set_log(&mut self, log: Option<CallLog>) {
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .change(log);
    }
}

/// Wasmtime's own limits count what one store has of each; ours is the pool's.
impl ResourceLimiter for GuestState {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let granted = self.limiter.memory_growing(current, desired, maximum)?;
        match &self.calls {
            Some(calls) => calls.paces().for_each(|pace| self.tell_memory(pace)),
            None => self.tell_memory(&self.pace),
        }
        Ok(granted)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        self.limiter.table_growing(current, desired, maximum)
    }
}

impl WasiView for GuestState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

/// A linker with all that any guest may import.
pub(crate) fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<GuestState>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi::p3::add_to_linker(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p3::add_to_linker(&mut linker)?;
    config::add_to_linker(&mut linker)?;
    wit::Agent::add_to_linker::<_, HasSelf<GuestState>>(&mut linker, |state| state)?;
    Ok(linker)
}

impl types::Host for GuestState {}

impl tasks::Host for GuestState {}

/// The call behind a handle. A guest can only hold handles that it was given.
fn call_of<T, D>(
    accessor: &Accessor<T, D>,
    handle: &Resource<HostCall>,
) -> wasmtime::Result<Arc<Call>>
where
    T: 'static,
    D: HasData,
    for<'a> D: HasData<Data<'a> = &'a mut GuestState>,
{
    accessor.with(|mut access| Ok(Arc::clone(access.get().table.get(handle)?.call())))
}

impl<T: Send> tasks::HostCallWithStore<T> for HasSelf<GuestState> {
    async fn update(
        accessor: &Accessor<T, Self>,
        handle: Resource<HostCall>,
        message: types::Message,
    ) -> wasmtime::Result<Result<(), WitTaskError>> {
        let call = call_of(accessor, &handle)?;
        let message = match convert::said(message, call.event_bytes()).await {
            Ok(message) => message,
            Err(nonsense) => return Ok(Err(WitTaskError::Limit(nonsense.to_string()))),
        };
        Ok(call.update(message).await.map_err(task_error))
    }

    async fn artifact(
        accessor: &Accessor<T, Self>,
        handle: Resource<HostCall>,
        artifact: types::Artifact,
        append: bool,
        last: bool,
    ) -> wasmtime::Result<Result<(), WitTaskError>> {
        let call = call_of(accessor, &handle)?;
        let artifact = match convert::made(artifact, call.event_bytes()).await {
            Ok(artifact) => artifact,
            Err(nonsense) => return Ok(Err(WitTaskError::Limit(nonsense.to_string()))),
        };
        Ok(call
            .artifact(artifact, append, last)
            .await
            .map_err(task_error))
    }

    async fn history(
        accessor: &Accessor<T, Self>,
        handle: Resource<HostCall>,
        limit: u32,
    ) -> wasmtime::Result<Result<Vec<Turn>, WitTaskError>> {
        let call = call_of(accessor, &handle)?;
        let turns = call.history(limit as usize).into_iter().map(|message| {
            let user = message.role == dormouse_services::model::Role::User;
            let role = if user { Role::User } else { Role::Agent };
            Turn {
                role,
                message: convert::to_guest(message.parts, message.metadata),
            }
        });
        Ok(Ok(turns.collect()))
    }
}

impl tasks::HostCall for GuestState {
    fn state_get(
        &mut self,
        handle: Resource<HostCall>,
        scope: Scope,
        key: String,
    ) -> wasmtime::Result<Result<Option<String>, WitTaskError>> {
        let call = self.table.get(&handle)?.call();
        Ok(call.state_get(scope.into(), &key).map_err(task_error))
    }

    fn state_set(
        &mut self,
        handle: Resource<HostCall>,
        scope: Scope,
        key: String,
        value: Option<String>,
    ) -> wasmtime::Result<Result<(), WitTaskError>> {
        let call = self.table.get(&handle)?.call();
        Ok(call
            .state_set(scope.into(), &key, value)
            .map_err(task_error))
    }

    fn drop(&mut self, handle: Resource<HostCall>) -> wasmtime::Result<()> {
        self.table.delete(handle)?;
        Ok(())
    }
}

impl From<Scope> for StateScope {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::Task => Self::Task,
            Scope::Context => Self::Context,
        }
    }
}

/// What a guest is told of a refusal; the platform's inner causes stay on the host.
fn task_error(error: TaskError) -> WitTaskError {
    match error {
        TaskError::Ended => WitTaskError::Ended,
        TaskError::Limit { .. } => WitTaskError::Limit(error.to_string()),
        TaskError::Refused { sentence, .. } => WitTaskError::Unavailable(sentence),
        other => {
            tracing::error!(
                error = &other as &dyn std::error::Error,
                "a task service failed"
            );
            WitTaskError::Unavailable(other.to_string())
        }
    }
}

impl log::Host for GuestState {}

impl<T: Send> log::HostWithStore<T> for HasSelf<GuestState> {
    fn write(
        mut access: Access<'_, T, Self>,
        level: log::Level,
        message: String,
        fields: Vec<(String, String)>,
    ) -> wasmtime::Result<()> {
        let level = match level {
            log::Level::Trace => Level::Trace,
            log::Level::Debug => Level::Debug,
            log::Level::Info => Level::Info,
            log::Level::Warn => Level::Warn,
            log::Level::Error => Level::Error,
        };
        // Of several calls in an instance, it is the one whose guest task asks.
        if access.get().calls.is_some() {
            let task = access.as_context_mut().async_call_stack()?.last();
            let calls = access.get().calls.as_mut();
            if let Some(log) = calls.and_then(|calls| calls.log_of(task)) {
                log.write(level, &message, &fields)?;
                return Ok(());
            }
        }
        let log = Arc::clone(&access.get().log);
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(log) = log.of_call() {
            log.write(level, &message, &fields)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use wasmtime_wasi::p2::bindings::random::{insecure, random};

    #[test]
    fn random_bytes_are_bounded() {
        let limits = CallLimits::default();
        let state = GuestState::new(
            &limits,
            Arc::default(),
            Instant::now(),
            Pace::new(),
            GuestHttp::new(Arc::default(), None),
        );
        let mut wasi = state.wasi;
        let context = wasi.random();
        let bytes = random::Host::get_random_bytes(context, RANDOM_BYTES).unwrap();
        assert_eq!(bytes.len() as u64, RANDOM_BYTES);
        for size in [RANDOM_BYTES + 1, 64 << 20, u64::MAX] {
            random::Host::get_random_bytes(context, size).unwrap_err();
            insecure::Host::get_insecure_random_bytes(context, size).unwrap_err();
        }
    }
}
