//! Limits of single agents and what calls used, with the real binary.

use super::{Server, answer, data_dir, error_class, guest, reply, said, text};
use serde_json::{Value, json};

fn set(server: &Server, agent: &str, limits: &Value) {
    let request = server.request("PUT", &format!("/v1/agents/{agent}/limits"));
    let answer = answer(request.body(limits.to_string()));
    assert_eq!(answer.status, 200, "{answer:?}");
}

fn count(server: &Server) -> String {
    reply(&server.send("hostile", text("x").skill("counter"))).to_owned()
}

#[test]
fn limits_hold_for_the_next_call_and_after_a_restart() {
    let dir = data_dir();
    let server = Server::start(dir.path(), &[]);
    server.deploy(&guest("hostile"));
    assert_eq!([count(&server), count(&server)], ["1", "2"]);
    set(&server, "hostile", &json!({"processor_seconds": 0.3}));
    assert_eq!(
        count(&server),
        "1",
        "the instance of other limits is not reused"
    );
    let looped = server.send("hostile", text("x").skill("loop"));
    assert_eq!(error_class(&looped["task"]), "limit");
    assert!(said(&looped["task"]).contains("0.3 seconds"), "{looped}");
    set(
        &server,
        "hostile",
        &json!({"isolation": "call", "call_seconds": 0.5}),
    );
    assert_eq!([count(&server), count(&server)], ["1", "1"]);
    assert!(server.stop().success());
    let server = Server::start(dir.path(), &[]);
    assert_eq!([count(&server), count(&server)], ["1", "1"]);
    let slept = server.send("hostile", text("x").skill("sleep"));
    assert_eq!(error_class(&slept["task"]), "deadline");
    let gone = answer(server.request("DELETE", "/v1/agents/hostile/limits"));
    assert_eq!(gone.json()["overrides"], json!({}));
    assert_eq!([count(&server), count(&server)], ["1", "2"]);
}

#[test]
fn limits_come_with_a_deploy() {
    let dir = data_dir();
    let server = Server::start(dir.path(), &[]);
    let module = guest("hostile");
    let deploy = |flags: &[&str]| {
        let mut command = crate::dormouse(dir.path());
        let command = command.args(["deploy", module.to_str().unwrap(), "--server", &server.url]);
        command.args(flags).output().unwrap()
    };
    let output = deploy(&[
        "--limits",
        "strict",
        "--memory-limit",
        "8M",
        "--cpu-limit",
        "200ms",
        "--isolation",
        "call",
    ]);
    assert!(output.status.success(), "{}", crate::stderr(&output));
    let set = json!({
        "preset": "strict",
        "processor_seconds": 0.2,
        "memory_bytes": 8 << 20,
        "isolation": "call",
    });
    assert_eq!(server.get("/v1/agents/hostile").json()["overrides"], set);
    assert_eq!([count(&server), count(&server)], ["1", "1"]);
    let output = deploy(&["--memory-limit", "64GiB"]);
    assert_eq!(output.status.code(), Some(1));
    let told = crate::stderr(&output);
    assert!(
        told.contains("invalid_limits") && told.contains("pool"),
        "{told}"
    );
    // Agents are asked who they are under the limits that they are to have.
    let output = deploy(&["--memory-limit", "64K"]);
    let told = crate::stderr(&output);
    assert!(told.contains("instantiation_failed"), "{told}");
    // Without any, and after a refusal, they keep what they have.
    assert!(deploy(&[]).status.success());
    assert_eq!(server.get("/v1/agents/hostile").json()["overrides"], set);
}

#[test]
fn what_calls_used_is_summed_up() {
    let dir = data_dir();
    let server = Server::start(dir.path(), &["--fuel", "1000000000"]);
    server.deploy(&guest("hostile"));
    let usage = |server: &Server| server.get("/v1/agents/hostile").json()["usage"].clone();
    let before = usage(&server);
    assert_eq!((&before["calls"], &before["fuel"]), (&json!(0), &json!(0)));
    for _ in 0..3 {
        count(&server);
    }
    let used = usage(&server);
    assert_eq!(used["calls"], 3, "{used}");
    assert_eq!(used["since"], before["since"]);
    for member in ["cpu_ms", "duration_ms", "peak_memory_bytes", "fuel"] {
        assert!(used[member].as_f64().unwrap() > 0.0, "{member}: {used}");
    }
    let cpu = server.metric("dormouse_call_cpu_seconds_total", &["agent=\"hostile\""]);
    let shown = used["cpu_ms"].as_f64().unwrap() / 1e3;
    assert!((cpu - shown).abs() < 1e-6, "{cpu} {shown}");
    assert_eq!(server.metric("dormouse_stalls_total", &[]), 0.0);
    let looped = server.send("hostile", text("x").skill("loop"));
    assert_eq!(error_class(&looped["task"]), "limit");
    assert!(said(&looped["task"]).contains("units of fuel"), "{looped}");
    answer(server.request("DELETE", "/v1/agents/hostile"));
    server.deploy(&guest("hostile"));
    assert_eq!(usage(&server)["calls"], 0);
}

#[test]
fn an_operator_says_how_many_calls_meet_in_an_instance() {
    let dir = data_dir();
    let server = Server::start(dir.path(), &[]);
    server.deploy(&guest("crowd"));
    // Each of the two waits until the other is in its instance, too.
    let two = || {
        std::thread::scope(|scope| {
            let meet = || server.send("crowd", text("2").skill("meet"));
            [scope.spawn(meet), scope.spawn(meet)].map(|call| call.join().unwrap())
        })
    };
    set(
        &server,
        "crowd",
        &json!({"concurrency": 1, "call_seconds": 1}),
    );
    for answer in two() {
        assert_eq!(error_class(&answer["task"]), "deadline", "{answer}");
    }
    answer(server.request("DELETE", "/v1/agents/crowd/limits"));
    let answers = two();
    let mut numbers = answers.each_ref().map(reply);
    numbers.sort_unstable();
    assert_eq!(numbers, ["1", "2"]);
}

/// Turns that do not name their context, too.
#[test]
fn contexts_that_are_kept_apart_do_not_meet_in_an_instance() {
    let dir = data_dir();
    let server = Server::start(dir.path(), &[]);
    server.deploy(&guest("crowd"));
    set(
        &server,
        "crowd",
        &json!({"isolation": "context", "call_seconds": 2}),
    );
    let waiting = || {
        let asked = server.send("crowd", text("x").skill("again"));
        asked["task"]["id"].as_str().unwrap().to_owned()
    };
    let tasks = [waiting(), waiting()];
    // Each would go on if the other were in its instance.
    let ended = std::thread::scope(|scope| {
        let go_on = |id: &str| {
            let mut params = text("2").params();
            params["message"]["taskId"] = json!(id);
            server.result("crowd", "SendMessage", &params)
        };
        let calls = tasks.each_ref().map(|id| scope.spawn(move || go_on(id)));
        calls.map(|call| call.join().unwrap())
    });
    for answer in ended {
        assert_eq!(error_class(&answer["task"]), "deadline", "{answer}");
    }
}

#[test]
fn the_commands_change_what_holds_for_one_agent() {
    let dir = data_dir();
    let server = Server::start(dir.path(), &[]);
    server.deploy(&guest("services"));
    let run = |arguments: &[&str]| {
        let mut command = crate::dormouse(dir.path());
        let output = command.args(arguments).args(["--server", &server.url]);
        let output = output.output().unwrap();
        assert!(output.status.success(), "{}", crate::stderr(&output));
        crate::stdout(&output)
    };
    let city = || reply(&server.send("needless", text("city").skill("configured"))).to_owned();
    run(&["config", "needless", "city=Oslo", "unit=C"]);
    assert_eq!(city(), "Oslo");
    let shown = run(&["config", "needless", "--unset", "city"]);
    assert!(shown.contains("unit") && !shown.contains("city"), "{shown}");
    assert_eq!(city(), "none");
    run(&["limits", "needless", "--preset", "strict", "--grant", "llm"]);
    let shown = run(&["limits", "needless", "--memory-limit", "8MiB"]);
    let rows: Vec<Vec<&str>> = shown
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let row = |name: &str| rows.iter().find(|row| row[0] == name).unwrap()[1].to_owned();
    assert_eq!(row("preset"), "strict");
    assert_eq!(row("memory-limit"), "8MiB");
    assert_eq!(row("call-timeout"), "20s");
    assert_eq!(row("grant"), "llm");
    let reset = run(&["limits", "needless", "--reset", "--json"]);
    let reset: Value = serde_json::from_str(&reset).unwrap();
    assert_eq!(reset["overrides"], json!({}));
    assert_eq!(reset["limits"]["memory_bytes"], 64 << 20);
}
