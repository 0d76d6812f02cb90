//! Grants, memory and language models, with the real binary.

use super::{Server, answer, data, data_dir, example, guest, reply, said, text};
use serde_json::{Value, json};

const SCRIPT: &str = r#"{"replies": [{"when": "2+2", "text": "4"}, {"text": "hm"}]}"#;

fn ask(server: &Server, agent: &str) -> String {
    reply(&server.send(agent, text("2+2").skill("ask"))).to_owned()
}

#[test]
fn an_agent_uses_what_it_needs_and_was_granted() {
    let dir = data_dir();
    let script = dir.path().join("script.json");
    std::fs::write(&script, SCRIPT).unwrap();
    let script = ["--llm-script", script.to_str().unwrap()];
    let server = Server::start(dir.path(), &script);
    let module = guest("services");
    let deploy = |flags: &[&str]| {
        let mut command = crate::dormouse(dir.path());
        let command = command.args(["deploy", module.to_str().unwrap(), "--server", &server.url]);
        let output = command.args(flags).output().unwrap();
        assert!(output.status.success(), "{}", crate::stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let shown = deploy(&[]);
    assert!(
        shown.contains("lacks   llm: grant it with dormouse deploy --grant llm"),
        "{shown}"
    );
    assert!(ask(&server, "services").starts_with("denied: "));
    let entry = server.get("/v1/agents/services").json();
    assert_eq!(
        (&entry["needs"], &entry["granted"]),
        (&json!(["llm"]), &json!([]))
    );
    let shown = deploy(&["--grant", "llm"]);
    assert!(shown.contains("granted llm"), "{shown}");
    assert_eq!(ask(&server, "services"), "4 (1+1)");
    assert_eq!(
        server.get("/v1/agents/services").json()["granted"],
        json!(["llm"])
    );
    assert!(
        ask(&server, "needless").starts_with("denied: "),
        "it does not say that it needs it"
    );
    let denied = server.metric("dormouse_denied_total", &["service=\"llm\""]);
    assert_eq!(denied, 2.0);
    assert_eq!(
        server.metric("dormouse_llm_requests_total", &["outcome=\"ok\""]),
        1.0
    );
    let gone = answer(server.request("DELETE", "/v1/agents/services/limits"));
    assert_eq!(gone.status, 200);
    assert!(
        ask(&server, "services").starts_with("denied: "),
        "taken back"
    );
    assert!(server.stop().success());
    let everybody = [&script[..], &["--grant", "llm"]].concat();
    let server = Server::start(dir.path(), &everybody);
    assert_eq!(ask(&server, "services"), "4 (1+1)");
    assert!(ask(&server, "needless").starts_with("denied: "));
}

#[test]
fn the_example_with_a_model_gives_advice_by_its_script() {
    let dir = data_dir();
    let folder =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/travel-adviser");
    let script = folder.join("script.json");
    let flags = ["--llm-script", script.to_str().unwrap(), "--grant", "llm"];
    let server = Server::start(dir.path(), &flags);
    server.deploy(&example("travel-adviser"));
    let sent = server.send(
        "travel-adviser",
        text("Oslo in November, or rather Bergen?"),
    );
    let task = &sent["task"];
    assert_eq!(said(task), "Go to Oslo, it is drier than Bergen.");
    let advice = &task["artifacts"][0]["parts"][0]["data"];
    assert_eq!(advice["pack"], json!(["warm coat", "umbrella"]));
}

#[test]
fn a_skill_that_is_a_file_is_followed_by_the_model() {
    let dir = data_dir();
    let script = dir.path().join("script.json");
    let lines = json!({"replies": [
        {"system": "Advise on rain gear", "when": "Oslo", "json": {"status": "complete", "message": "An umbrella."}},
        {"system": "Advise on rain gear", "when": "Atlantis", "json": {"status": "failed", "message": "It is under water."}},
        {"system": "Advise on rain gear", "json": {"status": "needs_input", "message": "Where to?"}},
    ]});
    std::fs::write(&script, lines.to_string()).unwrap();
    let script = ["--llm-script", script.to_str().unwrap(), "--grant", "llm"];
    let server = Server::start(dir.path(), &script);
    server.deploy(&guest("services"));
    let entry = server.get("/v1/agents/filed").json();
    assert_eq!(
        (&entry["skills"], &entry["needs"]),
        (&json!(["advise"]), &json!(["llm"]))
    );
    let task = &server.send("filed", text("What do I take along?"))["task"];
    assert_eq!((waits(task), said(task)), (true, "Where to?"));
    let task = &server.send("filed", text("To Oslo").on(task))["task"];
    assert_eq!((waits(task), said(task)), (false, "An umbrella."));
    let task = &server.send("filed", text("To Atlantis"))["task"];
    assert_eq!(task["status"]["state"], "TASK_STATE_FAILED");
    assert_eq!(said(task), "It is under water.");
}

#[test]
fn a_skill_is_chosen_by_the_model_that_the_operator_names() {
    let dir = data_dir();
    let script = dir.path().join("script.json");
    let lines = json!({"replies": [
        {"system": "You choose which skill", "when": "two and two", "json": {"skill": "ask"}},
        {"when": "two and two", "text": "4"},
    ]});
    std::fs::write(&script, lines.to_string()).unwrap();
    let flags = ["--llm-script", script.to_str().unwrap(), "--grant", "llm"];
    let chooses = [&flags[..], &["--skills-by-model", "script"]].concat();
    let server = Server::start(dir.path(), &chooses);
    server.deploy(&guest("services"));
    let question = "How much is two and two?";
    let answered = reply(&server.send("services", text(question))).to_owned();
    assert!(answered.starts_with("4 ("), "{answered}");
    let chosen = server.metric("dormouse_skill_choices_total", &["outcome=\"chosen\""]);
    assert_eq!(chosen, 1.0);
    assert!(server.stop().success());
    let server = Server::start(dir.path(), &flags);
    let refused = server.rpc("services", "SendMessage", &text(question).params());
    let told = refused.json()["error"]["message"].to_string();
    assert!(told.contains("skillId"), "off by default: {told}");
}

fn waits(task: &Value) -> bool {
    task["status"]["state"] == "TASK_STATE_INPUT_REQUIRED"
}

#[test]
fn memory_survives_a_kill() {
    let dir = data_dir();
    let server = Server::start(dir.path(), &[]);
    server.deploy(&guest("services"));
    let order = |server: &Server, order: Value| {
        reply(&server.send("services", data(order).skill("remember"))).to_owned()
    };
    let save = json!({"do": "save", "key": "tea", "value": {"drinks": "green tea"}});
    assert_eq!(order(&server, save), "null");
    server.kill();
    let server = Server::start(dir.path(), &[]);
    let load = json!({"do": "load", "key": "tea"});
    assert_eq!(order(&server, load), r#"{"drinks":"green tea"}"#);
    assert_eq!(
        order(&server, json!({"do": "search", "text": "tea"})),
        r#"["tea"]"#
    );
}

#[test]
fn memory_is_searched_by_vectors_of_the_host_though_there_is_no_model() {
    let dir = data_dir();
    let file = dir.path().join("dormouse.toml");
    std::fs::write(&file, "[embeddings]\nstyle = \"words\"\n").unwrap();
    let flags = ["--config", file.to_str().unwrap(), "--grant", "llm"];
    let server = Server::start(dir.path(), &flags);
    server.deploy(&guest("services"));
    let order =
        |order: Value| reply(&server.send("services", data(order).skill("remember"))).to_owned();
    for (key, value) in [("tea", "green tea"), ("cat", "a black cat")] {
        order(json!({"do": "save", "key": key, "value": value}));
    }
    let found = order(json!({"do": "search", "text": "a black one"}));
    assert_eq!(found, r#"["cat"]"#);
    let labels = ["model=\"embeddings\"", "outcome=\"ok\""];
    let asked = server.metric("dormouse_llm_requests_total", &labels);
    assert_eq!(asked, 3.0);
    let told = ask(&server, "services");
    assert!(told.contains("no language model"), "{told}");
}

#[test]
fn a_wrong_model_stops_the_server_with_a_sentence() {
    let dir = data_dir();
    let file = dir.path().join("dormouse.toml");
    for (config, word) in [
        ("[llm.a]\nstyle = \"openai\"", "provider's name"),
        ("[embeddings]\nstyle = \"openai\"", "provider's name"),
        ("skills-by-model = \"m\"", "skills-by-model"),
        (
            "[llm.a]\nstyle = \"openai\"\nmodel = \"m\"\nurl = \"nowhere\"",
            "url",
        ),
        (
            "[llm.a]\nstyle = \"anthropic\"\nmodel = \"m\"\nkey-env = \"NO_SUCH_KEY\"",
            "NO_SUCH_KEY",
        ),
        (
            "[llm.a]\nstyle = \"script\"\nurl = \"none.json\"",
            "none.json",
        ),
        ("[llm.a]\nstyle = \"other\"", "other"),
        (
            "[llm.a]\nstyle = \"openai\"\nmodel = \"m\"\n[llm.b]\nstyle = \"openai\"\nmodel = \"m\"",
            "[llm.default]",
        ),
    ] {
        std::fs::write(&file, config).unwrap();
        let mut command = crate::dormouse(dir.path());
        let command = command.args(["serve", "--listen", "127.0.0.1:0", "--config"]);
        let output = command.arg(&file).output().unwrap();
        let told = crate::stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{config}: {told}");
        assert!(told.contains(word), "{config}: {told}");
    }
}

#[test]
fn a_budget_goes_on_after_a_kill() {
    let dir = data_dir();
    let script = dir.path().join("script.json");
    std::fs::write(&script, SCRIPT).unwrap();
    let script = script.to_str().unwrap();
    // A request sets 4,096 tokens aside for its answer, and uses 2.
    let flags = [
        "--llm-script",
        script,
        "--grant",
        "llm",
        "--llm-agent-tokens",
        "4099",
    ];
    let server = Server::start(dir.path(), &flags);
    server.deploy(&guest("services"));
    for _ in 0..2 {
        assert_eq!(ask(&server, "services"), "4 (1+1)");
    }
    let told = ask(&server, "services");
    assert!(told.contains("has 4095 left"), "{told}");
    server.kill();
    let server = Server::start(dir.path(), &flags);
    let told = ask(&server, "services");
    assert!(told.contains("has 4095 left"), "{told}");
}

#[test]
fn an_agent_reads_the_configuration_that_its_operator_sets() {
    let dir = data_dir();
    let file = dir.path().join("dormouse.toml");
    let text = "[config.needless]\ngreeting = \"file\"\nother = \"file\"\n";
    std::fs::write(&file, text).unwrap();
    let config = ["--config", file.to_str().unwrap()];
    let server = Server::start(dir.path(), &config);
    server.deploy(&guest("services"));
    let value = |server: &Server, agent: &str, key: &str| {
        reply(&server.send(agent, super::text(key).skill("configured"))).to_owned()
    };
    assert_eq!(value(&server, "needless", "greeting"), "file");
    assert_eq!(value(&server, "services", "greeting"), "none", "another's");
    let set = |agent: &str, body: Value| {
        let request = server.request("PUT", &format!("/v1/agents/{agent}/config"));
        answer(
            request
                .header("content-type", "application/json")
                .body(body.to_string()),
        )
    };
    let put = set("needless", json!({"greeting": "api"}));
    assert_eq!(put.status, 200, "{put:?}");
    let expected = json!({
        "name": "needless",
        "config": {"greeting": "api", "other": "file"},
        "set": {"greeting": "api"},
    });
    assert_eq!(put.json(), expected);
    assert_eq!(value(&server, "needless", "greeting"), "api");
    assert_eq!(value(&server, "needless", "other"), "file");
    let wrong = set("needless", json!({"greeting": 1}));
    assert_eq!(
        (wrong.status, &wrong.json()["error"]["code"]),
        (422, &json!("invalid_config"))
    );
    assert_eq!(set("nobody", json!({})).status, 404);
    assert!(server.stop().success());
    let server = Server::start(dir.path(), &config);
    assert_eq!(value(&server, "needless", "greeting"), "api", "kept");
    let gone = answer(server.request("DELETE", "/v1/agents/needless/config"));
    assert_eq!(
        gone.json()["config"],
        json!({"greeting": "file", "other": "file"})
    );
    assert_eq!(value(&server, "needless", "greeting"), "file");
}

#[test]
fn an_agent_that_is_deleted_remembers_nothing_when_it_comes_back() {
    let dir = data_dir();
    let server = Server::start(dir.path(), &[]);
    server.deploy(&guest("services"));
    let order = |agent: &str, order: Value| {
        reply(&server.send(agent, data(order).skill("remember"))).to_owned()
    };
    for agent in ["services", "needless"] {
        for scope in ["agent", "principal"] {
            let save = json!({"do": "save", "scope": scope, "key": "tea", "value": "green"});
            assert_eq!(order(agent, save), "null");
        }
    }
    let request = server.request("PUT", "/v1/agents/services/config");
    let request = request.header("content-type", "application/json");
    assert_eq!(answer(request.body(r#"{"a": "b"}"#)).status, 200);
    let gone = answer(server.request("DELETE", "/v1/agents/services"));
    assert_eq!(gone.status, 200);
    server.deploy(&guest("services"));
    for scope in ["agent", "principal"] {
        let load = json!({"do": "load", "scope": scope, "key": "tea"});
        assert_eq!(order("services", load.clone()), "null");
        assert_eq!(
            order("needless", load),
            "\"green\"",
            "another agent's stays"
        );
    }
    let config = server.get("/v1/agents/services/config").json();
    assert_eq!(config["config"], json!({}));
}
