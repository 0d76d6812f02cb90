//! Uploads: one that works, and all that are refused and leave nothing behind.

use super::lives::no_instances;
use super::{Answer, Server, answer, data_dir, example, files, guest, raw};

/// The code of a refusal, after a look at its form.
fn refused(server: &Server, wasm: Vec<u8>) -> (u16, String) {
    told(&server.upload(wasm))
}

fn told(answer: &Answer) -> (u16, String) {
    let json = answer.json();
    let code = json["error"]["code"]
        .as_str()
        .unwrap_or_else(|| panic!("{json}"));
    let sentence = json["error"]["message"].as_str().unwrap();
    assert!(sentence.len() > 15, "{json}");
    (answer.status, code.to_owned())
}

#[test]
fn the_same_bytes_twice_are_one_module() {
    let dir = data_dir();
    let server = Server::start(dir.path(), &[]);
    let wasm = std::fs::read(example("csv-stats")).unwrap();
    let first = server.upload(wasm.clone());
    assert_eq!(first.status, 201, "{first:?}");
    let again = server.upload(wasm);
    assert_eq!(again.status, 200);
    assert_eq!(again.json()["digest"], first.json()["digest"]);
    let agent = &first.json()["agents"][0];
    assert_eq!(agent["name"], "csv-stats");
    assert_eq!(agent["url"], format!("{}/agents/csv-stats", server.url));
    let card = agent["card_url"].as_str().unwrap();
    let card = server.get(card.strip_prefix(&server.url).unwrap()).json();
    assert_eq!(card["name"], "csv-stats");
    assert_eq!(server.metric("dormouse_compiles_total", &[]), 1.0);
}

#[test]
fn what_is_refused_leaves_nothing_behind() {
    let dir = data_dir();
    let server = Server::start(dir.path(), &[]);
    let folder = dir.path().join("data");
    let modules = || {
        let below = [folder.join("modules"), folder.join("code")];
        below
            .iter()
            .flat_map(|folder| files(folder))
            .collect::<Vec<_>>()
    };
    let before = modules();

    let echo = std::fs::read(guest("echo")).unwrap();
    let wat = |text: &str| wat::parse_str(text).unwrap();
    let lying = |name: &str| std::fs::read(guest(name)).unwrap();
    let cases = [
        ("empty", vec![], 400, "empty_module"),
        ("not wasm", b"#!/bin/sh\n".to_vec(), 422, "not_wasm"),
        (
            "truncated",
            echo[..echo.len() / 2].to_vec(),
            422,
            "malformed_module",
        ),
        (
            "unknown import",
            wat(r#"(module (import "env" "open_door" (func)))"#),
            422,
            "unknown_import",
        ),
        (
            "no entrypoint",
            lying("no-entrypoint"),
            422,
            "no_entrypoint",
        ),
        ("another kind", wat("(module)"), 422, "no_entrypoint"),
        ("traps", lying("lying-panic"), 422, "entrypoint_trapped"),
        ("loops", lying("lying-loop"), 422, "entrypoint_timeout"),
        (
            "nonsense",
            lying("lying-nonsense"),
            422,
            "invalid_definition",
        ),
        (
            "two of a name",
            lying("lying-twins"),
            422,
            "invalid_definition",
        ),
        ("a million", lying("lying-many"), 422, "invalid_definition"),
    ];
    for (what, wasm, status, code) in cases {
        assert_eq!(refused(&server, wasm), (status, code.to_owned()), "{what}");
    }
    assert_eq!(modules(), before);
    assert_eq!(
        server.get("/v1/agents").json()["agents"]
            .as_array()
            .unwrap()
            .len(),
        0
    );
    assert_eq!(server.metric("dormouse_modules", &[]), 0.0);
    no_instances(&server);

    let form = server
        .request("POST", "/v1/modules")
        .header("content-type", "multipart/form-data; boundary=x")
        .body("--x--");
    assert_eq!(told(&answer(form)).0, 415);
}

#[test]
fn a_module_over_the_limit_is_refused_before_it_is_read() {
    let dir = data_dir();
    let server = Server::start(dir.path(), &[]);
    let said = raw(
        &server,
        b"POST /v1/modules HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/wasm\r\n\
          content-length: 4000000000\r\nconnection: close\r\n\r\n\0asm",
    );
    assert!(said.starts_with("HTTP/1.1 413"), "{said}");
    assert!(said.contains("\"code\":\"module_too_large\""), "{said}");
}

#[test]
fn a_connection_lost_in_mid_upload_leaves_nothing() {
    use std::io::Write as _;
    let dir = data_dir();
    let server = Server::start(dir.path(), &[]);
    let before = files(&dir.path().join("data/modules"));
    let wasm = std::fs::read(guest("echo")).unwrap();
    let address = server.url.strip_prefix("http://").unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let head = format!(
        "POST /v1/modules HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/wasm\r\n\
         content-length: {}\r\n\r\n",
        wasm.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&wasm[..wasm.len() / 2]).unwrap();
    drop(stream);
    // The server has seen the end of that connection when it has answered on another.
    assert_eq!(server.get("/readyz").status, 200);
    assert_eq!(files(&dir.path().join("data/modules")), before);
    assert_eq!(
        server.get("/v1/agents").json()["agents"]
            .as_array()
            .unwrap()
            .len(),
        0
    );
}

#[test]
fn versions_are_kept_switched_and_deleted() {
    let dir = data_dir();
    let server = Server::start(dir.path(), &[]);
    server.deploy(&guest("echo"));
    let versions = server.get("/v1/agents/echo/versions");
    assert_eq!(versions.status, 200, "{versions:?}");
    let deleted = answer(server.request("DELETE", "/v1/agents/echo"));
    assert!([200, 204].contains(&deleted.status), "{deleted:?}");
    assert_eq!(server.get("/v1/agents/echo").status, 404);
    let gone = server.rpc("echo", "SendMessage", &super::text("x").params());
    assert_eq!(gone.status, 404, "{gone:?}");
    assert!(files(&dir.path().join("data/code")).is_empty());
}
