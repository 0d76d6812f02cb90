//! An imitation of the outside of `dormouse serve`, inside the test process: it can stall, err and lie on purpose.

use std::{
    collections::BTreeSet,
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::pool::{Pool, labelled};

/// How long the skill `wait` waits.
const WAIT: Duration = Duration::from_millis(50);

/// How the fake misbehaves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manners {
    /// What every start is counted as.
    pub(crate) temperature: &'static str,
    /// Every n-th call is answered with an error, unless it is the first of its connection, which
    /// must succeed before anything is measured; 0 for none.
    pub(crate) error_every: u64,
    /// The n-th call and all that come during it wait this long together, once.
    pub(crate) stall: Option<(u64, Duration)>,
    /// Every call takes at least this long.
    pub(crate) delay: Duration,
    /// From the n-th call on, every connection breaks, and so does every new one; 0 for never.
    pub(crate) dies_at: u64,
    /// Every n-th call to an agent of the pool is not counted; 0 for none.
    pub(crate) forgets_every: u64,
    /// A reading of the metrics soon after a call to an agent of the pool misses an instance that has just gone.
    pub(crate) misread: bool,
}

pub(crate) const GOOD: Manners = Manners {
    temperature: "hot",
    error_every: 0,
    stall: None,
    delay: Duration::ZERO,
    dies_at: 0,
    forgets_every: 0,
    misread: false,
};

struct Fake {
    pool: Pool,
    manners: Manners,
    address: SocketAddr,
    calls: AtomicU64,
    /// The paths of those that there are, each of which takes a millisecond.
    filters: Mutex<BTreeSet<String>>,
    /// Held during a stall, so that it stops every connection and not only one.
    gate: tokio::sync::Mutex<()>,
}

/// Serves until the test's runtime ends.
pub(crate) async fn serve(manners: Manners) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let fake = Arc::new(Fake {
        manners,
        address,
        calls: AtomicU64::new(0),
        filters: Mutex::default(),
        pool: Pool::default(),
        gate: tokio::sync::Mutex::new(()),
    });
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            if fake.is_dead() {
                continue;
            }
            stream.set_nodelay(true).unwrap();
            let fake = Arc::clone(&fake);
            let fresh = AtomicBool::new(true);
            let service = service_fn(move |request| {
                let first = fresh.swap(false, Ordering::Relaxed);
                answer(Arc::clone(&fake), request, first)
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

/// A program that passes for `dormouse serve`: it points at the fake, writes its arguments to `folder/arguments`,
/// its process id to `folder/pids`, and ends on SIGTERM.
pub(crate) fn program(folder: &Path, address: SocketAddr) -> PathBuf {
    let path = folder.join("dormouse");
    let folder = folder.display();
    let script = format!(
        "#!/bin/sh\n\
         echo \"$@\" >> {folder}/arguments\n\
         echo $$ >> {folder}/pids\n\
         sleep 600 & trap \"kill $!; exit 0\" TERM\n\
         echo 'listening on http://{address}'\n\
         wait\n"
    );
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

async fn answer(
    fake: Arc<Fake>,
    request: Request<Incoming>,
    first: bool,
) -> io::Result<Response<Full<Bytes>>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let (status, text) = match head.uri.path() {
        "/v1/modules" => deployed(&fake, &head.headers, &body),
        path if path.starts_with("/v1/agents/") && head.method == "PUT" => {
            let source: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(source, json!({"digest": "blake3:00"}));
            let name = path.rsplit('/').next().unwrap();
            let url = format!("http://{}/agents/{name}", fake.address);
            let agent = json!({"name": name, "version": 1, "url": url, "card_url": url, "skills": ["echo"]});
            let answer = json!({"digest": "blake3:00", "agents": [agent]});
            (StatusCode::CREATED, answer.to_string())
        }
        path if path.starts_with("/v1/filters/") && head.method == "PUT" => {
            let filter: Value = serde_json::from_slice(&body).unwrap();
            assert!(filter["wasm"].is_string() && filter["config"].is_object());
            // A round begins without any.
            if fake.filters.lock().unwrap().insert(path.to_owned()) {
                (StatusCode::CREATED, filter.to_string())
            } else {
                (StatusCode::CONFLICT, "it is there already".to_owned())
            }
        }
        path if path.starts_with("/v1/filters/") && head.method == "DELETE" => {
            if fake.filters.lock().unwrap().remove(path) {
                (StatusCode::OK, json!({"deleted": path}).to_string())
            } else {
                (StatusCode::NOT_FOUND, "it is not there".to_owned())
            }
        }
        "/metrics" => (StatusCode::OK, metrics(&fake)),
        path if path.starts_with("/agents/") => {
            assert_eq!(head.headers["a2a-version"], "1.0");
            (
                StatusCode::OK,
                call(&fake, path, &body, first).await.to_string(),
            )
        }
        _ => (StatusCode::NOT_FOUND, "nothing here".to_owned()),
    };
    if fake.is_dead() {
        return Err(io::ErrorKind::ConnectionReset.into());
    }
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    Ok(response)
}

impl Fake {
    fn is_dead(&self) -> bool {
        let calls = self.calls.load(Ordering::Relaxed);
        self.manners.dies_at > 0 && calls >= self.manners.dies_at
    }
}

fn deployed(fake: &Fake, headers: &hyper::HeaderMap, body: &[u8]) -> (StatusCode, String) {
    assert_eq!(headers["content-type"], "application/wasm");
    if !body.starts_with(b"\0asm") {
        let refusal = json!({"error": {"code": "not_wasm", "message": "The body is not a WebAssembly module."}});
        return (StatusCode::BAD_REQUEST, refusal.to_string());
    }
    if body.ends_with(b"endless") {
        let refusal =
            json!({"error": {"code": "entrypoint_timeout", "message": "It never returned."}});
        return (StatusCode::UNPROCESSABLE_ENTITY, refusal.to_string());
    }
    let agent = |name: &str, skill: &str| {
        let url = format!("http://{}/agents/{name}", fake.address);
        json!({"name": name, "version": 1, "url": url, "card_url": url, "skills": [{"id": skill}]})
    };
    let mut agents = vec![
        agent("other", "rest"),
        agent("echo", "echo"),
        agent("hostile", "echo-task"),
    ];
    if body.ends_with(b"hostile") {
        agents = vec![agent("wrong", "memory-bomb")];
    }
    if let Some(names) = labelled(body) {
        agents = names.iter().map(|name| agent(name, "echo")).collect();
    }
    (
        StatusCode::CREATED,
        json!({"digest": "blake3:00", "agents": agents}).to_string(),
    )
}

fn metrics(fake: &Fake) -> String {
    let calls = fake.calls.load(Ordering::Relaxed) - fake.pool.calls();
    let temperature = fake.manners.temperature;
    format!(
        "# TYPE dormouse_starts_total counter\n\
         dormouse_starts_total{{agent=\"echo\",temperature=\"{temperature}\"}} {calls}\n{}",
        fake.pool.metrics(fake.manners.misread)
    )
}

async fn call(fake: &Fake, path: &str, body: &[u8], first: bool) -> Value {
    let number = fake.calls.fetch_add(1, Ordering::Relaxed) + 1;
    let guard = fake.gate.lock().await;
    if let Some((at, length)) = fake.manners.stall
        && at == number
    {
        tokio::time::sleep(length).await;
    }
    drop(guard);
    let filters = fake.filters.lock().unwrap().len();
    let filters = Duration::from_millis(filters as u64);
    tokio::time::sleep(fake.manners.delay + filters).await;
    let request: Value = serde_json::from_slice(body).unwrap();
    assert_eq!(request["method"], "SendMessage");
    let id = &request["id"];
    let message = &request["params"]["message"];
    let breaks = fake.manners.error_every > 0 && number.is_multiple_of(fake.manners.error_every);
    if breaks && !first {
        return json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32603, "message": "broken on purpose"}});
    }
    let pooled = path
        .strip_prefix("/agents/")
        .filter(|name| !matches!(*name, "echo" | "hostile"));
    if let Some(name) = pooled {
        let forgets = fake.manners.forgets_every;
        let counted = forgets == 0 || !number.is_multiple_of(forgets);
        fake.pool.enter(name, counted);
        match request["params"]["metadata"]["skillId"].as_str() {
            Some("spin") => std::future::pending().await,
            Some("wait") => tokio::time::sleep(WAIT).await,
            _ => {}
        }
        fake.pool.leave();
    }
    let waited = request["params"]["metadata"]["skillId"] == "wait";
    let result = match path {
        _ if pooled.is_some() && !waited => {
            json!({"message": {"messageId": "a", "role": "ROLE_AGENT", "parts": message["parts"]}})
        }
        _ if waited => json!({"task": {"status": {"state": "TASK_STATE_COMPLETED"}}}),
        "/agents/echo" => {
            json!({"message": {"messageId": "a", "role": "ROLE_AGENT", "parts": message["parts"]}})
        }
        "/agents/hostile" => {
            assert_eq!(request["params"]["metadata"]["skillId"], "echo-task");
            json!({"task": {"id": "t", "contextId": "c", "status": {"state": "TASK_STATE_COMPLETED"}}})
        }
        other => panic!("a call to {other}, which nobody asked for"),
    };
    json!({"jsonrpc": "2.0", "id": id, "result": result})
}
