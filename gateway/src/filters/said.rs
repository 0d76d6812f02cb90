//! What comes of asking a filter: an answer, or why there is none.

use super::edits::{Checked, Wrong};
use super::waiting::Full;
use crate::auth::Client;
use dormouse_filters::{AuditMetadata, WasmRuntimeError};
use dormouse_services::trace::Trace;
use hyper::StatusCode;
use std::pin::Pin;
use std::time::Duration;
use thiserror::Error;

/// Why there is no answer.
#[derive(Debug, Error)]
pub(super) enum Failure {
    #[error("it did not start")]
    NotLoaded,
    #[error("its breaker is open")]
    Open,
    #[error("its queue is full")]
    QueueFull,
    #[error("its turn did not come in time")]
    NoTurn,
    #[error("the client has its share of the queue already")]
    ShareFull,
    #[error("it did not answer in time")]
    Timeout,
    #[error("there is more than it looks at")]
    TooLarge,
    /// Of instructions or output; of memory it is a trap.
    #[error("it is over its limit of {0}")]
    Limit(String),
    #[error(transparent)]
    Failed(WasmRuntimeError),
    #[error(transparent)]
    Invalid(#[from] Wrong),
}

impl Failure {
    /// Whether it was not asked because others are. Nobody gets past a filter by asking for too much at once, so this is
    /// refused whatever its failure means.
    pub(super) fn is_of_the_queue(&self) -> bool {
        matches!(self, Self::QueueFull | Self::NoTurn | Self::ShareFull)
    }

    /// What a request is refused with.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::ShareFull => StatusCode::TOO_MANY_REQUESTS,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::NotLoaded => "filter_not_loaded",
            Self::Open => "filter_breaker_open",
            Self::QueueFull => "filter_queue_full",
            Self::NoTurn => "filter_busy",
            Self::ShareFull => "filter_share_full",
            Self::Timeout => "filter_timeout",
            Self::TooLarge => "too_large_to_inspect",
            Self::Limit(_) => "filter_over_limit",
            Self::Failed(_) => "filter_failed",
            Self::Invalid(_) => "filter_answer_invalid",
        }
    }
}

impl From<Full> for Failure {
    fn from(full: Full) -> Self {
        match full {
            Full::Queue => Self::QueueFull,
            Full::Share => Self::ShareFull,
        }
    }
}

impl From<WasmRuntimeError> for Failure {
    fn from(error: WasmRuntimeError) -> Self {
        match error {
            WasmRuntimeError::Timeout(_) => Self::Timeout,
            WasmRuntimeError::ResourceLimit(what) => Self::Limit(what),
            error => Self::Failed(error),
        }
    }
}

/// What a filter says, or that its failure is no obstacle, or that it is one.
#[derive(Debug)]
pub(super) enum Said<T> {
    Answer(T),
    Skip,
    Refuse(Failure),
}

/// An answer that has been looked at.
#[derive(Debug)]
pub(super) struct Opinion {
    pub(super) checked: Checked,
    pub(super) needs_more: bool,
}

/// How one call of a filter has ended, and what that took.
pub(super) struct Heard<T> {
    pub(super) answer: Result<T, Failure>,
    pub(super) took: Duration,
}

/// An instance at work.
pub(super) type Asking<T, Q> = Pin<Box<dyn Future<Output = Result<T, Unanswered<Q>>> + Send>>;

/// Why an instance has no answer.
pub(super) enum Unanswered<Q> {
    Failed(WasmRuntimeError),
    /// It has ended in the meantime, and was not asked. The question, for somebody else.
    Left(Box<Q>),
}

impl<Q> Unanswered<Q> {
    pub(super) fn of(error: WasmRuntimeError, question: Q) -> Self {
        match error {
            WasmRuntimeError::Shutdown => Self::Left(Box::new(question)),
            error => Self::Failed(error),
        }
    }
}

/// What the log is told of an answer.
pub(super) struct Finding<'a> {
    pub(super) decision: &'static str,
    pub(super) audit: &'a AuditMetadata,
}

/// Of whom the log speaks.
#[derive(Clone, Copy)]
pub(super) struct About<'a> {
    pub(super) id: &'a str,
    pub(super) trace: Option<&'a Trace>,
    /// Whose place it takes.
    pub(super) client: Client<'a>,
}

impl<T> Said<T> {
    pub(super) fn map<U>(self, change: impl FnOnce(T) -> U) -> Said<U> {
        match self {
            Self::Answer(answer) => Said::Answer(change(answer)),
            Self::Skip => Said::Skip,
            Self::Refuse(failure) => Said::Refuse(failure),
        }
    }
}
