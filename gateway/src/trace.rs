//! The span of a request: begun where it enters, told by its binding what it was. It travels among the extensions of
//! the request's head, so that it costs nothing where nothing is traced.

use crate::metrics::Operation;
use crate::respond::Reply;
use dormouse_scheduler::CallReport;
use dormouse_services::Call;
use dormouse_services::model::Outcome;
use dormouse_services::trace::{Kind, Span, Trace};
use hyper::http::request::Parts;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What goes along with a request.
#[derive(Clone)]
struct Traced {
    trace: Trace,
    said: Arc<Mutex<Said>>,
}

/// What a binding has found out.
#[derive(Default)]
struct Said {
    agent: Option<String>,
    operation: Option<Operation>,
    code: Option<&'static str>,
}

/// A request on its way, until it has its answer.
pub(crate) struct Visit {
    span: Span,
    said: Arc<Mutex<Said>>,
}

impl Visit {
    pub(crate) fn new(mut span: Span, parts: &mut Parts) -> Self {
        span.set("http.request.method", parts.method.as_str());
        let said = Arc::<Mutex<Said>>::default();
        parts.extensions.insert(Traced {
            trace: span.trace().clone(),
            said: Arc::clone(&said),
        });
        Self { span, said }
    }

    pub(crate) fn end(mut self, reply: &Reply) {
        let span = &mut self.span;
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(agent) = &said.agent {
            span.set("dormouse.agent", &**agent);
        }
        if let Some(operation) = said.operation {
            span.rename(operation.as_str());
            span.set("dormouse.operation", operation.as_str());
        }
        if let Some(code) = said.code {
            span.set("dormouse.code", code);
        }
        let status = reply.status();
        span.set("http.response.status_code", u32::from(status.as_u16()));
        let ours = matches!(said.code, Some("internal_error" | "unavailable"));
        if ours || status.is_server_error() {
            span.fail(said.code.unwrap_or(status.as_str()));
        }
    }
}

/// Where in a trace a request is, if it is in one.
pub(crate) fn of(parts: &Parts) -> Option<Trace> {
    let traced = parts.extensions.get::<Traced>()?;
    Some(traced.trace.clone())
}

/// Says what a request was.
pub(crate) fn note(parts: &Parts, agent: Option<&str>, operation: Operation, code: &'static str) {
    if let Some(traced) = parts.extensions.get::<Traced>() {
        let said = Said {
            agent: agent.map(str::to_owned),
            operation: Some(operation),
            code: Some(code),
        };
        *traced.said.lock().unwrap_or_else(PoisonError::into_inner) = said;
    }
}

/// Of a call, until its outcome is kept. What is done for the call is below it.
pub(crate) fn of_call(trace: &Trace, version: u32, skill: &str, call: &mut Call) -> Span {
    let mut span = trace.span("call", Kind::Internal);
    call.traced(Some(span.trace().clone()));
    if span.is_recorded() {
        span.set("dormouse.version", version);
        span.set("dormouse.skill", skill);
        span.set("dormouse.task", call.task_id());
    }
    span
}

/// Says what came of a call that has taken `took`.
pub(crate) fn report(span: Option<&mut Span>, report: &CallReport, took: Duration) {
    let Some(span) = span else { return };
    if let Some((temperature, after)) = report.start {
        let mut start = span.trace().past("start", Kind::Internal, took, after);
        start.set("dormouse.temperature", temperature.as_str());
    }
    span.set("dormouse.ran_ms", milliseconds(report.ran));
    span.set("dormouse.processor_ms", milliseconds(report.processor));
    span.set("dormouse.memory_bytes", count(report.memory_bytes));
    if let Some(fuel) = report.fuel {
        span.set("dormouse.fuel", count(fuel));
    }
    match &report.result {
        Ok(outcome) => {
            span.set("dormouse.outcome", word(outcome));
            if let Outcome::Failed(_) = outcome {
                span.fail("agent");
            }
        }
        Err(failure) => span.fail(failure.class.as_str()),
    }
}

/// OpenTelemetry's integers have a sign.
fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Completed { .. } => "completed",
        Outcome::InputRequired { .. } => "input_required",
        Outcome::AuthRequired { .. } => "auth_required",
        Outcome::Message(_) => "message",
        Outcome::Rejected(_) => "rejected",
        Outcome::Failed(_) => "failed",
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
