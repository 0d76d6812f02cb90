//! Who is in the instances of a filter, who waits for them, and whose turn is next: that of the clients in turns, so that one
//! that asks for much makes itself wait and nobody else.

use crate::auth::Client;
use dormouse_scheduler::queue::{FairQueue, Ticket};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// How many times the free places one client may have.
const ALPHA: usize = 2;

/// Whether a client that waits `own` times may wait once more while so many places are free: the dynamic threshold of
/// A. K. Choudhury and E. L. Hahne, "Dynamic Queue Length Thresholds for Shared-Memory Packet Switches", IEEE/ACM
/// Transactions on Networking 6(2), 1998. A client alone gets two thirds of the places, `n` of them that want all they
/// can get have 2 / (2n + 1) each, and some are free for those who come later.
fn may_wait(own: usize, free: usize) -> bool {
    own < ALPHA * free
}

/// Whether who waits may be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing has been done for it yet.
    New,
    /// The filter has let it in, or an agent has worked on it. It takes none of the places of those who are new.
    LetIn,
}

/// Why nobody waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// Of all clients together.
    Queue,
    /// The client waits too often already for how much is free.
    Share,
}

/// All that are in a filter or wait for it.
pub(super) struct Waiting {
    /// Places of those who are new.
    places: usize,
    state: Mutex<State>,
}

struct State {
    instances: Vec<Line>,
    /// How often each client waits.
    clients: HashMap<String, usize>,
    /// How many of all are new.
    new: usize,
}

/// At one instance.
#[derive(Default)]
struct Line {
    is_taken: bool,
    waiting: FairQueue<oneshot::Sender<()>>,
}

/// The right to be in an instance, until it is dropped: then it is another's.
pub(super) struct Inside<'a> {
    waiting: &'a Waiting,
    instance: usize,
}

/// A place among those who wait, until it is dropped.
pub(super) struct Outside<'a> {
    waiting: &'a Waiting,
    instance: usize,
    client: String,
    standing: Standing,
    ticket: Ticket,
    called: oneshot::Receiver<()>,
    is_inside: bool,
}

/// How somebody begins.
pub(super) enum Place<'a> {
    Inside(Inside<'a>),
    Outside(Outside<'a>),
}

impl Waiting {
    pub(super) fn new(instances: usize, places: usize) -> Self {
        let instances = (0..instances).map(|_| Line::default()).collect();
        let state = State {
            instances,
            clients: HashMap::new(),
            new: 0,
        };
        Self {
            places,
            state: Mutex::new(state),
        }
    }

    /// The first instance that nobody is in; `first` is asked first.
    pub(super) fn free_from(&self, first: usize) -> Option<usize> {
        let state = self.lock();
        let count = state.instances.len();
        let mut numbers = (first..first + count).map(|number| number % count);
        numbers.find(|number| !state.instances[*number].is_taken)
    }

    /// Goes into an instance, or waits for it.
    pub(super) fn come(
        &self,
        instance: usize,
        client: Client<'_>,
        standing: Standing,
    ) -> Result<Place<'_>, Full> {
        let mut state = self.lock();
        if !state.instances[instance].is_taken {
            state.instances[instance].is_taken = true;
            return Ok(Place::Inside(Inside {
                waiting: self,
                instance,
            }));
        }
        let client = client.key();
        let own = state.clients.get(&client).copied().unwrap_or_default();
        if standing == Standing::New {
            if !may_wait(own, self.places - state.new) {
                return Err(if own == 0 { Full::Queue } else { Full::Share });
            }
            state.new += 1;
        }
        state.clients.insert(client.clone(), own + 1);
        let (call, called) = oneshot::channel();
        let ticket = state.instances[instance].waiting.push(&client, call);
        Ok(Place::Outside(Outside {
            waiting: self,
            instance,
            client,
            standing,
            ticket,
            called,
            is_inside: false,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a> Outside<'a> {
    /// Waits for its turn, as long as that takes.
    pub(super) async fn turn(mut self) -> Inside<'a> {
        (&mut self.called)
            .await
            .expect("who waits is called before the line ends");
        self.is_inside = true;
        Inside {
            waiting: self.waiting,
            instance: self.instance,
        }
    }
}

impl Drop for Outside<'_> {
    fn drop(&mut self) {
        let mut state = self.waiting.lock();
        match state.clients.get_mut(&self.client) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(state.clients.remove(&self.client)),
        }
        state.new -= usize::from(self.standing == Standing::New);
        let line = &mut state.instances[self.instance].waiting;
        let was_called = line.remove(&self.client, self.ticket).is_none();
        drop(state);
        if was_called && !self.is_inside {
            drop(Inside {
                waiting: self.waiting,
                instance: self.instance,
            });
        }
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        let mut state = self.waiting.lock();
        let line = &mut state.instances[self.instance];
        let next = line.waiting.next(|_any| true);
        line.is_taken = next.is_some();
        drop(state);
        if let Some((_, call)) = next {
            // Who has gone in the meantime finds that it was called, and leaves.
            let _gone = call.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use futures_util::FutureExt;
    use proptest::prelude::*;
    use std::net::IpAddr;

    fn client<'a>(principal: &'a str, address: &str) -> Client<'a> {
        Client {
            principal,
            address: address.parse::<IpAddr>().ok(),
        }
    }

    fn named(principal: &str) -> Client<'_> {
        client(principal, "192.0.2.1")
    }

    /// With one instance, which somebody is in.
    fn busy(waiting: &Waiting) -> Inside<'_> {
        match waiting.come(0, named("first"), Standing::New) {
            Ok(Place::Inside(inside)) => inside,
            _ => unreachable!("it was free"),
        }
    }

    fn come<'a>(waiting: &'a Waiting, name: &str, standing: Standing) -> Result<Outside<'a>, Full> {
        waiting
            .come(0, named(name), standing)
            .map(|place| match place {
                Place::Outside(outside) => outside,
                Place::Inside(_) => unreachable!("somebody is in it"),
            })
    }

    /// How many of a client find a place, until one does not.
    fn fill<'a>(waiting: &'a Waiting, name: &str, held: &mut Vec<Outside<'a>>) -> (usize, Full) {
        let before = held.len();
        loop {
            match come(waiting, name, Standing::New) {
                Ok(outside) => held.push(outside),
                Err(full) => return (held.len() - before, full),
            }
        }
    }

    #[test]
    fn one_client_alone_has_two_thirds_and_leaves_a_part_for_each_that_comes() {
        for (places, shares) in [(100, [67, 22, 8]), (3, [2, 1, 0]), (0, [0, 0, 0])] {
            let waiting = Waiting::new(1, places);
            let (_inside, mut held) = (busy(&waiting), Vec::new());
            for (name, expected) in ["ann", "bob", "eve"].into_iter().zip(shares) {
                let (got, full) = fill(&waiting, name, &mut held);
                assert_eq!(got, expected, "{name} of {places}");
                let who = if got == 0 { Full::Queue } else { Full::Share };
                assert_eq!(full, who, "{name} of {places}");
            }
            drop(held);
            assert!(waiting.lock().clients.is_empty());
            assert_eq!(waiting.lock().new, 0);
        }
    }

    #[test]
    fn clients_are_told_apart_by_name_or_by_where_they_are() {
        let waiting = Waiting::new(1, 3);
        let _inside = busy(&waiting);
        for (principal, address, other, is_same) in [
            ("ann", "192.0.2.1", client("ann", "192.0.2.2"), true),
            ("ann", "192.0.2.1", client("bob", "192.0.2.1"), false),
            (
                "anonymous",
                "192.0.2.1",
                client("anonymous", "::ffff:192.0.2.1"),
                true,
            ),
            (
                "anonymous",
                "192.0.2.1",
                client("anonymous", "192.0.2.2"),
                false,
            ),
            (
                "anonymous",
                "2001:db8::1",
                client("anonymous", "2001:db8::2"),
                true,
            ),
            (
                "anonymous",
                "2001:db8::1",
                client("anonymous", "2001:db8:0:1::1"),
                false,
            ),
        ] {
            let own = || waiting.come(0, client(principal, address), Standing::New);
            let held = [own().unwrap(), own().unwrap()];
            let more = waiting.come(0, other, Standing::New);
            assert_eq!(more.is_err(), is_same, "{principal} {address} {other:?}");
            drop(more);
            drop(held);
        }
    }

    #[test]
    fn what_was_let_in_waits_beside_what_is_new_and_counts() {
        let waiting = Waiting::new(1, 9);
        let _inside = busy(&waiting);
        let mut held = Vec::new();
        for _ in 0..20 {
            held.push(come(&waiting, "ann", Standing::LetIn).unwrap());
        }
        // It has more than its share, and all places are there for others.
        assert_eq!(fill(&waiting, "ann", &mut held), (0, Full::Share));
        assert_eq!(fill(&waiting, "bob", &mut held).0, 6);
        assert!(come(&waiting, "ann", Standing::LetIn).is_ok());
    }

    #[test]
    fn clients_take_turns_however_many_of_one_wait() {
        let waiting = Waiting::new(1, 100);
        let mut inside = busy(&waiting);
        let mut turns = Vec::new();
        for name in ["ann", "ann", "ann", "ann", "bob", "bob", "eve"] {
            let outside = come(&waiting, name, Standing::New).unwrap();
            turns.push((name, Box::pin(outside.turn())));
        }
        let mut order = Vec::new();
        while !turns.is_empty() {
            drop(inside);
            let mut called = turns.iter_mut().enumerate();
            let called = called.find_map(|(at, (_, turn))| Some((at, turn.now_or_never()?)));
            let (at, next) = called.unwrap();
            inside = next;
            order.push(turns.remove(at).0);
        }
        assert_eq!(order, ["ann", "bob", "eve", "ann", "bob", "ann", "ann"]);
        assert_eq!(waiting.free_from(0), None);
        drop(inside);
        assert_eq!(waiting.free_from(0), Some(0));
    }

    #[test]
    fn who_leaves_is_passed_over_also_when_it_was_called() {
        let waiting = Waiting::new(2, 100);
        let inside = busy(&waiting);
        assert_eq!(waiting.free_from(0), Some(1));
        let [first, second, third] =
            ["ann", "bob", "eve"].map(|name| come(&waiting, name, Standing::New).unwrap());
        drop(second);
        drop(inside);
        // It is the first one's turn, which does not take it.
        drop(first);
        let inside = third.turn().now_or_never().unwrap();
        assert_eq!(waiting.free_from(0), Some(1));
        drop(inside);
        assert_eq!(waiting.free_from(0), Some(0));
        assert!(waiting.lock().clients.is_empty());
    }

    proptest! {
        #[test]
        fn there_is_always_a_place_for_who_has_none_until_all_are_taken(
            places in 0_usize..40,
            steps in proptest::collection::vec((0_usize..6, any::<bool>(), any::<bool>()), 0..200),
        ) {
            let waiting = Waiting::new(1, places);
            let _inside = busy(&waiting);
            let mut held: Vec<(usize, Outside<'_>)> = Vec::new();
            for (number, leaves, is_new) in steps {
                let own = held.iter().filter(|(other, _)| *other == number).count();
                if leaves {
                    if let Some(at) = held.iter().position(|(other, _)| *other == number) {
                        held.swap_remove(at);
                    }
                    continue;
                }
                let standing = if is_new { Standing::New } else { Standing::LetIn };
                let news = |one: &&(usize, Outside<'_>)| one.1.standing == Standing::New;
                let free = places - held.iter().filter(news).count();
                match come(&waiting, &number.to_string(), standing) {
                    Ok(outside) => {
                        prop_assert!(!is_new || free > 0);
                        held.push((number, outside));
                    }
                    Err(full) => {
                        prop_assert!(is_new, "what was let in is not refused");
                        prop_assert_eq!(full == Full::Queue, own == 0);
                        prop_assert!(own > 0 || free == 0);
                        // Nobody is refused who has less than its part.
                        prop_assert!(own >= 2 * free);
                    }
                }
            }
            drop(held);
            prop_assert!(waiting.lock().clients.is_empty());
        }
    }
}
