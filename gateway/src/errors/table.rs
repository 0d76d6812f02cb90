//! Every kind of error in every wire form (A2A 1.0 §5.4, §9.5, §10.6, §11.6).

use super::Kind;

/// One kind in every wire form.
pub(super) struct Row {
    pub(super) rpc: i32,
    pub(super) http: u16,
    /// The name of the gRPC code.
    pub(super) status: &'static str,
    /// `ErrorInfo.reason`; in lower case, the `code` label of metrics.
    pub(super) reason: &'static str,
    pub(super) code: &'static str,
}

impl Kind {
    #[expect(clippy::too_many_lines, reason = "a table")]
    pub(super) fn row(self) -> Row {
        let row = |rpc, http, status, reason, code| Row {
            rpc,
            http,
            status,
            reason,
            code,
        };
        match self {
            Self::TaskNotFound => row(-32001, 404, "NOT_FOUND", "TASK_NOT_FOUND", "task_not_found"),
            Self::TaskNotCancelable => row(
                -32002,
                400,
                "FAILED_PRECONDITION",
                "TASK_NOT_CANCELABLE",
                "task_not_cancelable",
            ),
            Self::PushNotificationNotSupported => row(
                -32003,
                400,
                "FAILED_PRECONDITION",
                "PUSH_NOTIFICATION_NOT_SUPPORTED",
                "push_notification_not_supported",
            ),
            Self::UnsupportedOperation => row(
                -32004,
                400,
                "FAILED_PRECONDITION",
                "UNSUPPORTED_OPERATION",
                "unsupported_operation",
            ),
            Self::ContentTypeNotSupported => row(
                -32005,
                400,
                "INVALID_ARGUMENT",
                "CONTENT_TYPE_NOT_SUPPORTED",
                "content_type_not_supported",
            ),
            Self::ExtensionSupportRequired => row(
                -32008,
                400,
                "FAILED_PRECONDITION",
                "EXTENSION_SUPPORT_REQUIRED",
                "extension_support_required",
            ),
            Self::VersionNotSupported => row(
                -32009,
                400,
                "FAILED_PRECONDITION",
                "VERSION_NOT_SUPPORTED",
                "version_not_supported",
            ),
            Self::Parse => row(
                -32700,
                400,
                "INVALID_ARGUMENT",
                "PARSE_ERROR",
                "parse_error",
            ),
            Self::InvalidRequest => row(
                -32600,
                400,
                "INVALID_ARGUMENT",
                "INVALID_REQUEST",
                "invalid_request",
            ),
            Self::MethodNotFound => row(
                -32601,
                404,
                "UNIMPLEMENTED",
                "METHOD_NOT_FOUND",
                "method_not_found",
            ),
            Self::InvalidParams => row(
                -32602,
                400,
                "INVALID_ARGUMENT",
                "INVALID_PARAMS",
                "invalid_params",
            ),
            Self::Internal => row(-32603, 500, "INTERNAL", "INTERNAL_ERROR", "internal_error"),
            Self::Unauthenticated => row(
                -32600,
                401,
                "UNAUTHENTICATED",
                "UNAUTHENTICATED",
                "unauthenticated",
            ),
            Self::PermissionDenied => row(
                -32600,
                403,
                "PERMISSION_DENIED",
                "PERMISSION_DENIED",
                "permission_denied",
            ),
            Self::AgentNotFound => row(
                -32600,
                404,
                "NOT_FOUND",
                "AGENT_NOT_FOUND",
                "agent_not_found",
            ),
            Self::PathNotFound => row(-32601, 404, "NOT_FOUND", "PATH_NOT_FOUND", "path_not_found"),
            Self::MethodNotAllowed => row(
                -32600,
                405,
                "UNIMPLEMENTED",
                "METHOD_NOT_ALLOWED",
                "method_not_allowed",
            ),
            Self::TooLarge => row(
                -32600,
                413,
                "INVALID_ARGUMENT",
                "REQUEST_TOO_LARGE",
                "request_too_large",
            ),
            Self::TooSlow => row(
                -32600,
                408,
                "DEADLINE_EXCEEDED",
                "REQUEST_TOO_SLOW",
                "request_too_slow",
            ),
            Self::Unavailable => row(-32603, 503, "UNAVAILABLE", "UNAVAILABLE", "unavailable"),
            Self::DeadlineExceeded => row(
                -32603,
                504,
                "DEADLINE_EXCEEDED",
                "DEADLINE_EXCEEDED",
                "deadline_exceeded",
            ),
            Self::Blocked => row(
                -32600,
                403,
                "PERMISSION_DENIED",
                "BLOCKED_BY_FILTER",
                "blocked_by_filter",
            ),
            Self::TooLargeToInspect => row(
                -32600,
                413,
                "INVALID_ARGUMENT",
                "TOO_LARGE_TO_INSPECT",
                "too_large_to_inspect",
            ),
            Self::FilterFailed => row(-32603, 503, "UNAVAILABLE", "FILTER_FAILED", "filter_failed"),
            Self::FilterLimit => row(
                -32603,
                503,
                "UNAVAILABLE",
                "FILTER_OVER_LIMIT",
                "filter_over_limit",
            ),
            Self::FilterTimeout => row(
                -32603,
                504,
                "DEADLINE_EXCEEDED",
                "FILTER_TIMEOUT",
                "filter_timeout",
            ),
            Self::FilterBusy => row(-32603, 503, "UNAVAILABLE", "FILTER_BUSY", "filter_busy"),
            Self::FilterShare => row(
                -32603,
                429,
                "RESOURCE_EXHAUSTED",
                "FILTER_SHARE_FULL",
                "filter_share_full",
            ),
            Self::CompressionNotSupported => row(
                -32600,
                415,
                "UNIMPLEMENTED",
                "COMPRESSION_NOT_SUPPORTED",
                "compression_not_supported",
            ),
        }
    }
}
