//! Agents that misbehave: their call fails with a class and a sentence, nobody else notices.

use super::{Server, data_dir, error_class, guest, reply, said, state, text};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};

struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_log_that_nobody_reads_holds_up_nobody() {
    let dir = data_dir();
    let unread = Stdio::piped();
    let server = Server::logging(dir.path(), "127.0.0.1:0", &[], "info", unread);
    server.deploy(&guest("hostile"));
    server.deploy(&guest("echo"));
    // Each writes a thousand lines; a pipe holds some hundred, and a few thousand may wait.
    for _ in 0..8 {
        let answer = server.send("hostile", text("x").skill("log-flood"));
        assert_eq!(state(&answer["task"]), "TASK_STATE_FAILED");
        let answer = server.send("echo", text("undisturbed"));
        assert_eq!(reply(&answer), "undisturbed");
    }
    assert!(server.metric("dormouse_log_dropped_total", &[]) > 0.0);
    assert!(server.stop().success());
}

#[test]
fn every_hostile_skill_fails_alone() {
    let dir = data_dir();
    let server = Server::start(dir.path(), &["--call-timeout", "2s"]);
    server.deploy(&guest("hostile"));
    server.deploy(&guest("echo"));
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let neighbour = scope.spawn(|| {
            let mut answers = 0;
            while !ended.load(Ordering::SeqCst) {
                let answer = server.send("echo", text("undisturbed"));
                assert_eq!(reply(&answer), "undisturbed");
                answers += 1;
            }
            answers
        });
        // Also when an assertion fails, or the neighbour would ask for ever.
        let over = Over(&ended);
        let expected = [
            ("trap", "trap"),
            ("unreachable", "trap"),
            ("recurse", "trap"),
            ("memory-bomb", "trap"),
            ("loop", "deadline"),
            ("pending", "deadline"),
            ("sleep", "deadline"),
            ("huge-output", "limit"),
            ("log-flood", "limit"),
            ("huge-artifact", "limit"),
            ("huge-update", "limit"),
            ("huge-state", "limit"),
            ("huge-log", "limit"),
            ("recurse-in-host", "trap"),
            ("handle-leak", "limit"),
            ("many-waits", "limit"),
        ];
        for (skill, class) in expected {
            let answer = server.send("hostile", text("x").skill(skill));
            let task = &answer["task"];
            assert_eq!(state(task), "TASK_STATE_FAILED", "{skill}: {answer}");
            assert_eq!(error_class(task), class, "{skill}");
            assert!(
                said(task).ends_with('.') && said(task).len() > 20,
                "{skill}: {}",
                said(task)
            );
            let next = server.send("hostile", text("well again").skill("echo"));
            assert_eq!(reply(&next), "well again", "after {skill}");
        }
        drop(over);
        assert!(neighbour.join().unwrap() > 100, "the neighbour was held up");
    });
    // What ends in the slow lane ends a moment after its task.
    server.until("their instances have ended", |server| {
        server.metric("dormouse_evictions_total", &["reason=\"failed\""]) == 16.0
    });
}

#[test]
fn loops_on_every_core_hold_up_nobody() {
    let dir = data_dir();
    let server = Server::start(dir.path(), &["--call-timeout", "3s"]);
    server.deploy(&guest("hostile"));
    server.deploy(&guest("echo"));
    std::thread::scope(|scope| {
        let loops: Vec<_> = (0..6)
            .map(|_| {
                scope.spawn(|| server.send("hostile", text("x").skill("loop"))["task"].clone())
            })
            .collect();
        server.until("the loops run", |server| {
            server.metric("dormouse_instances", &["state=\"busy\""]) >= 6.0
        });
        for _ in 0..20 {
            server.send("echo", text("x"));
        }
        for task in loops {
            assert_eq!(error_class(&task.join().unwrap()), "deadline");
        }
    });
}

#[test]
fn limits_are_those_of_the_preset_and_flags_over_it() {
    let dir = data_dir();
    let flags = ["--limits", "strict", "--cpu-limit", "500ms"];
    let server = Server::start(dir.path(), &flags);
    server.deploy(&guest("hostile"));
    let agent = server.get("/v1/agents/hostile").json();
    let expected = serde_json::json!({
        "preset": "strict",
        "call_seconds": 20.0,
        "processor_seconds": 0.5,
        "memory_bytes": 16 << 20,
        "table_elements": 10_000,
        "host_call_bytes": 1 << 20,
        "handles": 250,
        "log_records": 200,
        "log_bytes": 64 << 10,
        "task_bytes": 8 << 20,
        "max_instances": 256,
        "concurrency": 1,
        "isolation": "shared",
    });
    assert_eq!(agent["limits"], expected, "{agent}");
    assert_eq!(
        server.get("/v1/agents/hostile/versions").json()["limits"],
        expected
    );
    let answer = server.send("hostile", text("x").skill("loop"));
    assert_eq!(error_class(&answer["task"]), "limit", "{answer}");
}
