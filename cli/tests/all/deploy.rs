//! `dormouse deploy`, as far as it goes without a compiler. Compiling is tested with the examples.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::server::{Answer, FakeServer};
use crate::{dormouse, stderr, stdout};

fn deployed() -> Value {
    json!({"digest": "blake3:00", "agents": [{"name": "greeter", "version": 2, "skills": ["hello", "bye"],
        "url": "http://h/agents/greeter", "card_url": "http://h/agents/greeter/.well-known/agent-card.json"}]})
}

#[test]
fn uploads_a_module_and_tells_what_is_in_it() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("greeter.wasm"), b"\0asm").unwrap();
    let server = FakeServer::start(vec![Answer::json(201, &deployed())]);
    let output = dormouse(folder.path())
        .args([
            "deploy",
            "greeter.wasm",
            "--token",
            "secret",
            "--server",
            &server.url,
        ])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    for told in [
        "blake3:00",
        "greeter v2",
        "http://h/agents/greeter/.well-known/agent-card.json",
        "hello, bye",
    ] {
        assert!(
            stdout(&output).contains(told),
            "{told}: {}",
            stdout(&output)
        );
    }
    let requests = server.requests();
    assert_eq!(requests[0].line, "POST /v1/modules");
    assert_eq!(requests[0].body, b"\0asm");
    assert_eq!(requests[0].header("content-type"), Some("application/wasm"));
    assert_eq!(requests[0].header("content-length"), Some("4"));
    assert_eq!(requests[0].header("authorization"), Some("Bearer secret"));
}

#[test]
fn the_agent_may_have_another_name() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("greeter.wasm"), b"\0asm").unwrap();
    let server = FakeServer::start(vec![Answer::json(201, &deployed())]);
    let flags = ["deploy", "greeter.wasm", "--name", "greeter-2", "--server"];
    let output = dormouse(folder.path())
        .args(flags)
        .arg(&server.url)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(server.requests()[0].line, "POST /v1/modules?name=greeter-2");
}

#[test]
fn prints_the_servers_answer_as_json() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("greeter.wasm"), b"\0asm").unwrap();
    let server = FakeServer::start(vec![Answer::json(200, &deployed())]);
    let output = dormouse(folder.path())
        .args(["deploy", "greeter.wasm", "--json", "--server", &server.url])
        .output()
        .unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(&stdout(&output)).unwrap(),
        deployed()
    );
}

#[test]
fn a_refusal_is_told_with_code_and_sentence() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("x.wasm"), b"text").unwrap();
    let refusal = json!({"error": {"code": "not_wasm", "message": "this is not WebAssembly"}});
    let server = FakeServer::start(vec![Answer::json(400, &refusal)]);
    let output = dormouse(folder.path())
        .args(["deploy", "x.wasm", "--server", &server.url])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("not_wasm: this is not WebAssembly"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn folders_that_hold_no_one_agent_are_told_why_before_anything_is_compiled() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |path: &str| {
        let output = dormouse(folder.path())
            .args(["deploy", path])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{path}");
        stderr(&output)
    };
    assert!(refused("missing").contains("neither a crate folder nor a file"));
    fs::create_dir(folder.path().join("empty")).unwrap();
    assert!(refused("empty").contains("no Cargo.toml"));
    package(
        &folder.path().join("program"),
        "program",
        "main.rs",
        "[workspace]\n",
    );
    assert!(refused("program").contains("crate-type = [\"cdylib\", \"rlib\"]"));
    let several = folder.path().join("several");
    let library = "[lib]\ncrate-type = [\"cdylib\"]\n";
    package(&several.join("one"), "one", "lib.rs", library);
    package(&several.join("two"), "two", "lib.rs", library);
    fs::write(
        several.join("Cargo.toml"),
        "[workspace]\nresolver = \"3\"\nmembers = [\"one\", \"two\"]\n",
    )
    .unwrap();
    let told = refused("several");
    assert!(
        told.contains("--package") && told.contains("one, two"),
        "{told}"
    );
}

fn package(folder: &Path, name: &str, source: &str, library: &str) {
    fs::create_dir_all(folder.join("src")).unwrap();
    fs::write(folder.join("src").join(source), "fn main() {}\n").unwrap();
    let manifest = format!(
        "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n{library}"
    );
    fs::write(folder.join("Cargo.toml"), manifest).unwrap();
}
