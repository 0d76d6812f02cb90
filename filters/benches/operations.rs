//! What each operation of a filter costs, beside the same question asked over a Unix socket. Needs the filters of
//! `policies/` (`cargo xtask guests`).
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use dormouse_filters::{Header, RequestMetadata, WasmAgentConfig, WasmAgentRuntime};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

const CONFIG: &str = r#"{"allow": {"methods": ["POST"]}, "deny": {"paths": ["/agents/secret"]}}"#;

fn component() -> Vec<u8> {
    let path = "../policies/target/wasm32-wasip2/release/allow_list.wasm";
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
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
        ("both", usual),
    ]
}

fn operations(bench: &mut Criterion) {
    let (metadata, headers, component) = (metadata(), ten_headers(), component());
    for (name, config) in engines() {
        let runtime = WasmAgentRuntime::new(config).unwrap();
        runtime.compile_component("list", &component).unwrap();
        bench.bench_function(&format!("instantiate/{name}"), |bench| {
            bench.iter(|| runtime.load_agent("new", "list", CONFIG).unwrap());
        });
        let agent = runtime.load_agent("a", "list", CONFIG).unwrap();
        bench.bench_function(&format!("request headers/{name}"), |bench| {
            bench.iter(|| {
                let response =
                    agent.on_request_headers(&metadata, "POST", "/agents/echo", &headers);
                response.unwrap()
            });
        });
        bench.bench_function(&format!("health/{name}"), |bench| {
            bench.iter(|| agent.health_check().unwrap());
        });
        let mut group = bench.benchmark_group("body chunk");
        for kibibytes in [1, 16, 64] {
            let data = vec![b'x'; kibibytes << 10];
            group.throughput(Throughput::Bytes(data.len() as u64));
            group.bench_function(BenchmarkId::new(name, kibibytes), |bench| {
                bench.iter(|| agent.on_request_body("c", &data, 0, true).unwrap());
            });
        }
        group.finish();
    }
}

/// The same question to another thread over a socket, in the form that such agents speak: a line of JSON each way.
fn external(bench: &mut Criterion) {
    let (client, server) = UnixStream::pair().unwrap();
    let serving = std::thread::spawn(move || serve(&server));
    let mut lines = BufReader::new(client.try_clone().unwrap());
    let mut client = client;
    let (metadata, headers) = (metadata(), ten_headers());
    let mut line = String::new();
    bench.bench_function("request headers/unix socket", |bench| {
        bench.iter(|| {
            let pairs = headers.iter().map(|header| (&header.name, &header.value));
            let asked = json!({
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
            writeln!(client, "{asked}").unwrap();
            line.clear();
            lines.read_line(&mut line).unwrap();
            serde_json::from_str::<Value>(&line).unwrap()
        });
    });
    client.shutdown(std::net::Shutdown::Both).unwrap();
    serving.join().unwrap();
}

fn serve(socket: &UnixStream) {
    let mut answers = socket.try_clone().unwrap();
    for line in BufReader::new(socket).lines().map_while(Result::ok) {
        let asked: Value = serde_json::from_str(&line).unwrap();
        let path = asked["uri"].as_str().unwrap_or_default();
        let allowed = asked["method"] == "POST" && !path.starts_with("/agents/secret");
        let decision = if allowed { "allow" } else { "block" };
        let answer = json!({"decision": decision, "request_headers": [], "response_headers": [],
                            "audit": {"tags": [], "rule_ids": []}, "needs_more": false});
        writeln!(answers, "{answer}").unwrap();
    }
}

fn quick() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
}

criterion_group!(name = benches; config = quick(); targets = operations, external);
criterion_main!(benches);
