//! Who may start, who must wait, who is evicted: pure functions of counts and times.
//!
//! Nothing here knows wasmtime or a clock, so it is tested by properties.

/// How many instances may live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    pub instances: usize,
    pub instances_per_agent: usize,
    /// Calls that may wait.
    pub queue: usize,
}

/// What lives now, as seen by a call for which no parked instance fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Parked and busy instances of all agents.
    pub live: usize,
    /// Parked and busy instances of the call's agent.
    pub live_of_agent: usize,
    /// Parked instances of all agents.
    pub parked: usize,
    /// Parked instances of the call's agent; none of them fits the call.
    pub parked_of_agent: usize,
    /// Waiting calls of all agents.
    pub waiting: usize,
    /// Waiting calls of the call's agent.
    pub waiting_of_agent: usize,
    /// Instances that the call's agent may have, if not [`Caps::instances_per_agent`].
    pub most_of_agent: Option<usize>,
}

/// What becomes of a call for which no parked instance fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// There is room for another instance.
    Start,
    /// Room must be made by evicting the least recently used parked instance of any agent.
    EvictAny,
    /// The agent is at its own cap: one of its own parked instances must go.
    EvictOwn,
    /// Everything is busy; the call waits.
    Wait,
    /// Everything is busy, and too many wait already: of all agents, or of this one.
    Refuse,
}

impl Admission {
    /// Whether the call gets an instance now.
    pub fn is_go(self) -> bool {
        matches!(self, Self::Start | Self::EvictAny | Self::EvictOwn)
    }
}

/// Decides on a call for which no parked instance fits.
pub fn admit(caps: Caps, load: Load) -> Admission {
    let wait = if may_wait(caps.queue, load.waiting, load.waiting_of_agent) {
        Admission::Wait
    } else {
        Admission::Refuse
    };
    let most = load.most_of_agent.unwrap_or(caps.instances_per_agent);
    if load.live_of_agent >= most {
        return if load.parked_of_agent > 0 {
            Admission::EvictOwn
        } else {
            wait
        };
    }
    if load.live < caps.instances {
        Admission::Start
    } else if load.parked > 0 {
        Admission::EvictAny
    } else {
        wait
    }
}

/// How many of so many instances one agent may have unless it is said: not all, so that others have places while its calls
/// take long.
pub fn share_of_one(instances: usize) -> usize {
    instances - instances / 4
}

/// Whether one more call of an agent may wait: as many as there are places left. So one agent alone has half
/// of the queue at most, two a third each, and there is always a place for an agent of which nothing waits
/// (dynamic thresholds: Choudhury and Hahne, 1998).
pub fn may_wait(queue: usize, waiting: usize, waiting_of_agent: usize) -> bool {
    waiting_of_agent < queue.saturating_sub(waiting)
}
