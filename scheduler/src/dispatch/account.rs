//! What agents may use, and what they have used.

use super::Scheduler;
use crate::config::{CallLimits, Ceiling};
use crate::meter::Usage;
use std::sync::Arc;

impl Scheduler {
    /// What a call of an agent may use that has no limits of its own.
    pub fn limits(&self) -> &Arc<CallLimits> {
        &self.0.limits
    }

    /// What the limits of a single agent do not go beyond.
    pub fn ceiling(&self) -> Ceiling {
        self.0.config.ceiling()
    }

    /// Where an agent's calls are summed up.
    pub fn usage(&self, agent: &str) -> Arc<Usage> {
        self.0.usage.of(agent)
    }

    /// Begins an agent's sums anew: it was deleted.
    pub fn forget_usage(&self, agent: &str) {
        self.0.usage.forget(agent);
    }
}
