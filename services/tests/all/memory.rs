//! Memory: whose it is, how much of it there may be, what a search finds, and that it outlives the process.

use crate::support::{World, new_task, scope, user_in};
use dormouse_services::memory::{
    Entry, MAX_ENTRIES, MAX_SCOPE_BYTES, MAX_VALUE_BYTES, Memory, MemoryScope, Query,
};
use dormouse_services::{Desk, Grants, ServiceError, TaskEngine, TaskLimits};
use dormouse_store::{OpenOptions, Store};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

const SCOPES: [MemoryScope; 3] = [
    MemoryScope::Agent,
    MemoryScope::Context,
    MemoryScope::Principal,
];

fn memory(engine: &TaskEngine, agent: &str, principal: &str, context: &str) -> Memory {
    let call = engine.begin(new_task(&scope(agent, principal), user_in(context)));
    Desk::new(Arc::new(call), Grants::default()).memory()
}

fn entry(key: &str, value: &str) -> Entry {
    Entry {
        key: key.to_owned(),
        value: serde_json::to_string(value).unwrap(),
        vector: Vec::new(),
    }
}

fn query(text: &str) -> Query {
    Query {
        text: text.to_owned(),
        limit: 100,
        ..Query::default()
    }
}

async fn keys(memory: &Memory, scope: MemoryScope) -> Vec<String> {
    let entries = memory.list(scope, "", None, 100).await.unwrap();
    entries.into_iter().map(|entry| entry.key).collect()
}

#[tokio::test]
async fn entries_are_replaced_listed_in_order_and_deleted() {
    let world = World::new().await;
    let memory = memory(&world.engine, "a", "ann", "tea");
    let here = MemoryScope::Principal;
    for (key, value) in [("b", "1"), ("a", "1"), ("b", "2"), ("ba", "1"), ("c", "1")] {
        memory.save(here, entry(key, value)).await.unwrap();
    }
    assert_eq!(memory.load(here, "b").await.unwrap(), Some(entry("b", "2")));
    assert_eq!(memory.load(here, "bb").await.unwrap(), None);
    assert_eq!(keys(&memory, here).await, ["a", "b", "ba", "c"]);
    let listed = |prefix, after, limit| memory.list(here, prefix, after, limit);
    assert_eq!(listed("b", None, 100).await.unwrap().len(), 2);
    assert_eq!(listed("b", Some("b"), 100).await.unwrap()[0].key, "ba");
    assert_eq!(listed("b", Some("a"), 1).await.unwrap()[0].key, "b");
    assert!(listed("b", Some("c"), 100).await.unwrap().is_empty());
    assert!(memory.delete(here, "b").await.unwrap());
    assert!(!memory.delete(here, "b").await.unwrap());
    assert_eq!(memory.load(here, "b").await.unwrap(), None);
    assert_eq!(keys(&memory, here).await, ["a", "ba", "c"]);
}

#[tokio::test]
async fn nonsense_and_too_much_are_refused_and_change_nothing() {
    let world = World::new().await;
    let memory = memory(&world.engine, "a", "ann", "tea");
    let here = MemoryScope::Context;
    let not_json = Entry {
        value: "{".to_owned(),
        ..entry("k", "")
    };
    let endless = Entry {
        vector: vec![f32::NAN],
        ..entry("k", "")
    };
    for wrong in [
        entry("", "x"),
        entry(&"k".repeat(129), "x"),
        not_json,
        endless,
    ] {
        let refused = memory.save(here, wrong).await;
        assert!(
            matches!(refused, Err(ServiceError::Invalid(_))),
            "{refused:?}"
        );
    }
    let large = entry("k", &"x".repeat(MAX_VALUE_BYTES));
    let refused = memory.save(here, large).await;
    assert!(
        matches!(refused, Err(ServiceError::Limit(_))),
        "{refused:?}"
    );
    assert!(keys(&memory, here).await.is_empty());
}

#[tokio::test]
async fn a_full_scope_takes_no_more_until_something_is_deleted() {
    let world = World::new().await;
    let ann = memory(&world.engine, "a", "ann", "tea");
    let here = MemoryScope::Principal;
    for number in 0..MAX_ENTRIES {
        let small = entry(&number.to_string(), "x");
        ann.save(here, small).await.unwrap();
    }
    let refused = ann.save(here, entry("more", "x")).await;
    let Err(ServiceError::Limit(told)) = refused else {
        panic!("{refused:?}")
    };
    assert!(told.contains("1000 entries"), "{told}");
    ann.save(here, entry("7", "replaced")).await.unwrap();
    ann.save(MemoryScope::Context, entry("more", "x"))
        .await
        .unwrap();
    ann.delete(here, "7").await.unwrap();
    ann.save(here, entry("more", "x")).await.unwrap();
    // By bytes as well.
    let bob = memory(&world.engine, "a", "bob", "tea");
    let large = "x".repeat(60 << 10);
    let fit = MAX_SCOPE_BYTES as usize / large.len();
    for number in 0..fit {
        bob.save(here, entry(&number.to_string(), &large))
            .await
            .unwrap();
    }
    let refused = bob.save(here, entry("more", &large)).await;
    assert!(
        matches!(refused, Err(ServiceError::Limit(_))),
        "{refused:?}"
    );
    bob.save(here, entry("0", "small")).await.unwrap();
    bob.save(here, entry("more", &large)).await.unwrap();
}

#[tokio::test]
async fn a_search_ranks_by_words_by_vectors_or_by_both() {
    let world = World::new().await;
    let memory = memory(&world.engine, "a", "ann", "tea");
    let here = MemoryScope::Agent;
    for (key, value, vector) in [
        ("cat", "the cat sleeps on the sofa", vec![1.0, 0.0]),
        ("dog", "the dog sleeps in the garden", vec![0.9, 0.1]),
        ("tax", "the tax is due in May", vec![0.0, 1.0]),
        ("odd", "nothing in common", vec![1.0, 0.0, 0.0]),
    ] {
        let entry = Entry {
            vector,
            ..entry(key, value)
        };
        memory.save(here, entry).await.unwrap();
    }
    let found = async |query: Query| {
        let hits = memory.search(here, query).await.unwrap();
        let scores: Vec<f32> = hits.iter().map(|hit| hit.score).collect();
        assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
        hits.into_iter()
            .map(|hit| hit.entry.key)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        found(query("Who SLEEPS in a garden?")).await[..2],
        ["dog", "cat"]
    );
    assert!(found(query("zebra")).await.is_empty());
    let near = |vector: Vec<f32>| Query {
        vector,
        limit: 2,
        ..Query::default()
    };
    assert_eq!(found(near(vec![0.0, 2.0])).await, ["tax", "dog"]);
    let both = Query {
        text: "tax".to_owned(),
        min_score: 0.95,
        ..near(vec![1.0, 0.0])
    };
    assert_eq!(found(both).await, ["cat", "tax"]);
    let none = Query::default();
    assert!(found(none).await.is_empty());
}

#[tokio::test]
async fn memory_outlives_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let large = "y".repeat(20 << 10);
    let saved = entry("k", &large);
    for round in 0..2 {
        let store = Store::open(folder.path(), &OpenOptions::default()).unwrap();
        let opened = TaskEngine::open(store.tasks.clone(), TaskLimits::default()).await;
        let (engine, _) = opened.unwrap();
        let memory = memory(&engine, "a", "ann", "tea");
        if round == 0 {
            memory
                .save(MemoryScope::Principal, saved.clone())
                .await
                .unwrap();
        } else {
            let found = memory.search(MemoryScope::Principal, query(&large)).await;
            assert_eq!(found.unwrap()[0].entry, saved);
        }
        drop((memory, engine));
        store.close().unwrap();
    }
}

#[derive(Debug, Clone)]
struct Save {
    agent: String,
    principal: String,
    context: String,
    scope: usize,
    key: String,
}

fn saves() -> impl Strategy<Value = Vec<Save>> {
    // Few and short, so that names repeat and could run into each other.
    let name = || "[ab]{1,2}";
    let save = (name(), name(), name(), 0..3_usize, name()).prop_map(
        |(agent, principal, context, scope, key)| Save {
            agent,
            principal,
            context,
            scope,
            key,
        },
    );
    proptest::collection::vec(save, 1..24)
}

/// Who may read what somebody has saved, by the meaning of the scopes.
fn owner(save: &Save) -> (usize, Vec<String>) {
    let all = [&save.agent, &save.principal, &save.context];
    let owners = match SCOPES[save.scope] {
        MemoryScope::Agent => &all[..1],
        MemoryScope::Principal => &all[..2],
        MemoryScope::Context => &all[..],
    };
    (
        save.scope,
        owners.iter().map(|name| (*name).clone()).collect(),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nobody_reads_or_finds_what_is_in_anothers_scope(saves in saves()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = World::new().await;
            let mut model = BTreeMap::<_, BTreeMap<String, String>>::new();
            for (number, save) in saves.iter().enumerate() {
                let memory = memory(&world.engine, &save.agent, &save.principal, &save.context);
                let value = format!("word {number}");
                memory.save(SCOPES[save.scope], entry(&save.key, &value)).await.unwrap();
                model.entry(owner(save)).or_default().insert(save.key.clone(), value);
            }
            for save in &saves {
                let memory = memory(&world.engine, &save.agent, &save.principal, &save.context);
                for (scope, here) in SCOPES.into_iter().enumerate() {
                    let mine = model.get(&owner(&Save { scope, ..save.clone() }));
                    let mine = mine.cloned().unwrap_or_default();
                    let listed: Vec<String> = keys(&memory, here).await;
                    assert!(listed.iter().eq(mine.keys()), "{listed:?} {mine:?}");
                    let found = memory.search(here, query("word")).await.unwrap();
                    assert_eq!(found.len(), mine.len());
                    let loaded = memory.load(here, &save.key).await.unwrap();
                    let expected = mine.get(&save.key).map(|value| entry(&save.key, value));
                    assert_eq!(loaded, expected);
                }
            }
        });
    }
}

#[tokio::test]
async fn an_agents_memory_goes_with_it_and_no_other() {
    let world = World::new().await;
    for (agent, principal) in [("a", "ann"), ("a", "bob"), ("ab", "ann")] {
        let memory = memory(&world.engine, agent, principal, "tea");
        for here in SCOPES {
            for number in 0..3 {
                let kept = entry(&number.to_string(), agent);
                memory.save(here, kept).await.unwrap();
            }
        }
    }
    world.engine.forget_memory("a").await.unwrap();
    for here in SCOPES {
        for principal in ["ann", "bob"] {
            let memory = memory(&world.engine, "a", principal, "tea");
            assert!(keys(&memory, here).await.is_empty());
        }
        let other = memory(&world.engine, "ab", "ann", "tea");
        assert_eq!(keys(&other, here).await, ["0", "1", "2"]);
    }
    // Nothing is left behind that would count.
    let memory = memory(&world.engine, "a", "ann", "tea");
    memory
        .save(MemoryScope::Agent, entry("k", "new"))
        .await
        .unwrap();
    world.engine.forget_memory("a").await.unwrap();
    world.engine.forget_memory("a").await.unwrap();
    assert!(keys(&memory, MemoryScope::Agent).await.is_empty());
}

#[tokio::test]
async fn an_agent_has_so_many_scopes_and_an_empty_one_does_not_count() {
    let limits = TaskLimits {
        memory_scopes: 2,
        ..TaskLimits::default()
    };
    let world = World::with(limits).await;
    let here = MemoryScope::Principal;
    let of = |principal: &str| memory(&world.engine, "a", principal, "tea");
    for principal in ["ann", "bob", "ann"] {
        of(principal).save(here, entry("k", "x")).await.unwrap();
    }
    let refused = of("eve").save(here, entry("k", "x")).await;
    let Err(ServiceError::Limit(told)) = refused else {
        panic!("{refused:?}")
    };
    assert!(told.contains("2 scopes"), "{told}");
    assert!(keys(&of("eve"), here).await.is_empty());
    memory(&world.engine, "b", "eve", "tea")
        .save(here, entry("k", "x"))
        .await
        .unwrap();
    assert!(of("bob").delete(here, "k").await.unwrap());
    of("eve").save(here, entry("k", "x")).await.unwrap();
    let refused = of("bob").save(here, entry("k", "x")).await;
    assert!(
        matches!(refused, Err(ServiceError::Limit(_))),
        "{refused:?}"
    );
}

/// First entries of many scopes at once: no more come in than there may be.
#[tokio::test]
async fn scopes_that_begin_at_once_are_counted() {
    let limits = TaskLimits {
        memory_scopes: 5,
        ..TaskLimits::default()
    };
    let world = World::with(limits).await;
    let saving = (0..20).map(|number| {
        let memory = memory(&world.engine, "a", &format!("p{number}"), "tea");
        async move { memory.save(MemoryScope::Principal, entry("k", "x")).await }
    });
    let saved = futures_util::future::join_all(saving).await;
    assert_eq!(saved.iter().filter(|saved| saved.is_ok()).count(), 5);
}
