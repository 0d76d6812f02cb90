//! An instance that several calls are in at a time. One task runs it, from the first call that enters until no
//! call is left; every call waits for its answer where it came from. What becomes of the instance is decided
//! for all: a trap takes every call in it along, and none that has not begun.

mod calls;
mod strays;

use crate::call::{CallFailure, CallRequest, Entry, Temperature};
use crate::engine::{Engine, TICK};
use crate::habit::REMEMBERED;
use crate::host::wit::dormouse::agent::types as wit;
use crate::host::{GuestState, HostCall};
use crate::instance::{self, Instance, Lowered};
use crate::lane::Pace;
use crate::pool::Lead;
pub(crate) use calls::{Calls, tick};
use dormouse_services::LogBook;
use dormouse_services::model::{FailureClass, Outcome};
use futures_util::StreamExt;
use futures_util::future::Either;
use futures_util::stream::FuturesUnordered;
use std::future::poll_fn;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Instant;
use tokio::sync::oneshot;
use wasmtime::component::{self, Accessor, GuestTaskId, Resource, TypedFunc};
use wasmtime::{AsContextMut, Store};

/// What whoever runs a shared instance is told.
pub(crate) enum Message {
    Call(Box<Job>),
    /// No call has a seat any more.
    Idle,
}

/// One call, on its way into a shared instance.
pub(crate) struct Job {
    pub(crate) request: Box<CallRequest>,
    pub(crate) deadline: Instant,
    pub(crate) pace: Arc<Pace>,
    pub(crate) reply: oneshot::Sender<Reply>,
}

pub(crate) enum Reply {
    Ended(Result<Outcome, CallFailure>),
    /// The instance was gone before the call began: it may enter another.
    NotBegun(Box<CallRequest>),
}

impl Message {
    /// Tells a call that it has not begun.
    pub(crate) fn give_back(self) {
        if let Self::Call(job) = self {
            // A call that has gone away does not care.
            let _gone = job.reply.send(Reply::NotBegun(job.request));
        }
    }

    /// Tells a call that its instance could not be started.
    pub(crate) fn fail(self, failure: &CallFailure) {
        if let Self::Call(job) = self {
            let _gone = job.reply.send(Reply::Ended(Err(failure.clone())));
        }
    }
}

/// The two skill functions, typed so that the guest task of a call is known.
pub(crate) struct Skills {
    on_request: TypedFunc<OnRequest, (wit::Outcome,)>,
    on_input: TypedFunc<OnInput, (wit::Outcome,)>,
}

type OnRequest = (Resource<HostCall>, wit::CallContext, String, wit::Message);
type OnInput = (
    Resource<HostCall>,
    wit::CallContext,
    String,
    String,
    wit::Message,
);

const SKILLS: &str = "dormouse:agent/skills@0.1.0";

impl Skills {
    pub(crate) fn find(
        store: &mut Store<GuestState>,
        guest: &component::Instance,
    ) -> wasmtime::Result<Self> {
        let missing = || wasmtime::format_err!("the skills are not exported");
        let skills = guest
            .get_export_index(&mut *store, None, SKILLS)
            .ok_or_else(missing)?;
        let mut find = |name| {
            guest
                .get_export_index(&mut *store, Some(&skills), name)
                .ok_or_else(missing)
        };
        let (on_request, on_input) = (find("on-request")?, find("on-input")?);
        Ok(Self {
            on_request: guest.get_typed_func(&mut *store, on_request)?,
            on_input: guest.get_typed_func(&mut *store, on_input)?,
        })
    }
}

/// How a shared instance came to rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// It may be used again.
    Clean,
    /// A call was given up in the middle, or has answered nonsense.
    Tainted,
}

/// The guest has trapped or was stopped: its instance must not be used again.
#[derive(Debug)]
pub(crate) struct Lost;

/// Replies of calls that the end of their instance has cut off, each with its guest task.
type CutOff = Arc<Mutex<Vec<(Option<GuestTaskId>, oneshot::Sender<Reply>)>>>;

/// The reply that a call in an instance owes. It is cut off if it is dropped before.
struct Owed {
    task: Option<GuestTaskId>,
    reply: Option<oneshot::Sender<Reply>>,
    cut_off: CutOff,
}

impl Owed {
    fn send(&mut self, result: Result<Outcome, CallFailure>) {
        if let Some(reply) = self.reply.take() {
            // A call that has gone away does not care.
            let _gone = reply.send(Reply::Ended(result));
        }
    }

    async fn given_up(&mut self) {
        if let Some(reply) = &mut self.reply {
            reply.closed().await;
        }
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        if let Some(reply) = self.reply.take() {
            let mut cut_off = self.cut_off.lock().unwrap_or_else(PoisonError::into_inner);
            cut_off.push((self.task, reply));
        }
    }
}

impl Instance {
    /// Runs calls as they come in, until none has a seat.
    ///
    /// # Errors
    /// When the guest has trapped or was stopped. `explain` has said it to every call that was in it.
    pub(crate) async fn serve(
        &mut self,
        engine: &Engine,
        lead: &mut Lead,
        pace: Arc<Pace>,
        explain: impl Fn(&wasmtime::Error) -> CallFailure,
    ) -> Result<Rest, Lost> {
        let Some(skills) = &self.skills else {
            return Err(Lost);
        };
        let state = self.store.data_mut();
        state.calls = Some(Box::new(Calls::new(pace.used())));
        state.pace = Arc::clone(&pace);
        self.store.set_epoch_deadline(1);
        let cut_off = CutOff::default();
        let book = &engine.logs;
        let _running = engine.enter();
        let served = self
            .store
            .run_concurrent(async |store| serve(store, skills, lead, &pace, &cut_off, book).await)
            .await;
        match served {
            Ok(Ok(rest)) => {
                self.store.data_mut().calls = None;
                Ok(rest)
            }
            Ok(Err(error)) | Err(error) => {
                let culprit = self.culprit();
                let state = self.store.data_mut();
                let used = pace.used();
                if let Some(calls) = &mut state.calls {
                    // Before they are answered, so that their reports say it.
                    state.usage.add_late(calls.end(used));
                }
                let cut_off =
                    mem::take(&mut *cut_off.lock().unwrap_or_else(PoisonError::into_inner));
                let is_alone = cut_off.len() == 1;
                for (task, reply) in cut_off {
                    let failure = if is_alone || culprit.is_none() || task == culprit {
                        explain(&error)
                    } else {
                        lost(&error)
                    };
                    let _gone = reply.send(Reply::Ended(Err(failure)));
                }
                Err(Lost)
            }
        }
    }

    /// Whose guest task ran when the guest was stopped.
    fn culprit(&mut self) -> Option<GuestTaskId> {
        let known = self.store.data().calls.as_ref()?.culprit();
        if known.is_some() {
            return known;
        }
        let mut store = self.store.as_context_mut();
        let running = store.async_call_stack().ok()?.last()?;
        let calls = self.store.data().calls.as_ref()?;
        calls.has(running).then_some(running)
    }
}

fn lost(error: &wasmtime::Error) -> CallFailure {
    CallFailure {
        class: FailureClass::Trap,
        sentence: format!(
            "The instance that the call shared with others was lost: another call there was stopped ({}).",
            error.root_cause()
        ),
    }
}

async fn serve(
    store: &Accessor<GuestState>,
    skills: &Skills,
    lead: &mut Lead,
    pace: &Pace,
    cut_off: &CutOff,
    book: &Arc<LogBook>,
) -> wasmtime::Result<Rest> {
    let mut rest = Rest::Clean;
    let mut calls = FuturesUnordered::new();
    let mut is_idle = false;
    let (mut ended_calls, mut has_made_way) = (0_u64, false);
    while !(is_idle && calls.is_empty()) {
        tokio::select! {
            biased;
            Some(ended) = calls.next(), if !calls.is_empty() => {
                if ended? == Rest::Tainted {
                    rest = Rest::Tainted;
                    lead.close();
                }
                ended_calls += 1;
                // One long call among short ones is no reason to make all that come wait behind others.
                if !has_made_way && ended_calls >= REMEMBERED.into() && pace.is_misplaced() {
                    has_made_way = lead.make_way();
                }
            }
            message = next(lead, pace) => match message {
                Some(Message::Call(job)) => {
                    is_idle = false;
                    calls.push(run(store, skills, job, cut_off, book));
                }
                Some(Message::Idle) | None => is_idle = true,
            },
        }
    }
    Ok(rest)
}

/// The next message, in the next poll if this one has taken long already: a crowd that enters at once is no
/// guest that computes for long.
async fn next(lead: &mut Lead, pace: &Pace) -> Option<Message> {
    poll_fn(|cx| {
        if pace.poll_so_far() < TICK / 2 {
            return lead.inbox.poll_recv(cx);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

/// One call, from its entry to its answer, or until nobody waits for that any more.
async fn run(
    store: &Accessor<GuestState>,
    skills: &Skills,
    job: Box<Job>,
    cut_off: &CutOff,
    book: &Arc<LogBook>,
) -> wasmtime::Result<Rest> {
    let Job {
        request,
        deadline,
        pace,
        reply,
    } = *job;
    if !pace.begin() {
        // Its caller has left, and the guest has not seen it: no other call has to make room for it.
        return Ok(Rest::Clean);
    }
    let mut owed = Owed {
        task: None,
        reply: Some(reply),
        cut_off: Arc::clone(cut_off),
    };
    let event_bytes = request.task.event_bytes();
    let lowered = Lowered::new(request, deadline, Arc::clone(book));
    let (task, place, answer) = start(store, skills, lowered, &pace)?;
    owed.task = Some(task);
    // Only of the first call something else is known.
    let temperature = pace.temperature.get().copied();
    let temperature = temperature.unwrap_or(Temperature::Hot);
    pace.entered.get_or_init(|| (Instant::now(), temperature));
    let said = tokio::select! {
        biased;
        said = answer => Some(said?.0),
        () = owed.given_up() => None,
    };
    let Some(said) = said else {
        leave(store, task, place, Ended::GivenUp)?;
        return Ok(Rest::Tainted);
    };
    leave(store, task, place, Ended::Answered)?;
    let outcome = instance::outcome(said, event_bytes).await;
    let rest = if outcome.is_ok() {
        Rest::Clean
    } else {
        Rest::Tainted
    };
    owed.send(outcome);
    Ok(rest)
}

/// Puts a call into the guest: its guest task, the place of its handle, and what will be its answer.
fn start<'a>(
    store: &'a Accessor<GuestState>,
    skills: &'a Skills,
    lowered: Lowered,
    pace: &Arc<Pace>,
) -> wasmtime::Result<(
    GuestTaskId,
    u32,
    impl Future<Output = wasmtime::Result<(wit::Outcome,)>> + use<'a>,
)> {
    let Lowered {
        call,
        grants,
        log,
        context,
        skill,
        entry,
        message,
    } = lowered;
    let agent_log = log.of_agent();
    store.with(|mut access| {
        let handle = access.get().table.push(HostCall::new(call, grants))?;
        let place = handle.rep();
        let (task, answer) = match entry {
            Entry::Request => {
                let function = skills.on_request;
                let call = function
                    .start_call_concurrent(&mut access, (handle, context, skill, message))?;
                let task = call.task();
                let answer = function.finish_call_concurrent(store, call);
                (task, Either::Left(answer))
            }
            Entry::Input { slot } => {
                let function = skills.on_input;
                let slot = slot.to_string();
                let call = function
                    .start_call_concurrent(&mut access, (handle, context, skill, slot, message))?;
                let task = call.task();
                let answer = function.finish_call_concurrent(store, call);
                (task, Either::Right(answer))
            }
        };
        let state = access.get();
        // What the guest prints names no call.
        state.set_log(Some(agent_log));
        state.pace.count_call();
        let (used, limit) = (state.pace.used(), state.processor);
        state.tell_memory(pace);
        let calls = state.calls.get_or_insert_default();
        calls.enter(task, Arc::clone(pace), log, used, limit);
        Ok((task, place, answer))
    })
}

/// How a call comes to leave its instance.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    Answered,
    GivenUp,
}

/// Takes a call that has ended out of the books. Of a guest that has kept its handle, the right to speak goes.
fn leave(
    store: &Accessor<GuestState>,
    task: GuestTaskId,
    place: u32,
    ended: Ended,
) -> wasmtime::Result<()> {
    store.with(|mut access| {
        let state = access.get();
        let handle = Resource::<HostCall>::new_own(place);
        if state.table.get(&handle).is_ok() {
            state.table.delete(handle)?;
        }
        let used = state.pace.used();
        if let Some(calls) = &mut state.calls {
            if ended == Ended::GivenUp {
                calls.give_up(task);
            }
            state.usage.add_late(calls.leave(task, used));
        }
        Ok(())
    })
}
