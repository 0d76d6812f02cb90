//! Which of several skills a message that names none is for: the one whose words it uses, which is the same for the
//! same words; or what a model says, if the operator has one asked. Where it is not clear, the client is asked to name
//! the skill.

use super::{Operations, SendRequest, skill};
use crate::agents::AgentEntry;
use crate::auth::Caller;
use crate::errors::A2aError;
use dormouse_services::memory::rank;
use dormouse_services::model::{Message, PartContent, SkillDefinition};
use dormouse_services::{Choice, MAX_SHOWN};

/// By so much the first must be ahead of the second.
const LEAD: f32 = 1.25;

/// Words of a message that are looked at, from its beginning: a client may send megabytes, and this runs on an
/// event loop.
const MAX_WORDS: usize = 256;

/// Words that say nothing of what is asked for.
const EMPTY_WORDS: [&str; 44] = [
    "a", "about", "an", "and", "any", "are", "as", "at", "be", "by", "can", "could", "do", "for",
    "from", "give", "have", "how", "i", "in", "is", "it", "me", "my", "of", "on", "one", "or",
    "our", "please", "that", "the", "this", "to", "us", "want", "was", "we", "what", "which",
    "will", "with", "you", "your",
];

impl Operations {
    /// Has the model choose the skill of a new task, if there is a choice and the client has made none. What the model
    /// does not decide is left to the words. It is not shown what filters of messages have yet to look at, nor what
    /// would be refused in any case.
    ///
    /// # Errors
    /// ContentTypeNotSupported if no skill takes the message, Unavailable if there is no place; invalid params if the
    /// model says that none fits.
    pub(super) async fn choose_by_model(
        &self,
        caller: &Caller,
        agent: &AgentEntry,
        request: &mut SendRequest,
    ) -> Result<(), A2aError> {
        let definition = &agent.definition;
        let is_open = request.message.task_id.is_none()
            && definition.skills.len() > 1
            && skill::named(&request.message, request.metadata.as_ref()).is_none();
        if !is_open {
            return Ok(());
        }
        let mut text = String::new();
        for part in texts(&request.message) {
            text.push_str(&part[..part.floor_char_boundary(MAX_SHOWN)]);
            text.push('\n');
            if text.len() > MAX_SHOWN {
                break;
            }
        }
        let scope = caller.scope(&agent.version.agent);
        let guard = self
            .filters
            .guard(&scope.agent, caller.client(), "", request);
        if text.trim().is_empty() || guard.is_some() {
            return Ok(());
        }
        skill::check_any(definition, &request.message)?;
        let context = request.message.context_id.as_deref();
        // Given back at once: others can use it while the model thinks.
        drop(self.enter(agent, &scope.principal, context)?);
        match self.engine.choose_skill(&scope, definition, &text).await {
            Some(Choice::Skill(id)) => skill::write_down(&mut request.message, &id, "model"),
            Some(Choice::None) => return Err(skill::unclear_words(definition)),
            None => {}
        }
        Ok(())
    }
}

fn texts(message: &Message) -> impl Iterator<Item = &str> {
    message.parts.iter().filter_map(|part| match &part.content {
        PartContent::Text(text) => Some(&**text),
        _ => None,
    })
}

/// The skill whose id, name, description, tags and examples fit the message's texts best (BM25); `None` if none of
/// them fits, or two do about as well.
pub(super) fn by_words<'a>(
    skills: &'a [SkillDefinition],
    message: &Message,
) -> Option<&'a SkillDefinition> {
    let telling = |word: &String| !EMPTY_WORDS.contains(&&**word);
    let words = texts(message).flat_map(rank::words).take(MAX_WORDS);
    let question: Vec<String> = words.filter(telling).collect();
    let documents: Vec<Vec<String>> = skills.iter().map(document).collect();
    let mut ranked: Vec<_> = rank::bm25(&question.join(" "), &documents)
        .into_iter()
        .zip(skills)
        .collect();
    ranked.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    match &*ranked {
        [(best, skill), (second, _), ..] if *best > second * LEAD => Some(skill),
        _ => None,
    }
}

fn document(skill: &SkillDefinition) -> Vec<String> {
    [&skill.id, &skill.name, &skill.description]
        .into_iter()
        .chain(&skill.tags)
        .chain(&skill.examples)
        .flat_map(|text| rank::words(text))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use dormouse_services::model::{Part, Role};

    fn skill(id: &str, description: &str, examples: &[&str]) -> SkillDefinition {
        SkillDefinition {
            id: id.to_owned(),
            name: String::new(),
            description: description.to_owned(),
            tags: Vec::new(),
            examples: examples.iter().map(|&example| example.to_owned()).collect(),
            input_modes: Vec::new(),
            output_modes: Vec::new(),
        }
    }

    fn chosen(text: &str) -> Option<String> {
        let skills = [
            skill(
                "weather",
                "Tells the weather of a place",
                &["Will it rain in Oslo?"],
            ),
            skill(
                "book-trip",
                "Books a trip: flight and hotel",
                &["Book a flight to Oslo"],
            ),
        ];
        let message = Message::new(Role::User, vec![Part::text(text)]);
        by_words(&skills, &message).map(|skill| skill.id.clone())
    }

    #[test]
    fn the_words_of_the_message_decide() {
        assert_eq!(chosen("will it RAIN tomorrow?").as_deref(), Some("weather"));
        assert_eq!(chosen("I want a hotel").as_deref(), Some("book-trip"));
        assert_eq!(chosen("the weather for my trip, the weather!"), None);
    }

    #[test]
    fn only_the_beginning_of_a_long_message_counts() {
        let long = "word ".repeat(MAX_WORDS);
        assert_eq!(chosen(&format!("{long} hotel")), None);
        assert_eq!(
            chosen(&format!("hotel {long}")).as_deref(),
            Some("book-trip")
        );
    }

    #[test]
    fn what_fits_none_or_all_is_left_open() {
        for text in ["", "Oslo", "tell me a joke", "the a of to", "…"] {
            assert_eq!(chosen(text), None, "{text}");
        }
    }
}
