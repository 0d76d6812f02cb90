//! The bare echo that everything is compared with: hyper, serde_json and nothing between.

use std::{convert::Infallible, io::Read, net::Ipv4Addr, thread};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    header::{CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::{net::TcpListener, sync::oneshot, task::JoinSet};

const MAX_BODY_BYTES: usize = 64 << 10;

/// Serves on a free loopback port, says which on stdout, and ends when stdin does: so it never outlives the
/// program that started it.
pub fn serve(worker_threads: usize) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(worker_threads.max(1))
        .enable_all()
        .build()?;
    let (closed, mut on_closed) = oneshot::channel();
    thread::spawn(move || {
        // Whether stdin ends or fails, nobody is left to serve.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = closed.send(());
    });
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        println!("listening on http://{}", listener.local_addr()?);
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = tokio::select! {
                accepted = listener.accept() => accepted?,
                _ = &mut on_closed => return Ok(()),
            };
            stream.set_nodelay(true)?;
            connections.spawn(
                http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(echo)),
            );
            while connections.try_join_next().is_some() {}
        }
    })
}

#[derive(Deserialize)]
struct Call {
    id: String,
    params: Params,
}

#[derive(Deserialize)]
struct Params {
    message: Message,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    message_id: String,
    role: String,
    parts: Vec<Part>,
}

#[derive(Serialize, Deserialize)]
struct Part {
    text: String,
}

#[derive(Serialize)]
struct Reply {
    jsonrpc: &'static str,
    id: String,
    result: Outcome,
}

#[derive(Serialize)]
struct Outcome {
    message: Message,
}

async fn echo(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let reply = match Limited::new(request.into_body(), MAX_BODY_BYTES)
        .collect()
        .await
    {
        Ok(body) => answer(&body.to_bytes()),
        Err(_) => None,
    };
    let Some(reply) = reply else {
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return Ok(response);
    };
    let mut response = Response::new(Full::new(Bytes::from(reply)));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

fn answer(body: &[u8]) -> Option<Vec<u8>> {
    let call: Call = serde_json::from_slice(body).ok()?;
    let mut message = call.params.message;
    "ROLE_AGENT".clone_into(&mut message.role);
    let reply = Reply {
        jsonrpc: "2.0",
        id: call.id,
        result: Outcome { message },
    };
    serde_json::to_vec(&reply).ok()
}
