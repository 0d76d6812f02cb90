//! Shared by all tests of the crate.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc;

use dormouse_store::{
    Digest, OpenOptions, Record, Store, StoreError, TaskId, TaskIndex, TaskWrite,
};

pub(crate) fn open(dir: &Path) -> Store {
    Store::open(dir, &OpenOptions::default()).unwrap()
}

pub(crate) fn open_error(dir: &Path) -> StoreError {
    match Store::open(dir, &OpenOptions::default()) {
        Ok(_) => panic!("the store opened"),
        Err(error) => error,
    }
}

pub(crate) fn open_accepting_loss(dir: &Path) -> Store {
    let options = OpenOptions {
        accept_data_loss: true,
        ..OpenOptions::default()
    };
    Store::open(dir, &options).unwrap()
}

pub(crate) fn task(number: u128) -> TaskId {
    TaskId::from_u128(number)
}

/// The first write of a task of agent `a` and owner `o`, to be changed where a test cares.
pub(crate) fn write(number: u128) -> TaskWrite {
    TaskWrite {
        task: task(number),
        head: format!("head {number}").into_bytes(),
        open: false,
        index: TaskIndex {
            agent: "a".to_owned(),
            owner: "o".to_owned(),
            context: "c".to_owned(),
            status: 1,
            updated_ms: 1000,
        },
        replaces_updated_ms: None,
        events: Vec::new(),
        state: Vec::new(),
        records: Vec::new(),
    }
}

pub(crate) fn commit(store: &Store, write: TaskWrite) -> Result<(), StoreError> {
    let (sender, receiver) = mpsc::channel();
    store
        .tasks
        .commit(write, Box::new(move |result| sender.send(result).unwrap()));
    receiver.recv().unwrap()
}

pub(crate) fn keep(store: &Store, records: Vec<Record>) -> Result<(), StoreError> {
    let (sender, receiver) = mpsc::channel();
    store.tasks.keep(
        records,
        Box::new(move |result| sender.send(result).unwrap()),
    );
    receiver.recv().unwrap()
}

/// Bytes that do not compress and differ by seed.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new()
        .update(&seed.to_be_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

/// Every file below a folder with the digest of its content.
pub(crate) fn tree(folder: &Path) -> BTreeMap<String, Digest> {
    let mut files = BTreeMap::new();
    collect(folder, folder, &mut files);
    files
}

fn collect(root: &Path, folder: &Path, files: &mut BTreeMap<String, Digest>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, files);
        } else {
            let name = path.strip_prefix(root).unwrap().display().to_string();
            files.insert(name, Digest::of(&std::fs::read(&path).unwrap()));
        }
    }
}

/// The only entry of a folder.
pub(crate) fn only_entry(folder: &Path) -> std::path::PathBuf {
    let entries: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(entries.len(), 1, "{entries:?}");
    entries[0].clone()
}
