//! What the log and the trace are told of a filter's decisions.

use super::filter::Filter;
use super::metrics::ALLOW;
use super::question::Phase;
use super::said::{About, Finding};
use dormouse_filters::AuditMetadata;
use dormouse_filters::message;
use dormouse_services::trace::{Kind as Side, Span, Trace};
use std::time::Duration;
use tracing::info;

impl Filter {
    /// Of a question that was answered just now.
    pub(super) fn span(&self, trace: &Trace, phase: Phase, took: Duration) -> Span {
        let mut span = trace.past("filter", Side::Internal, took, took);
        span.set("dormouse.filter", &*self.record.name);
        span.set("dormouse.phase", phase.as_str());
        span
    }

    /// Decisions against a request, and whatever the filter has to say of one.
    pub(super) fn audit(&self, phase: Phase, about: About<'_>, finding: &Finding<'_>) {
        let (decision, audit) = (finding.decision, finding.audit);
        let is_silent =
            audit.tags.is_empty() && audit.rule_ids.is_empty() && audit.reason_codes.is_empty();
        if decision == ALLOW && is_silent {
            return;
        }
        info!(
            decided_by = self.record.name,
            phase = phase.as_str(),
            correlation_id = about.id,
            traceparent = about.trace.map(Trace::parent),
            decision,
            tags = ?audit.tags,
            rule_ids = ?audit.rule_ids,
            reason_codes = ?audit.reason_codes,
            confidence = audit.confidence,
            "a filter has decided"
        );
    }
}

/// The audit record, as the log has it.
pub(super) fn tell(span: &mut Span, audit: &AuditMetadata) {
    for (key, texts) in [
        ("dormouse.tags", &audit.tags),
        ("dormouse.rule_ids", &audit.rule_ids),
        ("dormouse.reason_codes", &audit.reason_codes),
    ] {
        if !texts.is_empty() {
            span.set(key, &**texts);
        }
    }
    if let Some(confidence) = audit.confidence {
        span.set("dormouse.confidence", f64::from(confidence));
    }
}

pub(super) fn audit_of(audit: &mut message::Audit) -> AuditMetadata {
    AuditMetadata {
        tags: std::mem::take(&mut audit.tags),
        rule_ids: std::mem::take(&mut audit.rule_ids),
        confidence: audit.confidence,
        reason_codes: std::mem::take(&mut audit.reason_codes),
    }
}
