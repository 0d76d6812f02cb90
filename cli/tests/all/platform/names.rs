//! One module under many names.

use super::{Answer, Server, answer, data_dir, files, guest, raw, reply, text};
use serde_json::{Value, json};

fn named(server: &Server, name: &str, source: &Value) -> Answer {
    answer(
        server
            .request("PUT", &format!("/v1/agents/{name}"))
            .header("content-type", "application/json")
            .body(source.to_string()),
    )
}

fn refused(answer: &Answer) -> (u16, String) {
    let code = answer.json()["error"]["code"].as_str().unwrap().to_owned();
    (answer.status, code)
}

fn delete(server: &Server, name: &str) {
    let deleted = answer(server.request("DELETE", &format!("/v1/agents/{name}")));
    assert_eq!(deleted.status, 200, "{deleted:?}");
}

fn says(server: &Server, agent: &str, said: &str) {
    assert_eq!(reply(&server.send(agent, text("hello"))), said);
}

#[test]
fn an_agent_answers_under_every_name_it_was_given() {
    let dir = data_dir();
    let server = Server::start(dir.path(), &[]);
    let digest = server.deploy(&guest("echo"))["digest"].clone();
    let first = named(&server, "parrot", &json!({"digest": digest}));
    assert_eq!(first.status, 201, "{first:?}");
    let agent = &first.json()["agents"][0];
    assert_eq!(
        (&agent["name"], &agent["version"]),
        (&json!("parrot"), &json!(1))
    );
    assert_eq!(agent["url"], format!("{}/agents/parrot", server.url));
    let again = named(
        &server,
        "parrot",
        &json!({"digest": digest, "agent": "echo"}),
    );
    assert_eq!(
        (again.status, &again.json()["agents"]),
        (200, &first.json()["agents"])
    );
    assert_eq!(server.metric("dormouse_compiles_total", &[]), 1.0);

    let card = server
        .get("/agents/parrot/.well-known/agent-card.json")
        .json();
    assert_eq!(card["name"], "parrot");
    let url = card["supportedInterfaces"][0]["url"].as_str().unwrap();
    assert!(url.ends_with("/agents/parrot"), "{url}");
    let entry = server.get("/v1/agents/parrot").json();
    assert_eq!(
        (&entry["name"], &entry["declared"]),
        (&json!("parrot"), &json!("echo"))
    );
    let found = server.get("/v1/agents?q=parrot").json();
    assert_eq!(found["agents"].as_array().unwrap().len(), 1, "{found}");
    says(&server, "parrot", "hello");
    says(&server, "echo", "hello");
    assert!(server.stop().success());

    let server = Server::start(dir.path(), &[]);
    says(&server, "parrot", "hello");
    assert_eq!(server.metric("dormouse_compiles_total", &[]), 0.0);
}

#[test]
fn a_name_stands_for_one_agent_of_a_module_of_several() {
    let dir = data_dir();
    let server = Server::start(dir.path(), &[]);
    let digest = server.deploy(&guest("counter"))["digest"].clone();
    let source = |agent: &str| json!({"digest": digest, "agent": agent});
    for (name, agent) in [("alone", "counter-call"), ("together", "counter-shared")] {
        assert_eq!(named(&server, name, &source(agent)).status, 201);
    }
    for count in ["1", "2"] {
        says(&server, "alone", "1");
        says(&server, "together", count);
    }
    // Instances belong to their agent's name, not to the module.
    says(&server, "counter-shared", "1");
    for (name, source, status, code) in [
        ("x", json!({"digest": digest}), 422, "undeclared_agent"),
        ("x", source("nobody"), 422, "undeclared_agent"),
        ("alone", source("counter-shared"), 409, "name_conflict"),
        (
            "counter-call",
            source("counter-shared"),
            409,
            "name_conflict",
        ),
        ("No-Label", source("counter-call"), 400, "invalid_name"),
        (
            "x",
            json!({"digest": "blake3:7", "agent": "a"}),
            400,
            "invalid_body",
        ),
        ("x", json!({"agent": "counter-call"}), 400, "invalid_body"),
        (
            "x",
            json!({"digest": digest, "agent": "a", "as": 1}),
            400,
            "invalid_body",
        ),
        (
            "x",
            json!({"digest": format!("blake3:{}", "0".repeat(64))}),
            404,
            "unknown_module",
        ),
    ] {
        let answer = named(&server, name, &source);
        assert_eq!(
            refused(&answer),
            (status, code.to_owned()),
            "{name} {source}"
        );
    }
    assert_eq!(server.get("/v1/agents/x").status, 404);
    says(&server, "alone", "1");
}

#[test]
fn names_are_rolled_back_and_deleted_one_by_one() {
    let dir = data_dir();
    let server = Server::start(dir.path(), &[]);
    let counter = server.deploy(&guest("counter"))["digest"].clone();
    let echo = server.deploy(&guest("echo"))["digest"].clone();
    let source = json!({"digest": counter, "agent": "counter-call"});
    assert_eq!(
        named(&server, "both", &source).json()["agents"][0]["version"],
        1
    );
    let second = named(&server, "both", &json!({"digest": echo}));
    assert_eq!(second.json()["agents"][0]["version"], 2);
    says(&server, "both", "hello");
    let back = server.request("POST", "/v1/agents/both/active");
    let back = answer(back.body(json!({"version": 1}).to_string()));
    assert_eq!(
        (back.status, &back.json()["declared"]),
        (200, &json!("counter-call"))
    );
    says(&server, "both", "1");
    says(&server, "both/versions/2", "hello");

    delete(&server, "echo");
    assert_eq!(server.metric("dormouse_modules", &[]), 2.0);
    says(&server, "both/versions/2", "hello");
    delete(&server, "both");
    assert_eq!(
        server.metric("dormouse_modules", &[]),
        1.0,
        "echo had one name left"
    );
    says(&server, "counter-call", "1");
    for name in ["call", "context", "principal", "shared"] {
        delete(&server, &format!("counter-{name}"));
    }
    assert_eq!(server.metric("dormouse_modules", &[]), 0.0);
    assert!(
        files(&dir.path().join("data/code"))
            .iter()
            .all(|file| !file.ends_with("cwasm"))
    );
}

#[test]
fn an_upload_may_name_its_one_agent() {
    let dir = data_dir();
    let server = Server::start(dir.path(), &[]);
    let upload = |path: &str, name: &str| {
        let wasm = std::fs::read(guest(name)).unwrap();
        answer(server.request("POST", path).body(wasm))
    };
    let first = upload("/v1/modules?name=parrot", "echo");
    assert_eq!(
        (first.status, &first.json()["agents"][0]["name"]),
        (201, &json!("parrot"))
    );
    says(&server, "parrot", "hello");
    assert_eq!(server.get("/v1/agents/echo").status, 404);
    let before = files(&dir.path().join("data/code")).len();
    let several = upload("/v1/modules?name=several", "counter");
    assert_eq!(refused(&several), (422, "undeclared_agent".into()));
    assert_eq!(files(&dir.path().join("data/code")).len(), before);
    assert_eq!(server.metric("dormouse_modules", &[]), 1.0);
    let wrong = upload("/v1/modules?name=-", "echo");
    assert_eq!(refused(&wrong), (400, "invalid_name".into()));
    let none = raw(
        &server,
        b"PUT /v1/agents/x HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    );
    assert!(none.starts_with("HTTP/1.1 400"), "{none}");
}
