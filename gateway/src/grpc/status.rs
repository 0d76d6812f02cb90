//! Errors as gRPC carries them (A2A 1.0 §10.6): a code, a sentence, and google.rpc.Status with ErrorInfo.

use crate::errors::A2aError;
use hyper::HeaderMap;
use std::collections::HashMap;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// A status travels in a header, and clients accept few KiB of those. A sentence may quote its request.
const MAX_SENTENCE_BYTES: usize = 1024;

/// How a stream or an answer ends that was complete.
pub(super) fn ok() -> HeaderMap {
    headers(&Status::ok(""))
}

pub(super) fn trailers(error: &A2aError) -> HeaderMap {
    let sentence = &error.sentence[..error.sentence.floor_char_boundary(MAX_SENTENCE_BYTES)];
    let (name, reason, domain) = error.grpc();
    let details = ErrorDetails::with_error_info(reason, domain, HashMap::new());
    headers(&Status::with_error_details(code(name), sentence, details))
}

fn headers(status: &Status) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(3);
    status
        .add_header(&mut headers)
        .expect("what a status consists of is encoded for headers");
    headers
}

/// The code of a name in the table of errors.
fn code(name: &str) -> Code {
    match name {
        "INVALID_ARGUMENT" => Code::InvalidArgument,
        "NOT_FOUND" => Code::NotFound,
        "FAILED_PRECONDITION" => Code::FailedPrecondition,
        "UNIMPLEMENTED" => Code::Unimplemented,
        "DEADLINE_EXCEEDED" => Code::DeadlineExceeded,
        "UNAVAILABLE" => Code::Unavailable,
        "UNAUTHENTICATED" => Code::Unauthenticated,
        "PERMISSION_DENIED" => Code::PermissionDenied,
        "RESOURCE_EXHAUSTED" => Code::ResourceExhausted,
        "ABORTED" => Code::Aborted,
        "ALREADY_EXISTS" => Code::AlreadyExists,
        _ => Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errors::Kind;

    #[test]
    fn an_error_has_a_code_a_sentence_and_a_reason() {
        let headers = trailers(&A2aError::new(
            Kind::VersionNotSupported,
            "0.3 ist zu alt: Änderung",
        ));
        let status = Status::from_header_map(&headers).expect("a status");
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert_eq!(status.message(), "0.3 ist zu alt: Änderung");
        let info = status.get_error_details();
        let info = info.error_info().expect("an ErrorInfo");
        assert_eq!(
            (&*info.reason, &*info.domain),
            ("VERSION_NOT_SUPPORTED", "a2a-protocol.org")
        );
    }

    #[test]
    fn a_sentence_that_quotes_much_is_cut() {
        let headers = trailers(&A2aError::params("ä".repeat(100_000)));
        let status = Status::from_header_map(&headers).expect("a status");
        assert_eq!(status.message(), "ä".repeat(MAX_SENTENCE_BYTES / 2));
        let bytes: usize = headers.values().map(|value| value.len()).sum();
        assert!(bytes < 8 << 10, "{bytes}");
    }
}
