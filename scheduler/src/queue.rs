//! Who waits: a line per agent, and turns between the agents, so that one agent's storm makes only that
//! agent wait longer. Pure.

use std::collections::{HashMap, VecDeque};

/// Waiting calls. Within an agent the first comes first; between agents it goes round.
pub struct FairQueue<T> {
    lines: HashMap<String, VecDeque<(u64, T)>>,
    /// Every agent with a line, once; the next one to be served is in front.
    turns: VecDeque<String>,
    length: usize,
    /// The number of the next in line.
    numbers: u64,
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        Self {
            lines: HashMap::new(),
            turns: VecDeque::new(),
            length: 0,
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
        self.lines.get(agent).map_or(0, VecDeque::len)
    }

    /// The calls of an agent, in their order.
    #[cfg(test)]
    pub(crate) fn iter(&self, agent: &str) -> impl Iterator<Item = &T> {
        let line = self.lines.get(agent).into_iter().flatten();
        line.map(|(_, call)| call)
    }

    /// Puts a call at the end of its agent's line. Its number finds it again.
    pub fn push(&mut self, agent: &str, call: T) -> u64 {
        self.numbers += 1;
        let number = self.numbers;
        if !self.lines.contains_key(agent) {
            self.turns.push_back(agent.to_owned());
        }
        let line = self.lines.entry(agent.to_owned()).or_default();
        line.push_back((number, call));
        self.length += 1;
        number
    }

    /// Takes the first call of the first agent that can go; then it is the turn of the agents behind it.
    pub fn next(&mut self, can_go: impl Fn(&str) -> bool) -> Option<T> {
        let place = self.turns.iter().position(|agent| can_go(agent))?;
        let agent = self.turns.remove(place)?;
        let line = self.lines.get_mut(&agent)?;
        let (_number, call) = line.pop_front()?;
        self.length -= 1;
        if line.is_empty() {
            self.lines.remove(&agent);
        } else {
            self.turns.push_back(agent);
        }
        Some(call)
    }

    /// Takes the first call of an agent that fits, out of turn.
    pub fn take(&mut self, agent: &str, fits: impl Fn(&T) -> bool) -> Option<T> {
        let line = self.lines.get(agent)?;
        let (number, _call) = line.iter().find(|(_, call)| fits(call))?;
        let number = *number;
        self.remove(agent, number)
    }

    /// Takes out a call that waits no longer. `None`: it has been served.
    pub fn remove(&mut self, agent: &str, number: u64) -> Option<T> {
        let line = self.lines.get_mut(agent)?;
        // Numbers ascend within a line.
        let place = line.binary_search_by_key(&number, |(n, _)| *n).ok()?;
        let (_number, call) = line.remove(place)?;
        self.length -= 1;
        if line.is_empty() {
            self.lines.remove(agent);
            self.turns.retain(|name| name != agent);
        }
        Some(call)
    }
}
