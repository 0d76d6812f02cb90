//! What a refusal looks like everywhere: A2A's errors over JSON-RPC, HTTP and google.rpc.Status (`table`),
//! and the platform API's own error body.

mod table;

use crate::auth::Denied;
use crate::body::BodyError;
use crate::respond::{self, Reply};
use dormouse_scheduler::{DeployError, SchedulerError};
use dormouse_services::TaskError;
use dormouse_store::StoreError;
use hyper::StatusCode;
use serde_json::{Value, json};
use std::error::Error;
use table::Row;
use thiserror::Error;
use tracing::error;

/// Why the server could not be made.
#[derive(Debug, Error)]
pub enum GatewayError {
    #[error("a metric could not be registered")]
    Metrics(#[from] prometheus::Error),
    #[error("the tokens could not be read")]
    Tokens(#[from] StoreError),
    #[error("filters cannot be run here")]
    Filters(#[from] SchedulerError),
    #[error("the stored filters could not be read")]
    StoredFilters(#[source] StoreError),
}

/// `ErrorInfo.domain` (A2A 1.0 §9.5).
const DOMAIN: &str = "a2a-protocol.org";

/// The kinds of A2A errors (A2A 1.0 §3.3.2), those of JSON-RPC 2.0, and what HTTP adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    TaskNotFound,
    TaskNotCancelable,
    PushNotificationNotSupported,
    UnsupportedOperation,
    ContentTypeNotSupported,
    ExtensionSupportRequired,
    VersionNotSupported,
    Parse,
    InvalidRequest,
    MethodNotFound,
    InvalidParams,
    Internal,
    Unauthenticated,
    PermissionDenied,
    AgentNotFound,
    /// The path names no operation of the HTTP+JSON binding.
    PathNotFound,
    MethodNotAllowed,
    TooLarge,
    TooSlow,
    Unavailable,
    /// gRPC only: the client set a deadline.
    DeadlineExceeded,
    /// gRPC only: messages are taken as they are.
    CompressionNotSupported,
    /// A filter does not let the message through.
    Blocked,
    /// A filter would not see all of the message, and fails closed.
    TooLargeToInspect,
    FilterFailed,
    /// It is over a limit of its own: instructions, or what it answers and prints.
    FilterLimit,
    FilterTimeout,
    /// Its turn does not come soon enough.
    FilterBusy,
    /// The client has too much waiting for it.
    FilterShare,
}

/// A refused A2A request: whose fault it is follows from the kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct A2aError {
    pub(crate) kind: Kind,
    /// One sentence for the client.
    pub(crate) sentence: String,
}

impl Kind {
    /// The `code` label of `dormouse_requests_total`.
    pub(crate) fn code(self) -> &'static str {
        self.row().code
    }
}

impl A2aError {
    pub(crate) fn new(kind: Kind, sentence: impl Into<String>) -> Self {
        Self {
            kind,
            sentence: sentence.into(),
        }
    }

    pub(crate) fn params(sentence: impl Into<String>) -> Self {
        Self::new(Kind::InvalidParams, sentence)
    }

    pub(crate) fn agent_not_found(name: &str) -> Self {
        Self::new(
            Kind::AgentNotFound,
            format!("no agent {name:?} is deployed here"),
        )
    }

    /// The platform's own fault: the client gets a sentence, the log gets the cause.
    pub(crate) fn internal(what: &'static str, cause: &(dyn Error + 'static)) -> Self {
        error!(error = cause, "{what}");
        Self::new(
            Kind::Internal,
            format!("{what}; the server's log has the cause"),
        )
    }

    /// HTTP status of the REST binding.
    pub(crate) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.kind.row().http).expect("the table has valid codes")
    }

    /// HTTP status of the JSON-RPC binding: 200, except for what is wrong with the HTTP request.
    pub(crate) fn rpc_status(&self) -> StatusCode {
        match self.kind {
            Kind::Unauthenticated
            | Kind::PermissionDenied
            | Kind::AgentNotFound
            | Kind::MethodNotAllowed
            | Kind::TooLarge
            | Kind::TooSlow => self.status(),
            _ => StatusCode::OK,
        }
    }

    /// The `error` member of a JSON-RPC response (A2A 1.0 §9.5).
    pub(crate) fn rpc(&self) -> Value {
        let row = self.kind.row();
        json!({"code": row.rpc, "message": self.sentence, "data": [row.info()]})
    }

    /// The body of the HTTP+JSON binding (A2A 1.0 §11.6): google.rpc.Status.
    pub(crate) fn rest(&self) -> Value {
        let row = self.kind.row();
        json!({"error": {
            "code": row.http,
            "status": row.status,
            "message": self.sentence,
            "details": [row.info()],
        }})
    }

    /// The name of the gRPC code, and ErrorInfo's reason and domain (A2A 1.0 §10.6).
    pub(crate) fn grpc(&self) -> (&'static str, &'static str, &'static str) {
        let row = self.kind.row();
        (row.status, row.reason, DOMAIN)
    }
}

impl Row {
    fn info(&self) -> Value {
        json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": self.reason,
            "domain": DOMAIN,
            "metadata": {},
        })
    }
}

impl From<Denied> for A2aError {
    fn from(denied: Denied) -> Self {
        let kind = match denied {
            Denied::Missing | Denied::Invalid => Kind::Unauthenticated,
            Denied::Lacks(_) | Denied::Foreign(_) => Kind::PermissionDenied,
        };
        Self::new(kind, denied.sentence())
    }
}

impl From<TaskError> for A2aError {
    fn from(error: TaskError) -> Self {
        let kind = match &error {
            // Of a configuration that is not there, too (A2A 1.0 §3.1.8).
            TaskError::NotFound(_) | TaskError::PushConfigNotFound(_) => Kind::TaskNotFound,
            TaskError::Terminal { .. } | TaskError::NotWaiting { .. } => Kind::UnsupportedOperation,
            TaskError::NotCancelable { .. } => Kind::TaskNotCancelable,
            TaskError::ContextMismatch { .. }
            | TaskError::NoSuchEvent { .. }
            | TaskError::KeyReused
            | TaskError::BadPageToken
            | TaskError::Limit { .. } => Kind::InvalidParams,
            TaskError::Store(cause) if matches!(**cause, StoreError::Busy | StoreError::Closed) => {
                Kind::Unavailable
            }
            TaskError::Crowded => Kind::Unavailable,
            _ => return Self::internal("the task could not be kept or read", &error),
        };
        Self::new(kind, error.to_string())
    }
}

impl From<BodyError> for A2aError {
    fn from(error: BodyError) -> Self {
        let kind = match error {
            BodyError::TooLarge { .. } => Kind::TooLarge,
            BodyError::TooSlow => Kind::TooSlow,
            BodyError::Broken => Kind::InvalidRequest,
        };
        Self::new(kind, error.to_string())
    }
}

/// A refusal of the platform API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    /// snake_case; also the `code` label of metrics.
    pub(crate) code: &'static str,
    pub(crate) sentence: String,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: &'static str, sentence: impl Into<String>) -> Self {
        Self {
            status,
            code,
            sentence: sentence.into(),
        }
    }

    pub(crate) fn internal(what: &'static str, cause: &(dyn Error + 'static)) -> Self {
        error!(error = cause, "{what}");
        let sentence = format!("{what}; the server's log has the cause");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", sentence)
    }

    pub(crate) fn reply(&self) -> Reply {
        let body = json!({"error": {"code": self.code, "message": self.sentence}});
        respond::json(self.status, &body)
    }
}

impl From<Denied> for ApiError {
    fn from(denied: Denied) -> Self {
        let (status, code) = match denied {
            Denied::Missing | Denied::Invalid => (StatusCode::UNAUTHORIZED, "unauthenticated"),
            Denied::Lacks(_) => (StatusCode::FORBIDDEN, "permission_denied"),
            Denied::Foreign(_) => (StatusCode::FORBIDDEN, "foreign_request"),
        };
        Self::new(status, code, denied.sentence())
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Busy => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", error.to_string())
            }
            StoreError::LimitExceeded { .. } => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "too_long",
                error.to_string(),
            ),
            StoreError::TooMany { .. } => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "too_many",
                error.to_string(),
            ),
            StoreError::Corrupt { .. } => {
                error!(%error, "a stored module is damaged");
                Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "module_corrupt",
                    error.to_string(),
                )
            }
            _ => Self::internal("the store could not do this", &error),
        }
    }
}

impl From<DeployError> for ApiError {
    fn from(error: DeployError) -> Self {
        if matches!(error, DeployError::Stopped | DeployError::Shortage(_)) {
            return Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                error.code(),
                error.to_string(),
            );
        }
        if !error.is_caller_fault() {
            return Self::internal("the module could not be prepared", &error);
        }
        let status = match error {
            DeployError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self::new(status, error.code(), error.to_string())
    }
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        let (status, code) = match error {
            BodyError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
            BodyError::TooSlow => (StatusCode::REQUEST_TIMEOUT, "body_too_slow"),
            BodyError::Broken => (StatusCode::BAD_REQUEST, "body_incomplete"),
        };
        Self::new(status, code, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A2A 1.0.1 §5.4.
    #[test]
    fn the_table_is_the_specification() {
        for (kind, rpc, http, status) in [
            (Kind::TaskNotFound, -32001, 404, "NOT_FOUND"),
            (Kind::TaskNotCancelable, -32002, 400, "FAILED_PRECONDITION"),
            (
                Kind::PushNotificationNotSupported,
                -32003,
                400,
                "FAILED_PRECONDITION",
            ),
            (
                Kind::UnsupportedOperation,
                -32004,
                400,
                "FAILED_PRECONDITION",
            ),
            (
                Kind::ContentTypeNotSupported,
                -32005,
                400,
                "INVALID_ARGUMENT",
            ),
            (
                Kind::ExtensionSupportRequired,
                -32008,
                400,
                "FAILED_PRECONDITION",
            ),
            (
                Kind::VersionNotSupported,
                -32009,
                400,
                "FAILED_PRECONDITION",
            ),
        ] {
            let error = A2aError::new(kind, "why");
            assert_eq!(error.rpc()["code"], rpc);
            let rest = error.rest();
            assert_eq!(
                (&rest["error"]["code"], &rest["error"]["status"]),
                (&json!(http), &json!(status))
            );
            let info = &rest["error"]["details"][0];
            assert_eq!(
                info["reason"].as_str().map(str::to_lowercase).as_deref(),
                Some(kind.code())
            );
            assert_eq!(error.rpc()["data"][0], *info);
        }
    }
}
