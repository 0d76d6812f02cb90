//! Filters that see messages instead of HTTP: the world `dormouse:filter@1.0.0`. They are asked about every message on its
//! way to an agent and about all that the agent says, the same over every binding, and may redact it.
//!
//! ```
//! use dormouse_filter_sdk::message::{Content, MessageFilter, PartContent, Subject, Verdict};
//! use dormouse_filter_sdk::message_filter;
//!
//! struct NoShouting;
//!
//! impl MessageFilter for NoShouting {
//!     const NAME: &str = "no-shouting";
//!     const EVENTS: &[&str] = &["message"];
//!
//!     fn configure(_config: &str) -> Result<Self, String> {
//!         Ok(Self)
//!     }
//!
//!     fn message(&mut self, _subject: &Subject, content: &Content) -> Verdict {
//!         let mut verdict = Verdict::allow();
//!         for (at, part) in content.parts.iter().enumerate() {
//!             if let PartContent::Text(text) = &part.content
//!                 && text.contains('!')
//!             {
//!                 verdict = verdict.redact(at, text.replace('!', ".")).rule("no-shouting");
//!             }
//!         }
//!         verdict
//!     }
//! }
//!
//! message_filter!(NoShouting);
//! ```

#[allow(
    missing_docs,
    unsafe_code,
    clippy::all,
    reason = "generated from the WIT"
)]
#[doc(hidden)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "wit/message",
        world: "dormouse:filter/message-filter",
        pub_export_macro: true,
        export_macro_name: "export_message_filter",
        default_bindings_module: "::dormouse_filter_sdk::message::bindings",
        additional_derives: [PartialEq],
    });
}

pub use bindings::dormouse::filter::types::{Content, Kind, Part, PartContent, Subject};

use bindings::dormouse::filter::types::{Annotation, Answer, Audit, Decision, Info, Redaction};
use bindings::exports::dormouse::filter::{lifecycle, messages};
use std::cell::RefCell;
use std::marker::PhantomData;
use std::thread::LocalKey;

/// The ids that a client has chosen, which the agent is told, too: those of the message and of its context.
///
/// ```
/// use dormouse_filter_sdk::message::{ids, testing};
///
/// assert_eq!(ids(&testing::subject()).collect::<Vec<_>>(), ["m"]);
/// ```
pub fn ids(subject: &Subject) -> impl Iterator<Item = &str> {
    let context = subject.context_id.as_deref();
    std::iter::once(&*subject.message_id).chain(context)
}

/// A filter of messages, once configured. Only events that it names in [`EVENTS`](MessageFilter::EVENTS) reach it.
pub trait MessageFilter: Sized + 'static {
    const NAME: &str;
    /// Of `message` and `result`.
    const EVENTS: &[&str] = &["message", "result"];
    /// Bytes of one message or artifact, all its fields together.
    const MAX_BYTES: u64 = crate::MAX_BODY;

    /// # Errors
    /// A sentence that the operator can act on.
    fn configure(config: &str) -> Result<Self, String>;

    /// Those of [`EVENTS`](MessageFilter::EVENTS) that it needs as it is configured. What reaches no filter costs no time,
    /// and is not too large for it.
    fn events(&self) -> &'static [&'static str] {
        Self::EVENTS
    }

    /// About what a client says to an agent.
    fn message(&mut self, _subject: &Subject, _content: &Content) -> Verdict {
        Verdict::allow()
    }

    /// About what an agent says. Pieces of an artifact come one by one.
    fn result(&mut self, _subject: &Subject, _content: &Content) -> Verdict {
        Verdict::allow()
    }

    /// # Errors
    /// Why another instance should take its place.
    fn health(&self) -> Result<String, String> {
        Ok("ok".to_owned())
    }

    fn shutdown(&mut self) {}
}

/// A decision with its changes and its audit record, made piece by piece.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Verdict(Answer);

impl From<Verdict> for Answer {
    fn from(verdict: Verdict) -> Self {
        verdict.0
    }
}

impl Verdict {
    fn of(decision: Decision) -> Self {
        Self(Answer {
            decision,
            redactions: Vec::new(),
            annotations: Vec::new(),
            audit: Audit {
                tags: Vec::new(),
                rule_ids: Vec::new(),
                confidence: None,
                reason_codes: Vec::new(),
            },
        })
    }

    pub fn allow() -> Self {
        Self::of(Decision::Allow)
    }

    /// Refuses, with a sentence for whoever said it.
    pub fn block(sentence: &str) -> Self {
        Self::of(Decision::Block(sentence.to_owned()))
    }

    /// Puts a text in the place of what part `at` has, whatever that is. Parts count from 0.
    pub fn redact(self, at: usize, text: impl Into<String>) -> Self {
        self.replace(at, PartContent::Text(text.into()))
    }

    /// Puts a JSON document in the place of what part `at` has.
    pub fn redact_data(self, at: usize, json: impl Into<String>) -> Self {
        self.replace(at, PartContent::Data(json.into()))
    }

    /// As the two above, for content of any kind; files are refused.
    pub fn replace(mut self, at: usize, content: PartContent) -> Self {
        let part = u32::try_from(at).unwrap_or(u32::MAX);
        self.0.redactions.push(Redaction { part, content });
        self
    }

    /// Adds a JSON document to the metadata, under `dormouse.filters`, this filter's name and this one.
    pub fn annotate(mut self, name: &str, json: impl Into<String>) -> Self {
        self.0.annotations.push(Annotation {
            name: name.to_owned(),
            value: json.into(),
        });
        self
    }

    pub fn tag(mut self, tag: &str) -> Self {
        self.0.audit.tags.push(tag.to_owned());
        self
    }

    /// Which rule has decided.
    pub fn rule(mut self, id: &str) -> Self {
        self.0.audit.rule_ids.push(id.to_owned());
        self
    }

    /// Why, for machines.
    pub fn reason(mut self, code: &str) -> Self {
        self.0.audit.reason_codes.push(code.to_owned());
        self
    }

    /// How sure, from 0 to 1.
    pub fn confidence(mut self, confidence: f32) -> Self {
        self.0.audit.confidence = Some(confidence);
        self
    }

    pub fn is_allow(&self) -> bool {
        self.0.decision == Decision::Allow
    }

    /// For the tests of filters: rules that have decided.
    pub fn rules(&self) -> &[String] {
        &self.0.audit.rule_ids
    }

    /// For the tests of filters: what takes the place of parts.
    pub fn replaced(&self) -> Vec<(usize, &PartContent)> {
        let redactions = self.0.redactions.iter();
        redactions
            .map(|one| (one.part as usize, &one.content))
            .collect()
    }
}

/// Where a component keeps its filter: a static of its own, because a generic one there is not.
#[doc(hidden)]
pub trait Placed: MessageFilter {
    fn place() -> &'static LocalKey<RefCell<Option<Self>>>;
}

#[doc(hidden)]
pub struct Component<F>(PhantomData<F>);

/// Asked before it was configured, a filter refuses everything.
fn ask<F: Placed>(question: impl FnOnce(&mut F) -> Verdict) -> Answer {
    let asked = F::place().with_borrow_mut(|filter| filter.as_mut().map(question));
    asked
        .unwrap_or_else(|| Verdict::block("the filter is not configured"))
        .into()
}

impl<F: Placed> messages::Guest for Component<F> {
    fn get_info() -> Info {
        let events = F::place().with_borrow(|filter| match filter {
            Some(filter) => filter.events(),
            None => F::EVENTS,
        });
        Info {
            id: F::NAME.to_owned(),
            name: F::NAME.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            events: events.iter().map(|&event| event.to_owned()).collect(),
            max_bytes: F::MAX_BYTES,
        }
    }

    fn configure(config: String) -> Result<(), String> {
        let filter = F::configure(&config)?;
        F::place().set(Some(filter));
        Ok(())
    }

    fn on_message(subject: Subject, content: Content) -> Answer {
        ask::<F>(|filter| filter.message(&subject, &content))
    }

    fn on_result(subject: Subject, content: Content) -> Answer {
        ask::<F>(|filter| filter.result(&subject, &content))
    }
}

impl<F: Placed> lifecycle::Guest for Component<F> {
    fn health_check() -> Result<String, String> {
        F::place().with_borrow(|filter| match filter {
            Some(filter) => filter.health(),
            None => Err("not configured".to_owned()),
        })
    }

    fn shutdown() {
        if let Some(mut filter) = F::place().take() {
            filter.shutdown();
        }
    }
}

/// Makes the crate a component with this filter of messages in it.
#[macro_export]
macro_rules! message_filter {
    ($filter:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            type Component = $crate::message::Component<$filter>;
            impl $crate::message::Placed for $filter {
                fn place() -> &'static ::std::thread::LocalKey<::std::cell::RefCell<Option<Self>>> {
                    ::std::thread_local! {
                        static FILTER: ::std::cell::RefCell<Option<$filter>> = const { ::std::cell::RefCell::new(None) };
                    }
                    &FILTER
                }
            }
            $crate::message::bindings::export_message_filter!(Component with_types_in $crate::message::bindings);
        };
        // Natively, for tests, the filter is in use as well.
        #[cfg(not(target_arch = "wasm32"))]
        const _: fn(&str) -> Result<$filter, String> =
            <$filter as $crate::message::MessageFilter>::configure;
    };
}

/// For the tests of filters.
pub mod testing {
    use super::{Content, Kind, Part, PartContent, Subject};

    /// Of a message to `echo`.
    pub fn subject() -> Subject {
        Subject {
            agent: "echo".into(),
            skill: "say".into(),
            principal: "anonymous".into(),
            task_id: None,
            context_id: None,
            message_id: "m".into(),
        }
    }

    /// A message of these parts.
    pub fn content(parts: Vec<PartContent>) -> Content {
        let part = |content| Part {
            content,
            filename: None,
            media_type: None,
            metadata: None,
        };
        Content {
            kind: Kind::Message,
            parts: parts.into_iter().map(part).collect(),
            metadata: None,
            name: None,
            description: None,
        }
    }

    /// A message of one text.
    pub fn text(text: &str) -> Content {
        content(vec![PartContent::Text(text.into())])
    }
}
