//! Lists and pages of both backends against a plain sorted list, for any history of writes.

use std::collections::HashMap;

use dormouse_store::{Store, TaskId, TaskIndex, TaskQuery, TaskWrite};
use proptest::prelude::*;

use crate::support::{commit, open, task, write};

#[derive(Clone, Debug)]
struct Update {
    number: u128,
    status: u8,
    updated_ms: u64,
}

fn update() -> impl Strategy<Value = Update> {
    (0..12_u128, 0..3_u8, 0..6_u64).prop_map(|(number, status, updated_ms)| Update {
        number,
        status,
        // Both ends of the range, and equal times often.
        updated_ms: if updated_ms == 5 {
            u64::MAX
        } else {
            updated_ms
        },
    })
}

fn query() -> impl Strategy<Value = TaskQuery> {
    let context = prop::option::of(0..3_u8);
    (
        0..3_u8,
        0..2_u8,
        context,
        prop::option::of(0..4_u8),
        prop::option::of(0..7_u64),
        1..5_usize,
    )
        .prop_map(
            |(agent, owner, context, status, updated_after_ms, limit)| TaskQuery {
                agent: agent.to_string(),
                owner: owner.to_string(),
                context: context.map(|context| context.to_string()),
                status,
                updated_after_ms,
                after: None,
                limit,
            },
        )
}

/// Agent, owner and context follow from the task, since they never change.
fn index(update: &Update) -> TaskIndex {
    TaskIndex {
        agent: (update.number % 2).to_string(),
        owner: (update.number / 2 % 2).to_string(),
        context: (update.number / 4).to_string(),
        status: update.status,
        updated_ms: update.updated_ms,
    }
}

fn apply(store: &Store, updates: &[Update]) -> HashMap<TaskId, TaskIndex> {
    let mut model = HashMap::<TaskId, TaskIndex>::new();
    for update in updates {
        let task = task(update.number);
        let index = index(update);
        let before = model.insert(task, index.clone());
        let replaces_updated_ms = before.map(|before| before.updated_ms);
        commit(
            store,
            TaskWrite {
                index,
                replaces_updated_ms,
                ..write(update.number)
            },
        )
        .unwrap();
    }
    model
}

fn expected(model: &HashMap<TaskId, TaskIndex>, query: &TaskQuery) -> Vec<(TaskId, u64)> {
    let mut tasks: Vec<_> = model
        .iter()
        .filter(|(_, index)| {
            index.agent == query.agent
                && index.owner == query.owner
                && query
                    .context
                    .as_ref()
                    .is_none_or(|context| *context == index.context)
                && query.status.is_none_or(|status| status == index.status)
                && query
                    .updated_after_ms
                    .is_none_or(|after| index.updated_ms >= after)
        })
        .map(|(task, index)| (*task, index.updated_ms))
        .collect();
    tasks.sort_by_key(|(task, updated_ms)| {
        (std::cmp::Reverse(*updated_ms), std::cmp::Reverse(*task))
    });
    tasks
}

fn check(
    store: &Store,
    model: &HashMap<TaskId, TaskIndex>,
    queries: &[TaskQuery],
) -> Result<(), TestCaseError> {
    for query in queries {
        let expected = expected(model, query);
        let mut query = query.clone();
        let mut listed = Vec::new();
        loop {
            let page = store.tasks.list(&query).unwrap();
            prop_assert_eq!(page.total, expected.len() as u64);
            prop_assert!(page.tasks.len() <= query.limit);
            listed.extend(page.tasks);
            prop_assert!(listed.len() <= expected.len());
            query.after = page.next;
            if page.next.is_none() {
                break;
            }
        }
        prop_assert_eq!(&listed, &expected, "{:?}", query);
    }
    let mut counts = std::collections::BTreeMap::new();
    for index in model.values() {
        *counts.entry(index.status).or_insert(0) += 1;
    }
    prop_assert_eq!(store.tasks.counts(), counts);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn in_memory(updates in prop::collection::vec(update(), 0..60), queries in prop::collection::vec(query(), 8)) {
        let store = Store::in_memory();
        let model = apply(&store, &updates);
        check(&store, &model, &queries)?;
    }
}

proptest! {
    // Each case is a data folder and its fsyncs.
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn on_sled(updates in prop::collection::vec(update(), 0..60), queries in prop::collection::vec(query(), 8)) {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let model = apply(&store, &updates);
        check(&store, &model, &queries)?;
        store.close().unwrap();
        check(&open(dir.path()), &model, &queries)?;
    }
}
