//! Filters that see messages: on their way to an agent, and what the agent says in return. They are asked by the operations
//! layer, so every binding is the same to them; and before anything is kept, so that every reader sees what they have left.

use super::book::Filters;
use super::edits::Wrong;
use super::filter::Filter;
use super::question::{Phase, Words};
use super::said::{About, Failure, Said};
use crate::auth::Client;
use crate::errors::{A2aError, Kind};
use crate::ops::{SendRequest, TRACE};
use dormouse_filters::World;
use dormouse_filters::message::{
    Annotation, Answer, Content, Decision, Kind as Word, Part as SeenPart, PartContent as Seen,
    Redaction, Subject,
};
use dormouse_services::model::{FailureClass, Metadata, Part, PartContent};
use dormouse_services::screen::{self, Refused, SaidKind, Screen};
use dormouse_services::trace::Trace;
use serde_json::{Value, json};
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

/// The member of metadata that annotations are in, each filter's under its name.
const ANNOTATIONS: &str = "dormouse.filters";
/// Where filters see what the agent gets besides the message: metadata and references of a client's request.
const REQUEST: &str = "dormouse.request";
/// Where filters see the id that an agent gives an artifact.
const ARTIFACT: &str = "dormouse.artifact";
/// Bytes of an id in the log. The platform's have 36.
const MAX_SHOWN_ID: usize = 64;
/// Bytes of the name of an annotation.
const MAX_NAME: usize = 64;

/// The filters that see one turn, from the message to the last word.
pub(crate) struct Guard {
    /// Each filter with the instance that sees this turn.
    filters: Vec<(Arc<Filter>, usize)>,
    subject: Arc<Subject>,
    /// Of the client.
    address: Option<IpAddr>,
    trace: Option<Trace>,
}

/// Why something does not go on.
enum Stop {
    /// With the filter's sentence.
    Blocked(String),
    Failed(Failure),
}

/// What a filter has changed, once it has been looked at.
struct Changes {
    decision: Decision,
    redactions: Vec<(usize, PartContent)>,
    annotations: serde_json::Map<String, Value>,
}

/// What is looked at, and may be changed.
struct Looked<'a> {
    kind: Word,
    parts: &'a mut Vec<Part>,
    metadata: &'a mut Option<Metadata>,
    name: Option<&'a mut String>,
    description: Option<&'a mut String>,
    /// A member of the metadata as filters see it: what has no place of its own there.
    besides: Option<(&'static str, Value)>,
    /// As filters see it, until one changes it: it may be megabytes, and all of them see the same.
    shown: Option<Arc<Content>>,
}

/// Takes out of metadata what only the platform may say in it.
pub(crate) fn strip(metadata: &mut Option<Metadata>) {
    if let Some(metadata) = metadata {
        for reserved in [ANNOTATIONS, REQUEST, ARTIFACT] {
            metadata.remove(reserved);
        }
    }
}

impl Filters {
    /// The filters of messages before an agent; `None` if there are none. `skill` is what the task begins or began with.
    pub(crate) fn guard(
        &self,
        agent: &str,
        client: Client<'_>,
        skill: &str,
        request: &SendRequest,
    ) -> Option<Guard> {
        let message = &request.message;
        let active = self.active()?;
        let filters = active
            .0
            .iter()
            .filter(|filter| filter.is_of(World::Message) && filter.stands_before(Some(agent)));
        let filters: Vec<_> = filters
            .map(|filter| (Arc::clone(filter), filter.turn()))
            .collect();
        (!filters.is_empty()).then(|| Guard {
            filters,
            subject: Arc::new(Subject {
                agent: agent.to_owned(),
                skill: skill.to_owned(),
                principal: client.principal.to_owned(),
                task_id: message.task_id.clone(),
                context_id: message.context_id.clone(),
                message_id: message.message_id.clone(),
            }),
            address: client.address,
            trace: request.trace.clone(),
        })
    }
}

impl Guard {
    /// Asks about the message that begins the turn.
    ///
    /// # Errors
    /// When it must not get to the agent.
    pub(crate) async fn enter(&self, request: &mut SendRequest) -> Result<(), A2aError> {
        let besides = besides(request).map(|besides| (REQUEST, besides));
        let message = &mut request.message;
        let looked = Looked {
            besides,
            kind: Word::Message,
            parts: &mut message.parts,
            metadata: &mut message.metadata,
            name: None,
            description: None,
            shown: None,
        };
        let subject = Arc::clone(&self.subject);
        let entered = self.ask_all(Phase::Message, subject, looked).await;
        entered.map_err(A2aError::from)
    }

    async fn ask_all(
        &self,
        phase: Phase,
        subject: Arc<Subject>,
        mut looked: Looked<'_>,
    ) -> Result<(), Stop> {
        strip(looked.metadata);
        for (filter, turn) in &self.filters {
            if !filter.wants(phase) {
                continue;
            }
            let about = About {
                id: shown(subject.task_id.as_deref().unwrap_or(&subject.message_id)),
                trace: self.trace.as_ref(),
                client: Client {
                    principal: &self.subject.principal,
                    address: self.address,
                },
            };
            // Each sees what those before it have left.
            let content = looked.seen();
            let parts = content.parts.len();
            let said = if content.bytes() as u64 > filter.max_body() {
                filter.too_large(phase, about)
            } else {
                let words = Words {
                    phase,
                    subject: Arc::clone(&subject),
                    content,
                };
                let check = |answer| check(answer, parts);
                filter.ask_about(*turn, about, words, check).await
            };
            match said {
                Said::Skip => {}
                Said::Refuse(failure) => return Err(Stop::Failed(failure)),
                Said::Answer(changes) => looked.change(&filter.record.name, changes)?,
            }
        }
        Ok(())
    }
}

impl Screen for Guard {
    fn look<'a>(
        &'a self,
        said: screen::Said<'a>,
    ) -> Pin<Box<dyn Future<Output = Result<(), Refused>> + Send + 'a>> {
        let subject = Subject {
            task_id: Some(said.task),
            context_id: Some(said.context),
            ..Subject::clone(&self.subject)
        };
        let looked = Looked {
            kind: match said.kind {
                SaidKind::Update => Word::Update,
                SaidKind::Artifact => Word::Artifact,
                SaidKind::Reply => Word::Reply,
            },
            parts: said.parts,
            metadata: said.metadata,
            name: said.name,
            description: said.description,
            besides: said.id.map(|id| (ARTIFACT, json!({"artifactId": id}))),
            shown: None,
        };
        Box::pin(async move {
            let asked = self.ask_all(Phase::Result, Arc::new(subject), looked);
            asked.await.map_err(|stop| Refused {
                class: FailureClass::Filter,
                sentence: A2aError::from(stop).sentence,
            })
        })
    }
}

impl From<Stop> for A2aError {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Blocked(sentence) => Self::new(Kind::Blocked, sentence),
            Stop::Failed(Failure::TooLarge) => Self::new(
                Kind::TooLargeToInspect,
                "this is too large for the filters of this agent to inspect",
            ),
            Stop::Failed(Failure::Timeout) => Self::new(
                Kind::FilterTimeout,
                "a filter of this agent did not decide in time",
            ),
            Stop::Failed(Failure::Limit(_)) => Self::new(
                Kind::FilterLimit,
                "a filter of this agent needs more for this than it may use",
            ),
            Stop::Failed(Failure::QueueFull | Failure::NoTurn) => Self::new(
                Kind::FilterBusy,
                "a filter of this agent has too much to do; try again",
            ),
            Stop::Failed(Failure::ShareFull) => Self::new(
                Kind::FilterShare,
                "too many requests of yours wait for a filter of this agent; try again",
            ),
            Stop::Failed(_) => Self::new(
                Kind::FilterFailed,
                "a filter of this agent cannot decide about this",
            ),
        }
    }
}

impl Looked<'_> {
    fn seen(&mut self) -> Arc<Content> {
        if let Some(shown) = &self.shown {
            return Arc::clone(shown);
        }
        let shown = Arc::new(self.content());
        self.shown = Some(Arc::clone(&shown));
        shown
    }

    fn content(&self) -> Content {
        Content {
            kind: self.kind,
            parts: self.parts.iter().map(seen).collect(),
            metadata: match &self.besides {
                None => self.metadata.as_ref().map(text),
                Some((name, besides)) => {
                    let mut shown = self.metadata.clone().unwrap_or_default();
                    shown.insert((*name).to_owned(), besides.clone());
                    Some(text(&shown))
                }
            },
            name: self.name.as_ref().map(|name| (**name).clone()),
            description: self.description.as_ref().map(|text| (**text).clone()),
        }
    }

    fn change(&mut self, filter: &str, changes: Changes) -> Result<(), Stop> {
        if let Decision::Block(sentence) = changes.decision {
            return Err(Stop::Blocked(sentence));
        }
        if !changes.redactions.is_empty() || !changes.annotations.is_empty() {
            self.shown = None;
        }
        for (at, content) in changes.redactions {
            let part = &mut self.parts[at];
            if std::mem::discriminant(&part.content) != std::mem::discriminant(&content) {
                // It is no file any more.
                part.filename = None;
                part.media_type = None;
            }
            part.content = content;
        }
        if !changes.annotations.is_empty() {
            let metadata = self.metadata.get_or_insert_default();
            let all = metadata.entry(ANNOTATIONS.to_owned());
            let all = all.or_insert_with(|| Value::Object(serde_json::Map::new()));
            all[filter] = Value::Object(changes.annotations);
        }
        Ok(())
    }
}

/// So much of an id as the log has: a client chooses that of its message.
fn shown(id: &str) -> &str {
    &id[..id.floor_char_boundary(MAX_SHOWN_ID)]
}

/// What of a request reaches the agent besides its message. What this platform has put there is nobody's words.
fn besides(request: &SendRequest) -> Option<Value> {
    let is_inside = request.chain.is_some();
    let mut besides = serde_json::Map::new();
    if let Some(metadata) = &request.metadata {
        let mut metadata = metadata.clone();
        if is_inside {
            metadata.remove(TRACE);
        }
        if !metadata.is_empty() {
            besides.insert("metadata".to_owned(), json!(metadata));
        }
    }
    let references = request.message.reference_task_ids.as_ref();
    let references = references.filter(|ids| !ids.is_empty() && !is_inside);
    if let Some(references) = references {
        besides.insert("referenceTaskIds".to_owned(), json!(references));
    }
    (!besides.is_empty()).then_some(Value::Object(besides))
}

/// Nothing of a wrong answer counts. `parts` is how many there are.
fn check(answer: Answer, parts: usize) -> Result<Changes, Wrong> {
    let redactions = answer.redactions.into_iter();
    let redactions = redactions.map(|redaction| redacted(redaction, parts));
    let annotations = answer.annotations.into_iter().map(annotated);
    Ok(Changes {
        decision: answer.decision,
        redactions: redactions.collect::<Result<_, _>>()?,
        annotations: annotations.collect::<Result<_, _>>()?,
    })
}

fn redacted(redaction: Redaction, parts: usize) -> Result<(usize, PartContent), Wrong> {
    let part = redaction.part;
    let at = usize::try_from(part).ok().filter(|at| *at < parts);
    let at = at.ok_or(Wrong::NoSuchPart(part))?;
    let content = match redaction.content {
        Seen::Text(text) => PartContent::Text(text),
        Seen::Data(json) => PartContent::Data(
            serde_json::from_str(&json).map_err(|_no_json| Wrong::RedactionJson(part))?,
        ),
        Seen::Raw(_) | Seen::Url(_) => return Err(Wrong::RedactionKind(part)),
    };
    Ok((at, content))
}

fn annotated(annotation: Annotation) -> Result<(String, Value), Wrong> {
    let Annotation { name, value } = annotation;
    if !(1..=MAX_NAME).contains(&name.len()) {
        return Err(Wrong::AnnotationName(name));
    }
    match serde_json::from_str(&value) {
        Ok(value) => Ok((name, value)),
        Err(_no_json) => Err(Wrong::AnnotationJson(name)),
    }
}

fn seen(part: &Part) -> SeenPart {
    SeenPart {
        content: match &part.content {
            PartContent::Text(text) => Seen::Text(text.clone()),
            PartContent::Raw(bytes) => Seen::Raw(bytes.clone()),
            PartContent::Url(url) => Seen::Url(url.clone()),
            PartContent::Data(value) => Seen::Data(value.to_string()),
        },
        filename: part.filename.clone(),
        media_type: part.media_type.clone(),
        metadata: part.metadata.as_ref().map(text),
    }
}

fn text(metadata: &Metadata) -> String {
    serde_json::to_string(metadata).expect("metadata has string keys only")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_name_of_an_artifact_is_shown_and_not_what_pretends_to_be_it() {
        let mut metadata = Some(Metadata::from([
            (ARTIFACT.to_owned(), json!("nothing to see")),
            ("mine".to_owned(), json!(1)),
        ]));
        strip(&mut metadata);
        let mut looked = Looked {
            kind: Word::Artifact,
            parts: &mut Vec::new(),
            metadata: &mut metadata,
            name: None,
            description: None,
            besides: Some((ARTIFACT, json!({"artifactId": "me@example.com"}))),
            shown: None,
        };
        let seen = looked.seen();
        let shown: Value = serde_json::from_str(seen.metadata.as_ref().unwrap()).unwrap();
        let expected = json!({"mine": 1, "dormouse.artifact": {"artifactId": "me@example.com"}});
        assert_eq!(shown, expected);
        assert_eq!(metadata.unwrap().len(), 1, "it is not kept");
    }

    #[test]
    fn what_no_filter_changes_is_written_out_once() {
        let changes = |redactions, annotations| Changes {
            decision: Decision::Allow,
            redactions,
            annotations,
        };
        let mut looked = Looked {
            kind: Word::Message,
            parts: &mut vec![Part::text("a secret")],
            metadata: &mut None,
            name: None,
            description: None,
            besides: None,
            shown: None,
        };
        let none = serde_json::Map::new();
        let first = looked.seen();
        assert!(
            looked
                .change("a", changes(Vec::new(), none.clone()))
                .is_ok()
        );
        assert!(Arc::ptr_eq(&looked.seen(), &first));
        let redacted = vec![(0, PartContent::Text("nothing".to_owned()))];
        assert!(looked.change("b", changes(redacted, none)).is_ok());
        let second = looked.seen();
        assert!(matches!(&second.parts[0].content, Seen::Text(text) if text == "nothing"));
        let annotation = serde_json::Map::from_iter([("x".to_owned(), json!(1))]);
        assert!(looked.change("c", changes(Vec::new(), annotation)).is_ok());
        let third = looked.seen();
        assert!(third.metadata.as_ref().unwrap().contains(r#""c":{"x":1}"#));
    }
}
