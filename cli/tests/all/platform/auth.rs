//! Tokens on the real binary: who is let in, and whose tasks are whose.

use super::{Answer, Server, answer, data_dir, guest, state, text};
use crate::{dormouse, stderr, stdout};
use reqwest::blocking::RequestBuilder;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Output;

/// `dormouse token …` in the folder of a server that does not run.
fn offline(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = dormouse(dir);
    command.arg("token").args(arguments);
    command.arg("--data-dir").arg(dir.join("data"));
    command.output().unwrap()
}

/// `dormouse … --server`, with a token in the environment.
fn online(server: &Server, token: &str, arguments: &[&str]) -> Output {
    let mut command = dormouse(Path::new("."));
    command.args(arguments).args(["--server", &server.url]);
    command.env("DORMOUSE_TOKEN", token).output().unwrap()
}

fn secret(output: &Output) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    stdout(output).trim().to_owned()
}

/// A closed server with the hostile guest, and the tokens of its admin and of two users.
struct Closed {
    server: Server,
    admin: String,
    ann: String,
    bob: String,
}

fn closed(dir: &Path) -> Closed {
    let admin = secret(&offline(dir, &["create", "root", "--scope", "admin"]));
    let server = Server::start(dir, &[]);
    let user = |name| {
        secret(&online(
            &server,
            &admin,
            &["token", "create", name, "--scope", "invoke"],
        ))
    };
    let (ann, bob) = (user("ann"), user("bob"));
    let wasm = guest("hostile");
    let deployed = online(&server, &admin, &["deploy", wasm.to_str().unwrap()]);
    assert!(deployed.status.success(), "{}", stderr(&deployed));
    Closed {
        server,
        admin,
        ann,
        bob,
    }
}

impl Closed {
    fn rpc(&self, token: &str, method: &str, params: &Value) -> Answer {
        answer(
            self.server
                .rpc_request("hostile", method, params)
                .bearer_auth(token),
        )
    }

    fn result(&self, token: &str, method: &str, params: &Value) -> Value {
        let mut json = self.rpc(token, method, params).json();
        assert!(json.get("error").is_none(), "{method}: {json}");
        json["result"].take()
    }

    fn rest(&self, token: &str, method: &str, path: &str) -> RequestBuilder {
        let path = format!("/agents/hostile{path}");
        self.server.request(method, &path).bearer_auth(token)
    }
}

#[test]
fn tasks_belong_to_their_principal() {
    let dir = data_dir();
    let closed = closed(dir.path());
    let sent = closed.result(
        &closed.ann,
        "SendMessage",
        &text("first").skill("ask").params(),
    );
    let task = &sent["task"];
    let id = task["id"].as_str().unwrap();
    assert_eq!(state(task), "TASK_STATE_INPUT_REQUIRED");
    let named = json!({"id": id});
    let continued = text("mine now").on(task).params();
    for (method, params) in [
        ("GetTask", &named),
        ("CancelTask", &named),
        ("SubscribeToTask", &named),
        ("SendMessage", &continued),
        ("SendStreamingMessage", &continued),
    ] {
        // The admin is another principal, too, and an unknown task sounds the same.
        for token in [&closed.bob, &closed.admin] {
            let (code, sentence) = closed.rpc(token, method, params).rpc_error();
            assert_eq!(code, -32001, "{method}");
            let unknown = json!({"id": "x", "message": text("x").on(&json!({"id": "x"})).params()["message"]});
            let (_, other) = closed.rpc(token, method, &unknown).rpc_error();
            assert_eq!(sentence.replace(id, "x"), other, "{method}");
        }
    }
    for (method, path) in [
        ("GET", format!("/tasks/{id}")),
        ("POST", format!("/tasks/{id}:cancel")),
        ("POST", format!("/tasks/{id}:subscribe")),
        ("GET", format!("/tasks/{id}:subscribe")),
    ] {
        assert_eq!(
            answer(closed.rest(&closed.bob, method, &path)).status,
            404,
            "{path}"
        );
    }
    let seen = |token: &str, params: &Value| {
        closed.result(token, "ListTasks", params)["totalSize"].clone()
    };
    let context = json!({"contextId": task["contextId"]});
    assert_eq!(
        (seen(&closed.bob, &json!({})), seen(&closed.bob, &context)),
        (json!(0), json!(0))
    );
    assert_eq!(seen(&closed.ann, &context), json!(1));
    let done = closed.result(
        &closed.ann,
        "SendMessage",
        &text("second").on(task).params(),
    );
    assert_eq!(state(&done["task"]), "TASK_STATE_COMPLETED", "{done}");
}

#[test]
fn a_context_of_another_principal_is_another_context() {
    let dir = data_dir();
    let closed = closed(dir.path());
    let turn = |token: &str, words: &str, task: Option<&Value>| {
        let mut message = text(words).skill("ask");
        if let Some(task) = task {
            message = message.on(task);
        }
        let mut params = message.params();
        params["message"]["contextId"] = json!("shared-name");
        closed.result(token, "SendMessage", &params)["task"].clone()
    };
    for token in [&closed.ann, &closed.bob] {
        let asked = turn(token, "first", None);
        let told = turn(token, "second", Some(&asked));
        // The guest counts its sessions in the state of the context: each principal begins at one.
        assert_eq!(
            super::said(&told),
            "first, second (task: first, session: 1)"
        );
    }
}

#[test]
fn revoking_takes_effect_at_once_and_leaves_open_streams() {
    let dir = data_dir();
    let closed = closed(dir.path());
    let message = super::data(json!({"ms": 1_500})).skill("slow");
    let stream = closed
        .server
        .rpc_request("hostile", "SendStreamingMessage", &message.params())
        .bearer_auth(&closed.ann)
        .send()
        .unwrap();
    let events = super::Events::read(stream);
    let task = events.next().unwrap()["task"].clone();
    let revoked = online(&closed.server, &closed.admin, &["token", "revoke", "ann"]);
    assert!(revoked.status.success(), "{}", stderr(&revoked));
    assert_eq!(
        closed
            .rpc(&closed.ann, "GetTask", &json!({"id": task["id"]}))
            .status,
        401
    );
    // Who was let in sees the stream to its end.
    let last = events.rest().pop().unwrap();
    assert_eq!(
        last["statusUpdate"]["status"]["state"],
        "TASK_STATE_COMPLETED"
    );
    let told = online(&closed.server, &closed.ann, &["agents"]);
    assert_eq!(told.status.code(), Some(1));
    assert!(
        stderr(&told).contains("unauthenticated"),
        "{}",
        stderr(&told)
    );
}

#[test]
fn tokens_and_their_tasks_outlive_a_restart() {
    let dir = data_dir();
    let Closed {
        server,
        admin,
        ann,
        bob,
    } = closed(dir.path());
    let params = text("x").skill("echo-task").params();
    let sent = answer(
        server
            .rpc_request("hostile", "SendMessage", &params)
            .bearer_auth(&ann),
    );
    let id = sent.json()["result"]["task"]["id"].clone();
    let busy = offline(dir.path(), &["list"]);
    assert_eq!(busy.status.code(), Some(1));
    assert!(stderr(&busy).contains("in use"), "{}", stderr(&busy));
    server.kill();

    assert!(offline(dir.path(), &["revoke", "bob"]).status.success());
    let listed = stdout(&offline(dir.path(), &["list"]));
    assert!(
        listed.contains("ann") && listed.contains("invoke") && !listed.contains("bob"),
        "{listed}"
    );
    assert!(
        !listed.contains("dormouse_"),
        "no secret is listed: {listed}"
    );

    let closed = Closed {
        server: Server::start(dir.path(), &[]),
        admin,
        ann,
        bob,
    };
    assert_eq!(closed.server.get("/v1/agents").status, 401);
    let task = closed.result(&closed.ann, "GetTask", &json!({"id": id}));
    assert_eq!(state(&task), "TASK_STATE_COMPLETED");
    assert_eq!(closed.rpc(&closed.bob, "ListTasks", &json!({})).status, 401);
    let listed = stdout(&online(
        &closed.server,
        &closed.admin,
        &["token", "list", "--json"],
    ));
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed["tokens"].as_array().unwrap().len(), 2);
}

#[test]
fn a_loopback_server_is_open_until_its_first_token() {
    let dir = data_dir();
    let server = Server::start(dir.path(), &[]);
    assert_eq!(server.get("/v1/agents").status, 200);
    let refused = online(
        &server,
        "",
        &["token", "create", "bob", "--scope", "invoke"],
    );
    assert!(
        stderr(&refused).contains("first_token_must_be_admin"),
        "{}",
        stderr(&refused)
    );
    let admin = secret(&online(
        &server,
        "",
        &["token", "create", "ann", "--scope", "admin,invoke"],
    ));
    assert_eq!(server.get("/v1/agents").status, 401);
    let seen = online(&server, &admin, &["agents"]);
    assert!(seen.status.success(), "{}", stderr(&seen));
    let answer = answer(server.request("GET", "/v1/agents").bearer_auth(&admin));
    assert_eq!(answer.status, 200);
}

#[test]
fn the_key_of_cards_is_kept_for_its_owner() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = data_dir();
    let server = Server::start(dir.path(), &[]);
    let keys = server.get("/.well-known/jwks.json").json();
    let path = dir.path().join("data").join("card-key.json");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    drop(server);
    let server = Server::start(dir.path(), &[]);
    assert_eq!(server.get("/.well-known/jwks.json").json(), keys);
}

#[test]
fn an_address_for_others_needs_a_token_first() {
    let dir = data_dir();
    let serve = || {
        let mut command = dormouse(dir.path());
        command.args(["serve", "--listen", "0.0.0.0:0", "--data-dir"]);
        command.arg(dir.path().join("data"));
        command
    };
    let refused = serve().output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        stderr(&refused).contains("dormouse token create"),
        "{}",
        stderr(&refused)
    );
    secret(&offline(dir.path(), &["create", "ann", "--scope", "admin"]));
    let server = Server::listening(dir.path(), "0.0.0.0:0", &[]);
    assert_eq!(server.get("/v1/agents").status, 401);
    assert_eq!(server.get("/healthz").status, 200);
}
