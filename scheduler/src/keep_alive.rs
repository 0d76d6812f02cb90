//! How long an instance is kept parked: learned from the gaps between its agent's calls. Pure.
//!
//! After "Serverless in the Wild" (Shahrad et al., USENIX ATC 2020): a bounded histogram of idle times per
//! agent, of which the tail says how long keeping pays, and a fixed time where the histogram says nothing. Its
//! head, which there says when to start an instance in advance, has no use here: a start takes 50
//! microseconds.

use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// Two bins for each doubling, from 10 ms to 33 hours.
const BINS: usize = 48;
const FIRST_BIN: Duration = Duration::from_millis(10);
/// Gaps that must be known before they count.
const FEW: u32 = 8;
/// Percent of the gaps within the bound that an instance is kept for.
const TAIL: u32 = 99;
/// The square of the bins' coefficient of variation (2, as in the paper) below which gaps are so evenly spread
/// that they say nothing.
const EVEN: u64 = 4;
/// An instance is kept at least this long, whatever was learned, unless the bound is shorter.
const LEAST: Duration = Duration::from_secs(5);
/// Agents whose rhythm is remembered, at 150 bytes each.
const AGENTS: usize = 8_192;

/// The gaps between the calls of one agent.
#[derive(Debug, Clone)]
pub struct Rhythm {
    /// When its last call ended, or began.
    last: Instant,
    bins: [u8; BINS],
}

impl Rhythm {
    pub fn new(now: Instant) -> Self {
        Self {
            last: now,
            bins: [0; BINS],
        }
    }

    /// A call has come.
    pub fn called(&mut self, now: Instant) {
        let bin = bin(now.saturating_duration_since(self.last));
        self.last = now;
        if self.bins[bin] == u8::MAX {
            // What was learned long ago counts less and less.
            for count in &mut self.bins {
                *count /= 2;
            }
        }
        self.bins[bin] += 1;
    }

    /// A call has ended.
    pub fn rested(&mut self, now: Instant) {
        self.last = now;
    }

    /// How long an instance is worth keeping; never longer than `bound`, which is also what holds while the gaps
    /// are few or say nothing.
    pub fn keep_alive(&self, bound: Duration) -> Duration {
        let least = LEAST.min(bound);
        let all: u32 = self.bins.iter().map(|count| u32::from(*count)).sum();
        if all < FEW || self.is_even(all) {
            return bound;
        }
        let within = (0..BINS).take_while(|bin| edge(*bin) <= bound);
        let within: u32 = within.map(|bin| u32::from(self.bins[bin])).sum();
        let wanted = (within * TAIL).div_ceil(100);
        let mut seen = 0;
        for (bin, count) in self.bins.iter().enumerate() {
            if seen >= wanted {
                let tail = bin.checked_sub(1).map_or(Duration::ZERO, edge);
                // A tenth more, as in the paper.
                return (tail + tail / 10).clamp(least, bound);
            }
            seen += u32::from(*count);
        }
        bound
    }

    fn is_even(&self, all: u32) -> bool {
        let squares: u64 = self.bins.iter().map(|count| u64::from(*count).pow(2)).sum();
        // n * sum of squares / square of the sum - 1.
        let all = u64::from(all).pow(2);
        (BINS as u64 * squares).saturating_sub(all) < EVEN * all
    }
}

/// The longest gap of a bin.
fn edge(bin: usize) -> Duration {
    let doubled = FIRST_BIN * (1 << (bin / 2));
    if bin.is_multiple_of(2) {
        doubled
    } else {
        doubled * 1_414 / 1_000
    }
}

fn bin(gap: Duration) -> usize {
    let fits = (0..BINS).find(|bin| gap <= edge(*bin));
    fits.unwrap_or(BINS - 1)
}

/// The rhythms of agents that were called lately. An agent that is not called has none.
#[derive(Debug, Default)]
pub struct Rhythms(HashMap<String, Rhythm>);

impl Rhythms {
    /// A call of an agent has come.
    pub fn called(&mut self, agent: &str, now: Instant) {
        if let Some(rhythm) = self.0.get_mut(agent) {
            rhythm.called(now);
            return;
        }
        if self.0.len() >= AGENTS {
            self.forget_half();
        }
        self.0.insert(agent.to_owned(), Rhythm::new(now));
    }

    /// A call has ended: how long its instance is worth keeping.
    pub fn rested(&mut self, agent: &str, now: Instant, bound: Duration) -> Duration {
        let Some(rhythm) = self.0.get_mut(agent) else {
            return bound;
        };
        rhythm.rested(now);
        rhythm.keep_alive(bound)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that were called longest ago go, half of them at once: it is done once in so many new agents.
    fn forget_half(&mut self) {
        let mut times: Vec<_> = self.0.values().map(|rhythm| rhythm.last).collect();
        let middle = times.len() / 2;
        let (_, median, _) = times.select_nth_unstable(middle);
        let median = *median;
        let mut surplus = self.0.len() - middle;
        self.0.retain(|_, rhythm| {
            let goes = rhythm.last <= median && surplus > 0;
            surplus -= usize::from(goes);
            !goes
        });
    }
}
