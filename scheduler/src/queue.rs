//! Who waits: a line per agent, and turns between the agents, so that one agent's storm makes only that
//! agent wait longer. Pure. No step takes longer because many wait.

use std::collections::{BTreeMap, HashMap};

/// Waiting calls. Within an agent the first comes first; between agents it goes round.
pub struct FairQueue<T> {
    lines: HashMap<String, Line<T>>,
    /// Agents with a line that may have their turn, once each; the next one to be served is first.
    turns: BTreeMap<u64, String>,
    length: usize,
    /// Lines that wait until their agent is released.
    held: usize,
    /// What the next in line, and the next turn, are numbered by.
    numbers: u64,
}

struct Line<T> {
    calls: BTreeMap<Ticket, T>,
    /// `None`: the agent could not go when it had its turn.
    turn: Option<u64>,
}

/// Finds a call in its agent's line. They ascend from the first to the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket {
    comes_anew: bool,
    number: u64,
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        Self {
            lines: HashMap::new(),
            turns: BTreeMap::new(),
            length: 0,
            held: 0,
            numbers: 0,
        }
    }
}

impl<T> FairQueue<T> {
    pub fn len(&self) -> usize {
        self.length
    }

    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    pub fn len_of(&self, agent: &str) -> usize {
        self.lines.get(agent).map_or(0, |line| line.calls.len())
    }

    /// Puts a call at the end of its agent's line.
    pub fn push(&mut self, agent: &str, call: T) -> Ticket {
        self.put(agent, true, call)
    }

    /// Puts a call that had its turn before in front of all that never had one.
    pub fn push_again(&mut self, agent: &str, call: T) -> Ticket {
        self.put(agent, false, call)
    }

    fn put(&mut self, agent: &str, comes_anew: bool, call: T) -> Ticket {
        self.numbers += 1;
        let number = self.numbers;
        let ticket = Ticket { comes_anew, number };
        if let Some(line) = self.lines.get_mut(agent) {
            line.calls.insert(ticket, call);
        } else {
            let calls = BTreeMap::from([(ticket, call)]);
            let turn = Some(self.numbers);
            self.turns.insert(self.numbers, agent.to_owned());
            self.lines.insert(agent.to_owned(), Line { calls, turn });
        }
        self.length += 1;
        ticket
    }

    /// Takes the first call of the first agent that can go; then it is the turn of the agents behind it. Agents before it
    /// that cannot go are not asked again before they are released.
    pub fn next(&mut self, can_go: impl Fn(&str) -> bool) -> Option<(Ticket, T)> {
        while let Some((_, agent)) = self.turns.pop_first() {
            let Some(line) = self.lines.get_mut(&agent) else {
                continue;
            };
            line.turn = None;
            self.held += 1;
            if can_go(&agent) {
                let first = line.calls.pop_first();
                self.length -= usize::from(first.is_some());
                if line.calls.is_empty() {
                    self.lines.remove(&agent);
                    self.held -= 1;
                } else {
                    self.release(&agent);
                }
                return first;
            }
        }
        None
    }

    /// Says that an agent may be able to go again. It comes after those whose turn it is.
    pub fn release(&mut self, agent: &str) {
        if self.held == 0 {
            return;
        }
        if let Some(line) = self.lines.get_mut(agent)
            && line.turn.is_none()
        {
            self.numbers += 1;
            line.turn = Some(self.numbers);
            self.turns.insert(self.numbers, agent.to_owned());
            self.held -= 1;
        }
    }

    /// Takes out a call that waits no longer. `None`: it has been served.
    pub fn remove(&mut self, agent: &str, ticket: Ticket) -> Option<T> {
        let line = self.lines.get_mut(agent)?;
        let call = line.calls.remove(&ticket)?;
        self.length -= 1;
        if line.calls.is_empty() {
            match line.turn {
                Some(turn) => drop(self.turns.remove(&turn)),
                None => self.held -= 1,
            }
            self.lines.remove(agent);
        }
        Some(call)
    }
}
