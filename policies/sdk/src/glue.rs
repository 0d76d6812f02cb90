//! Between the exports of the component and its filter.

use crate::bindings::exports::zentinel::agent::{handler, lifecycle};
use crate::bindings::zentinel::agent::types::{AgentInfo, AgentResponse, Header, RequestMetadata};
use crate::{Answer, Chunk, Filter, Request};
use std::cell::RefCell;
use std::marker::PhantomData;
use std::thread::LocalKey;

/// Where a component keeps its filter: a static of its own, because a generic one there is not.
pub trait Placed: Filter {
    fn place() -> &'static LocalKey<RefCell<Option<Self>>>;
}

#[doc(hidden)]
#[macro_export]
macro_rules! __place {
    ($filter:ty) => {
        impl $crate::glue::Placed for $filter {
            fn place() -> &'static ::std::thread::LocalKey<::std::cell::RefCell<Option<Self>>> {
                ::std::thread_local! {
                    static FILTER: ::std::cell::RefCell<Option<$filter>> = const { ::std::cell::RefCell::new(None) };
                }
                &FILTER
            }
        }
    };
}
pub use crate::__place as place;

pub struct Component<F>(PhantomData<F>);

/// Asked before it was configured, a filter refuses everything.
fn ask<F: Placed>(question: impl FnOnce(&mut F) -> Answer) -> AgentResponse {
    let asked = F::place().with_borrow_mut(|filter| filter.as_mut().map(question));
    asked
        .unwrap_or_else(|| Answer::block(503, "the filter is not configured"))
        .into()
}

impl<F: Placed> handler::Guest for Component<F> {
    fn get_info() -> AgentInfo {
        let events = F::place().with_borrow(|filter| match filter {
            Some(filter) => filter.events(),
            None => F::EVENTS,
        });
        AgentInfo {
            agent_id: F::NAME.to_owned(),
            name: F::NAME.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            supported_events: events.iter().map(|&event| event.to_owned()).collect(),
            max_body_size: F::MAX_BODY,
            supports_streaming: F::STREAMING,
        }
    }

    fn configure(config: String) -> Result<(), String> {
        let filter = F::configure(&config)?;
        F::place().set(Some(filter));
        Ok(())
    }

    fn on_request_headers(
        metadata: RequestMetadata,
        method: String,
        uri: String,
        headers: Vec<Header>,
    ) -> AgentResponse {
        ask::<F>(|filter| {
            filter.request_headers(&Request {
                metadata: &metadata,
                method: &method,
                uri: &uri,
                headers: &headers,
            })
        })
    }

    fn on_request_body(id: String, data: Vec<u8>, index: u32, last: bool) -> AgentResponse {
        ask::<F>(|filter| filter.request_body(&chunk(&id, &data, index, last)))
    }

    fn on_response_headers(id: String, status: u16, headers: Vec<Header>) -> AgentResponse {
        ask::<F>(|filter| filter.response_headers(&id, status, &headers))
    }

    fn on_response_body(id: String, data: Vec<u8>, index: u32, last: bool) -> AgentResponse {
        ask::<F>(|filter| filter.response_body(&chunk(&id, &data, index, last)))
    }
}

fn chunk<'a>(correlation_id: &'a str, data: &'a [u8], index: u32, last: bool) -> Chunk<'a> {
    Chunk {
        correlation_id,
        data,
        index,
        last,
    }
}

impl<F: Placed> lifecycle::Guest for Component<F> {
    fn health_check() -> Result<String, String> {
        F::place().with_borrow(|filter| match filter {
            Some(filter) => filter.health(),
            None => Err("not configured".to_owned()),
        })
    }

    fn shutdown() {
        if let Some(mut filter) = F::place().take() {
            filter.shutdown();
        }
    }
}
