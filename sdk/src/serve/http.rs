//! The HTTP server: connections, routes, bodies.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt};
use http_body_util::{BodyExt, Either, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::{LocalSet, spawn_local};

use crate::AgentDefinition;

use super::bindings::{self, Binding, Reply};
use super::convert;
use super::operations::Operations;
use super::task::Reader;

const MAX_CONNECTIONS: usize = 256;
const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;

type Events = Pin<Box<dyn Stream<Item = Result<Frame<Bytes>, Infallible>>>>;
type Answer = Response<Either<Full<Bytes>, StreamBody<Events>>>;

struct Server {
    operations: Operations,
    origin: String,
}

pub(super) fn run(listener: std::net::TcpListener, agents: Vec<AgentDefinition>) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let origin = format!("http://{}", listener.local_addr()?);
    let server = Rc::new(Server {
        operations: Operations::new(agents),
        origin,
    });
    // One thread, as in a WebAssembly instance: skills need not be Send.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, accept(listener, server))
}

async fn accept(listener: std::net::TcpListener, server: Rc<Server>) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    println!("listening on {}", server.origin);
    loop {
        let permit = Arc::clone(&permits).acquire_owned().await;
        let (stream, _) = listener.accept().await?;
        let server = Rc::clone(&server);
        spawn_local(async move {
            let service = service_fn(|request| {
                let server = Rc::clone(&server);
                async move { Ok::<_, Infallible>(server.answer(request).await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service);
            // A client that goes away is no event for a server of one developer.
            let _ = connection.await;
            drop(permit);
        });
    }
}

impl Server {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let path = request.uri().path().trim_start_matches('/').to_owned();
        let segments: Vec<&str> = path.split('/').collect();
        match segments.as_slice() {
            [".well-known", "agent-card.json"] => match self.operations.only_agent() {
                Some(agent) => self.card(agent),
                None => refuse(
                    StatusCode::NOT_FOUND,
                    "not_found",
                    "several agents: ask for the card of one",
                ),
            },
            ["agents", name, rest @ ..] => match self.operations.agent(name) {
                Some(agent) => self.answer_for(agent, rest, request).await,
                None => refuse(
                    StatusCode::NOT_FOUND,
                    "agent_not_found",
                    "there is no such agent",
                ),
            },
            _ => refuse(
                StatusCode::NOT_FOUND,
                "not_found",
                "agents are under /agents/{name}",
            ),
        }
    }

    async fn answer_for(
        &self,
        agent: &AgentDefinition,
        rest: &[&str],
        request: Request<Incoming>,
    ) -> Answer {
        if rest == [".well-known", "agent-card.json"] {
            return self.card(agent);
        }
        let is_rpc = rest.is_empty() || rest == [""];
        if is_rpc && request.method() != Method::POST {
            return refuse(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "JSON-RPC is a POST",
            );
        }
        let (head, body) = request.into_parts();
        if head.method == Method::POST && !is_json_or_empty(&head) {
            let sentence = "the body must be application/json";
            return refuse(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                sentence,
            );
        }
        let Ok(body) = Limited::new(body, MAX_BODY_BYTES).collect().await else {
            return refuse(
                StatusCode::PAYLOAD_TOO_LARGE,
                "body_too_large",
                "the body is over 8 MiB or broken off",
            );
        };
        let body = body.to_bytes();
        let (binding, decoded) = if is_rpc {
            bindings::decode_json_rpc(&head, &body)
        } else {
            (
                Binding::HttpJson,
                bindings::decode_http_json(&head, rest, &body),
            )
        };
        let reply = match decoded {
            Ok(operation) => operation.perform(&self.operations, &agent.name).await,
            Err(error) => Err(error),
        };
        match reply {
            Ok(Reply::Value(value)) => json_answer(StatusCode::OK, &binding.wrap(value)),
            Ok(Reply::Events(reader)) => event_stream(reader, binding),
            Err(error) => {
                let (status, body) = binding.error(&error);
                json_answer(status, &body)
            }
        }
    }

    fn card(&self, agent: &AgentDefinition) -> Answer {
        let base = format!("{}/agents/{}", self.origin, agent.name);
        json_answer(StatusCode::OK, &convert::card(agent, &base))
    }
}

/// Browsers send other types across origins without asking, and must not reach a skill that way.
fn is_json_or_empty(head: &hyper::http::request::Parts) -> bool {
    match head.headers.get(CONTENT_TYPE).map(HeaderValue::to_str) {
        Some(Ok(media_type)) => {
            media_type.starts_with("application/json")
                || media_type.starts_with("application/a2a+json")
        }
        Some(Err(_)) => false,
        None => head
            .headers
            .get("content-length")
            .is_none_or(|length| length == "0"),
    }
}

/// Server-sent events, one JSON document each.
fn event_stream(reader: Box<Reader>, binding: Binding) -> Answer {
    let events = stream::unfold((reader, binding), async |(mut reader, binding)| {
        let event = reader.next().await?;
        let value = binding.wrap(json!(event));
        let frame = Frame::data(Bytes::from(format!("data: {value}\n\n")));
        Some((Ok(frame), (reader, binding)))
    });
    let mut answer = Response::new(Either::Right(StreamBody::new(events.boxed_local())));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert("cache-control", HeaderValue::from_static("no-cache"));
    answer
}

fn json_answer(status: StatusCode, body: &impl Serialize) -> Answer {
    let (status, bytes) = match serde_json::to_vec(body) {
        Ok(bytes) => (status, bytes),
        Err(error) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            error.to_string().into_bytes(),
        ),
    };
    let mut answer = Response::new(Either::Left(Full::new(Bytes::from(bytes))));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

fn refuse(status: StatusCode, code: &str, sentence: &str) -> Answer {
    json_answer(
        status,
        &json!({ "error": { "code": code, "message": sentence } }),
    )
}
