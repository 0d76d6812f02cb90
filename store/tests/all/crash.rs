//! A process killed in the middle: every acknowledged write is there, and nothing is there by half.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use dormouse_store::{Digest, Store, StoreError, TaskWrite};

use crate::support::{commit, noise, open, open_error, task, write};

const DIR: &str = "DORMOUSE_STORE_TEST_DIR";
const FIRST: &str = "DORMOUSE_STORE_TEST_FIRST";
/// Task writes on their way at once, so that commits are real groups.
const IN_FLIGHT: usize = 16;

/// What the child prints when a write was acknowledged.
#[derive(Clone, Copy, Debug, Default)]
struct Acknowledged {
    opened: bool,
    closed: bool,
}

#[test]
fn acknowledged_writes_survive_sigkill() {
    let dir = tempfile::tempdir().unwrap();
    let mut tasks = HashMap::new();
    let mut modules = Vec::new();
    for (round, acknowledgements) in [1, 30, 111, 250, 400].into_iter().enumerate() {
        let (mut child, mut lines) = start(dir.path(), round as u128 * 1_000_000);
        let mut line = String::new();
        let mut count = 0;
        while count < acknowledgements && lines.read_line(&mut line).unwrap() > 0 {
            count += usize::from(note(&line, &mut tasks, &mut modules));
            line.clear();
        }
        assert_eq!(count, acknowledgements, "the child ended by itself");
        child.kill().unwrap();
        child.wait().unwrap();
        // What the pipe still holds was acknowledged too; its last line may be cut.
        while lines.read_line(&mut line).unwrap() > 0 {
            if line.ends_with('\n') {
                note(&line, &mut tasks, &mut modules);
            }
            line.clear();
        }
        let store = open(dir.path());
        verify(&store, &tasks, &modules);
        store.close().unwrap();
    }
    assert!(tasks.values().any(|task| task.closed) && !modules.is_empty());
}

fn note(line: &str, tasks: &mut HashMap<u128, Acknowledged>, modules: &mut Vec<u64>) -> bool {
    let Some((what, number)) = line.trim_end().split_once(' ') else {
        return false;
    };
    match (what, number.parse::<u64>()) {
        ("opened", Ok(number)) => tasks.entry(number.into()).or_default().opened = true,
        ("closed", Ok(number)) => tasks.entry(number.into()).or_default().closed = true,
        ("deployed", Ok(number)) => modules.push(number),
        _ => return false,
    }
    true
}

fn verify(store: &Store, tasks: &HashMap<u128, Acknowledged>, modules: &[u64]) {
    let open = store.tasks.open_tasks().unwrap();
    for (number, acknowledged) in tasks {
        let head = store
            .tasks
            .head(task(*number))
            .unwrap()
            .expect("an acknowledged task");
        let closed = head == closing(*number).head;
        assert!(closed || head == opening(*number).head);
        assert!(
            closed || !acknowledged.closed,
            "task {number} lost its last write"
        );
        assert_eq!(open.contains(&task(*number)), !closed, "task {number}");
        let events = store.tasks.events(task(*number), 1, 9).unwrap();
        let expected = if closed {
            [opening(*number).events, closing(*number).events].concat()
        } else {
            opening(*number).events
        };
        assert_eq!(events, expected, "task {number}");
    }
    // Also those that were never acknowledged are whole.
    for task in &open {
        let head = store.tasks.head(*task).unwrap().unwrap();
        assert_eq!(head, opening(task.as_u128()).head);
    }
    for seed in modules {
        let agent = store
            .registry
            .agent(&format!("agent-{seed}"))
            .unwrap()
            .expect("an acknowledged agent");
        assert_eq!(
            store.modules.get(&agent.active.digest).unwrap().unwrap(),
            noise(*seed, 9000)
        );
    }
}

#[test]
fn another_process_finds_the_folder_locked() {
    let dir = tempfile::tempdir().unwrap();
    let (mut child, mut lines) = start(dir.path(), 0);
    let mut line = String::new();
    while !note(&line, &mut HashMap::new(), &mut Vec::new()) {
        line.clear();
        assert!(lines.read_line(&mut line).unwrap() > 0);
    }
    assert!(matches!(open_error(dir.path()), StoreError::Locked { .. }));
    child.kill().unwrap();
    child.wait().unwrap();
    open(dir.path()).close().unwrap();
}

fn start(dir: &Path, first: u128) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["crash::child", "--exact", "--ignored", "--nocapture"])
        .env(DIR, dir)
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap());
    (child, lines)
}

fn opening(number: u128) -> TaskWrite {
    let size = if number.is_multiple_of(7) { 6000 } else { 300 };
    TaskWrite {
        head: noise(number as u64, size),
        open: true,
        events: vec![(1, b"submitted".to_vec())],
        ..write(number)
    }
}

fn closing(number: u128) -> TaskWrite {
    let mut closing = TaskWrite {
        head: noise(number as u64 + 1, 200),
        replaces_updated_ms: Some(1000),
        events: vec![(2, b"working".to_vec()), (3, b"completed".to_vec())],
        ..write(number)
    };
    closing.index.updated_ms = 2000;
    closing.index.status = 2;
    closing
}

fn print(what: &str, number: u64) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{what} {number}")
        .and_then(|()| out.flush())
        .unwrap();
}

/// Writes for ever, until it is killed.
#[test]
#[ignore = "the process that other tests start and kill"]
fn child() {
    let dir = std::env::var(DIR).unwrap();
    let first: u128 = std::env::var(FIRST).unwrap().parse().unwrap();
    let store = open(Path::new(&dir));
    std::thread::scope(|scope| {
        for thread in 0..IN_FLIGHT as u128 {
            let store = &store;
            scope.spawn(move || {
                for number in (first + thread..).step_by(IN_FLIGHT) {
                    commit(store, opening(number)).unwrap();
                    print("opened", number as u64);
                    commit(store, closing(number)).unwrap();
                    print("closed", number as u64);
                }
            });
        }
        for seed in (first as u64).. {
            let bytes = noise(seed, 9000);
            store.modules.put(&bytes).unwrap();
            let definitions = [(format!("agent-{seed}"), bytes.clone())];
            store
                .registry
                .deploy(Digest::of(&bytes), &definitions, 1)
                .unwrap();
            print("deployed", seed);
        }
    });
}
