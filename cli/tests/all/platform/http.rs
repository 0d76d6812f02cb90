//! HTTP requests of agents, with the real binary: grants, secrets, and what is refused.

use super::traces::{collector, spans};
use super::{Server, answer, data, data_dir, guest, reply};
use serde_json::json;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread::{self, JoinHandle};

/// What the guest's definition names. Nobody else has this address of the loopback network.
const SITE: &str = "127.77.0.1:8077";

/// Answers so many requests, and says what they were.
fn site(requests: usize) -> JoinHandle<Vec<String>> {
    let listener = TcpListener::bind(SITE).unwrap();
    thread::spawn(move || {
        let asked = (0..requests).map(|_| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") {
                stream.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine";
            stream.write_all(answer).unwrap();
            String::from_utf8(request).unwrap()
        });
        asked.collect()
    })
}

fn fetch(server: &Server) -> String {
    let order = json!([{"url": format!("http://{SITE}/"), "headers": [["x-key", "mine"]]}]);
    reply(&server.send("fetcher", data(order).skill("fetch"))).to_owned()
}

#[test]
fn an_agent_sends_where_it_was_granted_with_the_hosts_secret() {
    let dir = data_dir();
    let site = site(1);
    let key = dir.path().join("key");
    std::fs::write(&key, "s3cret\n").unwrap();
    let config = dir.path().join("dormouse.toml");
    let text = format!(
        "[secret.site]\norigin = \"http://{SITE}\"\nheader = \"X-Key\"\nkey-file = {key:?}\n"
    );
    std::fs::write(&config, text).unwrap();
    let config = ["--config", config.to_str().unwrap()];
    let grant = format!("http://{SITE}");
    let server = Server::start(dir.path(), &config);
    server.deploy(&guest("services"));
    let needs = &server.get("/v1/agents/fetcher").json()["needs"];
    assert_eq!(*needs, json!([grant]));
    let told = fetch(&server);
    assert!(told.contains(&format!("--grant {grant}")), "{told}");
    let denied = server.metric("dormouse_denied_total", &["service=\"http\""]);
    assert_eq!(denied, 1.0);
    assert!(server.stop().success());

    let granted = [&config[..], &["--grant", &grant]].concat();
    let server = Server::start(dir.path(), &granted);
    let told = fetch(&server);
    assert!(told.contains("--http-allow"), "{told}");
    let count = |server: &Server, outcome: &str| {
        server.metric(
            "dormouse_http_requests_total",
            &[&format!("outcome=\"{outcome}\"")],
        )
    };
    assert_eq!(count(&server, "prohibited"), 1.0);
    assert!(server.stop().success());

    let (endpoint, posts) = collector();
    let allowed = [
        "--http-allow",
        "127.77.0.1:8077",
        "--otlp-endpoint",
        &endpoint,
    ];
    let allowed = [&granted[..], &allowed].concat();
    let server = Server::start(dir.path(), &allowed);
    // Alone in its instance, so that the server knows whose request it is.
    let alone = server.request("PUT", "/v1/agents/fetcher/limits");
    let alone = alone.body(json!({"concurrency": 1}).to_string());
    assert_eq!(answer(alone).status, 200);
    assert_eq!(fetch(&server), "200 fine");
    assert_eq!(count(&server, "ok"), 1.0);
    assert!(server.stop().success());
    // It has answered one request, so what was refused has not reached it.
    let asked = site.join().unwrap();
    assert!(asked[0].contains("x-key: s3cret\r\n"), "{}", asked[0]);
    assert!(!asked[0].contains("mine"), "{}", asked[0]);
    let spans = spans(&posts);
    let span = spans.iter().find(|span| span.name() == "http").unwrap();
    let parent = format!("-{}-03\r\n", span.id());
    assert!(asked[0].contains("traceparent: 00-"), "{}", asked[0]);
    assert!(asked[0].contains(&parent), "{parent}: {}", asked[0]);
}

#[test]
fn a_wrong_secret_stops_the_server_with_a_sentence() {
    let dir = data_dir();
    let file = dir.path().join("dormouse.toml");
    for (config, word) in [
        (
            "origin = \"api.example.com\"\nheader = \"a\"",
            "scheme, host and port",
        ),
        (
            "origin = \"https://a.test/path\"\nheader = \"a\"",
            "scheme, host and port",
        ),
        ("origin = \"https://a.test\"\nheader = \"a b\"", "header"),
        (
            "origin = \"https://a.test\"\nheader = \"Host\"",
            "must not be host",
        ),
        (
            "origin = \"https://a.test\"\nheader = \"a\"",
            "key-env or key-file",
        ),
        (
            "origin = \"https://a.test\"\nheader = \"a\"\nkey-env = \"NO_SUCH_KEY\"",
            "NO_SUCH_KEY",
        ),
        (
            "origin = \"https://a.test\"\nheader = \"a\"\nkey = \"inline\"",
            "unknown field",
        ),
    ] {
        std::fs::write(&file, format!("[secret.one]\n{config}\n")).unwrap();
        let mut command = crate::dormouse(dir.path());
        let command = command.args(["serve", "--listen", "127.0.0.1:0", "--config"]);
        let output = command.arg(&file).output().unwrap();
        let told = crate::stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{config}: {told}");
        assert!(told.contains(word), "{config}: {told}");
    }
}
