//! One call of a filter in its turn: the wait for that, the breaker, and the threads that it runs on.

use super::breaker::Call;
use super::edits::Wrong;
use super::filter::Filter;
use super::question::Phase;
use super::said::{Asking, Failure, Heard, Unanswered};
use super::waiting::{Full, Inside, Place, Standing};
use crate::auth::Client;
use dormouse_filters::patience::limited;
use dormouse_filters::{Turn, WasmAgentInstance};
use std::pin::pin;
use std::sync::Arc;
use tokio::time::Instant;

impl Filter {
    /// One call of one instance, in its turn. Work that is long moves to other threads.
    /// `check` says whether the answer counts: a wrong one is a failure. That its turn does not come is none.
    ///
    /// # Errors
    /// With the question, if the instance has left.
    pub(super) async fn call<T: Send + 'static, Q: Send + 'static, U>(
        &self,
        (turn, phase, started): (usize, Phase, Instant),
        client: Client<'_>,
        work: impl FnOnce(Turn) -> Asking<T, Q>,
        check: impl FnOnce(T) -> Result<U, Wrong>,
    ) -> Result<Heard<U>, Box<Q>> {
        let refused = |failure| {
            Ok(Heard {
                answer: Err(failure),
                took: started.elapsed(),
            })
        };
        // The turn may be one of another filter that has left.
        let number = if turn < self.instances.len() { turn } else { 0 };
        let Some(instance) = self.instances.get(number) else {
            return refused(Failure::NotLoaded);
        };
        let entered = match self.waiting.come(number, client, self.standing(phase)) {
            Ok(Place::Inside(inside)) => match instance.try_turn() {
                Some(turn) => Ok((inside, turn, started)),
                None => Box::pin(self.wait(instance, phase, Ok(Place::Inside(inside)))).await,
            },
            place => Box::pin(self.wait(instance, phase, place)).await,
        };
        let (_inside, turn, now) = match entered {
            Ok(entered) => entered,
            Err(failure) => return refused(failure),
        };
        let Some(attempt) = Attempt::begin(self, phase, now) else {
            return refused(Failure::Open);
        };
        // It has bounds of its own, so nobody waits without end.
        let name = &self.record.name;
        let answer = match self.tools.scheduler.aside(name, work(turn)).await {
            Err(Unanswered::Left(question)) => return Err(question),
            Err(Unanswered::Failed(error)) => Err(error.into()),
            Ok(answer) => check(answer).map_err(Failure::Invalid),
        };
        let ended = Instant::now();
        attempt.ended(answer.is_ok(), ended);
        Ok(Heard {
            answer,
            took: ended.duration_since(started),
        })
    }

    /// What it has let in, or an agent has done, is not refused because the client does much else.
    fn standing(&self, phase: Phase) -> Standing {
        let is_first = match phase {
            Phase::RequestHeaders | Phase::Message => true,
            Phase::RequestBody => !self.wants(Phase::RequestHeaders),
            Phase::ResponseHeaders | Phase::ResponseBody | Phase::Result => false,
        };
        if is_first {
            Standing::New
        } else {
            Standing::LetIn
        }
    }

    /// Waits for its turn, and for that of an instance that is asked for its health or ends, for so long and no longer.
    async fn wait<'a>(
        &self,
        instance: &Arc<WasmAgentInstance>,
        phase: Phase,
        place: Result<Place<'a>, Full>,
    ) -> Result<(Inside<'a>, Turn, Instant), Failure> {
        let begun = Instant::now();
        if self.lock(phase).is_open(begun) {
            return Err(Failure::Open);
        }
        let place = place?;
        let turn = pin!(async {
            let inside = match place {
                Place::Inside(inside) => inside,
                Place::Outside(outside) => outside.turn().await,
            };
            (inside, instance.turn().await)
        });
        let turn = limited(begun.into_std(), self.tools.rules.patience, turn).await;
        let (inside, turn) = turn.ok_or(Failure::NoTurn)?;
        Ok((inside, turn, Instant::now()))
    }
}

/// A call that the breaker has let in. One that is dropped before its end says nothing about the filter.
struct Attempt<'a> {
    filter: &'a Filter,
    phase: Phase,
    call: Call,
}

impl<'a> Attempt<'a> {
    fn begin(filter: &'a Filter, phase: Phase, now: Instant) -> Option<Self> {
        let call = filter.lock(phase).admits(&filter.tools.rules, now)?;
        Some(Self {
            filter,
            phase,
            call,
        })
    }

    fn ended(mut self, well: bool, now: Instant) {
        self.call = Call::Usual;
        let mut breaker = self.filter.lock(self.phase);
        let was_open = breaker.badness() > 0;
        breaker.ended(&self.filter.tools.rules, well, now);
        let is_open = breaker.badness() > 0;
        if is_open != was_open {
            let (metrics, name) = (&self.filter.tools.metrics, &self.filter.record.name);
            metrics.breaker(name, self.phase.as_str(), is_open);
        }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if self.call == Call::Probe {
            self.filter.lock(self.phase).given_up();
        }
    }
}
