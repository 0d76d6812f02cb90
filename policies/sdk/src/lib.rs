//! For writing a filter in Rust: a component of the world `zentinel:agent@2.0.0`.
//!
//! ```
//! use dormouse_filter_sdk::{Answer, Filter, Request, filter};
//!
//! struct NoDelete;
//!
//! impl Filter for NoDelete {
//!     const NAME: &str = "no-delete";
//!     const EVENTS: &[&str] = &["request_headers"];
//!
//!     fn configure(_config: &str) -> Result<Self, String> {
//!         Ok(Self)
//!     }
//!
//!     fn request_headers(&mut self, request: &Request<'_>) -> Answer {
//!         match request.method {
//!             "DELETE" => Answer::block(405, "nothing is deleted here").rule("no-delete"),
//!             _ => Answer::allow(),
//!         }
//!     }
//! }
//!
//! filter!(NoDelete);
//! ```
//!
//! Build it as a `cdylib` for `wasm32-wasip2`. Filters that see messages, and may redact them, are in [`message`].

mod answer;
mod header;
pub mod json;
pub mod message;
pub mod metrics;

#[allow(
    missing_docs,
    unsafe_code,
    clippy::all,
    reason = "generated from the WIT"
)]
#[doc(hidden)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "wit/filter",
        world: "zentinel:agent/agent",
        pub_export_macro: true,
        export_macro_name: "export_filter",
        default_bindings_module: "::dormouse_filter_sdk::bindings",
        additional_derives: [PartialEq],
    });
}

#[doc(hidden)]
pub mod glue;

pub use answer::{Answer, text_of, text_of_url};
pub use bindings::zentinel::agent::types::{
    AgentResponse, Decision, Header, HeaderOp, RequestMetadata,
};
pub use header::{is_header_name, is_header_value};

/// Bytes of a body that a filter looks at unless it says otherwise.
pub const MAX_BODY: u64 = 1 << 20;

/// The head of a request.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    pub metadata: &'a RequestMetadata,
    pub method: &'a str,
    pub uri: &'a str,
    pub headers: &'a [Header],
}

impl<'a> Request<'a> {
    /// The first header of this name, in any case of letters.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        let named = |header: &&Header| header.name.eq_ignore_ascii_case(name);
        self.headers.iter().find(named).map(|header| &*header.value)
    }

    /// The path, without its query.
    pub fn path(&self) -> &'a str {
        self.uri.split('?').next().unwrap_or_default()
    }
}

/// A piece of a body. Pieces count from 0.
#[derive(Debug, Clone, Copy)]
pub struct Chunk<'a> {
    pub correlation_id: &'a str,
    pub data: &'a [u8],
    pub index: u32,
    pub last: bool,
}

/// A filter, once configured. Only events that it names in [`EVENTS`](Filter::EVENTS) reach it.
pub trait Filter: Sized + 'static {
    const NAME: &str;
    const EVENTS: &[&str];
    const MAX_BODY: u64 = MAX_BODY;
    /// Whether bodies may come in pieces.
    const STREAMING: bool = false;

    /// # Errors
    /// A sentence that the operator can act on.
    fn configure(config: &str) -> Result<Self, String>;

    /// Those of [`EVENTS`](Filter::EVENTS) that it needs as it is configured. What reaches no filter costs no time.
    fn events(&self) -> &'static [&'static str] {
        Self::EVENTS
    }

    fn request_headers(&mut self, _request: &Request<'_>) -> Answer {
        Answer::allow()
    }

    fn request_body(&mut self, _chunk: &Chunk<'_>) -> Answer {
        Answer::allow()
    }

    fn response_headers(&mut self, _id: &str, _status: u16, _headers: &[Header]) -> Answer {
        Answer::allow()
    }

    fn response_body(&mut self, _chunk: &Chunk<'_>) -> Answer {
        Answer::allow()
    }

    /// # Errors
    /// Why another instance should take its place.
    fn health(&self) -> Result<String, String> {
        Ok("ok".to_owned())
    }

    fn shutdown(&mut self) {}
}

/// Makes the crate a component with this filter in it.
#[macro_export]
macro_rules! filter {
    ($filter:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            type Component = $crate::glue::Component<$filter>;
            $crate::glue::place!($filter);
    $crate::bindings::export_filter!(Component with_types_in $crate::bindings);
        };
        // Natively, for tests, the filter is in use as well.
        #[cfg(not(target_arch = "wasm32"))]
        const _: fn(&str) -> Result<$filter, String> = <$filter as $crate::Filter>::configure;
    };
}

/// For the tests of filters.
pub mod testing {
    use super::{Header, RequestMetadata};

    /// Of a request from 192.0.2.1 at this time.
    pub fn metadata(timestamp_ms: u64) -> RequestMetadata {
        RequestMetadata {
            correlation_id: "c".into(),
            request_id: "r".into(),
            client_ip: "192.0.2.1".into(),
            client_port: 4711,
            server_name: None,
            protocol: "HTTP/1.1".into(),
            tls_version: None,
            route_id: Some("echo".into()),
            upstream_id: None,
            timestamp_ms,
            traceparent: None,
        }
    }

    /// Headers of these names and values.
    pub fn headers(pairs: &[(&str, &str)]) -> Vec<Header> {
        let header = |(name, value): &(&str, &str)| Header {
            name: (*name).to_owned(),
            value: (*value).to_owned(),
        };
        pairs.iter().map(header).collect()
    }
}
