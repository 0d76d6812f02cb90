//! The pool against a model: any order of calls that come, run, park, fail and go away, and of evictions.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::call::VersionRef;
use dormouse_services::model::Isolation;
use dormouse_store::Digest;
use proptest::prelude::*;
use proptest::sample::Index;
use std::sync::atomic::{AtomicUsize, Ordering};

mod crowd;
mod heavy;

const KEEP: Duration = Duration::from_secs(10);

/// Stands for an instance: it is counted for as long as it exists.
struct Guest(Arc<AtomicUsize>);

impl Guest {
    fn new(alive: &Arc<AtomicUsize>) -> Self {
        alive.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(alive))
    }
}

impl Weighed for Guest {
    fn is_heavy(&self) -> bool {
        false
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn version(agent: u8, number: u32) -> Arc<VersionRef> {
    Arc::new(VersionRef {
        agent: format!("agent-{agent}"),
        declared: format!("agent-{agent}"),
        number,
        digest: Digest::of(b"module"),
        isolation: Isolation::Principal,
        limits: Arc::default(),
        usage: Arc::default(),
        // Of two agents up to three calls may be in an instance.
        concurrency: if agent.is_multiple_of(2) { 1 } else { 3 },
        grants: dormouse_services::Grants::default(),
        config: Arc::default(),
    })
}

#[derive(Debug, Clone)]
enum Step {
    /// A call comes: of this agent, version and owner.
    Enter(u8, u32, u8),
    /// A call that has its turn enters an instance.
    Begin(Index),
    /// A call goes away before it began, in the queue or not.
    Leave(Index),
    /// A call returns cleanly.
    Park(Index),
    /// A call in a shared instance ends.
    Unseat(Index),
    /// A call fails.
    Fail(Index),
    /// Time passes, in seconds, and what is idle is evicted.
    Idle(u8),
    Pressure(u8),
    Retire(u8, u32),
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<Index>;
    prop_oneof![
        8 => (0..4u8, 1..3u32, 0..2u8).prop_map(|(a, n, o)| Step::Enter(a, n, o)),
        6 => index().prop_map(Step::Begin),
        2 => index().prop_map(Step::Leave),
        4 => index().prop_map(Step::Park),
        3 => index().prop_map(Step::Unseat),
        2 => index().prop_map(Step::Fail),
        1 => (0..12u8).prop_map(Step::Idle),
        1 => (0..4u8).prop_map(Step::Pressure),
        1 => (0..4u8, 1..3u32).prop_map(|(a, n)| Step::Retire(a, n)),
    ]
}

/// An instance that runs, and its lead if others may join.
struct Running {
    live: Live<Guest>,
    owner: Owner,
    lead: Option<Lead<Guest>>,
}

/// What the test holds: every call is in one of the two lists.
struct World {
    pool: Arc<Pool<Guest>>,
    registry: prometheus::Registry,
    caps: Caps,
    alive: Arc<AtomicUsize>,
    entered: Vec<Place<Guest>>,
    running: Vec<Running>,
    /// Calls in shared instances.
    seated: Vec<Seat<Guest>>,
    now: Instant,
}

impl World {
    fn new(caps: Caps) -> Self {
        let registry = prometheus::Registry::new();
        let metrics = Arc::new(Metrics::register(&registry).unwrap());
        Self {
            pool: Pool::new(caps, metrics),
            registry,
            caps,
            alive: Arc::default(),
            entered: Vec::new(),
            running: Vec::new(),
            seated: Vec::new(),
            now: Instant::now(),
        }
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Enter(agent, number, owner) => self.enter(*agent, *number, *owner),
            Step::Begin(index) => {
                let given: Vec<_> = (0..self.entered.len())
                    .filter(|place| self.entered[*place].is_given())
                    .collect();
                if !given.is_empty() {
                    let place = self.entered.remove(*index.get(&given));
                    self.begin(place);
                }
            }
            Step::Leave(index) if !self.entered.is_empty() => {
                drop(self.entered.remove(index.index(self.entered.len())));
            }
            Step::Park(index) if !self.running.is_empty() => {
                let running = self.running.remove(index.index(self.running.len()));
                self.park(running);
            }
            Step::Unseat(index) if !self.seated.is_empty() => {
                drop(self.seated.remove(index.index(self.seated.len())));
            }
            Step::Fail(index) if !self.running.is_empty() => {
                drop(self.running.remove(index.index(self.running.len())));
            }
            Step::Idle(seconds) => {
                self.now += Duration::from_secs(u64::from(*seconds));
                self.pool.evict_idle(self.now);
            }
            Step::Pressure(count) => {
                self.pool.evict_oldest(usize::from(*count));
            }
            Step::Retire(agent, number) => {
                let name = version(*agent, 1).agent.clone();
                drop(self.pool.retire(&name, |other| other == *number));
            }
            _ => {}
        }
    }

    fn enter(&mut self, agent: u8, number: u32, owner: u8) {
        let version = version(agent, number);
        let load = self.pool.lock().load(&version.agent);
        match self.pool.enter(&version, Some(owner.to_string().into())) {
            Ok(place) => self.entered.push(place),
            Err(Refused) => {
                assert_eq!(admit(self.caps, load), Admission::Refuse, "{load:?}");
            }
        }
    }

    fn begin(&mut self, place: Place<Guest>) {
        let owner = place.fit.owner.clone();
        let wanted = Arc::clone(place.version());
        let acquired = futures_util::FutureExt::now_or_never(place.take()).unwrap();
        let (found, lead, seat) = match acquired {
            Acquired::Own(found) => (found, None, None),
            Acquired::Lead(found, lead, seat) => (found, Some(lead), Some(seat)),
            Acquired::Seat(seat) => {
                assert_eq!(seat.fit.version, wanted);
                self.seated.push(seat);
                return;
            }
        };
        let live = match found {
            Found::Parked(live) => live,
            Found::Room(room) => room.make_here().hold(Guest::new(&self.alive)),
        };
        assert_eq!(live.slot().version, wanted);
        assert_eq!(lead.is_some(), wanted.is_shared());
        self.seated.extend(seat);
        self.running.push(Running { live, owner, lead });
    }

    /// A shared instance is parked when no call has a seat in it; until then it runs.
    fn park(&mut self, running: Running) {
        let Running { live, owner, lead } = running;
        let Some(lead) = lead else {
            self.pool.park(live, owner, self.now, KEEP);
            return;
        };
        let number = lead.number;
        let is_taken = self.seated.iter().any(|seat| seat.number == number)
            || self.entered.iter_mut().any(|place| place.has_seat(number));
        match lead.rest(live, owner.clone(), self.now, KEEP) {
            Ok(()) => assert!(!is_taken),
            Err((lead, live)) => {
                assert!(is_taken);
                let lead = Some(lead);
                self.running.push(Running { live, owner, lead });
            }
        }
    }

    fn metric(&self, name: &str) -> usize {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name);
        let metrics = family.unwrap().get_metric().iter();
        metrics
            .map(|m| m.get_counter().get_value() + m.get_gauge().get_value())
            .sum::<f64>() as usize
    }

    fn check(&mut self) {
        let alive = self.alive.load(Ordering::SeqCst);
        let (waiting, agents) = {
            let state = self.pool.lock();
            assert!(state.live <= self.caps.instances);
            assert!(alive <= state.live, "an instance without a place");
            state.shelf.check();
            let parked = state.shelf.len();
            assert_eq!(
                state.agents.values().map(|a| a.live).sum::<usize>(),
                state.live
            );
            assert_eq!(
                state.agents.values().map(|a| a.parked.len()).sum::<usize>(),
                parked
            );
            let cap = self.caps.instances_per_agent;
            assert!(
                state
                    .agents
                    .values()
                    .all(|a| a.live <= cap && a.parked.len() <= a.live)
            );
            let given = self.entered.len() - state.waiting.len();
            assert!(state.live >= parked + self.running.len());
            assert!(state.live <= parked + self.running.len() + given);
            assert!(state.waiting.seekers() <= state.waiting.len());
            for fit in state.seats.free() {
                assert!(
                    !state.waiting.has_for(fit),
                    "somebody waits although there is a seat"
                );
            }
            let loads: Vec<_> = (0..4).map(|a| state.load(&version(a, 1).agent)).collect();
            (state.waiting.len(), loads)
        };
        for load in agents.iter().filter(|load| load.waiting_of_agent > 0) {
            let admission = admit(self.caps, *load);
            assert!(
                !admission.is_go(),
                "somebody waits although there is room: {load:?}"
            );
        }
        assert!(waiting <= self.caps.queue);
        assert_eq!(self.metric("dormouse_queue_depth"), waiting);
        assert_eq!(self.metric("dormouse_instances"), alive);
        let started = self.metric("dormouse_instances_started_total");
        assert_eq!(started, self.metric("dormouse_evictions_total") + alive);
    }
}

impl<I: Weighed> Place<I> {
    fn is_given(&mut self) -> bool {
        if let Has::Turn { given, .. } = &mut self.has
            && let Ok(acquired) = given.try_recv()
        {
            self.has = Has::Given(acquired);
        }
        matches!(self.has, Has::Given(_))
    }

    fn has_seat(&mut self, wanted: u64) -> bool {
        // What it waited for may have come.
        self.is_given();
        match &self.has {
            Has::Given(Acquired::Lead(_, _, seat) | Acquired::Seat(seat)) => seat.number == wanted,
            _ => false,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_order_of_events_keeps_the_books(
        instances in 1usize..6,
        instances_per_agent in 1usize..4,
        queue in 0usize..8,
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let mut world = World::new(Caps { instances, instances_per_agent, queue });
        for step in &steps {
            world.run(step);
            world.check();
        }
        // Calls that run end, and all that wait are served.
        while !(world.entered.is_empty() && world.running.is_empty()) {
            let before = world.entered.len();
            world.seated.clear();
            if let Some(running) = world.running.pop() {
                world.park(running);
                world.check();
            }
            while let Some(place) = (0..world.entered.len()).find(|p| world.entered[*p].is_given()) {
                let place = world.entered.remove(place);
                world.begin(place);
            }
            world.check();
            prop_assert!(world.entered.len() < before || !world.running.is_empty() || before == 0);
        }
        world.seated.clear();
        world.pool.evict_all();
        world.check();
        prop_assert_eq!(world.alive.load(Ordering::SeqCst), 0);
        prop_assert_eq!(world.pool.lock().live, 0);
    }
}

#[test]
fn those_who_wait_are_served_in_turns() {
    let mut world = World::new(Caps {
        instances: 1,
        instances_per_agent: 1,
        queue: 100,
    });
    world.enter(0, 1, 0);
    let place = world.entered.remove(0);
    world.begin(place);
    // A storm of one agent, and one call of another behind it.
    for _ in 0..20 {
        world.enter(0, 1, 0);
    }
    world.enter(2, 1, 0);
    let mut order = Vec::new();
    for _ in 0..4 {
        let running = world.running.pop().unwrap();
        world.park(running);
        let next = (0..world.entered.len()).find(|place| world.entered[*place].is_given());
        let place = world.entered.remove(next.unwrap());
        order.push(place.version().agent.clone());
        world.begin(place);
        world.check();
    }
    assert_eq!(order, ["agent-0", "agent-2", "agent-0", "agent-0"]);
}

/// An instance that takes its time to end, in which something happens.
struct Slow(Option<Box<dyn FnOnce() + Send>>);

impl Weighed for Slow {
    fn is_heavy(&self) -> bool {
        false
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        if let Some(then) = self.0.take() {
            then();
        }
    }
}

#[tokio::test]
async fn a_call_that_comes_while_its_instance_is_evicted_is_served() {
    let caps = Caps {
        instances: 1,
        instances_per_agent: 1,
        queue: 1,
    };
    let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
    let pool = Pool::<Slow>::new(caps, Arc::new(metrics));
    let agent = version(0, 1);
    let first = pool.enter(&agent, None).unwrap().take().await;
    let Acquired::Own(Found::Room(room)) = first else {
        panic!("nothing is parked yet")
    };
    let (came, coming) = std::sync::mpsc::channel();
    let (pool_too, agent_too) = (Arc::clone(&pool), Arc::clone(&agent));
    let call = move || {
        let place = pool_too.enter(&agent_too, None).unwrap();
        assert!(
            matches!(place.has, Has::Turn { .. }),
            "the place is not free yet"
        );
        came.send(place).unwrap();
    };
    let live = room.make_here().hold(Slow(Some(Box::new(call))));
    pool.park(live, None, Instant::now(), Duration::ZERO);
    pool.evict_idle(Instant::now());
    let place = coming.try_recv().expect("it came during the eviction");
    let served = futures_util::FutureExt::now_or_never(place.take());
    assert!(
        matches!(served, Some(Acquired::Own(Found::Room(_)))),
        "served when the eviction was over"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn threads_that_call_and_evict_leave_nobody_behind() {
    let caps = Caps {
        instances: 2,
        instances_per_agent: 2,
        queue: 64,
    };
    let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
    let pool = Pool::<Slow>::new(caps, Arc::new(metrics));
    let calls: Vec<_> = (0..8u8)
        .map(|caller| {
            let pool = Arc::clone(&pool);
            tokio::spawn(async move {
                let agent = version(caller % 3, 1);
                for turn in 0..2_000 {
                    let Ok(place) = pool.enter(&agent, None) else {
                        panic!("there are fewer callers than places in the queue")
                    };
                    if turn % 7 == 0 {
                        drop(place);
                        continue;
                    }
                    let (found, lead, seat) = match place.take().await {
                        Acquired::Own(found) => (found, None, None),
                        Acquired::Lead(found, lead, seat) => (found, Some(lead), Some(seat)),
                        Acquired::Seat(_seat) => continue,
                    };
                    let live = match found {
                        Found::Parked(live) => live,
                        Found::Room(room) => room.make_here().hold(Slow(None)),
                    };
                    if turn % 5 == 0 {
                        tokio::task::yield_now().await;
                    }
                    drop(seat);
                    if let Some(lead) = lead {
                        // With a seat taken in the meantime, the instance is dropped under it.
                        let _taken = lead.rest(live, None, Instant::now(), Duration::ZERO);
                        continue;
                    }
                    match turn % 3 {
                        0 => drop(live),
                        1 => live.spend(),
                        _ => pool.park(live, None, Instant::now(), Duration::ZERO),
                    }
                    if turn % 11 == 0 {
                        pool.evict_idle(Instant::now());
                    }
                }
            })
        })
        .collect();
    let all = futures_util::future::join_all(calls);
    let ended = tokio::time::timeout(Duration::from_secs(60), all).await;
    for call in ended.expect("nobody waits for ever") {
        call.unwrap();
    }
    pool.evict_all();
    assert_eq!(pool.lock().live, 0);
}
