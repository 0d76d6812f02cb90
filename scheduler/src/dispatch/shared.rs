//! A call that goes into an instance with others, and the task that runs that instance.

use super::blame::failure;
use super::{Inner, owner};
use crate::call::{CallFailure, CallRequest, Temperature, VersionRef};
use crate::instance::Instance;
use crate::lane::{self, Lane, Pace};
use crate::pool::{Acquired, Found, Lead, Live, Owner, Seat};
use crate::shared::{Job, Lost, Message, Reply, Rest};
use dormouse_services::model::{FailureClass, Outcome};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::oneshot;

impl Inner {
    /// Sends a call into an instance with others, and runs that instance if nobody does.
    pub(super) async fn run_shared(
        self: Arc<Self>,
        mut acquired: Acquired,
        mut request: Box<CallRequest>,
        deadline: Instant,
        pace: Arc<Pace>,
    ) -> Result<Outcome, CallFailure> {
        loop {
            let seat = match acquired {
                Acquired::Lead(found, lead, seat) => {
                    self.lead(found, lead, &request, &pace);
                    seat
                }
                Acquired::Seat(seat) => seat,
                Acquired::Own(found) => {
                    return self.run_alone(found, request, deadline, pace).await;
                }
            };
            let mut seated = Seated {
                pace: Arc::clone(&pace),
                ended_well: false,
                seat,
            };
            let (reply, replied) = oneshot::channel();
            let job = Job {
                request,
                deadline,
                pace: Arc::clone(&pace),
                reply,
            };
            if let Err(refused) = seated.seat.send(Message::Call(Box::new(job))) {
                refused.give_back();
            }
            let reply = replied.await;
            seated.ended_well = matches!(reply, Ok(Reply::Ended(Ok(_)) | Reply::NotBegun(_)));
            drop(seated);
            request = match reply {
                Ok(Reply::Ended(result)) => return result,
                Ok(Reply::NotBegun(request)) => request,
                Err(_died) => {
                    let sentence = "The platform lost the agent's instance.";
                    return Err(failure(FailureClass::Platform, sentence));
                }
            };
            // It was accepted already, so it is not refused now.
            let place = self.pool.enter_again(&request.version, owner(&request));
            acquired = place.take().await;
        }
    }

    /// Runs a shared instance, in a task of its own, until no call is left in it.
    fn lead(self: &Arc<Self>, found: Found, lead: Lead, first: &CallRequest, caller: &Arc<Pace>) {
        let inner = Arc::clone(self);
        let version = Arc::clone(&first.version);
        let owner = owner(first);
        let caller = Arc::clone(caller);
        let pace = Pace::new();
        let of = lane::Owner::Agent(Arc::clone(&version));
        let run = Box::pin(inner.run_lead(found, lead, version, owner, Arc::clone(&pace), caller));
        let mut run = Lane::new(&self.slow_lane, of, Arc::clone(&pace), run);
        let (usage, skill) = (Arc::clone(&first.version.usage), first.skill.clone());
        if usage.habits.of(&skill).is_long() {
            run = run.moved();
        }
        tokio::spawn(async move {
            run.await;
            if pace.was_long() {
                usage.habits.of(&skill).ended(true);
            }
        });
    }

    async fn run_lead(
        self: Arc<Self>,
        found: Found,
        mut lead: Lead,
        version: Arc<VersionRef>,
        owner: Owner,
        pace: Arc<Pace>,
        caller: Arc<Pace>,
    ) {
        let mut live = match self.find_shared(found, &version, &pace).await {
            Ok((live, temperature)) => {
                caller.temperature.get_or_init(|| temperature);
                live
            }
            Err(failure) => return lead.fail(&failure),
        };
        let bound = self.config.idle_timeout;
        loop {
            let explain = |error: &wasmtime::Error| self.explain(error, &version.limits);
            let pace = Arc::clone(&pace);
            let served = live
                .instance()
                .serve(&self.engine, &mut lead, pace, explain);
            match served.await {
                Ok(Rest::Clean) if !bound.is_zero() && self.is_idle(&mut live).await => {}
                Ok(Rest::Clean) => return live.spend(),
                Ok(Rest::Tainted) | Err(Lost) => return,
            }
            let now = tokio::time::Instant::now();
            match lead.rest(live, owner.clone(), now, bound) {
                Ok(()) => return,
                Err(back) => (lead, live) = back,
            }
        }
    }

    async fn find_shared(
        &self,
        found: Found,
        version: &Arc<VersionRef>,
        pace: &Arc<Pace>,
    ) -> Result<(Live, Temperature), CallFailure> {
        let slot = match found {
            Found::Parked(live) => return Ok((live, Temperature::Hot)),
            Found::Room(room) => room.make().await,
        };
        let (code, temperature) = self.code(version).await?;
        let instance = Instance::start_shared(&self.engine, &code, version, Arc::clone(pace))
            .await
            .map_err(|error| self.explain(&error, &version.limits))?;
        Ok((slot.hold(Box::new(instance)), temperature))
    }
}

/// A call's seat, for as long as the call waits for its answer.
struct Seated {
    pace: Arc<Pace>,
    /// It was answered, or it may enter another instance.
    ended_well: bool,
    seat: Seat,
}

impl Drop for Seated {
    fn drop(&mut self) {
        // A call that did not end well is still in the instance, or has ended it: who gets the seat would meet that.
        if !self.ended_well && self.pace.give_up() {
            self.seat.spoil();
        }
    }
}
