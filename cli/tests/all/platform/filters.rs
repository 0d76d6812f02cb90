//! Filters before real agents.

use super::*;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A component of `policies/`.
pub(super) fn policy(name: &str) -> Vec<u8> {
    let file = format!("{}.wasm", name.replace('-', "_"));
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../policies/target/wasm32-wasip2/release")
        .join(file);
    std::fs::read(&path).unwrap_or_else(|error| {
        panic!(
            "{}: {error}; `cargo xtask guests` builds it",
            path.display()
        )
    })
}

impl Server {
    fn put_filter(&self, name: &str, body: &Value) -> Answer {
        let path = format!("/v1/filters/{name}");
        answer(self.request("PUT", &path).body(body.to_string()))
    }

    /// Puts a component of `policies/` before the agents.
    pub(super) fn filter(&self, name: &str, component: &[u8], mut settings: Value) -> Answer {
        settings["wasm"] = STANDARD.encode(component).into();
        let answer = self.put_filter(name, &settings);
        assert!([200, 201].contains(&answer.status), "{answer:?}");
        answer
    }

    /// A message to the agent `echo`, with a header that tells the hostile filter what to do.
    pub(super) fn told(&self, what: &str) -> Answer {
        let message = text("hello").params();
        let request = self.rpc_request("echo", "SendMessage", &message);
        answer(request.header("x-do", what))
    }

    fn code(&self, what: &str) -> (u16, String) {
        let answer = self.told(what);
        let code = answer.json()["error"]["code"].as_str().map(str::to_owned);
        (answer.status, code.unwrap_or_default())
    }

    fn decisions(&self, decision: &str) -> f64 {
        let label = format!("decision=\"{decision}\"");
        self.metric("dormouse_filter_decisions_total", &[&label])
    }
}

fn with_echo(data: &Path) -> Server {
    let server = Server::start(data, &[]);
    server.deploy(&guest("echo"));
    server
}

/// `fail open` or closed, for the hostile filter.
fn hostile(fail: &str) -> Value {
    json!({"fail": fail, "instances": 1})
}

#[test]
fn decisions_and_edits_reach_the_client() {
    let data = data_dir();
    let server = with_echo(data.path());
    assert_eq!(server.told("block").status, 200, "there is no filter yet");
    server.filter("guard", &policy("hostile"), hostile("closed"));

    let allowed = server.told("");
    assert_eq!(allowed.status, 200);
    assert_eq!(reply(&allowed.json()["result"]), "hello");
    assert_eq!(allowed.headers["x-count"], "1");
    assert_eq!(allowed.headers["x-status-seen"], "200");

    let blocked = server.told("block");
    assert_eq!((blocked.status, &*blocked.body), (403, &b"as asked"[..]));
    let cookies: Vec<_> = blocked.headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=1", "b=2"]);

    let redirecting = client()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let redirected = redirecting
        .post(format!("{}/agents/echo", server.url))
        .header("x-do", "redirect 307")
        .send()
        .unwrap();
    assert_eq!(redirected.status(), 307);
    let to = &redirected.headers()["location"];
    assert_eq!(to, "https://elsewhere.example/");

    let said = server.rpc("echo", "SendMessage", &text("a BLOCK! b").params());
    assert_eq!(said.status, 422);
    let card = answer(
        server
            .request("GET", "/agents/echo/.well-known/agent-card.json")
            .header("x-do", "block"),
    );
    assert_eq!(card.status, 403);
    assert_eq!(server.decisions("block"), 3.0);
    assert_eq!(server.decisions("redirect"), 1.0);
    let phases = server.metric(
        "dormouse_filter_seconds_count",
        &["filter=\"guard\"", "phase=\"response_headers\""],
    );
    assert_eq!(phases, 1.0);
    // It has not declared this one.
    let undeclared = ["phase=\"response_body\""];
    assert_eq!(
        server.metric("dormouse_filter_seconds_count", &undeclared),
        0.0
    );
    assert!(server.stop().success());
}

#[test]
fn what_goes_wrong_fails_closed_or_open_as_configured() {
    let data = data_dir();
    let server = with_echo(data.path());
    let wrong = [
        ("trap", 503, "filter_failed"),
        ("loop", 504, "filter_timeout"),
        ("sleep 60000", 504, "filter_timeout"),
        ("allocate", 503, "filter_failed"),
        ("print 1000000", 503, "filter_over_limit"),
        ("flood 1000000", 503, "filter_over_limit"),
        ("status 9999", 503, "filter_answer_invalid"),
        ("hop-by-hop", 503, "filter_answer_invalid"),
        ("newline", 503, "filter_answer_invalid"),
    ];
    server.filter("guard", &policy("hostile"), hostile("closed"));
    for (what, status, code) in wrong {
        assert_eq!(server.code(what), (status, code.to_owned()), "{what}");
        // So that the breaker stays closed.
        assert_eq!(server.told("").status, 200, "after {what}");
    }
    server.filter("guard", &policy("hostile"), hostile("open"));
    for (what, _, _) in wrong {
        assert_eq!(server.told(what).status, 200, "{what}");
        assert_eq!(server.told("").status, 200, "after {what}");
    }
    assert_eq!(server.decisions("failed_open"), wrong.len() as f64);
    assert_eq!(server.decisions("failed_closed"), wrong.len() as f64);
}

#[test]
fn a_filter_that_goes_on_failing_is_not_asked_any_more() {
    let data = data_dir();
    let server = with_echo(data.path());
    server.filter("guard", &policy("hostile"), hostile("closed"));
    for _ in 0..5 {
        assert_eq!(server.code("trap").1, "filter_failed");
    }
    assert_eq!(server.code(""), (503, "filter_breaker_open".to_owned()));
    assert_eq!(server.get("/v1/filters/guard").json()["breaker"], "open");
    // A new configuration is a new beginning.
    server.filter("guard", &policy("hostile"), hostile("closed"));
    assert_eq!(server.told("").status, 200);
}

#[test]
fn filters_are_asked_in_order_and_only_for_their_agents() {
    let data = data_dir();
    let server = with_echo(data.path());
    let list = policy("allow-list");
    let deny = |status: u16| json!({"deny": {"methods": ["POST"]}, "status": status});
    let settings = |order, status| json!({"order": order, "config": deny(status)});
    server.filter("late", &list, settings(2, 404));
    server.filter("early", &list, settings(1, 403));
    assert_eq!(server.told("").status, 403);
    server.filter("early", &list, settings(3, 403));
    assert_eq!(server.told("").status, 404);
    let names = server.get("/v1/filters").json()["filters"].clone();
    let names: Vec<_> = names
        .as_array()
        .unwrap()
        .iter()
        .map(|filter| filter["name"].clone())
        .collect();
    assert_eq!(names, ["late", "early"]);
    for name in ["late", "early"] {
        let mut others = settings(1, 403);
        others["agents"] = json!(["somebody-else"]);
        server.filter(name, &list, others);
    }
    assert_eq!(server.told("").status, 200);
}

#[test]
fn filters_survive_a_kill_and_a_refused_configuration() {
    let data = data_dir();
    let server = with_echo(data.path());
    let deny = json!({"config": {"deny": {"methods": ["POST"]}}});
    let deployed = server.filter("list", &policy("allow-list"), deny).json();
    let wrong = json!({"config": {"dney": {}}});
    let refused = server.put_filter("list", &wrong);
    assert_eq!(refused.status, 422);
    assert_eq!(refused.json()["error"]["code"], "configuration_refused");
    let sentence = refused.json()["error"]["message"].to_string();
    assert!(sentence.contains("dney"), "{sentence}");
    assert_eq!(server.told("").status, 403);
    server.kill();

    let server = Server::start(data.path(), &[]);
    assert_eq!(server.told("").status, 403);
    assert_eq!(
        server.get("/v1/filters/list").json()["digest"],
        deployed["digest"]
    );
    // Without bytes, those that are there.
    let changed = server.put_filter("list", &json!({"config": {}}));
    assert_eq!(changed.status, 200, "{changed:?}");
    assert_eq!(server.told("").status, 200);
    let module = format!("/v1/modules/{}", deployed["digest"].as_str().unwrap());
    assert_eq!(server.get(&module).status, 200);
    assert_eq!(
        answer(server.request("DELETE", "/v1/filters/list")).status,
        200
    );
    assert_eq!(server.get("/v1/filters/list").status, 404);
    assert_eq!(server.get(&module).status, 404);
    assert!(server.stop().success());
}

#[test]
fn what_is_no_filter_is_refused_and_changes_nothing() {
    let data = data_dir();
    let server = with_echo(data.path());
    let agent = STANDARD.encode(std::fs::read(guest("echo")).unwrap());
    let many = STANDARD.encode(policy("allow-list"));
    for (name, body, status, code) in [
        ("guard", json!({"wasm": "AGFzbQ"}), 400, "invalid_body"),
        ("guard", json!({}), 400, "invalid_body"),
        ("guard", json!({"wasm": agent}), 422, "invalid_filter"),
        (
            "guard",
            json!({"wasm": many, "instances": 9}),
            400,
            "invalid_body",
        ),
        (
            "guard",
            json!({"digest": format!("blake3:{}", "0".repeat(64))}),
            404,
            "unknown_module",
        ),
        ("Guard", json!({"wasm": many}), 400, "invalid_name"),
    ] {
        let refused = server.put_filter(name, &body);
        let found = refused.json()["error"]["code"].clone();
        assert_eq!((refused.status, found.as_str()), (status, Some(code)));
    }
    assert_eq!(server.get("/v1/filters").json(), json!({"filters": []}));
    assert_eq!(server.told("").status, 200);
}

#[test]
fn tokens_and_personal_data_are_checked_before_the_agent() {
    let data = data_dir();
    let server = with_echo(data.path());
    server.filter("pii", &policy("pii"), json!({}));
    let send = |words| {
        let answer = server.rpc("echo", "SendMessage", &text(words).params());
        answer.json()["error"]["data"][0]["reason"].clone()
    };
    assert_eq!(send("my card is 4111 1111 1111 1111"), "BLOCKED_BY_FILTER");
    assert_eq!(send("my card is 4111 1111 1111 1112"), Value::Null);

    // Made for this test: HS256 over {"iss":"us","aud":"you","exp":9999999999,"sub":"ann"}.
    const KEY: &str = "YSBzZWNyZXQgb2YgdGhpcnR5LXR3byBieXRlcywgb2s";
    const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJ1cyIsImF1ZCI6InlvdSIsImV4cCI6OTk5OTk5OTk5OSwic3ViIjoiYW5uIn0.mJ0WBZA5dlReKixKwxEhJg4I1NHYIvu3QUf2__0oXeI";
    let key = json!({"alg": "HS256", "k": KEY});
    let config = json!({"issuer": "us", "audience": "you", "keys": [key]});
    server.filter("jwt", &policy("jwt"), json!({"config": config}));
    let send = |token: &str| {
        let message = text("hello").params();
        let request = server.rpc_request("echo", "SendMessage", &message);
        answer(request.header("authorization", format!("Bearer {token}")))
    };
    assert_eq!(send(TOKEN).status, 200);
    let refused = send(&TOKEN[..TOKEN.len() - 2]);
    assert_eq!(refused.status, 401);
    assert!(refused.headers.contains_key("www-authenticate"));
    assert_eq!(server.told("").status, 401);
}

/// Every way to read what an agent has said shows what filters have left of it.
#[test]
fn what_agents_say_is_redacted_for_every_reader() {
    let data = data_dir();
    let server = Server::start(data.path(), &[]);
    server.deploy(&guest("conformance"));
    let usual = json!({"config": "update=redact artifact=redact reply=redact"});
    server.filter("guard", &policy("hostile-messages"), usual);
    let mut chunks = text("go");
    chunks.message["messageId"] = "tck-stream-artifact-chunked".into();
    let stream = server.stream("conformance", "SendStreamingMessage", &chunks.params());
    let events = Value::from(stream.rest()).to_string();
    for said in ["\"working\"", "chunk 1", "chunk 2", "Hello from TCK"] {
        assert!(!events.contains(said), "{said}: {events}");
    }
    assert_eq!(events.matches("[redacted]").count(), 4, "{events}");
    let list = json!({"includeArtifacts": true, "historyLength": 10});
    let tasks = server.result("conformance", "ListTasks", &list);
    let kept = tasks["tasks"][0].clone();
    assert_eq!(said(&kept), "[redacted]");
    let parts = &kept["artifacts"][0]["parts"];
    assert_eq!(
        *parts,
        json!([{"text": "[redacted]"}, {"text": "[redacted]"}])
    );
    for (kind, count) in [("update", 1.0), ("artifact", 2.0), ("reply", 1.0)] {
        let label = format!("name=\"{kind}\"");
        let counted = server.metric("dormouse_filter_counter_total", &[&label]);
        assert_eq!(counted, count, "{kind}");
    }
    // An answer without a task is looked at, too.
    let mut direct = text("go");
    direct.message["messageId"] = "tck-message-response".into();
    let answer = server.send("conformance", direct);
    assert_eq!(reply(&answer), "[redacted]");
}

#[test]
fn what_nobody_may_see_fails_its_task() {
    let data = data_dir();
    let server = Server::start(data.path(), &[]);
    server.deploy(&guest("conformance"));
    let hostile = policy("hostile-messages");
    for (config, fail) in [
        ("update=block", "closed"),
        ("artifact=block", "closed"),
        ("reply=block", "closed"),
        ("reply=trap", "closed"),
        ("reply=trap", "open"),
    ] {
        server.filter("guard", &hostile, json!({"config": config, "fail": fail}));
        let mut chunks = text("go");
        let id = format!("tck-stream-artifact-chunked {config} {fail}");
        chunks.message["messageId"] = id.into();
        let task = server.send("conformance", chunks)["task"].clone();
        if fail == "open" {
            assert_eq!(state(&task), "TASK_STATE_COMPLETED", "{config}");
            continue;
        }
        assert_eq!(state(&task), "TASK_STATE_FAILED", "{config}");
        assert_eq!(error_class(&task), "filter", "{config}");
        if config == "update=block" {
            assert_eq!(said(&task), "as asked");
            assert!(task.get("artifacts").is_none(), "{task}");
        }
    }
}

#[test]
fn a_start_does_not_compile_filters_again() {
    let data = data_dir();
    let server = with_echo(data.path());
    let deny = json!({"config": {"deny": {"methods": ["POST"]}}});
    server.filter("list", &policy("allow-list"), deny);
    assert!(server.stop().success());
    let server = Server::start(data.path(), &[]);
    assert_eq!(server.told("").status, 403);
    assert_eq!(server.metric("dormouse_compiles_total", &[]), 0.0);
    assert!(server.stop().success());
    // Damaged code is made again, and the filter stands all the same.
    for file in files(&data.path().join("data")) {
        if file.extension().is_some_and(|end| end == "cwasm") {
            let mut bytes = std::fs::read(&file).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(&file, bytes).unwrap();
        }
    }
    let server = Server::start(data.path(), &[]);
    assert_eq!(server.told("").status, 403);
    let compiled = server.metric("dormouse_compiles_total", &[]);
    assert!(compiled >= 1.0, "{compiled}");
    assert!(server.stop().success());
}

/// Calls of agents by agents pass filters of messages only.
#[test]
fn a_filter_that_did_not_start_keeps_agents_out_as_well() {
    let dir = data_dir();
    let grants = ["--grant", "agent:relay-b"];
    let server = Server::start(dir.path(), &grants);
    server.deploy(&guest("services"));
    let settings = json!({"agents": ["relay-b"]});
    let entry = server.filter("guard", &policy("hostile-messages"), settings);
    let heard = |server: &Server| {
        let order = data(json!({"path": ["relay-b"]})).skill("relay");
        reply(&server.send("relay-a", order)).to_owned()
    };
    let before = heard(&server);
    assert!(!before.contains("error"), "{before}");
    assert!(server.stop().success());
    let digest = entry.json()["digest"].as_str().unwrap().to_owned();
    let name = digest.strip_prefix("blake3:").unwrap();
    let mut modules = files(&dir.path().join("data").join("modules"));
    modules.retain(|file| file.ends_with(name));
    assert_eq!(modules.len(), 1);
    std::fs::remove_file(&modules[0]).unwrap();
    let server = Server::start(dir.path(), &grants);
    let after = heard(&server);
    assert!(after.contains("cannot decide"), "{after}");
}

#[test]
fn a_task_is_no_way_past_the_filters_of_its_agent() {
    let data = data_dir();
    let server = with_echo(data.path());
    server.deploy(&guest("hostile"));
    let task = server.send("hostile", text("x").skill("echo-task"))["task"].clone();
    let path = format!("/v1/tasks/{}", task["id"].as_str().unwrap());
    let mut settings = hostile("closed");
    settings["agents"] = json!(["hostile"]);
    server.filter("guard", &policy("hostile"), settings);
    let read = |path: &str, what: &str| {
        let request = server.request("GET", path).header("x-do", what);
        answer(request).status
    };
    assert_eq!(read(&path, ""), 200);
    assert_eq!(read(&path, "block"), 403);
    assert_eq!(read("/v1/tasks/no-such-task", "block"), 404);
}
