//! The A2A side: deploying a module, and the one call that a workload repeats.

use std::{
    borrow::Cow,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Request, StatusCode, Uri,
    header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue},
};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::{
    connection::{Connection, Fault, excerpt},
    targets::Targets,
};

/// Bytes of a request body: a short chat message with its envelope, as in the peers' measurements.
pub const BODY_BYTES: usize = 300;

/// Stands in the body for the number of the call, and has as many digits.
const SEQUENCE: &str = "############";

/// The server lets an upload wait for two minutes until it has its turn, and then compiles it.
const UPLOAD_LIMIT: Duration = Duration::from_secs(180);

/// A first call may wait for code, a deadline of its own, and a busy machine.
const FIRST_CALL_LIMIT: Duration = Duration::from_secs(90);

const A2A_VERSION: HeaderName = HeaderName::from_static("a2a-version");

/// A `SendMessage` call that can be repeated; every repetition has its own message id.
#[derive(Debug)]
pub struct Call {
    authority: String,
    targets: Targets,
    headers: HeaderMap,
    body: Vec<u8>,
    sequence_at: Vec<usize>,
    next: AtomicU64,
    expected: Expected,
}

/// What an answer must hold to count as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    Message,
    CompletedTask,
    /// Either: a message that took its time comes with a task, because a task is known after 250 ms
    /// (SPECIFICATION.md, section 1).
    Answer,
}

impl Call {
    /// A call to the agent at `url`, for the skill if one is named.
    pub fn new(url: &str, skill: Option<&str>, expected: Expected) -> anyhow::Result<Self> {
        let uri: Uri = url.parse().with_context(|| format!("not a URL: {url}"))?;
        let authority = uri
            .authority()
            .with_context(|| format!("a URL without a host: {url}"))?;
        let only = Targets::in_turn(vec![uri.path().parse()?]);
        Call::spread(authority.as_str(), only, skill, expected)
    }

    /// Calls to the server at `host:port` that are spread over many of its agents.
    pub fn spread(
        authority: &str,
        targets: Targets,
        skill: Option<&str>,
        expected: Expected,
    ) -> anyhow::Result<Self> {
        ensure!(!targets.is_empty(), "there is no agent to call");
        let body = body(skill)?;
        let sequence_at = body.match_indices(SEQUENCE).map(|(at, _)| at).collect();
        let headers = HeaderMap::from_iter([
            (HOST, HeaderValue::from_str(authority)?),
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (A2A_VERSION, HeaderValue::from_static("1.0")),
        ]);
        Ok(Call {
            authority: authority.to_owned(),
            targets,
            headers,
            body: body.into_bytes(),
            sequence_at,
            next: AtomicU64::new(0),
            expected,
        })
    }

    pub async fn connect(&self) -> Result<Connection, Fault> {
        Connection::open(&self.authority).await
    }

    /// Makes the call once and judges the answer.
    pub async fn make(&self, connection: &mut Connection) -> Result<(), Fault> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let sequence = format!("{number:012}");
        let request = self.request(self.targets.of(number).clone(), &sequence);
        let (status, body) = connection.send(request).await?;
        self.judge(status, &body, &sequence)
    }

    /// The same for a call of its own, and how long it took.
    pub async fn make_timed(&self, connection: &mut Connection) -> Result<Duration, Fault> {
        let begun = Instant::now();
        let made = timeout(FIRST_CALL_LIMIT, self.make(connection)).await;
        made.unwrap_or(Err(Fault::Late(FIRST_CALL_LIMIT)))?;
        Ok(begun.elapsed())
    }

    fn request(&self, path: Uri, sequence: &str) -> Request<Full<Bytes>> {
        let mut body = self.body.clone();
        for &at in &self.sequence_at {
            body[at..at + SEQUENCE.len()].copy_from_slice(sequence.as_bytes());
        }
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = hyper::Method::POST;
        *request.uri_mut() = path;
        *request.headers_mut() = self.headers.clone();
        request
    }

    fn judge(&self, status: StatusCode, body: &[u8], sequence: &str) -> Result<(), Fault> {
        let wrong = |what: &str| Fault::Answer(format!("{what}: {}", excerpt(status, body)));
        if status != StatusCode::OK {
            return Err(wrong("not an answer"));
        }
        let reply: Reply<'_> = serde_json::from_slice(body)
            .map_err(|e| wrong(&format!("not a JSON-RPC answer ({e})")))?;
        if reply.id.as_deref() != Some(sequence) {
            return Err(wrong(&format!(
                "the answer to another call than {sequence}"
            )));
        }
        let result = reply.result.ok_or_else(|| wrong("an error"))?;
        let message = result.message.is_some() && result.task.is_none();
        let completed = result.message.is_none()
            && (result.task).is_some_and(|task| task.status.state == "TASK_STATE_COMPLETED");
        let (good, otherwise) = match self.expected {
            Expected::Message => (message, "not a message"),
            Expected::CompletedTask => (completed, "not a completed task"),
            Expected::Answer => (
                message || completed,
                "neither a message nor a completed task",
            ),
        };
        if good { Ok(()) } else { Err(wrong(otherwise)) }
    }
}

#[derive(Deserialize)]
struct Reply<'a> {
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    result: Option<Outcome<'a>>,
}

#[derive(Deserialize)]
struct Outcome<'a> {
    message: Option<IgnoredAny>,
    #[serde(borrow)]
    task: Option<Task<'a>>,
}

#[derive(Deserialize)]
struct Task<'a> {
    #[serde(borrow)]
    status: Status<'a>,
}

#[derive(Deserialize)]
struct Status<'a> {
    #[serde(borrow)]
    state: Cow<'a, str>,
}

/// A request body of `BODY_BYTES` bytes, with `SEQUENCE` where the number of the call belongs.
fn body(skill: Option<&str>) -> anyhow::Result<String> {
    // The clock keeps message ids apart between runs, in case a server treats a repeated one as a retry.
    let run = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
    let with_text = |text: String| {
        let message = json!({"messageId": format!("load-{run:x}-{SEQUENCE}"), "role": "ROLE_USER", "parts": [{"text": text}]});
        let mut params = json!({ "message": message });
        if let Some(skill) = skill {
            params["metadata"] = json!({ "skillId": skill });
        }
        json!({"jsonrpc": "2.0", "id": SEQUENCE, "method": "SendMessage", "params": params})
            .to_string()
    };
    let words = "The quick brown dormouse wakes, answers and sleeps again. ".repeat(6);
    let room = BODY_BYTES.saturating_sub(with_text(String::new()).len());
    Ok(with_text(words.chars().take(room).collect()))
}

/// Where a deployed agent is called.
#[derive(Debug, Deserialize)]
pub struct DeployedAgent {
    pub name: String,
    pub url: String,
    #[serde(default)]
    skills: Vec<Value>,
}

impl DeployedAgent {
    /// Where it is called, without the server's address.
    pub fn path(&self) -> anyhow::Result<Uri> {
        let url: Uri = self.url.parse()?;
        Ok(url.path().parse()?)
    }

    /// Skills are listed by id, or as objects with one.
    pub fn has_skill(&self, id: &str) -> bool {
        self.skills
            .iter()
            .any(|skill| skill == id || skill["id"] == id)
    }
}

/// What was deployed.
#[derive(Debug, Deserialize)]
pub struct Deployed {
    pub digest: String,
    pub agents: Vec<DeployedAgent>,
}

/// Uploads a module and tells which agents it declares.
pub async fn deploy(
    connection: &mut Connection,
    authority: &str,
    module: Bytes,
) -> anyhow::Result<Deployed> {
    let request = Request::post("/v1/modules")
        .header(HOST, authority)
        .header(CONTENT_TYPE, "application/wasm")
        .body(Full::new(module))?;
    send_deploy(connection, request).await
}

/// Gives the only agent of a stored module another name.
pub async fn deploy_as(
    connection: &mut Connection,
    authority: &str,
    digest: &str,
    name: &str,
) -> anyhow::Result<Deployed> {
    let body = json!({"digest": digest}).to_string();
    let request = Request::put(format!("/v1/agents/{name}"))
        .header(HOST, authority)
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(body.into()))?;
    send_deploy(connection, request).await
}

async fn send_deploy(
    connection: &mut Connection,
    request: Request<Full<Bytes>>,
) -> anyhow::Result<Deployed> {
    let (status, body) = connection.send_within(UPLOAD_LIMIT, request).await?;
    if !matches!(status, StatusCode::OK | StatusCode::CREATED) {
        bail!("the deployment was refused: {}", excerpt(status, &body));
    }
    serde_json::from_slice(&body)
        .with_context(|| format!("not the answer of a deploy: {}", excerpt(status, &body)))
}

/// Uploads the module in a file, on a connection of its own.
pub async fn deploy_file(authority: &str, module: &Path) -> anyhow::Result<Vec<DeployedAgent>> {
    let bytes =
        std::fs::read(module).with_context(|| format!("cannot read {}", module.display()))?;
    let mut connection = Connection::open(authority).await?;
    let deployed = deploy(&mut connection, authority, bytes.into()).await?;
    Ok(deployed.agents)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn bodies_have_the_size_the_table_speaks_of() {
        assert_eq!(body(None).unwrap().len(), BODY_BYTES);
        assert_eq!(body(Some("echo-task")).unwrap().len(), BODY_BYTES);
    }

    #[test]
    fn only_the_promised_answer_counts() {
        let body =
            |result: Value| json!({"jsonrpc": "2.0", "id": "7", "result": result}).to_string();
        let message = body(json!({"message": {"role": "ROLE_AGENT"}}));
        let completed = body(json!({"task": {"status": {"state": "TASK_STATE_COMPLETED"}}}));
        let working = body(json!({"task": {"status": {"state": "TASK_STATE_WORKING"}}}));
        let error = json!({"jsonrpc": "2.0", "id": "7", "error": {"code": -32602}}).to_string();
        let good = |expected, body: &str, id: &str| {
            let call = Call::new("http://localhost:1/agents/echo", None, expected).unwrap();
            call.judge(StatusCode::OK, body.as_bytes(), id).is_ok()
        };
        assert!(good(Expected::Message, &message, "7"));
        assert!(good(Expected::CompletedTask, &completed, "7"));
        assert!(
            !good(Expected::Message, &message, "8"),
            "the answer to another call"
        );
        assert!(!good(Expected::Message, &completed, "7"));
        assert!(!good(Expected::CompletedTask, &message, "7"));
        assert!(!good(Expected::CompletedTask, &working, "7"));
        assert!(good(Expected::Answer, &message, "7") && good(Expected::Answer, &completed, "7"));
        assert!(!good(Expected::Answer, &working, "7"));
        assert!(!good(Expected::Message, &error, "7"));
        assert!(!good(Expected::Message, "<html>", "7"));
    }
}
