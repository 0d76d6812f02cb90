use std::collections::BTreeMap;
use std::sync::mpsc;

use dormouse_store::{Store, StoreError, TaskQuery, TaskWrite};

use crate::support::{commit, keep, noise, task, write};

fn query() -> TaskQuery {
    TaskQuery {
        agent: "a".to_owned(),
        owner: "o".to_owned(),
        limit: 100,
        ..TaskQuery::default()
    }
}

pub(super) fn a_write_is_visible_when_done(store: &Store) {
    assert_eq!(store.tasks.head(task(1)).unwrap(), None);
    for head in ["first", "second"] {
        let replaces_updated_ms = (head == "second").then_some(1000);
        let write = TaskWrite {
            head: head.into(),
            replaces_updated_ms,
            ..write(1)
        };
        commit(store, write).unwrap();
        assert_eq!(store.tasks.head(task(1)).unwrap().unwrap(), head.as_bytes());
        assert_eq!(store.tasks.list(&query()).unwrap().tasks, [(task(1), 1000)]);
    }
    assert_eq!(store.tasks.head(task(2)).unwrap(), None);
}

pub(super) fn done_runs_in_the_order_of_submission(store: &Store) {
    let (sender, receiver) = mpsc::channel();
    for number in 0..600 {
        let sender = sender.clone();
        let done =
            move |result: Result<(), StoreError>| sender.send((number, result.is_ok())).unwrap();
        store.tasks.commit(write(number), Box::new(done));
    }
    drop(sender);
    let order: Vec<_> = receiver.into_iter().collect();
    assert_eq!(
        order,
        (0..600).map(|number| (number, true)).collect::<Vec<_>>()
    );
}

pub(super) fn events_are_read_from_a_number(store: &Store) {
    let event = |seq: u64| (seq, format!("event {seq}").into_bytes());
    commit(
        store,
        TaskWrite {
            events: vec![event(1), event(2)],
            ..write(1)
        },
    )
    .unwrap();
    commit(
        store,
        TaskWrite {
            events: (3..=300).map(event).collect(),
            ..write(1)
        },
    )
    .unwrap();
    commit(
        store,
        TaskWrite {
            events: vec![event(7)],
            ..write(2)
        },
    )
    .unwrap();
    assert_eq!(
        store.tasks.events(task(1), 0, 2).unwrap(),
        [event(1), event(2)]
    );
    assert_eq!(
        store.tasks.events(task(1), 2, 3).unwrap(),
        [event(2), event(3), event(4)]
    );
    assert_eq!(store.tasks.events(task(1), 255, 9999).unwrap().len(), 46);
    assert_eq!(store.tasks.events(task(1), 301, 10).unwrap(), []);
    assert_eq!(store.tasks.events(task(2), 1, 10).unwrap(), [event(7)]);
    assert_eq!(store.tasks.events(task(3), 1, 10).unwrap(), []);
}

pub(super) fn state_is_set_replaced_and_removed(store: &Store) {
    let set = |key: &[u8], value: Option<&[u8]>| {
        let state = vec![(key.to_vec(), value.map(<[u8]>::to_vec))];
        commit(store, TaskWrite { state, ..write(1) }).unwrap();
    };
    set(b"k", Some(b"1"));
    set(b"kk", Some(b""));
    assert_eq!(store.tasks.state(b"k").unwrap().unwrap(), b"1");
    set(b"k", Some(b"2"));
    assert_eq!(store.tasks.state(b"k").unwrap().unwrap(), b"2");
    set(b"k", None);
    set(b"never", None);
    assert_eq!(store.tasks.state(b"k").unwrap(), None);
    assert_eq!(store.tasks.state(b"kk").unwrap().unwrap(), b"");
}

pub(super) fn records_are_read_by_prefix_in_pages(store: &Store) {
    let record = |key: &str| (key.as_bytes().to_vec(), Some(key.as_bytes().to_vec()));
    let keys = ["a1", "a2", "a3", "b1", "aa", "a"];
    keep(store, keys.iter().map(|key| record(key)).collect()).unwrap();
    let read = |prefix: &str, after: Option<&str>, limit| -> Vec<String> {
        let after = after.map(str::as_bytes);
        let page = store.tasks.records(prefix.as_bytes(), after, limit);
        page.unwrap()
            .into_iter()
            .map(|(key, value)| {
                assert_eq!(key, value);
                String::from_utf8(key).unwrap()
            })
            .collect()
    };
    assert_eq!(read("a", None, 9), ["a", "a1", "a2", "a3", "aa"]);
    assert_eq!(read("a", None, 2), ["a", "a1"]);
    assert_eq!(read("a", Some("a1"), 2), ["a2", "a3"]);
    assert_eq!(read("a", Some("aa"), 2), [""; 0]);
    assert_eq!(read("b", None, 9), ["b1"]);
    assert_eq!(read("c", None, 9), [""; 0]);
}

pub(super) fn records_are_written_with_a_task_or_alone(store: &Store) {
    let read = || store.tasks.records(b"k", None, 9).unwrap();
    let with_task = TaskWrite {
        records: vec![(b"k1".to_vec(), Some(noise(1, 9000)))],
        ..write(1)
    };
    commit(store, with_task).unwrap();
    assert_eq!(read(), [(b"k1".to_vec(), noise(1, 9000))]);
    keep(
        store,
        vec![
            (b"k1".to_vec(), None),
            (b"k2".to_vec(), Some(b"2".to_vec())),
        ],
    )
    .unwrap();
    assert_eq!(read(), [(b"k2".to_vec(), b"2".to_vec())]);
    let long = keep(store, vec![(vec![b'k'; 257], Some(Vec::new()))]);
    assert!(
        matches!(long, Err(StoreError::LimitExceeded { .. })),
        "{long:?}"
    );
    assert_eq!(read().len(), 1);
    assert_eq!(store.tasks.state(b"k2").unwrap(), None);
}

pub(super) fn open_tasks_follow_the_last_write(store: &Store) {
    for (number, open) in [
        (1, true),
        (2, true),
        (3, false),
        (1, false),
        (3, true),
        (4, false),
    ] {
        commit(
            store,
            TaskWrite {
                open,
                ..write(number)
            },
        )
        .unwrap();
    }
    let mut open = store.tasks.open_tasks().unwrap();
    open.sort();
    assert_eq!(open, [task(2), task(3)]);
}

pub(super) fn an_updated_task_moves_in_the_list(store: &Store) {
    for (number, updated_ms, replaces_updated_ms) in [
        (1, 10, None),
        (2, 20, None),
        (3, 20, None),
        (1, 30, Some(10)),
        (1, 40, Some(30)),
        (2, 5, Some(20)),
    ] {
        let mut write = TaskWrite {
            replaces_updated_ms,
            ..write(number)
        };
        write.index.updated_ms = updated_ms;
        commit(store, write).unwrap();
    }
    let page = store.tasks.list(&query()).unwrap();
    assert_eq!(page.tasks, [(task(1), 40), (task(3), 20), (task(2), 5)]);
    assert_eq!((page.next, page.total), (None, 3));
    let since = |updated_after_ms| {
        let query = TaskQuery {
            updated_after_ms: Some(updated_after_ms),
            ..query()
        };
        store.tasks.list(&query).unwrap().total
    };
    assert_eq!((since(20), since(21), since(41)), (2, 1, 0));
}

pub(super) fn counts_follow_status(store: &Store) {
    assert_eq!(store.tasks.counts(), BTreeMap::new());
    for (number, status) in [(1, 1), (2, 1), (3, 2), (1, 3), (2, 3), (1, 3)] {
        let mut write = TaskWrite {
            replaces_updated_ms: Some(1000),
            ..write(number)
        };
        write.index.status = status;
        commit(store, write).unwrap();
    }
    assert_eq!(store.tasks.counts(), BTreeMap::from([(2, 1), (3, 2)]));
}

pub(super) fn large_values_come_back_whole(store: &Store) {
    for (number, size) in [0, 4094, 4095, 5000, 1 << 20].into_iter().enumerate() {
        let value = noise(size as u64, size);
        let number = number as u128;
        let write = TaskWrite {
            head: value.clone(),
            // The same bytes in several places are one payload.
            events: vec![(1, value.clone()), (2, noise(99, size))],
            state: vec![(b"large".to_vec(), Some(value.clone()))],
            ..write(number)
        };
        commit(store, write).unwrap();
        assert_eq!(store.tasks.head(task(number)).unwrap().unwrap(), value);
        assert_eq!(store.tasks.state(b"large").unwrap().unwrap(), value);
        let events = store.tasks.events(task(number), 1, 10).unwrap();
        assert_eq!(events, [(1, value), (2, noise(99, size))]);
    }
    let last = noise(1 << 20, 1 << 20);
    commit(
        store,
        TaskWrite {
            head: b"small".to_vec(),
            ..write(4)
        },
    )
    .unwrap();
    let state = vec![(b"large".to_vec(), None)];
    commit(
        store,
        TaskWrite {
            head: b"small".to_vec(),
            state,
            ..write(4)
        },
    )
    .unwrap();
    assert_eq!(store.tasks.head(task(4)).unwrap().unwrap(), b"small");
    assert_eq!(store.tasks.events(task(4), 1, 1).unwrap(), [(1, last)]);
}

pub(super) fn long_owners_and_keys_are_told_apart(store: &Store) {
    let name = |last: char| "x".repeat(1000) + &last.to_string();
    for (number, last) in [(1, 'p'), (2, 'q')] {
        let mut write = write(number);
        write.index.owner = name(last);
        write.index.context = name(last);
        write.state = vec![(name(last).into_bytes(), Some(vec![last as u8]))];
        commit(store, write).unwrap();
        let query = TaskQuery {
            owner: name(last),
            context: Some(name(last)),
            ..query()
        };
        assert_eq!(
            store.tasks.list(&query).unwrap().tasks,
            [(task(number), 1000)]
        );
        assert_eq!(
            store.tasks.state(name(last).as_bytes()).unwrap().unwrap(),
            [last as u8]
        );
    }
}

pub(super) fn a_write_over_a_limit_stores_nothing(store: &Store) {
    let mut long_owner = write(1);
    long_owner.index.owner = "x".repeat(1025);
    let long_key = TaskWrite {
        state: vec![(vec![0; 1025], None)],
        ..write(1)
    };
    let large_head = TaskWrite {
        head: vec![0; (64 << 20) + 1],
        ..write(1)
    };
    for write in [long_owner, long_key, large_head] {
        let refused = commit(store, write);
        assert!(
            matches!(refused, Err(StoreError::LimitExceeded { .. })),
            "{refused:?}"
        );
    }
    assert_eq!(store.tasks.head(task(1)).unwrap(), None);
    assert_eq!(store.tasks.counts(), BTreeMap::new());
}

pub(super) fn many_threads_commit_at_once(store: &Store) {
    std::thread::scope(|scope| {
        for thread in 0..8 {
            scope.spawn(move || {
                for number in thread * 100..thread * 100 + 50 {
                    commit(
                        store,
                        TaskWrite {
                            open: number % 2 == 0,
                            ..write(number)
                        },
                    )
                    .unwrap();
                    assert!(store.tasks.head(task(number)).unwrap().is_some());
                }
            });
        }
    });
    assert_eq!(store.tasks.counts(), BTreeMap::from([(1, 400)]));
    assert_eq!(store.tasks.open_tasks().unwrap().len(), 200);
    assert_eq!(store.metrics.commit_seconds.get_sample_count(), 400);
}
