//! The whole platform as its users meet it: the real binary, real guests, real sockets, kill -9.

mod activity;
mod agents;
mod auth;
mod bad_requests;
mod beginnings;
mod crash;
mod extensions;
mod filter_changes;
mod filters;
mod hostile;
mod http;
mod limits;
mod lives;
mod names;
mod push;
mod services;
mod serving;
mod streams;
mod tasks;
mod tls;
mod traces;
mod uploads;
mod versions;

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// No answer of these tests may take longer; a debug build compiles a guest in a few seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running server. Its folder outlives it, so that another server can go on with it.
struct Server {
    child: Child,
    url: String,
    http: reqwest::blocking::Client,
}

/// An answer of the server, read to its end.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: reqwest::header::HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// The JSON-RPC error: its code and its sentence.
    fn rpc_error(&self) -> (i64, String) {
        let error = &self.json()["error"];
        let code = error["code"].as_i64().unwrap_or_else(|| panic!("{self:?}"));
        (code, error["message"].as_str().unwrap().to_owned())
    }
}

fn data_dir() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// A client without certificates, because servers here have none.
fn client() -> reqwest::blocking::ClientBuilder {
    // There is one already in all tests but the first of a process.
    let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
    reqwest::blocking::Client::builder().tls_certs_only([])
}

impl Server {
    fn start(data: &Path, flags: &[&str]) -> Self {
        Self::listening(data, "127.0.0.1:0", flags)
    }

    fn listening(data: &Path, address: &str, flags: &[&str]) -> Self {
        Self::logging(data, address, flags, "warn", Stdio::inherit())
    }

    fn logging(data: &Path, address: &str, flags: &[&str], level: &str, log: Stdio) -> Self {
        let mut child = crate::dormouse(data)
            .args(["serve", "--listen", address, "--data-dir"])
            .arg(data.join("data"))
            .args(flags)
            .env("RUST_LOG", level)
            .stderr(log)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        let url = line
            .trim()
            .strip_prefix("listening on ")
            .unwrap_or_else(|| panic!("not the promised line: `{line}`"))
            .to_owned();
        let http = client().timeout(PATIENCE).build().unwrap();
        Self { child, url, http }
    }

    /// `kill -9`.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and whatever the server makes of it.
    fn stop(self) -> ExitStatus {
        self.terminate();
        self.ended()
    }

    fn ended(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    fn terminate(&self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").arg(id).status().unwrap().success());
    }

    fn request(&self, method: &str, path: &str) -> reqwest::blocking::RequestBuilder {
        let method = method.parse().unwrap();
        self.http
            .request(method, format!("{}{path}", self.url))
            .header("A2A-Version", "1.0")
    }

    fn get(&self, path: &str) -> Answer {
        answer(self.request("GET", path))
    }

    fn upload(&self, wasm: Vec<u8>) -> Answer {
        answer(
            self.request("POST", "/v1/modules")
                .header("content-type", "application/wasm")
                .body(wasm),
        )
    }

    fn deploy(&self, wasm: &Path) -> Value {
        let answer = self.upload(std::fs::read(wasm).unwrap());
        assert!([200, 201].contains(&answer.status), "{answer:?}");
        answer.json()
    }

    fn rpc_request(
        &self,
        agent: &str,
        method: &str,
        params: &Value,
    ) -> reqwest::blocking::RequestBuilder {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        self.request("POST", &format!("/agents/{agent}"))
            .header("content-type", "application/json")
            .body(body.to_string())
    }

    /// A JSON-RPC call with its answer as it came.
    fn rpc(&self, agent: &str, method: &str, params: &Value) -> Answer {
        answer(self.rpc_request(agent, method, params))
    }

    /// The result of a JSON-RPC call that must not fail.
    fn result(&self, agent: &str, method: &str, params: &Value) -> Value {
        let answer = self.rpc(agent, method, params);
        let mut json = answer.json();
        assert!(json.get("error").is_none(), "{json}");
        json["result"].take()
    }

    /// The task or message that a blocking send ends with.
    fn send(&self, agent: &str, message: Message) -> Value {
        self.result(agent, "SendMessage", &message.params())
    }

    /// The events of a stream, until it ends.
    fn stream(&self, agent: &str, method: &str, params: &Value) -> Events {
        let sent = self.rpc_request(agent, method, params).send().unwrap();
        assert_eq!(sent.status(), 200);
        Events::read(sent)
    }

    fn task(&self, agent: &str, id: &str) -> Value {
        self.result(agent, "GetTask", &json!({"id": id}))
    }

    /// The sum of a metric's samples that have all of these labels (`name="value"`).
    fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let text = String::from_utf8(self.get("/metrics").body).unwrap();
        text.lines()
            .filter(|line| {
                line.strip_prefix(name)
                    .is_some_and(|rest| rest.starts_with([' ', '{']))
            })
            .filter(|line| labels.iter().all(|label| line.contains(label)))
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum()
    }

    fn started(&self, temperature: &str) -> f64 {
        let label = format!("temperature=\"{temperature}\"");
        self.metric("dormouse_starts_total", &[&label])
    }

    /// Waits until something of this server is so.
    fn until(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let begun = Instant::now();
        while !holds(self) {
            assert!(
                begun.elapsed() < PATIENCE,
                "{what}: not within {PATIENCE:?}"
            );
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already ended, or a test failed.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

fn answer(request: reqwest::blocking::RequestBuilder) -> Answer {
    let response = request.send().unwrap();
    Answer {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        body: response.bytes().unwrap().to_vec(),
    }
}

/// The events of one open stream, read beside the test.
struct Events(Receiver<Value>);

impl Events {
    fn read(response: reqwest::blocking::Response) -> Self {
        let (events, received) = mpsc::channel();
        thread::spawn(move || {
            let lines = BufReader::new(response).lines().map_while(Result::ok);
            for line in lines {
                if let Some(data) = line.strip_prefix("data:") {
                    let mut event: Value = serde_json::from_str(data.trim()).unwrap();
                    assert!(event.get("error").is_none(), "{event}");
                    if events.send(event["result"].take()).is_err() {
                        return;
                    }
                }
            }
        });
        Self(received)
    }

    fn next(&self) -> Option<Value> {
        match self.0.recv_timeout(PATIENCE) {
            Ok(event) => Some(event),
            Err(mpsc::RecvTimeoutError::Disconnected) => None,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("no event within {PATIENCE:?}"),
        }
    }

    fn rest(self) -> Vec<Value> {
        std::iter::from_fn(|| self.next()).collect()
    }
}

/// A message of a user.
#[derive(Default)]
struct Message {
    message: Value,
    configuration: Value,
}

fn text(text: &str) -> Message {
    Message::of(json!([{"text": text}]))
}

fn data(data: Value) -> Message {
    Message::of(json!([{"data": data}]))
}

impl Message {
    fn of(parts: Value) -> Self {
        let id = uuid::Uuid::now_v7().to_string();
        Self {
            message: json!({"messageId": id, "role": "ROLE_USER", "parts": parts}),
            configuration: json!({}),
        }
    }

    fn skill(mut self, skill: &str) -> Self {
        self.message["metadata"] = json!({"skillId": skill});
        self
    }

    /// Continues this task.
    fn on(mut self, task: &Value) -> Self {
        self.message["taskId"] = task["id"].clone();
        self
    }

    fn at_once(mut self) -> Self {
        self.configuration["returnImmediately"] = json!(true);
        self
    }

    fn params(&self) -> Value {
        json!({"message": self.message, "configuration": self.configuration})
    }
}

/// A test guest, e.g. `hostile`. Built by `cargo xtask test`.
fn guest(name: &str) -> PathBuf {
    module("guests", name)
}

/// An example's module, e.g. `csv-stats`.
fn example(name: &str) -> PathBuf {
    module("examples", name)
}

fn module(folder: &str, name: &str) -> PathBuf {
    let file = format!("{}.wasm", name.replace('-', "_"));
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(folder)
        .join("target/wasm32-wasip1/release")
        .join(file);
    assert!(
        path.exists(),
        "{} is not built: run `cargo xtask guests` once",
        path.display()
    );
    path
}

fn state(task: &Value) -> &str {
    task["status"]["state"]
        .as_str()
        .unwrap_or_else(|| panic!("no task: {task}"))
}

/// What was said in answer: by a message or, if the call took so long that it became a task, by
/// that task.
fn reply(answer: &Value) -> &str {
    let message = &answer["message"]["parts"][0]["text"];
    message.as_str().unwrap_or_else(|| said(&answer["task"]))
}

/// What the agent (or the platform in its place) said with the status.
fn said(task: &Value) -> &str {
    let parts = &task["status"]["message"]["parts"];
    parts[0]["text"]
        .as_str()
        .unwrap_or_else(|| panic!("no text: {task}"))
}

fn error_class(task: &Value) -> &str {
    let class = &task["status"]["message"]["metadata"]["errorClass"];
    class.as_str().unwrap_or_else(|| panic!("no class: {task}"))
}

/// Files below a folder.
fn files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Vec::new();
    };
    let below = |path: PathBuf| {
        if path.is_dir() {
            files(&path)
        } else {
            vec![path]
        }
    };
    entries
        .flat_map(|entry| below(entry.unwrap().path()))
        .collect()
}

/// Sends bytes as they are and returns what comes back until the server closes.
fn raw(server: &Server, bytes: &[u8]) -> String {
    use std::io::Write as _;
    let address = server.url.strip_prefix("http://").unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(bytes).unwrap();
    let mut said = Vec::new();
    stream.read_to_end(&mut said).unwrap();
    String::from_utf8_lossy(&said).into_owned()
}
