//! Which of two versions a task begins on while new work is split between them.

use super::Operations;
use crate::agents::AgentEntry;
use crate::errors::A2aError;
use dormouse_services::model::Message;
use dormouse_store::{Digest, Split};
use std::sync::Arc;

impl Operations {
    /// The version beside the active one, if this message begins work that is its share. What goes on, goes on where it
    /// began.
    pub(super) async fn other_version(
        &self,
        agent: &AgentEntry,
        split: Split,
        message: &Message,
    ) -> Result<Option<Arc<AgentEntry>>, A2aError> {
        let name = &agent.version.agent;
        if message.task_id.is_some() || !takes(split, name, message) {
            return Ok(None);
        }
        let found = self.agents.find_version(name, split.version).await;
        found.map_err(|error| A2aError::internal("the registry could not be read", &error))
    }
}

/// All of a context goes one way, and without a context a message does, however often it is sent. Another split draws
/// others.
fn takes(split: Split, agent: &str, message: &Message) -> bool {
    let id = message.context_id.as_ref().unwrap_or(&message.message_id);
    let drawn = Digest::of(format!("{agent} {}\n{id}", split.version).as_bytes());
    let (first, _) = drawn.as_bytes().split_first_chunk().expect("it has 32");
    u64::from_be_bytes(*first) % 100 < u64::from(split.percent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dormouse_services::model::{Part, Role};

    fn drawn(percent: u8, context: Option<&str>, ids: impl Iterator<Item = String>) -> usize {
        let split = Split {
            version: 2,
            percent,
        };
        ids.filter(|id| {
            let mut message = Message::new(Role::User, vec![Part::text("x")]);
            message.message_id.clone_from(id);
            message.context_id = context.map(str::to_owned);
            takes(split, "calc", &message)
        })
        .count()
    }

    #[test]
    fn the_share_is_about_the_percent() {
        for percent in [1, 10, 50, 99] {
            let of = drawn(percent, None, (0..10_000).map(|n| n.to_string()));
            let expected = usize::from(percent) * 100;
            assert!(of.abs_diff(expected) < 200, "{percent} %: {of} of 10000");
        }
    }

    #[test]
    fn a_context_goes_one_way_whatever_its_messages_are() {
        for context in ["a", "b", "c", "d", "e", "f"] {
            let of = drawn(50, Some(context), (0..100).map(|n| n.to_string()));
            assert!(of == 0 || of == 100, "{context}: {of}");
        }
    }

    #[test]
    fn a_larger_share_holds_the_smaller() {
        for id in (0..1_000).map(|n| n.to_string()) {
            let of = |percent| drawn(percent, None, [id.clone()].into_iter());
            assert!(of(10) <= of(11) && of(11) <= of(60), "{id}");
        }
    }
}
