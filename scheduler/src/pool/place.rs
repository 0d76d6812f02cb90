//! What a call has of the pool: a place, and what it was given there.

use super::{Fit, Owner, Pool};
use crate::call::{CallFailure, VersionRef};
use crate::instance::Instance;
use crate::lane::may_be_held_up;
use crate::metrics::{Counted, Ended, Metrics};
use crate::policy::admit;
use crate::queue::Ticket;
use crate::shared::Message;
use std::mem;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;
use tokio::time::Instant;

/// What the pool must know of an instance.
pub(crate) trait Weighed: Send + 'static {
    /// Whether to give back its memory may take longer than a tick.
    fn is_heavy(&self) -> bool;
}

/// An instance in its place of the pool. Dropping it frees both, the instance first; a heavy one ends on a thread that
/// nobody waits for.
pub(crate) struct Live<I: Weighed = Box<Instance>> {
    /// `None` when it is taken apart.
    both: Option<(I, Slot<I>)>,
}

/// The right to have one live instance of a version.
pub(crate) struct Slot<I: Weighed = Box<Instance>> {
    pub(super) pool: Arc<Pool<I>>,
    pub(super) version: Arc<VersionRef>,
    pub(super) counted: Option<Counted>,
    /// Until when its instance was to be parked, when it was last.
    pub(super) kept_until: Option<Instant>,
}

/// What a call is given.
pub(crate) enum Acquired<I: Weighed = Box<Instance>> {
    /// An instance for this call alone.
    Own(Found<I>),
    /// An instance that others may join already: whoever has the lead must run it, or drop the lead.
    Lead(Found<I>, Lead<I>, Seat<I>),
    /// A seat in an instance that another call has opened.
    Seat(Seat<I>),
}

pub(crate) enum Found<I: Weighed = Box<Instance>> {
    Parked(Live<I>),
    /// Nothing fits: start an instance in this place.
    Room(Room<I>),
}

/// A place, and the instance that had it before.
pub(crate) struct Room<I: Weighed = Box<Instance>> {
    evicted: Option<(I, Option<Counted>)>,
    /// `None` when it is made.
    slot: Option<Slot<I>>,
}

/// Takes calls in to a shared instance. When it is dropped nobody joins any more, and calls that have not begun
/// go back to where they came from.
pub(crate) struct Lead<I: Weighed = Box<Instance>> {
    pub(super) pool: Arc<Pool<I>>,
    pub(super) number: u64,
    pub(crate) inbox: UnboundedReceiver<Message>,
}

/// The right to one call in a shared instance.
pub(crate) struct Seat<I: Weighed = Box<Instance>> {
    pub(super) pool: Arc<Pool<I>>,
    pub(super) fit: Fit,
    pub(super) number: u64,
    pub(super) to: UnboundedSender<Message>,
    /// Nobody is to have it after this call.
    pub(super) spoilt: bool,
}

/// A call's place in the pool: what it was given, or its turn. Dropping it gives back what it has.
pub(crate) struct Place<I: Weighed = Box<Instance>> {
    pub(super) pool: Arc<Pool<I>>,
    pub(super) fit: Fit,
    pub(super) has: Has<I>,
}

pub(super) enum Has<I: Weighed> {
    Given(Acquired<I>),
    Turn {
        ticket: Ticket,
        given: oneshot::Receiver<Acquired<I>>,
    },
    Nothing,
}

impl<I: Weighed> Place<I> {
    /// Waits until it has been given something. Nothing is lost if the wait is given up.
    pub(crate) async fn ready(&mut self) {
        if let Has::Turn { given, .. } = &mut self.has {
            let given = given.await;
            self.has = Has::Given(given.expect("the queue keeps who waits until it is served"));
        }
    }

    /// Waits for its turn, if it has to.
    pub(crate) async fn take(mut self) -> Acquired<I> {
        self.ready().await;
        match mem::replace(&mut self.has, Has::Nothing) {
            Has::Given(acquired) => acquired,
            Has::Turn { .. } | Has::Nothing => unreachable!("it was given something above"),
        }
    }

    pub(crate) fn version(&self) -> &Arc<VersionRef> {
        &self.fit.version
    }
}

impl<I: Weighed> Drop for Place<I> {
    fn drop(&mut self) {
        let given = match mem::replace(&mut self.has, Has::Nothing) {
            Has::Nothing => return,
            Has::Given(acquired) => acquired,
            Has::Turn { ticket, mut given } => {
                let agent = &self.fit.version.agent;
                drop(self.pool.lock().waiting.remove(agent, ticket));
                match given.try_recv() {
                    Ok(acquired) => acquired,
                    Err(_) => return,
                }
            }
        };
        // Nobody has entered the instance, so another call may.
        let live = match given {
            Acquired::Own(Found::Parked(live)) => live,
            Acquired::Lead(Found::Parked(live), lead, seat) => {
                drop((lead, seat));
                live
            }
            Acquired::Own(_) | Acquired::Lead(..) | Acquired::Seat(_) => return,
        };
        let (owner, now) = (self.fit.owner.take(), Instant::now());
        let over = self.pool.lock().put_back(&self.pool, live, owner, now);
        drop(over);
    }
}

/// Why [`Live`] has both of its parts.
const WHOLE: &str = "only what consumes it takes it apart";

impl<I: Weighed> Room<I> {
    pub(super) fn new(evicted: Option<(I, Option<Counted>)>, slot: Slot<I>) -> Self {
        let slot = Some(slot);
        Self { evicted, slot }
    }

    /// Empties the place here.
    pub(crate) fn make_here(mut self) -> Slot<I> {
        drop(self.evicted.take());
        self.slot.take().expect("it is made once")
    }

    /// Empties the place, where that may take its time.
    pub(crate) async fn make(self) -> Slot<I> {
        let evicted = self.evicted.as_ref();
        if !evicted.is_some_and(|(instance, _)| instance.is_heavy()) || may_be_held_up() {
            return self.make_here();
        }
        match tokio::task::spawn_blocking(move || self.make_here()).await {
            Ok(slot) => slot,
            Err(died) => match died.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // Only the end of the process ends it.
                Err(_cancelled) => std::future::pending().await,
            },
        }
    }
}

impl<I: Weighed> Drop for Room<I> {
    fn drop(&mut self) {
        if let Some((instance, counted)) = self.evicted.take() {
            end(instance, (counted, self.slot.take()));
        }
    }
}

/// Drops an instance, and then what is only free when it is gone. To unmap what a heavy one had takes long, so it is not
/// done on an event loop.
fn end<I: Weighed>(instance: I, then: impl Send + 'static) {
    match Handle::try_current() {
        Ok(runtime) if instance.is_heavy() && !may_be_held_up() => {
            runtime.spawn_blocking(move || {
                drop(instance);
                drop(then);
            });
        }
        _ => {
            drop(instance);
            drop(then);
        }
    }
}

impl<I: Weighed> Slot<I> {
    /// Puts an instance that has started in its place.
    pub(crate) fn hold(mut self, instance: I) -> Live<I> {
        self.counted = Some(Counted::start(&self.pool.metrics));
        let both = Some((instance, self));
        Live { both }
    }
}

impl<I: Weighed> Live<I> {
    pub(crate) fn instance(&mut self) -> &mut I {
        &mut self.both.as_mut().expect(WHOLE).0
    }

    pub(super) fn slot(&self) -> &Slot<I> {
        &self.both.as_ref().expect(WHOLE).1
    }

    pub(super) fn slot_mut(&mut self) -> &mut Slot<I> {
        &mut self.both.as_mut().expect(WHOLE).1
    }

    pub(super) fn apart(mut self) -> (I, Slot<I>) {
        self.both.take().expect(WHOLE)
    }

    /// Ends it on this thread, however long that takes.
    pub(crate) fn end_here(self) {
        let (instance, slot) = self.apart();
        drop(instance);
        drop(slot);
    }

    /// Ends an instance whose only call is over.
    pub(crate) fn spend(mut self) {
        self.end_as(Ended::Spent);
    }

    /// Says what it will have ended for when it is dropped.
    pub(super) fn end_as(&mut self, end: Ended) {
        if let Some(counted) = &mut self.slot_mut().counted {
            counted.end = end;
        }
    }
}

impl<I: Weighed> Drop for Live<I> {
    fn drop(&mut self) {
        if let Some((instance, slot)) = self.both.take() {
            end(instance, slot);
        }
    }
}

impl<I: Weighed> Drop for Slot<I> {
    fn drop(&mut self) {
        drop(self.counted.take());
        let mut state = self.pool.lock();
        state.live -= 1;
        state.uncount(&self.version.agent);
        state.serve_waiters(&self.pool);
    }
}

impl<I: Weighed> Lead<I> {
    /// Parks the instance, for so long at most, unless a call has taken a seat in the meantime.
    ///
    /// # Errors
    /// Gives everything back if one has.
    pub(crate) fn rest(
        self,
        live: Live<I>,
        owner: Owner,
        now: Instant,
        bound: Duration,
    ) -> Result<(), (Self, Live<I>)> {
        let mut state = self.pool.lock();
        if state.seats.is_taken(self.number) {
            drop(state);
            return Err((self, live));
        }
        state.seats.remove(self.number);
        let over = state.park(&self.pool, live, owner, now, bound);
        drop(state);
        drop(over);
        Ok(())
    }

    /// Tells every call that has a seat and has not begun that the instance cannot be had.
    pub(crate) fn fail(mut self, failure: &CallFailure) {
        self.end();
        while let Ok(message) = self.inbox.try_recv() {
            message.fail(failure);
        }
    }

    /// Takes no more messages. All that were sent are in the inbox then.
    fn end(&mut self) {
        let mut state = self.pool.lock();
        state.seats.remove(self.number);
        self.inbox.close();
    }

    /// Lets no other call join.
    pub(crate) fn close(&self) {
        self.pool.lock().seats.close(self.number);
    }

    /// The same, if those who come next can have another instance. Returns whether they can.
    pub(crate) fn make_way(&self) -> bool {
        let mut state = self.pool.lock();
        let fit = state.seats.fit_of(self.number);
        let load = fit.map(|fit| state.load(&fit.version.agent));
        let can = load.is_some_and(|load| admit(self.pool.caps, load).is_go());
        if can {
            state.seats.close(self.number);
        }
        can
    }
}

impl<I: Weighed> Drop for Lead<I> {
    fn drop(&mut self) {
        self.end();
        while let Ok(message) = self.inbox.try_recv() {
            message.give_back();
        }
    }
}

impl<I: Weighed> Seat<I> {
    /// Sends a message to whoever runs the instance.
    ///
    /// # Errors
    /// Gives it back if nobody does any more.
    pub(crate) fn send(&self, message: Message) -> Result<(), Message> {
        // Under the lock: a lead that ends meanwhile would find its inbox empty, and the message would come after that.
        let _state = self.pool.lock();
        self.to.send(message).map_err(|refused| refused.0)
    }

    /// The instance takes no call any more when this seat is left.
    pub(crate) fn spoil(&mut self) {
        self.spoilt = true;
    }
}

impl<I: Weighed> Drop for Seat<I> {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        if self.spoilt {
            state.seats.close(self.number);
        }
        if state.seats.leave(self.number) {
            // Of an instance that is gone nobody is left to be told.
            let _told = self.to.send(Message::Idle);
        }
        state.seat_waiters(&self.pool, &self.fit);
    }
}

/// Counts a waiting call for as long as it waits.
pub(super) struct Queued(Arc<Metrics>);

impl Queued {
    pub(super) fn new(metrics: &Arc<Metrics>) -> Self {
        metrics.queue_depth.inc();
        Self(Arc::clone(metrics))
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.0.queue_depth.dec();
    }
}
