//! What lies in the data folder, and what a new process finds there.

use std::fs;
use std::path::Path;

use dormouse_store::{Digest, StoreError, TaskWrite};

use crate::support::{commit, noise, open, open_error, task, tree, write};

fn blobs(dir: &Path) -> usize {
    ["registry", "tasks"]
        .map(|database| {
            fs::read_dir(dir.join(database).join("sled/blobs"))
                .unwrap()
                .count()
        })
        .iter()
        .sum()
}

/// Payload files of a database, temporary ones included.
fn payloads(dir: &Path, database: &str) -> usize {
    tree(&dir.join(database).join("payloads")).len()
}

#[test]
fn everything_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let module = store.modules.put(&noise(1, 50_000)).unwrap().digest;
    let definitions = [("csv".to_owned(), noise(2, 6000))];
    let deployed = store.registry.deploy(module, &definitions, 5).unwrap();
    store
        .registry
        .deploy(Digest::of(b"gone"), &[("gone".to_owned(), Vec::new())], 5)
        .unwrap();
    store.registry.delete("gone").unwrap();
    let written = TaskWrite {
        open: true,
        events: vec![(1, noise(3, 5000)), (2, b"small".to_vec())],
        state: vec![(b"k".to_vec(), Some(noise(4, 9000)))],
        ..write(1)
    };
    commit(&store, written).unwrap();
    store.close().unwrap();

    let store = open(dir.path());
    assert_eq!(
        store.modules.get(&module).unwrap().unwrap(),
        noise(1, 50_000)
    );
    assert_eq!(store.registry.versions("csv").unwrap(), deployed);
    let again = store
        .registry
        .deploy(module, &[("gone".to_owned(), Vec::new())], 6)
        .unwrap();
    assert_eq!(again[0].number, 2);
    assert_eq!(store.tasks.head(task(1)).unwrap().unwrap(), b"head 1");
    assert_eq!(
        store.tasks.events(task(1), 1, 9).unwrap(),
        [(1, noise(3, 5000)), (2, b"small".to_vec())]
    );
    assert_eq!(store.tasks.state(b"k").unwrap().unwrap(), noise(4, 9000));
    assert_eq!(store.tasks.open_tasks().unwrap(), [task(1)]);
}

#[test]
fn sled_never_writes_blob_files() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    // The largest inline values and the longest keys, enough of them to fill leaves and index nodes.
    for number in 0..60 {
        let key = |part: u64| {
            [
                noise(number << 8 | part, 100).as_slice(),
                b"0123456789012345678901234567",
            ]
            .concat()
        };
        let mut write = TaskWrite {
            head: noise(number, 4094),
            events: (1..=20).map(|seq| (seq, noise(seq, 4094))).collect(),
            state: (0..50)
                .map(|part| (key(part), Some(noise(part, 4094))))
                .collect(),
            ..write(u128::from(number))
        };
        write.index.owner = "o".repeat(1000);
        write.index.context = "c".repeat(1000);
        commit(&store, write).unwrap();
        let name = format!("{number:0256}");
        store
            .registry
            .deploy(Digest::of(b"1"), &[(name, noise(number, 4000))], 1)
            .unwrap();
    }
    let large = TaskWrite {
        head: noise(0, 3 << 20),
        ..write(1)
    };
    commit(&store, large).unwrap();
    store.close().unwrap();
    assert_eq!(blobs(dir.path()), 0);
    assert_eq!(payloads(dir.path(), "tasks"), 1);
    drop(open(dir.path()));
    assert_eq!(blobs(dir.path()), 0);
}

#[test]
fn a_payload_file_goes_with_its_last_reference() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let large = noise(1, 5000);
    let shared = TaskWrite {
        head: large.clone(),
        state: vec![(b"k".to_vec(), Some(large.clone()))],
        ..write(1)
    };
    commit(&store, shared.clone()).unwrap();
    commit(
        &store,
        TaskWrite {
            state: Vec::new(),
            ..shared
        },
    )
    .unwrap();
    assert_eq!(payloads(dir.path(), "tasks"), 1);
    commit(
        &store,
        TaskWrite {
            head: b"small".to_vec(),
            ..write(1)
        },
    )
    .unwrap();
    assert_eq!(payloads(dir.path(), "tasks"), 1);
    assert_eq!(store.tasks.state(b"k").unwrap().unwrap(), large);
    commit(
        &store,
        TaskWrite {
            state: vec![(b"k".to_vec(), None)],
            ..write(1)
        },
    )
    .unwrap();
    // Files go after the acknowledgement, on the commit thread; a later commit is behind that.
    commit(&store, write(2)).unwrap();
    assert_eq!(payloads(dir.path(), "tasks"), 0);

    let definitions = [("csv".to_owned(), noise(2, 5000))];
    store
        .registry
        .deploy(Digest::of(b"1"), &definitions, 1)
        .unwrap();
    assert_eq!(payloads(dir.path(), "registry"), 1);
    store.registry.delete("csv").unwrap();
    assert_eq!(payloads(dir.path(), "registry"), 0);
}

#[test]
fn temporary_files_are_swept_at_open() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).close().unwrap();
    let leftovers =
        ["modules/tmp/.tmpA", "tasks/payloads/tmp/.tmpB"].map(|name| dir.path().join(name));
    for leftover in &leftovers {
        fs::write(leftover, b"half a module").unwrap();
    }
    drop(open(dir.path()));
    for leftover in &leftovers {
        assert!(!leftover.exists());
    }
}

#[test]
fn a_folder_has_one_store_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    assert!(matches!(open_error(dir.path()), StoreError::Locked { .. }));
    drop(store);
    drop(open(dir.path()));
}

#[test]
fn a_closed_store_refuses_task_writes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let tasks = store.tasks.clone();
    store.close().unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    tasks.commit(
        write(1),
        Box::new(move |result| sender.send(result).unwrap()),
    );
    assert!(matches!(receiver.recv().unwrap(), Err(StoreError::Closed)));
}
