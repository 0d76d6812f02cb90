//! `wasi:http` as agents have it: requests go out through the services' egress and nowhere else.

use super::GuestState;
use crate::call::VersionRef;
use dormouse_services::egress::{Egress, EgressError, Sender, Share};
use dormouse_services::net::{DialError, StreamError, Times};
use dormouse_services::trace::Trace;
use http_body_util::BodyExt;
use std::sync::Arc;
use wasmtime_wasi_http::{
    Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
};

/// Bytes of the header fields of one request or answer. An instance may hold a thousand of them, beside its memory.
const MAX_FIELDS_BYTES: usize = 16 << 10;

/// Whose requests they are. Without a version, as at deploy, there are none.
pub(crate) struct GuestHttp {
    context: WasiHttpCtx,
    hooks: Hooks,
}

struct Hooks {
    egress: Arc<Egress>,
    version: Option<Arc<VersionRef>>,
    /// Made for the first request.
    share: Option<Share>,
    /// That of the call which is in it alone.
    trace: Option<Trace>,
}

impl GuestHttp {
    pub(crate) fn new(egress: Arc<Egress>, version: Option<Arc<VersionRef>>) -> Self {
        let mut context = WasiHttpCtx::new();
        context.set_field_size_limit(MAX_FIELDS_BYTES);
        Self {
            context,
            hooks: Hooks {
                egress,
                version,
                share: None,
                trace: None,
            },
        }
    }
}

impl GuestHttp {
    /// Of an instance that has ever sent a request.
    pub(super) fn share(&self) -> Option<Share> {
        self.hooks.share.clone()
    }

    /// Whose instance it is.
    pub(super) fn version(&self) -> Option<&VersionRef> {
        self.hooks.version.as_deref()
    }
}

impl GuestState {
    /// In whose trace its requests are from now on.
    pub(crate) fn set_trace(&mut self, trace: Option<Trace>) {
        self.http.hooks.trace = trace;
    }

    /// The requests that its guest has on their way, if it has ever sent one.
    pub(crate) fn outgoing(&self) -> Option<Share> {
        self.http.share()
    }
}

impl WasiHttpView for GuestState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            hooks: &mut self.http.hooks,
            table: &mut self.table,
            ctx: &mut self.http.context,
        }
    }
}

/// What the answer's bytes are moved by, and the error if they are not.
type Io = Box<dyn Future<Output = Result<(), Error>> + Send>;

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _read: Io,
    ) -> Box<dyn Future<Output = Result<(http::Response<WasiBody>, Io), Error>> + Send> {
        let Some(version) = self.version.clone() else {
            return Box::new(async { Err(Error::HttpRequestDenied) });
        };
        let egress = Arc::clone(&self.egress);
        let share = self.share.get_or_insert_default().clone();
        let trace = self.trace.clone();
        let options = options.unwrap_or_default();
        let times = Times {
            connect: options.connect_timeout,
            head: options.first_byte_timeout,
            piece: options.between_bytes_timeout,
        };
        Box::new(async move {
            let sender = Sender {
                agent: &version.agent,
                grants: &version.grants,
                share: &share,
                trace: trace.as_ref(),
            };
            let sent = egress.send(sender, request, times).await;
            let (answer, driving) = sent.map_err(|error| told(version.as_ref(), error))?;
            let answer = answer.map(|body| body.map_err(broken).boxed_unsync());
            let io = async move {
                driving.await;
                Ok(())
            };
            Ok((answer, Box::new(io) as Io))
        })
    }
}

/// What the guest is told; the standard has no room for a sentence.
fn told(version: &VersionRef, error: EgressError) -> Error {
    tracing::debug!(agent = version.agent, %error, "an agent's request was not sent");
    match error {
        EgressError::Denied => Error::HttpRequestDenied,
        EgressError::Prohibited(_) => Error::DestinationIpProhibited,
        EgressError::TooMany => Error::ConnectionLimitReached,
        EgressError::Method => Error::HttpRequestMethodInvalid,
        EgressError::Url => Error::HttpRequestUriInvalid,
        EgressError::PathTooLong => Error::HttpRequestUriTooLong,
        EgressError::Stream(error) => broken(error),
    }
}

fn broken(error: StreamError) -> Error {
    match error {
        StreamError::Dial(DialError::Lookup(_) | DialError::NoAddress) => {
            Error::DestinationNotFound
        }
        StreamError::Dial(DialError::NotPublic(_)) => Error::DestinationIpProhibited,
        StreamError::Dial(DialError::Connect(_)) => Error::ConnectionRefused,
        StreamError::Dial(DialError::Tls(_)) => Error::TlsProtocolError,
        StreamError::ConnectTimeout => Error::ConnectionTimeout,
        StreamError::AnswerTimeout => Error::HttpResponseTimeout,
        StreamError::Broken(_) => Error::HttpProtocolError,
        StreamError::Incomplete => Error::HttpResponseIncomplete,
        StreamError::RequestTooLarge => Error::HttpRequestBodySize(None),
        StreamError::AnswerTooLarge => Error::HttpResponseBodySize(None),
    }
}
