//! A gateway on a free port, and a client that says exactly what it is told.

use dormouse_gateway::{Gateway, GatewayConfig};
use dormouse_scheduler::{Scheduler, SchedulerConfig};
use dormouse_services::model::{
    AgentDefinition, AgentMessage, Isolation, Message, Outcome, Part, Role, SkillDefinition,
};
use dormouse_services::{Call, NewTask, Services, TaskEngine, TaskLimits, TaskScope};
use dormouse_store::{Digest, Store};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// More than any of these tests needs; a hang becomes a failure.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Server {
    pub(crate) address: String,
    pub(crate) metrics_address: String,
    pub(crate) store: Store,
    pub(crate) engine: TaskEngine,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<()>,
    _folder: TempDir,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

/// A server with two agents: `echo` with one skill, `calc` with two.
pub(crate) async fn start(change: impl FnOnce(&mut GatewayConfig)) -> Server {
    let server = start_empty(change).await;
    server.add("calc", &["add", "sub"]);
    server.add("echo", &["say"]);
    server
}

/// A task of `echo` that waits for input.
pub(crate) async fn waiting_task(server: &Server) -> String {
    let call: Call = server.engine.begin(NewTask {
        scope: TaskScope {
            agent: "echo".to_owned(),
            principal: "anonymous".to_owned(),
        },
        version: 1,
        skill: "say".to_owned(),
        message: Message::new(Role::User, vec![Part::text("hi")]),
    });
    let id = call.task_id();
    let outcome = Outcome::InputRequired {
        message: AgentMessage::text("which?"),
        slot: 1.into(),
    };
    call.finish(outcome).await.unwrap();
    id
}

pub(crate) async fn start_empty(change: impl FnOnce(&mut GatewayConfig)) -> Server {
    start_with(change, |_scheduler| {}).await
}

pub(crate) async fn start_with(
    change: impl FnOnce(&mut GatewayConfig),
    change_scheduler: impl FnOnce(&mut SchedulerConfig),
) -> Server {
    start_on(Store::in_memory(), change, change_scheduler).await
}

/// A server whose engine has these services.
pub(crate) async fn start_serving(services: Services) -> Server {
    start_all(Store::in_memory(), services, |_config| {}, |_scheduler| {}).await
}

/// A server with what one before it has left.
pub(crate) async fn start_on(
    store: Store,
    change: impl FnOnce(&mut GatewayConfig),
    change_scheduler: impl FnOnce(&mut SchedulerConfig),
) -> Server {
    start_all(store, Services::default(), change, change_scheduler).await
}

async fn start_all(
    store: Store,
    services: Services,
    change: impl FnOnce(&mut GatewayConfig),
    change_scheduler: impl FnOnce(&mut SchedulerConfig),
) -> Server {
    let folder = tempfile::tempdir().unwrap();
    let registry = prometheus::Registry::new();
    let opened =
        TaskEngine::open_with(Arc::clone(&store.tasks), TaskLimits::default(), services).await;
    let (engine, _) = opened.unwrap();
    let mut config = SchedulerConfig::new(folder.path().to_owned());
    change_scheduler(&mut config);
    let scheduler = Scheduler::new(config, Arc::clone(&store.modules), &registry).unwrap();
    let mut config = GatewayConfig::new("https://agents.example.com/");
    change(&mut config);
    let (listener, metrics) = (listen().await, listen().await);
    let address = listener.local_addr().unwrap().to_string();
    let metrics_address = metrics.local_addr().unwrap().to_string();
    let gateway = Gateway::new(config, &store, engine.clone(), scheduler, registry)
        .unwrap()
        .metrics_on(metrics);
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(gateway.run(listener, async {
        let _ = stopped.await;
    }));
    Server {
        address,
        metrics_address,
        store,
        engine,
        stop: Some(stop),
        running,
        _folder: folder,
    }
}

async fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

impl Server {
    /// Puts an agent into the registry without a module, which nothing here runs.
    pub(crate) fn add(&self, name: &str, skills: &[&str]) {
        let json = serde_json::to_vec(&definition(name, skills)).unwrap();
        let module = Digest::of(name.as_bytes());
        self.store
            .registry
            .deploy(module, &[(name.to_owned(), json)], 784_111_777_000)
            .unwrap();
    }

    /// `request` is `METHOD PATH`, then header lines.
    pub(crate) async fn ask(&self, request: &str, body: &[u8]) -> Answer {
        ask(&self.address, request, body).await
    }

    pub(crate) async fn rpc(&self, agent: &str, body: &Value) -> (u16, Value) {
        let request =
            format!("POST /agents/{agent}\ncontent-type: application/json\na2a-version: 1.0");
        let answer = self.ask(&request, body.to_string().as_bytes()).await;
        (answer.status, answer.json())
    }

    pub(crate) async fn rest(&self, request: &str, body: &Value) -> (u16, Value) {
        let request = format!("{request}\ncontent-type: application/json\na2a-version: 1.0");
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let answer = self.ask(&request, body.as_bytes()).await;
        (answer.status, answer.json())
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(&self.address).await.unwrap()
    }

    /// What it leaves when it has stopped.
    pub(crate) async fn leave(mut self) -> Store {
        self.stop().await.unwrap();
        self.store
    }

    /// Asks the server to stop; it is drained when the handle is.
    pub(crate) fn stop(&mut self) -> &mut JoinHandle<()> {
        self.stop.take().unwrap().send(()).unwrap();
        &mut self.running
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}\n{:?}", self.head, self.body))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (known, value) = line.split_once(':')?;
            known.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

pub(crate) async fn ask(address: &str, request: &str, body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let (line, headers) = request.split_once('\n').unwrap_or((request, ""));
    let mut head = format!("{line} HTTP/1.1\r\nconnection: close\r\n");
    if !headers.contains("host:") {
        head.push_str("host: localhost\r\n");
    }
    for header in headers.lines() {
        head.push_str(&format!("{header}\r\n"));
    }
    if !body.is_empty()
        && !request.contains("content-length")
        && !request.contains("transfer-encoding")
    {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    stream
        .write_all(format!("{head}\r\n").as_bytes())
        .await
        .unwrap();
    // A refused body may find the connection closed already.
    let _ = stream.write_all(body).await;
    answer(stream).await
}

/// Reads to the end of the connection. Chunks are joined.
pub(crate) async fn answer(mut stream: TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let reading = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    // A reset after the answer is how a server leaves a client that still sends.
    let _ = reading.expect("the server ends the connection");
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("no answer: {:?}", String::from_utf8_lossy(&bytes)));
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut body = bytes.split_off(end + 4);
    if head
        .to_ascii_lowercase()
        .contains("transfer-encoding: chunked")
    {
        body = unchunk(&body);
    }
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head, body }
}

fn unchunk(mut body: &[u8]) -> Vec<u8> {
    let mut joined = Vec::new();
    while let Some(line) = body.windows(2).position(|two| two == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&body[..line]).unwrap(), 16).unwrap();
        joined.extend_from_slice(&body[line + 2..line + 2 + size]);
        body = &body[line + 4 + size..];
    }
    joined
}

pub(crate) fn definition(name: &str, skills: &[&str]) -> AgentDefinition {
    AgentDefinition {
        name: name.to_owned(),
        version: "0.1.0".to_owned(),
        description: format!("The agent {name}"),
        default_input_modes: vec!["text/plain".to_owned()],
        default_output_modes: Vec::new(),
        isolation: Isolation::Shared,
        concurrency: 1,
        provider: None,
        documentation_url: None,
        icon_url: None,
        extensions: Vec::new(),
        streaming: true,
        push_notifications: true,
        needs: Vec::new(),
        skills: skills
            .iter()
            .map(|id| SkillDefinition {
                id: (*id).to_owned(),
                name: (*id).to_owned(),
                description: String::new(),
                tags: vec!["test".to_owned()],
                examples: Vec::new(),
                input_modes: Vec::new(),
                output_modes: Vec::new(),
            })
            .collect(),
    }
}

pub(crate) fn message(text: &str) -> Value {
    json!({"message": {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": text}]}})
}

pub(crate) fn call(method: &str, params: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params})
}
