//! Calls of one agent by another, in this process: who may call whom, and how far.

use crate::desk::{Asker, ServiceError};
use crate::model::{AgentMessage, Message, Task};
use crate::trace::Trace;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// Agents that may stand behind one another in a chain of calls.
pub const MAX_DEPTH: usize = 8;

/// What one agent sends to another.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentRequest {
    pub agent: String,
    /// `None` if the agent has but one, or `task` is given.
    pub skill: Option<String>,
    /// A task of the same principal that waits for input; `None` for a new one.
    pub task: Option<String>,
    pub message: AgentMessage,
}

/// What came of it. A task may have ended, or wait.
#[derive(Debug)]
pub enum AgentReply {
    Message(Message),
    Task(Task),
}

/// On whose behalf an agent is called.
#[derive(Debug)]
pub struct Inside {
    pub principal: String,
    /// That of the calling task, which the new one joins.
    pub context: String,
    /// The calling task.
    pub task: String,
    pub chain: Arc<Chain>,
    pub trace: Option<Trace>,
    /// One of the requests that the calling call may have at a time. To be held until the called agent has ended: the
    /// caller may stop waiting before.
    pub turn: OwnedSemaphorePermit,
}

/// The agents that wait for a call, the outermost first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    agents: Vec<String>,
    /// The task of the outermost call: what all calls that come of it have in common.
    trace: String,
}

pub type Replying = Pin<Box<dyn Future<Output = Result<AgentReply, ServiceError>> + Send>>;

/// What leads a call to its agent. It must not let a call wait long for an instance: the caller holds one, and what it
/// waits for may be held by another who waits.
pub trait Switchboard: Send + Sync {
    fn send(self: Arc<Self>, from: Inside, request: AgentRequest) -> Replying;
}

impl Chain {
    /// Adds an agent that calls, and its task.
    ///
    /// # Errors
    /// Limit if `callee` waits in the chain already, or the chain is too long.
    pub(crate) fn extend(
        before: Option<&Self>,
        caller: &str,
        task: &str,
        callee: &str,
    ) -> Result<Self, ServiceError> {
        let mut chain = before.cloned().unwrap_or_else(|| Self {
            agents: Vec::new(),
            trace: task.to_owned(),
        });
        chain.agents.push(caller.to_owned());
        if chain.agents.iter().any(|agent| agent == callee) {
            return Err(ServiceError::Limit(format!(
                "{callee} waits for this call already ({}); an agent is not called in a circle",
                chain.agents.join(", which calls ")
            )));
        }
        if chain.agents.len() > MAX_DEPTH {
            return Err(ServiceError::Limit(format!(
                "{MAX_DEPTH} agents wait for one another already ({})",
                chain.agents.join(", which calls ")
            )));
        }
        Ok(chain)
    }

    pub fn trace(&self) -> &str {
        &self.trace
    }
}

impl Inside {
    pub(crate) fn new(
        asker: Asker,
        task: String,
        chain: Chain,
        trace: Option<Trace>,
        turn: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            principal: asker.principal,
            context: asker.context,
            task,
            chain: Arc::new(chain),
            trace,
            turn,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_chain_ends_before_it_is_a_circle_or_too_long() {
        let mut chain = None;
        for (number, callee) in (1..=MAX_DEPTH).enumerate() {
            let (caller, callee) = (format!("a{number}"), format!("a{callee}"));
            let task = format!("t{number}");
            for before in 0..=number {
                let circle = Chain::extend(chain.as_ref(), &caller, &task, &format!("a{before}"));
                assert!(
                    matches!(circle, Err(ServiceError::Limit(_))),
                    "{number} {before}"
                );
            }
            chain = Some(Chain::extend(chain.as_ref(), &caller, &task, &callee).unwrap());
        }
        let chain = chain.unwrap();
        assert_eq!(chain.trace(), "t0", "all have the first call's");
        let last = Chain::extend(Some(&chain), "a8", "t8", "a9");
        assert!(matches!(last, Err(ServiceError::Limit(_))));
    }
}
