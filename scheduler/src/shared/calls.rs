//! The calls in a shared instance: whose guest task is whose, what each has used, and who is stopped for it.

use crate::engine::TICK;
use crate::host::GuestState;
use crate::instance::ProcessorTimeSpent;
use crate::lane::Pace;
use crate::shared::strays::{Abandoned, Strays};
use dormouse_services::logs::CallLog;
use std::hash::Hash;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasmtime::component::GuestTaskId;
use wasmtime::{StoreContextMut, UpdateDeadline};

/// Processor time that a call may still take when nobody waits for it any more. After that it is stopped, and
/// the instance with it.
const GRACE: Duration = Duration::from_millis(100);

/// The calls that are in an instance, as its store knows them. The engine gives the id of a guest task that has ended to
/// the next one that begins.
pub(crate) struct Calls<T = GuestTaskId> {
    open: Vec<Open<T>>,
    /// Whose guest task was in the guest at the last tick of a poll that was long.
    last: Option<T>,
    /// Whose call is to blame for the end of the instance.
    culprit: Option<T>,
    /// Guest tasks that have answered and go on.
    strays: Strays<T>,
    /// Processor time in which the clock found no guest task, since a call has entered.
    nobodys: Duration,
    /// Processor time of the instance that is charged already.
    seen: Duration,
    /// Whose guest task the clock has found in the guest last.
    found: Option<T>,
    share: Share,
}

impl<T> Default for Calls<T> {
    fn default() -> Self {
        Self {
            open: Vec::new(),
            last: None,
            culprit: None,
            strays: Strays::default(),
            nobodys: Duration::ZERO,
            seen: Duration::ZERO,
            found: None,
            share: Share::default(),
        }
    }
}

struct Open<T> {
    task: T,
    pace: Arc<Pace>,
    log: CallLog,
    /// What the clock has charged it with.
    used: Duration,
    limit: Duration,
    given_up: bool,
    /// The share of each call when this one entered.
    begun: Duration,
}

/// Each call's share of the processor time of its instance: what is used while n calls are in it is used by
/// each of them for a part of n (the virtual time of processor sharing).
#[derive(Default)]
struct Share {
    used: Duration,
    of_each: Duration,
}

impl Share {
    fn advance(&mut self, used: Duration, calls: usize) -> Duration {
        let calls = u32::try_from(calls).unwrap_or(u32::MAX).max(1);
        self.of_each += used.saturating_sub(self.used) / calls;
        self.used = used;
        self.of_each
    }
}

impl<T> Open<T> {
    /// `now` is the share of each call.
    fn charge(&self, now: Duration) -> Duration {
        self.pace.charge(now.saturating_sub(self.begun))
    }
}

impl<T: Copy + Eq + Hash> Calls<T> {
    /// Of an instance that has used so much processor time before.
    pub(super) fn new(seen: Duration) -> Self {
        Self {
            seen,
            ..Self::default()
        }
    }

    /// A call has entered. `used` is the processor time of the instance so far, `limit` that of one call.
    pub(super) fn enter(
        &mut self,
        task: T,
        pace: Arc<Pace>,
        log: CallLog,
        used: Duration,
        limit: Duration,
    ) {
        self.nobodys = Duration::ZERO;
        // Who had this id before has ended, and what it has used is not this call's.
        self.strays.forget(&task);
        self.found.take_if(|found| *found == task);
        self.last.take_if(|last| *last == task);
        if self.open.is_empty() {
            // What was used while no call was in it is no call's.
            self.seen = used;
        }
        let begun = self.share.advance(used, self.open.len());
        self.open.push(Open {
            task,
            pace,
            log,
            used: Duration::ZERO,
            limit,
            given_up: false,
            begun,
        });
    }

    /// Nobody waits any more for a call that is in the instance, and leaves it next. Its task may still go on.
    pub(super) fn give_up(&mut self, task: T) {
        self.strays.give_up(task, GRACE, Instant::now());
    }

    /// A call has ended, and is charged its share. Returns what comes too late for its report.
    pub(super) fn leave(&mut self, task: T, used: Duration) -> Duration {
        let now = self.share.advance(used, self.open.len());
        let place = self.open.iter().position(|call| call.task == task);
        place.map_or(Duration::ZERO, |place| {
            self.open.swap_remove(place).charge(now)
        })
    }

    /// All calls have ended with their instance. As [`Calls::leave`].
    pub(super) fn end(&mut self, used: Duration) -> Duration {
        let now = self.share.advance(used, self.open.len());
        self.open.drain(..).map(|call| call.charge(now)).sum()
    }

    pub(crate) fn paces(&self) -> impl Iterator<Item = &Pace> {
        self.open.iter().map(|call| &*call.pace)
    }

    pub(super) fn culprit(&self) -> Option<T> {
        self.culprit
    }

    pub(super) fn has(&self, task: T) -> bool {
        self.open.iter().any(|call| call.task == task)
    }

    /// The log of the call that a guest task belongs to.
    pub(crate) fn log_of(&mut self, task: Option<T>) -> Option<&mut CallLog> {
        let mut open = self.open.iter_mut();
        let call = open.find(|call| Some(call.task) == task)?;
        Some(&mut call.log)
    }

    /// The clock has found this guest task in the guest, in a poll that has taken so long; `before` is what the polls
    /// before it have. What was used in those since the clock came last is of the task that it found then: so a guest
    /// that rests before a tick is over is charged, too, and not the one that wakes first after it.
    fn tick(
        &mut self,
        task: Option<T>,
        before: Duration,
        poll: Duration,
        processor: Duration,
    ) -> Result<(), wasmtime::Error> {
        let earlier = before.saturating_sub(self.seen);
        let now = before + poll;
        let own = now.saturating_sub(self.seen.max(before));
        self.seen = now;
        let found = mem::replace(&mut self.found, task);
        if !earlier.is_zero() {
            self.charge(found, earlier, processor)?;
        }
        self.charge(task, own, processor)
    }

    fn charge(
        &mut self,
        task: Option<T>,
        time: Duration,
        processor: Duration,
    ) -> Result<(), wasmtime::Error> {
        let Some(call) = self.open.iter_mut().find(|call| Some(call.task) == task) else {
            if let Some(task) = task {
                self.strays.charge(task, time, processor, Instant::now())?;
                return Ok(());
            }
            self.nobodys += time;
            return if self.nobodys < processor {
                Ok(())
            } else {
                Err(ProcessorTimeSpent.into())
            };
        };
        call.used += time;
        if !call.given_up && call.pace.is_given_up() {
            call.given_up = true;
            call.limit = call.limit.min(call.used + GRACE);
        }
        if call.used < call.limit {
            return Ok(());
        }
        self.culprit = task;
        Err(if call.given_up {
            Abandoned::GivenUp.into()
        } else {
            ProcessorTimeSpent.into()
        })
    }
}

/// Asked at a tick of a shared instance.
pub(crate) fn tick(mut store: StoreContextMut<'_, GuestState>) -> wasmtime::Result<UpdateDeadline> {
    let task = store.async_call_stack()?.last();
    let state = store.data_mut();
    let pace = Arc::clone(&state.pace);
    let (before, poll) = (pace.used_in_polls(), pace.poll_so_far());
    let processor = state.processor;
    let Some(calls) = &mut state.calls else {
        return Ok(UpdateDeadline::Continue(1));
    };
    calls.tick(task, before, poll, processor)?;
    if poll < TICK {
        return Ok(UpdateDeadline::Continue(1));
    }
    // Many short answers in a row are no reason to give way; a long one is.
    let is_long = mem::replace(&mut calls.last, task) == task;
    Ok(if is_long && pace.must_yield() {
        UpdateDeadline::Yield(1)
    } else {
        UpdateDeadline::Continue(1)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use dormouse_services::logs::LogLimits;

    const TICK: Duration = Duration::from_millis(1);
    const LIMIT: Duration = Duration::from_millis(200);

    /// An instance that calls are in, and what it has used.
    #[derive(Default)]
    struct Crowd {
        calls: Calls<u32>,
        used: Duration,
    }

    impl Crowd {
        fn enter(&mut self, task: u32) {
            let limits = LogLimits::default();
            let log = CallLog::new(String::new(), 1, String::new(), limits, Arc::default());
            self.calls.enter(task, Pace::new(), log, self.used, LIMIT);
        }

        fn leave(&mut self, task: u32) {
            self.calls.leave(task, self.used);
        }

        /// A poll of a tick, at the end of which the clock finds a task.
        fn tick(&mut self, task: u32) -> Result<(), wasmtime::Error> {
            let before = self.used;
            self.used += TICK;
            self.calls.tick(Some(task), before, TICK, LIMIT)
        }
    }

    #[test]
    fn who_gets_the_id_of_a_task_that_has_ended_is_not_charged_with_its_time() {
        let mut crowd = Crowd::default();
        // Somebody is always in, so that the instance does not rest.
        crowd.enter(0);
        for _ in 0..1_000 {
            crowd.enter(1);
            assert!(crowd.tick(1).is_ok());
            crowd.leave(1);
            // What it has used since is found when it has left already.
            crowd.used += TICK / 2;
            assert!(
                crowd
                    .calls
                    .tick(Some(0), crowd.used, Duration::ZERO, LIMIT)
                    .is_ok()
            );
        }
    }

    #[test]
    fn a_task_whose_call_was_given_up_has_no_more_than_its_grace() {
        let mut crowd = Crowd::default();
        crowd.enter(0);
        crowd.enter(1);
        crowd.calls.give_up(1);
        crowd.leave(1);
        // In bites, with the time of others between them.
        for _ in 1..GRACE.as_millis() {
            assert!(crowd.tick(1).is_ok());
            assert!(crowd.tick(0).is_ok());
        }
        let stopped = crowd.tick(1).unwrap_err();
        assert!(stopped.is::<Abandoned>(), "{stopped}");
    }

    #[test]
    fn a_task_that_goes_on_after_its_answer_has_the_time_of_one_call() {
        let mut crowd = Crowd::default();
        crowd.enter(0);
        crowd.enter(1);
        crowd.leave(1);
        for _ in 1..LIMIT.as_millis() {
            assert!(crowd.tick(1).is_ok());
            crowd.enter(2);
            crowd.leave(2);
        }
        assert!(crowd.tick(1).is_err());
    }
}
