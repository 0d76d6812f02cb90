//! Two versions at a time: shares of new work, and probes before a switch.

use super::{Message, Server, answer, data_dir, example, guest, reply, said, state, text};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Output;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Version 1 asks back, version 2 says what it is told.
fn planner_and_echo(data: &Path) -> Server {
    let server = Server::start(data, &[]);
    for module in [example("trip-planner"), guest("echo")] {
        let deployed = upload(&server, &module, None);
        assert_eq!(deployed.status, 201, "{deployed:?}");
    }
    server
}

fn upload(server: &Server, module: &Path, probe: Option<Value>) -> super::Answer {
    let mut request = server.request("POST", "/v1/modules?name=agent");
    if let Some(probe) = probe {
        request = request.header("Dormouse-Probe", probe.to_string());
    }
    answer(request.body(std::fs::read(module).unwrap()))
}

fn activate(server: &Server, body: &Value) -> super::Answer {
    let request = server.request("POST", "/v1/agents/agent/active");
    answer(request.body(body.to_string()))
}

fn shares(server: &Server) -> Vec<(u64, bool, u64)> {
    let versions = server.get("/v1/agents/agent/versions").json();
    let versions = versions["versions"].as_array().unwrap().iter();
    let number = |value: &Value| value.as_u64().unwrap();
    versions
        .map(|version| {
            let is_active = version["active"].as_bool().unwrap();
            (
                number(&version["version"]),
                is_active,
                number(&version["percent"]),
            )
        })
        .collect()
}

fn in_context(context: &str) -> Message {
    let mut message = text("I want to go to Oslo");
    message.message["contextId"] = context.into();
    message
}

/// Whether the echo has answered, and not the planner.
fn is_echo(sent: &Value) -> bool {
    let is_echo = sent["message"].is_object() || reply(sent) == "I want to go to Oslo";
    assert!(
        is_echo || state(&sent["task"]) == "TASK_STATE_INPUT_REQUIRED",
        "{sent}"
    );
    is_echo
}

#[test]
fn a_share_of_new_work_goes_to_another_version_and_stays_there() {
    let dir = data_dir();
    let server = planner_and_echo(dir.path());
    assert_eq!(shares(&server), [(1, false, 0), (2, true, 100)]);
    let split = activate(&server, &json!({"version": 1, "percent": 40}));
    assert_eq!(split.status, 200);
    assert_eq!(split.json()["split"], json!({"version": 1, "percent": 40}));
    assert_eq!(split.json()["version"], 2);
    let expected = [(1, false, 40), (2, true, 60)];
    assert_eq!(shares(&server), expected);

    let contexts: Vec<String> = (0..40).map(|n| format!("context-{n}")).collect();
    let ways = |server: &Server| -> Vec<bool> {
        let sent = contexts
            .iter()
            .map(|context| server.send("agent", in_context(context)));
        sent.map(|sent| is_echo(&sent)).collect()
    };
    let first = ways(&server);
    let echoes = first.iter().filter(|echo| **echo).count();
    assert!((10..38).contains(&echoes), "{echoes} of 40");
    assert_eq!(ways(&server), first, "all of a context goes one way");
    for _ in 0..3 {
        let message = text("I want to go to Oslo");
        let again = Message {
            message: message.message.clone(),
            configuration: json!({}),
        };
        assert_eq!(
            is_echo(&server.send("agent", message)),
            is_echo(&server.send("agent", again)),
            "a repeated message goes the same way"
        );
    }
    // What waits on version 1 goes on there, with a split and without.
    let planned = contexts
        .iter()
        .zip(&first)
        .find(|(_, echo)| !**echo)
        .unwrap()
        .0;
    let begin = || server.send("agent", in_context(planned))["task"].clone();
    let (one, other) = (begin(), begin());
    let next = server.send("agent", text("3 days").on(&one));
    assert_eq!(said(&next["task"]), "How much may it cost in all, in EUR?");

    assert!(server.stop().success());
    let server = Server::start(dir.path(), &[]);
    assert_eq!(shares(&server), expected, "it survives a restart");
    assert_eq!(ways(&server), first);
    assert_eq!(activate(&server, &json!({"version": 2})).status, 200);
    assert_eq!(shares(&server), [(1, false, 0), (2, true, 100)]);
    assert!(is_echo(&server.send("agent", in_context(planned))));
    let next = server.send("agent", text("3 days").on(&other));
    assert_eq!(said(&next["task"]), "How much may it cost in all, in EUR?");
}

#[test]
fn a_split_that_makes_no_sense_changes_nothing_and_a_deploy_ends_one() {
    let dir = data_dir();
    let server = planner_and_echo(dir.path());
    for (body, status, code) in [
        (json!({"version": 2, "percent": 10}), 422, "invalid_split"),
        (json!({"version": 1, "percent": 0}), 422, "invalid_split"),
        (json!({"version": 1, "percent": 100}), 422, "invalid_split"),
        (json!({"version": 1, "percent": 300}), 400, "invalid_body"),
        (json!({"version": 1, "percent": "1"}), 400, "invalid_body"),
        (json!({"version": 1, "share": 1}), 400, "invalid_body"),
        (json!({"version": 3, "percent": 10}), 404, "unknown_version"),
    ] {
        let refused = activate(&server, &body);
        let told = refused.json()["error"]["code"].clone();
        assert_eq!((refused.status, told), (status, json!(code)), "{body}");
    }
    let nobody = server.request("POST", "/v1/agents/nobody/active");
    let nobody = answer(nobody.body(json!({"version": 1, "percent": 1}).to_string()));
    assert_eq!(nobody.status, 404);
    assert_eq!(shares(&server), [(1, false, 0), (2, true, 100)]);
    assert_eq!(
        activate(&server, &json!({"version": 1, "percent": 99})).status,
        200
    );
    assert_eq!(upload(&server, &guest("load"), None).status, 201);
    assert_eq!(
        shares(&server),
        [(1, false, 0), (2, false, 0), (3, true, 100)]
    );
}

fn run(server: &Server, dir: &Path, arguments: &[&str]) -> Output {
    let mut command = crate::dormouse(dir);
    command
        .args(arguments)
        .args(["--server", &server.url])
        .output()
        .unwrap()
}

#[test]
fn the_command_line_shows_and_sets_shares() {
    let dir = data_dir();
    let server = planner_and_echo(dir.path());
    let told = |arguments: &[&str]| {
        let output = run(&server, dir.path(), arguments);
        assert!(output.status.success(), "{}", crate::stderr(&output));
        crate::stdout(&output)
    };
    let said = told(&["activate", "agent", "1", "--percent", "10"]);
    assert_eq!(said, "agent: v1 takes 10 % of new work, v2 the rest\n");
    let table = told(&["versions", "agent"]);
    assert!(
        table.contains("active, 90 %") && table.contains("  10 %"),
        "{table}"
    );
    assert_eq!(told(&["rollback", "agent", "1"]), "agent is now at v1\n");
    assert!(!told(&["versions", "agent"]).contains("10 %"));
    let without = run(
        &server,
        dir.path(),
        &["rollback", "agent", "--percent", "10"],
    );
    assert_eq!(without.status.code(), Some(2));
}

#[test]
fn a_version_that_traps_at_its_probe_never_takes_over() {
    let dir = data_dir();
    let server = Server::start(dir.path(), &[]);
    assert_eq!(upload(&server, &guest("echo"), None).status, 201);
    let (ending, failed, sent) = (AtomicBool::new(false), AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !ending.load(Ordering::Relaxed) {
                    let answer = server.rpc("agent", "SendMessage", &text("hello").params());
                    let is_answered = answer.status == 200
                        && answer.json()["result"]["message"]["parts"][0]["text"] == "hello";
                    sent.fetch_add(1, Ordering::Relaxed);
                    failed.fetch_add(u32::from(!is_answered), Ordering::Relaxed);
                }
            });
        }
        let before = sent.load(Ordering::Relaxed);
        let module = guest("hostile");
        let arguments = [
            "deploy",
            module.to_str().unwrap(),
            "--name",
            "agent",
            "--probe",
            "Grüße",
        ];
        let skill = ["--probe-skill", "trap"];
        let output = run(&server, dir.path(), &[&arguments[..], &skill].concat());
        ending.store(true, Ordering::Relaxed);
        assert_eq!(output.status.code(), Some(1));
        let told = crate::stderr(&output);
        assert!(told.contains("the probe of agent failed (trap)"), "{told}");
        assert!(sent.load(Ordering::Relaxed) > before, "there was no load");
    });
    assert_eq!(failed.into_inner(), 0, "of {}", sent.into_inner());
    assert_eq!(shares(&server), [(1, true, 100)]);
    assert_eq!(server.metric("dormouse_modules", &[]), 1.0);
    assert_eq!(server.metric("dormouse_tasks", &[]), 0.0, "nothing is kept");
}

#[test]
fn a_probe_refuses_what_fails_is_late_or_says_too_much() {
    let dir = data_dir();
    let server = Server::start(dir.path(), &["--cpu-limit", "1s", "--call-timeout", "5s"]);
    assert_eq!(upload(&server, &guest("echo"), None).status, 201);
    let probe = |skill: &str| Some(json!({"text": "hello", "skill": skill}));
    for (skill, class) in [
        ("trap", "(trap)"),
        ("memory-bomb", "(trap)"),
        ("loop", "(limit)"),
        ("pending", "(deadline)"),
        ("huge-output", "(limit)"),
        ("bad-data", "(invalid_response)"),
        ("nothing", "no agent of the module has the skill"),
    ] {
        let refused = upload(&server, &guest("hostile"), probe(skill));
        let error = &refused.json()["error"];
        assert_eq!(
            (refused.status, &error["code"]),
            (422, &json!("probe_failed")),
            "{skill}"
        );
        let sentence = error["message"].as_str().unwrap();
        assert!(sentence.contains(class), "{skill}: {sentence}");
    }
    let probe_text = |text: &str| Some(json!({"text": text}));
    let rejected = upload(&server, &example("csv-stats"), probe_text("a,b\n1\n"));
    let answered = rejected.json();
    let sentence = answered["error"]["message"].as_str().unwrap_or_default();
    assert!(sentence.contains("(rejected)"), "{answered}");
    let unclear = upload(&server, &guest("hostile"), Some(json!({"text": ""})));
    assert_eq!(unclear.json()["error"]["code"], "probe_failed");
    for wrong in [
        json!({}),
        json!("hello"),
        json!({"text": "a", "percent": 1}),
    ] {
        let refused = upload(&server, &guest("hostile"), Some(wrong));
        assert_eq!(refused.json()["error"]["code"], "invalid_probe");
    }
    assert_eq!(shares(&server), [(1, true, 100)]);
    // A question is an answer, and so is one that leaves a task: nothing of either stays.
    for skill in ["ask", "counter"] {
        assert_eq!(
            upload(&server, &guest("hostile"), probe(skill)).json()["agents"][0]["version"],
            2
        );
    }
    assert_eq!(shares(&server), [(1, false, 0), (2, true, 100)]);
    assert_eq!(server.metric("dormouse_tasks", &[]), 0.0);
}
