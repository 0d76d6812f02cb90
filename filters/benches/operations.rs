//! What each operation of a filter costs, with and without counted instructions and the clock, beside the same question
//! asked of another process over a Unix socket. Prints p50 and p99. Needs the filters of `policies/`
//! (`cargo xtask guests`).
//!
//! `cargo bench --workspace --bench operations -- --samples 20000`
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]

use dormouse_filters::message::{Content, Kind, Part, PartContent, Subject};
use dormouse_filters::{Header, RequestMetadata, WasmAgentConfig, WasmAgentRuntime};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

const CONFIG: &str = r#"{"allow": {"methods": ["POST"]}, "deny": {"paths": ["/agents/secret"]}}"#;
const SAMPLES: usize = 20_000;
/// Starts are so many times slower that fewer of them do.
const FEWER_STARTS: usize = 10;
/// One for so many samples runs before them and does not count.
const WARM_UP: usize = 10;
/// Asked of this program by itself: to be the other process.
const EXTERNAL: &str = "--external";
const CHUNKS: [usize; 3] = [1 << 10, 16 << 10, 64 << 10];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let after = |flag: &str| {
        let at = arguments.iter().position(|argument| argument == flag)?;
        arguments.get(at + 1)
    };
    if let Some(socket) = after(EXTERNAL) {
        return serve(Path::new(socket));
    }
    // The test runner asks what there is.
    if arguments.iter().any(|argument| argument == "--list") {
        return;
    }
    let samples = after("--samples").map_or(SAMPLES, |number| number.parse().unwrap());
    println!("{:<44} {:>12} {:>12}", "operation", "p50 µs", "p99 µs");
    for (name, config) in engines() {
        in_process(name, &config, samples);
        messages(name, &config, samples);
    }
    external(samples);
}

/// Times an operation and prints its quantiles.
fn measure(operation: &str, samples: usize, work: impl FnMut()) {
    measure_and(operation, samples, work, || {});
}

/// The same with something after each that is not timed.
fn measure_and(operation: &str, samples: usize, mut work: impl FnMut(), mut after: impl FnMut()) {
    let mut time = || {
        let begun = Instant::now();
        work();
        let took = begun.elapsed();
        after();
        took
    };
    for _ in 0..samples / WARM_UP {
        time();
    }
    let mut times: Vec<Duration> = (0..samples.max(1)).map(|_| time()).collect();
    times.sort_unstable();
    let micros = |share: f64| {
        let at = (times.len() as f64 * share) as usize;
        times[at.min(times.len() - 1)].as_secs_f64() * 1e6
    };
    println!(
        "{operation:<44} {:>12.2} {:>12.2}",
        micros(0.5),
        micros(0.99)
    );
}

fn component(file: &str) -> Vec<u8> {
    let folder = "../policies/target/wasm32-wasip2/release";
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(folder)
        .join(file);
    std::fs::read(path).unwrap()
}

fn metadata() -> RequestMetadata {
    RequestMetadata {
        correlation_id: "0198b2a0-0000-7000-8000-000000000000".into(),
        request_id: "0198b2a0-0000-7000-8000-000000000000".into(),
        client_ip: "192.0.2.1".into(),
        client_port: 4711,
        server_name: Some("agents.example.com".into()),
        protocol: "HTTP/1.1".into(),
        tls_version: None,
        route_id: Some("echo".into()),
        upstream_id: None,
        timestamp_ms: 1_800_000_000_000,
        traceparent: None,
    }
}

fn ten_headers() -> Vec<Header> {
    let header = |number| Header {
        name: format!("x-header-{number}"),
        value: "a value of a usual length, so to speak".into(),
    };
    (0..10).map(header).collect()
}

/// With and without counted instructions, and without interruption by the clock.
fn engines() -> [(&'static str, WasmAgentConfig); 3] {
    let usual = WasmAgentConfig::default();
    let without_fuel = WasmAgentConfig {
        fuel_enabled: false,
        ..usual.clone()
    };
    let without_epochs = WasmAgentConfig {
        epoch_enabled: false,
        ..usual.clone()
    };
    [
        ("epochs", without_fuel),
        ("fuel", without_epochs),
        ("epochs and fuel", usual),
    ]
}

fn in_process(engine: &str, config: &WasmAgentConfig, samples: usize) {
    let (metadata, headers) = (metadata(), ten_headers());
    let runtime = WasmAgentRuntime::new(config.clone()).unwrap();
    let bytes = component("allow_list.wasm");
    runtime.compile_component("list", &bytes).unwrap();
    // With get-info and configure.
    measure_and(
        &format!("instantiate and configure, {engine}"),
        samples / FEWER_STARTS,
        || drop(runtime.load_agent("new", "list", CONFIG).unwrap()),
        || assert!(runtime.unload_agent("new")),
    );
    let agent = runtime.load_agent("a", "list", CONFIG).unwrap();
    measure(&format!("request headers, {engine}"), samples, || {
        let response = agent.on_request_headers(&metadata, "POST", "/agents/echo", &headers);
        std::hint::black_box(response.unwrap());
    });
    for bytes in CHUNKS {
        let data = vec![b'x'; bytes];
        let name = format!("body chunk of {} KiB, {engine}", bytes >> 10);
        measure(&name, samples, || {
            std::hint::black_box(agent.on_request_body("c", &data, 0, true).unwrap());
        });
    }
    measure(&format!("health check, {engine}"), samples, || {
        std::hint::black_box(agent.health_check().unwrap());
    });
    runtime.shutdown();
}

/// The other world: 300 bytes are looked through for personal data.
fn messages(engine: &str, config: &WasmAgentConfig, samples: usize) {
    let runtime = WasmAgentRuntime::new(config.clone()).unwrap();
    let bytes = component("pii.wasm");
    runtime.compile_component("pii", &bytes).unwrap();
    let agent = runtime.load_agent("pii", "pii", "{}").unwrap();
    let subject = Subject {
        agent: "echo".into(),
        skill: "echo".into(),
        principal: "anonymous".into(),
        task_id: None,
        context_id: None,
        message_id: "0198b2a0-0000-7000-8000-000000000000".into(),
    };
    let content = Content {
        kind: Kind::Message,
        parts: vec![Part {
            content: PartContent::Text("nothing of interest here. ".repeat(12)),
            filename: None,
            media_type: None,
            metadata: None,
        }],
        metadata: None,
        name: None,
        description: None,
    };
    let event_loop = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    measure(&format!("message, {engine}"), samples, || {
        let answer = event_loop.block_on(agent.on_message(&subject, &content));
        std::hint::black_box(answer.unwrap());
    });
    runtime.shutdown();
}

/// Another process with the same logic. It ends with this one.
struct External {
    child: Child,
    socket: PathBuf,
}

impl External {
    fn start() -> Self {
        let name = format!("dormouse-filter-bench-{}", std::process::id());
        let socket = std::env::temp_dir().join(name);
        let _was_not_there = std::fs::remove_file(&socket);
        let mut command = Command::new(std::env::current_exe().unwrap());
        let child = command.arg(EXTERNAL).arg(&socket).spawn().unwrap();
        Self { child, socket }
    }

    fn connect(&self) -> UnixStream {
        let by = Instant::now() + Duration::from_secs(10);
        loop {
            match UnixStream::connect(&self.socket) {
                Ok(stream) => return stream,
                Err(error) if Instant::now() > by => panic!("{error}"),
                Err(_not_yet) => std::thread::yield_now(),
            }
        }
    }
}

impl Drop for External {
    fn drop(&mut self) {
        let _has_ended = self.child.kill();
        let _status = self.child.wait();
        let _was_not_there = std::fs::remove_file(&self.socket);
    }
}

/// Asks the other process: a line of JSON, and the bytes of a body behind it; a line comes back. The form that such
/// agents speak, without compression or handshakes.
struct Client {
    lines: BufReader<UnixStream>,
    stream: UnixStream,
    line: String,
}

impl Client {
    fn new(stream: UnixStream) -> Self {
        Self {
            lines: BufReader::new(stream.try_clone().unwrap()),
            stream,
            line: String::new(),
        }
    }

    fn ask(&mut self, asked: &Value, body: &[u8]) -> Value {
        let mut bytes = asked.to_string().into_bytes();
        bytes.push(b'\n');
        bytes.extend_from_slice(body);
        self.stream.write_all(&bytes).unwrap();
        self.line.clear();
        self.lines.read_line(&mut self.line).unwrap();
        serde_json::from_str(&self.line).unwrap()
    }
}

fn external(samples: usize) {
    let engine = "another process";
    let health = json!({"event": "health"});
    measure(
        &format!("start, {engine}"),
        samples / FEWER_STARTS / FEWER_STARTS,
        || {
            let process = External::start();
            Client::new(process.connect()).ask(&health, &[]);
        },
    );
    let process = External::start();
    let mut client = Client::new(process.connect());
    let (metadata, headers) = (metadata(), ten_headers());
    measure(&format!("request headers, {engine}"), samples, || {
        let pairs = headers.iter().map(|header| (&header.name, &header.value));
        let asked = json!({
            "event": "request_headers",
            "correlation_id": metadata.correlation_id,
            "request_id": metadata.request_id,
            "client_ip": metadata.client_ip,
            "client_port": metadata.client_port,
            "server_name": metadata.server_name,
            "protocol": metadata.protocol,
            "route_id": metadata.route_id,
            "timestamp_ms": metadata.timestamp_ms,
            "method": "POST",
            "uri": "/agents/echo",
            "headers": pairs.collect::<Vec<_>>(),
        });
        assert_eq!(client.ask(&asked, &[])["decision"], "allow");
    });
    for bytes in CHUNKS {
        let data = vec![b'x'; bytes];
        let name = format!("body chunk of {} KiB, {engine}", bytes >> 10);
        measure(&name, samples, || {
            let asked = json!({"event": "request_body", "correlation_id": metadata.correlation_id,
                               "bytes": data.len(), "index": 0, "last": true});
            assert_eq!(client.ask(&asked, &data)["decision"], "allow");
        });
    }
    measure(&format!("health check, {engine}"), samples, || {
        client.ask(&health, &[]);
    });
}

/// What the other process does: the same list, asked by one client.
fn serve(socket: &Path) {
    let listener = UnixListener::bind(socket).unwrap();
    let (stream, _) = listener.accept().unwrap();
    let mut answers = stream.try_clone().unwrap();
    let mut asked = BufReader::new(stream);
    let (mut line, mut body) = (String::new(), Vec::new());
    while asked.read_line(&mut line).unwrap() > 0 {
        let question: Value = serde_json::from_str(&line).unwrap();
        line.clear();
        let bytes = question["bytes"].as_u64().unwrap_or_default();
        body.resize(usize::try_from(bytes).unwrap(), 0);
        asked.read_exact(&mut body).unwrap();
        let path = question["uri"].as_str().unwrap_or_default();
        let is_head = question["event"] == "request_headers";
        let is_denied = question["method"] != "POST" || path.starts_with("/agents/secret");
        let decision = if is_head && is_denied {
            "block"
        } else {
            "allow"
        };
        let answer = json!({"decision": decision, "request_headers": [], "response_headers": [],
                            "audit": {"tags": [], "rule_ids": []}, "needs_more": false});
        if writeln!(answers, "{answer}").is_err() {
            return;
        }
    }
}
