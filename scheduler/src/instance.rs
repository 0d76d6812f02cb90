//! One live instance: a store, the guest in it, and the calls that enter it.

use crate::call::{CallFailure, CallRequest, Entry, VersionRef};
use crate::config::CallLimits;
use crate::convert::{self, Nonsense};
use crate::engine::Engine;
use crate::host::wit::dormouse::agent::types as wit;
use crate::host::wit::{Agent, AgentPre};
use crate::host::{GuestHttp, GuestState, HostCall};
use crate::lane::Pace;
use crate::pool::Weighed;
use crate::shared::{self, Skills};
use dormouse_services::log_book::LogBook;
use dormouse_services::logs::CallLog;
use dormouse_services::model::{FailureClass, Outcome};
use dormouse_services::{Call, Grants};
use std::sync::Arc;
use std::time::Instant;
use thiserror::Error;
use wasmtime::component::{Resource, TypedFunc};
use wasmtime::{Store, UpdateDeadline};

/// Handles for each further call that may be in an instance.
const HANDLES_PER_CALL: usize = 16;

pub(crate) struct Instance {
    pub(crate) store: Store<GuestState>,
    guest: Agent,
    /// Of an instance that several calls may be in.
    pub(crate) skills: Option<Skills>,
    /// Of an instance that is asked what its module declares.
    needs: Option<TypedFunc<(), (Vec<Needs>,)>>,
    /// What each call has; `None` if fuel is not counted.
    fuel: Option<u64>,
}

/// Linear memory of an instance that is given back within a tick, if all of it was touched: 80 microseconds for a MiB, as
/// measured.
const LIGHT: usize = 8 << 20;

impl Weighed for Box<Instance> {
    fn is_heavy(&self) -> bool {
        self.store.data().memory() > LIGHT
    }
}

/// The name of an agent, and those of services.
pub(crate) type Needs = (String, Vec<String>);

const MANIFEST: &str = "dormouse:agent/manifest@0.1.0";

/// What the guest is stopped with at the first tick after its deadline.
#[derive(Debug, Error)]
#[error("the deadline of the call has passed")]
pub(crate) struct DeadlinePassed;

/// What the guest is stopped with at the first tick after it has used up its processor time.
#[derive(Debug, Error)]
#[error("the processor time of the call is used up")]
pub(crate) struct ProcessorTimeSpent;

/// Whether a guest was stopped because it passed more than its limit to the host at once. Wasmtime
/// has no type for this error, so it is known by its words; a test holds it to them.
pub(crate) fn is_too_much_for_host(error: &wasmtime::Error) -> bool {
    let cause = error.root_cause().to_string();
    cause.contains("fuel allocated for hostcalls")
}

/// Whether a guest was stopped because it took more handles than an instance may have, concurrent waits included.
/// Known by its words, too.
pub(crate) fn is_too_many_handles(error: &wasmtime::Error) -> bool {
    let cause = error.root_cause().to_string();
    cause.contains("store handle limit exceeded")
}

/// A store with every limit in it.
fn store(
    engine: &Engine,
    limits: &CallLimits,
    version: Option<&Arc<VersionRef>>,
    deadline: Instant,
    pace: Arc<Pace>,
) -> wasmtime::Result<Store<GuestState>> {
    // At deploy it is nobody's yet, so nobody's usage grows.
    let usage = version.map_or_else(Arc::default, |version| Arc::clone(&version.usage));
    let http = GuestHttp::new(Arc::clone(&engine.egress), version.cloned());
    let state = GuestState::new(limits, usage, deadline, pace, http);
    let mut store = Store::new(&engine.wasmtime, state);
    store.limiter(|state| state);
    store.set_hostcall_fuel(limits.host_call_bytes);
    store.set_max_component_handles(limits.handles);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|state| {
        if state.data().calls.is_some() {
            return shared::tick(state);
        }
        let state = state.data();
        if Instant::now() >= state.deadline {
            return Err(DeadlinePassed.into());
        }
        if state.pace.used() >= state.processor {
            return Err(ProcessorTimeSpent.into());
        }
        Ok(if state.pace.must_yield() {
            UpdateDeadline::Yield(1)
        } else {
            UpdateDeadline::Continue(1)
        })
    });
    if let Some(fuel) = limits.fuel {
        store.set_fuel(fuel)?;
    }
    Ok(store)
}

impl Instance {
    /// Starts an instance of loaded code. Guest code may run already here (a start function), so the
    /// deadline holds here too.
    pub(crate) async fn start(
        engine: &Engine,
        code: &AgentPre<GuestState>,
        version: &Arc<VersionRef>,
        deadline: Instant,
        pace: Arc<Pace>,
    ) -> wasmtime::Result<Self> {
        let limits = &version.limits;
        let mut store = store(engine, limits, Some(version), deadline, pace)?;
        let _running = engine.enter();
        let guest = code.instantiate_async(&mut store).await?;
        Ok(Self {
            store,
            guest,
            skills: None,
            needs: None,
            fuel: limits.fuel,
        })
    }

    /// Starts an instance that is asked what its module declares.
    pub(crate) async fn start_to_ask(
        engine: &Engine,
        code: &AgentPre<GuestState>,
        limits: &CallLimits,
        deadline: Instant,
        pace: Arc<Pace>,
    ) -> wasmtime::Result<Self> {
        let mut store = store(engine, limits, None, deadline, pace)?;
        let _running = engine.enter();
        let instance = code.instance_pre().instantiate_async(&mut store).await?;
        let manifest = instance.get_export_index(&mut store, None, MANIFEST);
        let needs = manifest
            .and_then(|manifest| instance.get_export_index(&mut store, Some(&manifest), "needs"));
        let needs = needs.map(|needs| instance.get_typed_func(&mut store, needs));
        Ok(Self {
            guest: Agent::new(&mut store, &instance)?,
            skills: None,
            needs: needs.transpose()?,
            fuel: limits.fuel,
            store,
        })
    }

    /// Fuel that the call which has just ended used.
    pub(crate) fn fuel_used(&self) -> Option<u64> {
        let left = self.store.get_fuel().ok()?;
        Some(self.fuel?.saturating_sub(left))
    }

    /// Starts an instance that several calls of this version may be in at a time.
    pub(crate) async fn start_shared(
        engine: &Engine,
        code: &AgentPre<GuestState>,
        version: &Arc<VersionRef>,
        pace: Arc<Pace>,
    ) -> wasmtime::Result<Self> {
        let deadline = Instant::now() + version.limits.deadline;
        let mut store = store(engine, &version.limits, Some(version), deadline, pace)?;
        let calls = version.concurrency as usize;
        store.set_max_component_handles(version.limits.handles + calls * HANDLES_PER_CALL);
        let _running = engine.enter();
        let instance = code.instance_pre().instantiate_async(&mut store).await?;
        Ok(Self {
            guest: Agent::new(&mut store, &instance)?,
            skills: Some(Skills::find(&mut store, &instance)?),
            needs: None,
            fuel: None,
            store,
        })
    }

    /// Asks for the agents that the module declares.
    pub(crate) async fn definitions(
        &mut self,
        engine: &Engine,
    ) -> wasmtime::Result<Vec<wit::AgentDefinition>> {
        let _running = engine.enter();
        self.guest
            .dormouse_agent_entrypoint()
            .call_definitions(&mut self.store)
            .await
    }

    /// Asks which services the agents need, if the module says so at all.
    pub(crate) async fn needs(&mut self, engine: &Engine) -> wasmtime::Result<Vec<Needs>> {
        let Some(needs) = self.needs else {
            return Ok(Vec::new());
        };
        let _running = engine.enter();
        let (needs,) = needs.call_async(&mut self.store, ()).await?;
        Ok(needs)
    }

    /// Runs one call to its end. After an error, or when the future is dropped in the middle, the
    /// instance must not be used again.
    pub(crate) async fn call(
        &mut self,
        engine: &Engine,
        request: Box<CallRequest>,
        deadline: Instant,
        pace: Arc<Pace>,
    ) -> wasmtime::Result<wit::Outcome> {
        let Lowered {
            call,
            grants,
            log,
            context,
            skill,
            entry,
            message,
        } = Lowered::new(request, deadline, Arc::clone(&engine.logs));
        let state = self.store.data_mut();
        state.deadline = deadline;
        state.tell_memory(&pace);
        state.pace = pace;
        state.set_log(Some(log));
        state.set_trace(call.trace().cloned());
        let handle = state.table.push(HostCall::new(call, grants))?;
        let place = handle.rep();
        if let Some(fuel) = self.fuel {
            self.store.set_fuel(fuel)?;
        }
        self.store.set_epoch_deadline(1);
        let _running = engine.enter();
        let skills = self.guest.dormouse_agent_skills();
        let outcome = self
            .store
            .run_concurrent(async |store| {
                // In boxes: the engine has room for several copies of what this holds.
                match entry {
                    Entry::Request => {
                        let call = skills.call_on_request(store, handle, context, skill, message);
                        Box::pin(call).await
                    }
                    Entry::Input { slot } => {
                        let slot = slot.to_string();
                        let call =
                            skills.call_on_input(store, handle, context, skill, slot, message);
                        Box::pin(call).await
                    }
                }
            })
            .await??;
        let state = self.store.data_mut();
        state.set_log(None);
        state.set_trace(None);
        // Of a guest that has kept its handle, the instance may live on but not the right to speak.
        let handle = Resource::<HostCall>::new_own(place);
        if state.table.get(&handle).is_ok() {
            state.table.delete(handle)?;
        }
        Ok(outcome)
    }
}

/// A call in the guest's terms.
pub(crate) struct Lowered {
    pub(crate) call: Arc<Call>,
    pub(crate) grants: Grants,
    pub(crate) log: CallLog,
    pub(crate) context: wit::CallContext,
    pub(crate) skill: String,
    pub(crate) entry: Entry,
    pub(crate) message: wit::Message,
}

impl Lowered {
    pub(crate) fn new(request: Box<CallRequest>, deadline: Instant, book: Arc<LogBook>) -> Self {
        let CallRequest {
            version,
            entry,
            skill,
            message,
            metadata,
            principal,
            extensions,
            task: call,
        } = *request;
        let task = call.task_id();
        let log = CallLog::new(
            version.agent.clone(),
            version.number,
            task.clone(),
            version.limits.log.clone(),
            book,
        );
        let context = wit::CallContext {
            agent: version.declared.clone(),
            task_id: task,
            context_id: call.context_id(),
            principal,
            metadata: metadata.map(convert::metadata_to_guest),
            message_id: message.message_id,
            reference_task_ids: message.reference_task_ids.unwrap_or_default(),
            extensions,
            deadline_ms: deadline
                .saturating_duration_since(Instant::now())
                .as_millis() as u64,
        };
        Self {
            call,
            grants: version.grants.clone(),
            log,
            context,
            skill,
            entry,
            message: convert::to_guest(message.parts, message.metadata),
        }
    }
}

/// What a guest has answered.
///
/// # Errors
/// When it is not valid. The memory of an instance that has answered nonsense is not trusted again either.
pub(crate) async fn outcome(
    said: wit::Outcome,
    event_bytes: usize,
) -> Result<Outcome, CallFailure> {
    let answered = convert::answered(said, event_bytes).await;
    answered.map_err(|nonsense| CallFailure {
        class: match &nonsense {
            Nonsense::TooLarge { .. } => FailureClass::Limit,
            _ => FailureClass::InvalidResponse,
        },
        sentence: format!("The agent's answer is not valid: {nonsense}."),
    })
}
