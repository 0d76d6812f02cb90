//! HTTP by WASI 0.2, as agents in other languages have it: without the SDK, and blocking.

use crate::skill;
use dormouse_sdk::OnRequestResult;

#[cfg(target_family = "wasm")]
#[allow(
    warnings,
    unsafe_code,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated from the WIT"
)]
mod bindings {
    wit_bindgen::generate!({
        inline: "
            package test:http;

            world requests {
                import wasi:http/outgoing-handler@0.2.0;
            }

            package wasi:io@0.2.0 {
                interface poll {
                    resource pollable {
                        block: func();
                    }
                }
            }

            package wasi:http@0.2.0 {
                interface types {
                    use wasi:io/poll@0.2.0.{pollable};
                    variant method {
                      get,
                      head,
                      post,
                      put,
                      delete,
                      connect,
                      options,
                      trace,
                      patch,
                      other(string),
                    }
                    variant scheme {
                      HTTP,
                      HTTPS,
                      other(string),
                    }
                    record DNS-error-payload {
                      rcode: option<string>,
                      info-code: option<u16>,
                    }
                    record TLS-alert-received-payload {
                      alert-id: option<u8>,
                      alert-message: option<string>,
                    }
                    record field-size-payload {
                      field-name: option<string>,
                      field-size: option<u32>,
                    }
                    variant error-code {
                      DNS-timeout,
                      DNS-error(DNS-error-payload),
                      destination-not-found,
                      destination-unavailable,
                      destination-IP-prohibited,
                      destination-IP-unroutable,
                      connection-refused,
                      connection-terminated,
                      connection-timeout,
                      connection-read-timeout,
                      connection-write-timeout,
                      connection-limit-reached,
                      TLS-protocol-error,
                      TLS-certificate-error,
                      TLS-alert-received(TLS-alert-received-payload),
                      HTTP-request-denied,
                      HTTP-request-length-required,
                      HTTP-request-body-size(option<u64>),
                      HTTP-request-method-invalid,
                      HTTP-request-URI-invalid,
                      HTTP-request-URI-too-long,
                      HTTP-request-header-section-size(option<u32>),
                      HTTP-request-header-size(option<field-size-payload>),
                      HTTP-request-trailer-section-size(option<u32>),
                      HTTP-request-trailer-size(field-size-payload),
                      HTTP-response-incomplete,
                      HTTP-response-header-section-size(option<u32>),
                      HTTP-response-header-size(field-size-payload),
                      HTTP-response-body-size(option<u64>),
                      HTTP-response-trailer-section-size(option<u32>),
                      HTTP-response-trailer-size(field-size-payload),
                      HTTP-response-transfer-coding(option<string>),
                      HTTP-response-content-coding(option<string>),
                      HTTP-response-timeout,
                      HTTP-upgrade-failed,
                      HTTP-protocol-error,
                      loop-detected,
                      configuration-error,
                      internal-error(option<string>),
                    }
                    resource fields {
                        constructor();
                    }
                    type headers = fields;
                    resource outgoing-request {
                        constructor(headers: headers);
                        set-scheme: func(scheme: option<scheme>) -> result;
                        set-authority: func(authority: option<string>) -> result;
                        set-path-with-query: func(path: option<string>) -> result;
                    }
                    resource request-options;
                    resource incoming-response {
                        status: func() -> u16;
                    }
                    resource future-incoming-response {
                        subscribe: func() -> pollable;
                        get: func() -> option<result<result<incoming-response, error-code>>>;
                    }
                }

                interface outgoing-handler {
                    use types.{outgoing-request, request-options, future-incoming-response, error-code};
                    handle: func(request: outgoing-request, options: option<request-options>)
                        -> result<future-incoming-response, error-code>;
                }
            }
        ",
        world: "requests",
        generate_all,
    });
}

skill!(
    "wasi-http",
    WasiHttp,
    "Gets http://TEXT/ by WASI 0.2 and says the status, or the error.",
    |_state, _progress, content| {
        let said = get(&content.text());
        Ok(OnRequestResult::completed(said))
    }
);

#[cfg(not(target_family = "wasm"))]
fn get(_authority: &str) -> String {
    "there is no WASI here".to_owned()
}

#[cfg(target_family = "wasm")]
fn get(authority: &str) -> String {
    use bindings::wasi::http::outgoing_handler::handle;
    use bindings::wasi::http::types::{Fields, OutgoingRequest, Scheme};

    let request = OutgoingRequest::new(Fields::new());
    let set = request
        .set_scheme(Some(&Scheme::Http))
        .and(request.set_authority(Some(authority)))
        .and(request.set_path_with_query(Some("/")));
    if set.is_err() {
        return "no address".to_owned();
    }
    let coming = match handle(request, None) {
        Ok(coming) => coming,
        Err(error) => return format!("{error:?}"),
    };
    coming.subscribe().block();
    match coming.get() {
        Some(Ok(Ok(answer))) => answer.status().to_string(),
        Some(Ok(Err(error))) => format!("{error:?}"),
        Some(Err(())) | None => "no answer".to_owned(),
    }
}
