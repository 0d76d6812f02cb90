//! What happened, as the command line shows it: logs, tasks, a task, cancel; and what a module is.

use super::{Server, data_dir, guest};
use crate::{run, stderr, stdout};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

fn file(name: &str) -> String {
    guest(name).to_str().unwrap().to_owned()
}

fn deployed(server: &Server, name: &str) {
    let output = run(&["deploy", &file(name), "--server", &server.url]);
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn logs_show_what_the_agent_said_and_how_its_calls_failed() {
    let data = data_dir();
    let server = Server::start(data.path(), &[]);
    let at = ["--server", &server.url];
    deployed(&server, "hostile");
    let flood = run(&[&["send", "hostile", "x", "--skill", "log-flood"][..], &at].concat());
    assert!(!flood.status.success());
    let failed = run(&[&["send", "hostile", "x", "--skill", "trap"][..], &at].concat());
    assert!(!failed.status.success());
    let shown = stdout(&run(&[&["logs", "hostile", "-n", "1000"][..], &at].concat()));
    assert!(
        shown.contains("wasm `unreachable` instruction executed"),
        "{shown}"
    );
    assert!(
        shown.contains("class=trap") && shown.contains("class=limit"),
        "{shown}"
    );
    assert!(shown.contains("number=30"), "{shown}");
    assert!(shown.contains("records were dropped"), "{shown}");

    let last = stdout(&run(
        &[&["logs", "hostile", "-n", "1", "--json"][..], &at].concat()
    ));
    let record: Value = serde_json::from_str(&last).unwrap();
    assert_eq!(record["level"], "error");
    assert_eq!(record["version"], 1);

    let nobody = run(&[&["logs", "nobody"][..], &at].concat());
    assert!(
        stderr(&nobody).contains("unknown_agent"),
        "{}",
        stderr(&nobody)
    );
    let path = "/v1/agents/hostile/logs?limit=many";
    assert_eq!(server.get(path).status, 400);
}

#[test]
fn logs_follow() {
    let data = data_dir();
    let server = Server::start(data.path(), &[]);
    deployed(&server, "hostile");
    let mut follow = crate::dormouse(data.path())
        .args(["logs", "hostile", "-f", "--server", &server.url])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    let send = [
        "send",
        "hostile",
        "x",
        "--skill",
        "unreachable",
        "--server",
        &server.url,
    ];
    assert!(!run(&send).status.success());
    let line = lines.next().unwrap().unwrap();
    assert!(line.contains("error v1 task"), "{line}");
    follow.kill().unwrap();
    follow.wait().unwrap();
}

#[test]
fn tasks_are_listed_shown_and_canceled() {
    let data = data_dir();
    let server = Server::start(data.path(), &[]);
    let at = ["--server", &server.url];
    deployed(&server, "hostile");
    let asked = run(&[
        &["send", "hostile", "tulips", "--skill", "ask", "--json"][..],
        &at,
    ]
    .concat());
    let asked: Value = serde_json::from_str(&stdout(&asked)).unwrap();
    let id = asked["task"]["id"].as_str().unwrap();

    for list in [&["tasks"][..], &["tasks", "hostile"]] {
        let shown = stdout(&run(&[list, &at].concat()));
        let line = shown.lines().find(|line| line.contains(id)).unwrap();
        assert!(
            line.contains("hostile") && line.contains("input required"),
            "{shown}"
        );
    }
    let shown = stdout(&run(&[&["task", id][..], &at].concat()));
    assert!(
        shown.contains("agent hostile") && shown.contains("tulips"),
        "{shown}"
    );
    assert!(shown.contains(&format!("--task {id}")), "{shown}");

    let canceled = stdout(&run(&[&["cancel", id][..], &at].concat()));
    assert_eq!(canceled, format!("task {id} of hostile is canceled\n"));
    let again = run(&[&["cancel", id][..], &at].concat());
    assert!(!again.status.success());
    let unknown = run(&[&["task", "0199-no"][..], &at].concat());
    assert!(
        stderr(&unknown).contains("unknown_task"),
        "{}",
        stderr(&unknown)
    );
}

#[test]
fn somebody_elses_task_is_unknown() {
    let data = data_dir();
    let folder = data.path().join("data");
    let token = |name: &str| {
        let folder = folder.to_str().unwrap();
        let created = run(&[
            "token",
            "create",
            name,
            "--scope",
            "admin",
            "--data-dir",
            folder,
        ]);
        stdout(&created).trim().to_owned()
    };
    let (ann, bob) = (token("ann"), token("bob"));
    let server = Server::start(data.path(), &[]);
    let at = |token| ["--server", &*server.url, "--token", token];
    assert!(
        run(&[&["deploy", &file("hostile")][..], &at(&ann)].concat())
            .status
            .success()
    );
    let send = ["send", "hostile", "x", "--skill", "ask", "--json"];
    let asked: Value =
        serde_json::from_str(&stdout(&run(&[&send[..], &at(&ann)].concat()))).unwrap();
    let id = asked["task"]["id"].as_str().unwrap();
    assert!(
        run(&[&["task", id][..], &at(&ann)].concat())
            .status
            .success()
    );
    for command in ["task", "cancel"] {
        let denied = run(&[&[command, id][..], &at(&bob)].concat());
        assert!(
            stderr(&denied).contains("unknown_task"),
            "{}",
            stderr(&denied)
        );
    }
    assert_eq!(
        stdout(&run(&[&["tasks"][..], &at(&bob)].concat())),
        "no tasks yet; `dormouse send` begins one\n"
    );
}

#[test]
fn a_module_is_inspected_by_file_and_by_digest() {
    let data = data_dir();
    let server = Server::start(data.path(), &[]);
    let at = ["--server", &server.url];
    deployed(&server, "crowd");
    let shown = stdout(&run(&["inspect", &file("crowd")]));
    for part in [
        "digest   blake3:",
        "core module",
        "dormouse:agent/tasks",
        "agent    crowd",
        "100 calls",
        "skill  meet",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let stored = run(&["inspect", &file("crowd"), "--json"]);
    let stored: Value = serde_json::from_str(&stdout(&stored)).unwrap();
    let digest = stored["digest"].as_str().unwrap();
    let remote = run(&[&["inspect", digest, "--json"][..], &at].concat());
    assert_eq!(
        serde_json::from_str::<Value>(&stdout(&remote)).unwrap(),
        stored
    );

    let refused = run(&["inspect", &file("lying-panic"), "--json"]);
    assert!(!refused.status.success());
    let refused: Value = serde_json::from_str(&stdout(&refused)).unwrap();
    assert_eq!(refused["agents"], json!([]));
    assert!(refused["error"].as_str().unwrap().contains("trapped"));
}

/// Builds a crate of its own twice, so it takes as long as two builds.
#[test]
fn dev_builds_deploys_shows_logs_and_does_it_again() {
    let data = data_dir();
    let sdk = concat!(env!("CARGO_MANIFEST_DIR"), "/../sdk");
    let made = crate::dormouse(data.path())
        .args(["new", "napper", "--sdk", sdk])
        .status()
        .unwrap();
    assert!(made.success());
    let mut dev = crate::dormouse(data.path())
        .args(["dev", "napper", "--listen", "127.0.0.1:0"])
        // What the SDK needs is built once, not in every run.
        .env(
            "CARGO_TARGET_DIR",
            concat!(env!("CARGO_TARGET_TMPDIR"), "/dev"),
        )
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(dev.stdout.take().unwrap()).lines();
    let mut until = |wanted: &str| {
        let begun = Instant::now();
        loop {
            assert!(begun.elapsed() < Duration::from_secs(300), "{wanted}");
            let line = lines.next().unwrap().unwrap();
            if line.contains(wanted) {
                return line;
            }
        }
    };
    assert!(until("napper v").contains("napper v1"));
    let tried = until("dormouse send");
    let url = tried.rsplit(' ').next().unwrap().to_owned();
    let said = run(&["send", "napper", "Hello", "--server", &url]);
    assert!(said.status.success(), "{}", stderr(&said));
    let source = data.path().join("napper/src/lib.rs");
    let text = std::fs::read_to_string(&source).unwrap();
    std::fs::write(
        &source,
        format!("{text}\n// changed\npub const CHANGED: u32 = 1;\n"),
    )
    .unwrap();
    until("napper v");
    let pid = rustix::process::Pid::from_child(&dev);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(dev.wait().unwrap().success());
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let script = stdout(&run(&["completions", shell]));
        assert!(
            script.contains("rollback") && script.contains("inspect"),
            "{shell}"
        );
    }
}
