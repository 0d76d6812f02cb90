//! Traces: a client's (W3C Trace Context) go on here, others begin; what is done on the way are spans, which a
//! background task sends to a collector (OTLP, `docs/decisions/0026`). Without a collector nothing is recorded, but a
//! client's trace is still passed on to whoever is called.

mod export;
mod otlp;
mod parent;

pub use export::{Exporter, Recorder, outcomes};

use hyper::HeaderMap;
use parent::Parent;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// Bytes of a text in an attribute, and texts of a list: spans wait in memory.
const MAX_TEXT_BYTES: usize = 256;
const MAX_TEXTS: usize = 16;
/// Attributes of a span.
const MAX_ATTRIBUTES: usize = 32;

/// Where traces begin. The default records nothing. Cheap to clone.
#[derive(Clone, Default)]
pub struct Tracer(Option<Recording>);

#[derive(Clone)]
struct Recording {
    recorder: Recorder,
    /// A trace that begins here is recorded if the number in its id is below.
    below: u64,
}

/// A place in a trace: what is done next is a span below it. Cheap to clone.
#[derive(Clone)]
pub struct Trace(Arc<Place>);

struct Place {
    parent: Parent,
    state: Option<Arc<str>>,
    /// `None`: nothing is recorded, all is passed on.
    recorder: Option<Recorder>,
}

/// Something that is being done; it has ended when this is dropped.
pub struct Span {
    trace: Trace,
    /// `None` of one that is not recorded.
    open: Option<Box<Open>>,
}

struct Open {
    above: [u8; 8],
    name: &'static str,
    kind: Kind,
    begun: SystemTime,
    started: Instant,
    /// `None`: until it is dropped.
    took: Option<Duration>,
    attributes: Vec<(&'static str, Value)>,
    failed: Option<String>,
}

/// A span that has ended.
struct Ended {
    parent: Parent,
    state: Option<Arc<str>>,
    open: Box<Open>,
    took: Duration,
}

/// Whose side of a call a span is (OTLP's `SpanKind`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Internal = 1,
    Server = 2,
    Client = 3,
}

/// What an attribute says.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Text(String),
    Number(i64),
    Real(f64),
    Texts(Vec<String>),
}

impl Tracer {
    /// Records the traces that their clients record, and of those that begin here the share `ratio`, 0 to 1.
    pub fn new(recorder: Recorder, ratio: f64) -> Self {
        // Of 63 bits, as OpenTelemetry's TraceIdRatioBased: those who see the same id decide alike.
        let below = (ratio.clamp(0.0, 1.0) * (1_u64 << 63) as f64) as u64;
        Self(Some(Recording { recorder, below }))
    }

    /// The span of a request: in its client's trace, or the first of a new one. `None` if there is neither a trace nor
    /// anybody to record one.
    pub fn begin(&self, name: &'static str, headers: &HeaderMap) -> Option<Span> {
        let parent = Parent::read(headers);
        let state = || parent::state(headers).map(Arc::from);
        let place = match (parent, &self.0) {
            (None, None) => return None,
            (Some(parent), recording) => Place {
                parent,
                state: state(),
                recorder: recording
                    .as_ref()
                    .filter(|_| parent.is_sampled())
                    .map(|recording| recording.recorder.clone()),
            },
            (None, Some(recording)) => recording.new_trace()?,
        };
        Some(Trace(Arc::new(place)).span(name, Kind::Server))
    }
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tracer").field(&self.0.is_some()).finish()
    }
}

impl Recording {
    /// `None` without random numbers: no trace is worth a request.
    fn new_trace(&self) -> Option<Place> {
        let mut trace = [0; 16];
        getrandom::fill(&mut trace).ok()?;
        let [.., a, b, c, d, e, f, g, h] = trace;
        let number = u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> 1;
        let parent = Parent::new(trace);
        let recorded = number < self.below;
        Some(Place {
            parent: if recorded {
                parent.sampled()
            } else {
                // Whoever is called is told not to begin one of its own.
                Parent {
                    span: new_span(),
                    ..parent
                }
            },
            state: None,
            recorder: recorded.then(|| self.recorder.clone()),
        })
    }
}

impl Trace {
    /// Begins a span.
    pub fn span(&self, name: &'static str, kind: Kind) -> Span {
        self.open(name, kind, Duration::ZERO, None)
    }

    /// A span that began a while ago and has ended: its length may be known only when it is over.
    pub fn past(&self, name: &'static str, kind: Kind, ago: Duration, took: Duration) -> Span {
        self.open(name, kind, ago, Some(took))
    }

    fn open(&self, name: &'static str, kind: Kind, ago: Duration, took: Option<Duration>) -> Span {
        let Place {
            parent,
            state,
            recorder: Some(recorder),
        } = &*self.0
        else {
            return Span {
                trace: self.clone(),
                open: None,
            };
        };
        let now = SystemTime::now();
        let own = Place {
            parent: Parent {
                span: new_span(),
                ..*parent
            },
            state: state.clone(),
            recorder: Some(recorder.clone()),
        };
        Span {
            trace: Self(Arc::new(own)),
            open: Some(Box::new(Open {
                above: parent.span,
                name,
                kind,
                begun: now.checked_sub(ago).unwrap_or(now),
                started: Instant::now(),
                took,
                attributes: Vec::new(),
                failed: None,
            })),
        }
    }

    /// As the header field `traceparent` says it.
    pub fn parent(&self) -> String {
        self.0.parent.to_string()
    }

    /// Says it in the header of a request; what was said there before is replaced.
    pub fn write(&self, headers: &mut HeaderMap) {
        self.0.parent.write(headers, self.0.state.as_deref());
    }

    /// Whether spans below it are recorded.
    pub fn is_recorded(&self) -> bool {
        self.0.recorder.is_some()
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Trace").field(&self.parent()).finish()
    }
}

impl Span {
    /// The place below it.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Whether anybody will see it: what it would say need not be put together otherwise.
    pub fn is_recorded(&self) -> bool {
        self.open.is_some()
    }

    pub fn rename(&mut self, name: &'static str) {
        if let Some(open) = &mut self.open {
            open.name = name;
        }
    }

    /// Adds an attribute. Long texts are cut.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        if let Some(open) = &mut self.open
            && open.attributes.len() < MAX_ATTRIBUTES
        {
            open.attributes.push((key, bounded(value.into())));
        }
    }

    /// Says that it has failed, and why.
    pub fn fail(&mut self, why: impl Into<String>) {
        if let Some(open) = &mut self.open {
            open.failed = Some(cut(why.into()));
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let Some(open) = self.open.take() else { return };
        let place = &self.trace.0;
        let Some(recorder) = &place.recorder else {
            return;
        };
        recorder.take(Ended {
            parent: place.parent,
            state: place.state.clone(),
            took: open.took.unwrap_or_else(|| open.started.elapsed()),
            open,
        });
    }
}

/// Never all zero, which would be no id.
fn new_span() -> [u8; 8] {
    let mut id = [0; 8];
    if getrandom::fill(&mut id).is_err() || id == [0; 8] {
        id[7] = 1;
    }
    id
}

fn bounded(value: Value) -> Value {
    match value {
        Value::Text(text) => Value::Text(cut(text)),
        Value::Texts(mut texts) => {
            texts.truncate(MAX_TEXTS);
            Value::Texts(texts.into_iter().map(cut).collect())
        }
        number => number,
    }
}

fn cut(mut text: String) -> String {
    if text.len() > MAX_TEXT_BYTES {
        text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
        text.shrink_to_fit();
    }
    text
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Real(number)
    }
}

impl From<&[String]> for Value {
    fn from(texts: &[String]) -> Self {
        Self::Texts(texts.iter().take(MAX_TEXTS).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(parent: &str) -> HeaderMap {
        [("traceparent", parent), ("tracestate", "a=1")]
            .into_iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect::<HeaderMap>()
    }

    fn passed_on(trace: &Trace) -> HeaderMap {
        let mut headers = headers(GIVEN);
        trace.write(&mut headers);
        headers
    }

    #[test]
    fn without_a_recorder_a_clients_trace_is_passed_on_as_it_is() {
        let tracer = Tracer::default();
        assert!(tracer.begin("request", &HeaderMap::new()).is_none());
        let given = headers(GIVEN);
        let span = tracer.begin("request", &given).unwrap();
        let below = span.trace().span("call", Kind::Internal);
        assert!(!below.is_recorded());
        assert_eq!(passed_on(below.trace()), given);
    }

    #[test]
    fn a_client_that_does_not_record_is_not_recorded() {
        let (recorder, mut ended) = export::recorder(8);
        let tracer = Tracer::new(recorder, 1.0);
        let given = headers(&GIVEN.replace("-01", "-00"));
        let span = tracer.begin("request", &given).unwrap();
        assert_eq!(passed_on(span.trace()), given);
        drop(span);
        assert!(ended.try_recv().is_err());
    }

    #[test]
    fn spans_are_below_one_another_and_end_when_they_are_dropped() {
        let (recorder, mut ended) = export::recorder(8);
        let tracer = Tracer::new(recorder, 0.0);
        let mut span = tracer.begin("request", &headers(GIVEN)).unwrap();
        span.set("text", "ä".repeat(MAX_TEXT_BYTES));
        span.set("texts", &*vec!["x".to_owned(); MAX_TEXTS + 1]);
        (0..MAX_ATTRIBUTES).for_each(|_| span.set("more", 1_u32));
        let below = span.trace().span("call", Kind::Internal);
        assert!(ended.try_recv().is_err());
        let sent = passed_on(below.trace());
        drop(below);
        drop(span);
        let [below, above] = [ended.try_recv().unwrap(), ended.try_recv().unwrap()];
        assert_eq!(sent["traceparent"], below.parent.to_string().as_str());
        assert_eq!(sent["tracestate"], "a=1");
        assert_eq!(below.open.above, above.parent.span);
        assert_eq!(parent::text(&above.open.above), "00f067aa0ba902b7");
        assert_eq!(below.parent.trace, above.parent.trace);
        let request = otlp::request(&[above]);
        let span = &request["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
        assert_eq!(span["traceId"], "4bf92f3577b34da6a3ce929d0e0e4736");
        let attributes = span["attributes"].as_array().unwrap();
        assert_eq!(attributes.len(), MAX_ATTRIBUTES);
        let text = attributes[0]["value"]["stringValue"].as_str().unwrap();
        assert_eq!(text.len(), MAX_TEXT_BYTES);
        let texts = attributes[1]["value"]["arrayValue"]["values"].as_array();
        assert_eq!(texts.unwrap().len(), MAX_TEXTS);
        assert_eq!(attributes[2]["value"]["intValue"], "1");
    }

    #[test]
    fn the_ratio_is_of_traces_that_begin_here() {
        let (recorder, mut ended) = export::recorder(4096);
        let mut share = |ratio| {
            let tracer = Tracer::new(recorder.clone(), ratio);
            let none = HeaderMap::new();
            for _ in 0..1000 {
                let span = tracer.begin("request", &none).unwrap();
                let told = passed_on(span.trace());
                let told = told["traceparent"].to_str().unwrap();
                assert_eq!(told.ends_with("-03"), span.is_recorded(), "{told}");
                assert!(!told.contains("0000000000000000"), "{told}");
            }
            let mut count = 0;
            while let Ok(span) = ended.try_recv() {
                assert_eq!(span.open.above, [0; 8], "it is the first");
                count += 1;
            }
            count
        };
        assert_eq!((share(0.0), share(1.0)), (0, 1000));
        let half = share(0.5);
        // Ten standard deviations.
        assert!((340..660).contains(&half), "{half}");
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_counted() {
        let (recorder, mut ended) = export::recorder(2);
        let tracer = Tracer::new(recorder.clone(), 1.0);
        for _ in 0..5 {
            drop(tracer.begin("request", &HeaderMap::new()));
        }
        assert_eq!(recorder.dropped(), 3);
        assert!(ended.try_recv().is_ok() && ended.try_recv().is_ok());
        assert!(ended.try_recv().is_err());
    }
}
