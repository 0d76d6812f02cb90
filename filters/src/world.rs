//! The two worlds that agents may be of: `zentinel:agent`, which sees HTTP, and `dormouse:filter`, which sees messages.
//! Which one a component is of is told by what it exports.

use crate::error::WasmRuntimeError;
use crate::live::State;
use crate::metrics::{MAX_READINGS, Reading};
use wasmtime::Store;
use wasmtime::component::{Component, ComponentNamedList, HasSelf, Instance, Lift, Linker, Lower};

pub(crate) mod http {
    //! Generated from `wit/filter/agent.wit`.
    wasmtime::component::bindgen!({
        path: "../wit/filter",
        world: "zentinel:agent/agent",
        exports: { default: async },
        additional_derives: [PartialEq],
        require_store_data_send: true,
    });
}

pub(crate) mod message {
    //! Generated from `wit/message/filter.wit`.
    wasmtime::component::bindgen!({
        path: "../wit/message",
        world: "dormouse:filter/message-filter",
        exports: { default: async },
        additional_derives: [PartialEq],
        require_store_data_send: true,
    });
}

use http::zentinel::agent::types::{self, AgentInfo, AgentResponse, Header, RequestMetadata};
use message::dormouse::filter::types as said;

const HANDLER: &str = "zentinel:agent/handler@2.0.0";
const LIFECYCLE: &str = "zentinel:agent/lifecycle@2.0.0";
const MESSAGES: &str = "dormouse:filter/messages@1.0.0";
const MESSAGES_LIFECYCLE: &str = "dormouse:filter/lifecycle@1.0.0";

/// Compiled and linked, and of one of the worlds.
#[derive(Clone)]
pub(crate) enum Code {
    Http(http::AgentPre<State>),
    Message(message::MessageFilterPre<State>),
}

/// The exports of an instance.
pub(crate) enum Guest {
    Http(http::Agent),
    Message(message::MessageFilter),
}

impl types::Host for State {}
impl said::Host for State {}

impl message::dormouse::filter::metrics::Host for State {
    fn count(&mut self, name: String, more: u64) {
        self.report(&name, Reading::Count(more));
    }

    fn gauge(&mut self, name: String, value: f64) {
        self.report(&name, Reading::Gauge(value));
    }

    fn observe(&mut self, name: String, value: f64) {
        self.report(&name, Reading::Observation(value));
    }
}

impl State {
    fn report(&mut self, name: &str, reading: Reading) {
        self.readings += 1;
        if let Some(sink) = &self.metrics
            && self.readings <= MAX_READINGS
            && reading.is_sound(name)
        {
            sink.report(&self.id, name, reading);
        }
    }
}

/// A linker with all that an agent may import: WASI, without files, environment and network, and metrics.
pub(crate) fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    http::Agent::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
    message::MessageFilter::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
    Ok(linker)
}

impl Code {
    /// # Errors
    /// When an export is missing, or an import is not offered; the sentence names it.
    pub(crate) fn link(
        linker: &Linker<State>,
        component: &Component,
    ) -> Result<Self, WasmRuntimeError> {
        let is_of_messages = component.get_export_index(None, MESSAGES).is_some();
        let misfit =
            |error: wasmtime::Error| WasmRuntimeError::FunctionNotFound(format!("{error:#}"));
        let code = linker.instantiate_pre(component).map_err(misfit)?;
        if is_of_messages {
            let code = message::MessageFilterPre::new(code).map_err(misfit)?;
            return Ok(Self::Message(code));
        }
        Ok(Self::Http(http::AgentPre::new(code).map_err(misfit)?))
    }

    pub(crate) async fn instantiate(&self, store: &mut Store<State>) -> wasmtime::Result<Instance> {
        match self {
            Self::Http(code) => code.instance_pre().instantiate_async(store).await,
            Self::Message(code) => code.instance_pre().instantiate_async(store).await,
        }
    }

    /// # Errors
    /// When an export has another type than its world says; the sentence names it.
    pub(crate) fn guest(
        &self,
        store: &mut Store<State>,
        instance: &Instance,
    ) -> Result<Guest, WasmRuntimeError> {
        let (guest, misfits): (_, fn(&mut Exports<'_>)) = match self {
            Self::Http(_) => (
                http::Agent::new(&mut *store, instance).map(Guest::Http),
                http_misfits,
            ),
            Self::Message(_) => (
                message::MessageFilter::new(&mut *store, instance).map(Guest::Message),
                message_misfits,
            ),
        };
        guest.map_err(|error| {
            let mut exports = Exports {
                store,
                instance,
                wrong: Vec::new(),
            };
            misfits(&mut exports);
            let wrong = exports.wrong.join("; ");
            let cause = format!("{error:#}");
            WasmRuntimeError::FunctionNotFound(if wrong.is_empty() { cause } else { wrong })
        })
    }
}

/// Looks for exports that have another type than their world says. Wasmtime says how one differs, but not which.
struct Exports<'a> {
    store: &'a mut Store<State>,
    instance: &'a Instance,
    wrong: Vec<String>,
}

impl Exports<'_> {
    fn check<P, R>(&mut self, interface: &str, name: &str)
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift,
    {
        let (store, instance) = (&mut *self.store, self.instance);
        let found = instance.get_export_index(&mut *store, None, interface);
        let found =
            found.and_then(|found| instance.get_export_index(&mut *store, Some(&found), name));
        let Some(function) = found.and_then(|found| instance.get_func(&mut *store, found)) else {
            return;
        };
        if let Err(error) = function.typed::<P, R>(&*store) {
            self.wrong.push(format!("{name}: {error:#}"));
        }
    }
}

fn http_misfits(exports: &mut Exports<'_>) {
    type Head<'a> = (&'a RequestMetadata, &'a str, &'a str, &'a [Header]);
    type Body<'a> = (&'a str, &'a [u8], u32, bool);
    type Answers = (AgentResponse,);
    exports.check::<(), (AgentInfo,)>(HANDLER, "get-info");
    exports.check::<(&str,), (Result<(), String>,)>(HANDLER, "configure");
    exports.check::<Head<'_>, Answers>(HANDLER, "on-request-headers");
    exports.check::<(&str, u16, &[Header]), Answers>(HANDLER, "on-response-headers");
    exports.check::<Body<'_>, Answers>(HANDLER, "on-request-body");
    exports.check::<Body<'_>, Answers>(HANDLER, "on-response-body");
    lifecycle(exports, LIFECYCLE);
}

fn message_misfits(exports: &mut Exports<'_>) {
    type Asked<'a> = (&'a said::Subject, &'a said::Content);
    exports.check::<(), (said::Info,)>(MESSAGES, "get-info");
    exports.check::<(&str,), (Result<(), String>,)>(MESSAGES, "configure");
    exports.check::<Asked<'_>, (said::Answer,)>(MESSAGES, "on-message");
    exports.check::<Asked<'_>, (said::Answer,)>(MESSAGES, "on-result");
    lifecycle(exports, MESSAGES_LIFECYCLE);
}

fn lifecycle(exports: &mut Exports<'_>, interface: &str) {
    exports.check::<(), (Result<String, String>,)>(interface, "health-check");
    exports.check::<(), ()>(interface, "shutdown");
}
