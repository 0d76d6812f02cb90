//! `kill -9`, at the moments that matter.

use super::{Server, data_dir, error_class, guest, reply, said, state, text};
use serde_json::{Value, json};

#[test]
fn an_acknowledged_upload_survives() {
    let dir = data_dir();
    let server = Server::start(dir.path(), &[]);
    let deployed = server.deploy(&guest("echo"));
    server.kill();

    let server = Server::start(dir.path(), &[]);
    let digest = deployed["digest"].as_str().unwrap();
    let module = server.get(&format!("/v1/modules/{digest}"));
    assert_eq!(module.body, std::fs::read(guest("echo")).unwrap());
    let answer = server.send("echo", text("still here"));
    assert_eq!(reply(&answer), "still here");
    assert_eq!(server.metric("dormouse_compiles_total", &[]), 0.0);
}

#[test]
fn an_acknowledged_task_survives() {
    let dir = data_dir();
    let server = Server::start(dir.path(), &[]);
    server.deploy(&guest("hostile"));
    let done = server.send("hostile", text("kept").skill("echo-task"))["task"].clone();
    let asked = server.send("hostile", text("one").skill("ask"))["task"].clone();
    server.kill();

    let server = Server::start(dir.path(), &[]);
    let kept = server.task("hostile", done["id"].as_str().unwrap());
    assert_eq!(kept, done);
    let answer = server.send("hostile", text("two").on(&asked));
    assert_eq!(state(&answer["task"]), "TASK_STATE_COMPLETED");
}

#[test]
fn a_call_cut_off_in_the_middle_ends_as_failed() {
    let dir = data_dir();
    let server = Server::start(dir.path(), &[]);
    server.deploy(&guest("hostile"));
    let running: Vec<Value> = ["loop", "pending", "sleep"]
        .iter()
        .map(|skill| server.send("hostile", text("x").skill(skill).at_once())["task"].clone())
        .collect();
    server.kill();

    let server = Server::start(dir.path(), &[]);
    for task in running {
        let task = server.task("hostile", task["id"].as_str().unwrap());
        assert_eq!(state(&task), "TASK_STATE_FAILED", "{task}");
        assert_eq!(error_class(&task), "interrupted");
        assert!(said(&task).contains("server"), "{task}");
    }
    let working = json!({"status": "TASK_STATE_WORKING"});
    assert_eq!(
        server.result("hostile", "ListTasks", &working)["totalSize"],
        0
    );
}

#[test]
fn compiling_again_goes_on_after_a_kill() {
    let dir = data_dir();
    let server = Server::start(dir.path(), &[]);
    let names = ["hostile", "conformance", "echo"];
    for name in names {
        server.deploy(&guest(name));
    }
    assert!(server.stop().success());
    std::fs::remove_dir_all(dir.path().join("data/code")).unwrap();

    let server = Server::start(dir.path(), &[]);
    server.until("modules are compiled again", |server| {
        server.metric("dormouse_compiles_pending", &[]) > 0.0
    });
    assert_eq!(server.get("/readyz").status, 200);
    server.kill();

    let server = Server::start(dir.path(), &[]);
    assert_eq!(reply(&server.send("echo", text("hello"))), "hello");
    server.until("all are compiled", |server| {
        server.metric("dormouse_compiles_pending", &[]) == 0.0
    });
    let code = super::files(&dir.path().join("data/code"));
    let whole = code.iter().filter(|file| {
        file.extension()
            .is_some_and(|extension| extension == "cwasm")
    });
    assert_eq!((whole.count(), code.len()), (3, 3), "{code:?}");
}

#[test]
fn many_kills_lose_nothing() {
    let dir = data_dir();
    let mut known: Vec<Value> = Vec::new();
    Server::start(dir.path(), &[]).deploy(&guest("hostile"));
    for round in 0..4 {
        let server = Server::start(dir.path(), &[]);
        for task in &known {
            assert_eq!(&server.task("hostile", task["id"].as_str().unwrap()), task);
        }
        let sent: Vec<Value> = std::thread::scope(|scope| {
            let server = &server;
            let senders: Vec<_> = (0..8)
                .map(|number| {
                    let message = text(&format!("{round}-{number}")).skill("echo-task");
                    scope.spawn(move || server.send("hostile", message)["task"].clone())
                })
                .collect();
            senders
                .into_iter()
                .map(|sender| sender.join().unwrap())
                .collect()
        });
        known.extend(sent);
        server.kill();
    }
    let server = Server::start(dir.path(), &[]);
    let listed = server.result("hostile", "ListTasks", &json!({"pageSize": 100}));
    assert_eq!(listed["totalSize"], known.len());
}
