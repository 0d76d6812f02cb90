use dormouse_store::{Digest, Split, Store, StoreError, VersionRecord};

use crate::support::noise;

fn deploy(store: &Store, module: &[u8], names: &[&str], now_ms: u64) -> Vec<VersionRecord> {
    let definitions: Vec<_> = names
        .iter()
        .map(|name| {
            (
                (*name).to_owned(),
                format!("{name} at {now_ms}").into_bytes(),
            )
        })
        .collect();
    store
        .registry
        .deploy(Digest::of(module), &definitions, now_ms)
        .unwrap()
}

fn numbers(versions: &[VersionRecord]) -> Vec<u32> {
    versions.iter().map(|version| version.number).collect()
}

pub(super) fn versions_count_up_and_the_newest_is_active(store: &Store) {
    assert_eq!(store.registry.agent("csv").unwrap(), None);
    assert_eq!(store.registry.versions("csv").unwrap(), []);
    for (module, number) in [(b"1", 1), (b"2", 2), (b"3", 3)] {
        let deployed = deploy(store, module, &["csv"], u64::from(number) * 10);
        let expected = VersionRecord {
            agent: "csv".to_owned(),
            number,
            digest: Digest::of(module),
            definition: format!("csv at {number}0").into_bytes(),
            created_ms: u64::from(number) * 10,
        };
        assert_eq!(deployed, std::slice::from_ref(&expected));
        let agent = store.registry.agent("csv").unwrap().unwrap();
        assert_eq!((agent.name.as_str(), agent.versions), ("csv", number));
        assert_eq!(agent.active, expected);
        assert_eq!(
            store.registry.version("csv", number).unwrap(),
            Some(expected)
        );
    }
    assert_eq!(numbers(&store.registry.versions("csv").unwrap()), [1, 2, 3]);
    assert_eq!(store.registry.version("csv", 4).unwrap(), None);
    assert_eq!(store.registry.count(), 1);
}

pub(super) fn the_same_module_again_keeps_its_number(store: &Store) {
    deploy(store, b"1", &["csv"], 10);
    deploy(store, b"2", &["csv"], 20);
    let again = deploy(store, b"1", &["csv"], 30);
    assert_eq!((again[0].number, again[0].created_ms), (1, 10));
    assert_eq!(again[0].definition, b"csv at 30");
    let agent = store.registry.agent("csv").unwrap().unwrap();
    assert_eq!((agent.versions, &agent.active), (2, &again[0]));
}

pub(super) fn one_deploy_changes_all_its_agents(store: &Store) {
    deploy(store, b"1", &["b"], 10);
    let deployed = deploy(store, b"2", &["c", "b", "a"], 20);
    let named: Vec<_> = deployed
        .iter()
        .map(|version| (version.agent.as_str(), version.number))
        .collect();
    assert_eq!(named, [("c", 1), ("b", 2), ("a", 1)]);
    assert_eq!(store.registry.count(), 3);
    assert_eq!(deploy(store, b"3", &[], 30), []);
}

pub(super) fn activate_switches_to_known_versions_only(store: &Store) {
    deploy(store, b"1", &["csv"], 10);
    deploy(store, b"2", &["csv"], 20);
    let active = store.registry.activate("csv", 1).unwrap().unwrap();
    assert_eq!(active.digest, Digest::of(b"1"));
    assert_eq!(store.registry.agent("csv").unwrap().unwrap().active, active);
    assert_eq!(store.registry.activate("csv", 3).unwrap(), None);
    assert_eq!(store.registry.activate("other", 1).unwrap(), None);
    assert_eq!(store.registry.agent("csv").unwrap().unwrap().active, active);
    assert_eq!(deploy(store, b"3", &["csv"], 30)[0].number, 3);
}

pub(super) fn a_split_lasts_until_a_deploy_or_a_switch(store: &Store) {
    let split = |version, percent| {
        let split = Split { version, percent };
        store.registry.split("csv", split).unwrap()
    };
    let shown = || {
        let agent = store.registry.agent("csv").unwrap().unwrap();
        let split = agent.split.map(|split| (split.version, split.percent));
        (agent.active.number, agent.versions, split)
    };
    assert!(!split(1, 10), "there is no such agent");
    deploy(store, b"1", &["csv"], 10);
    deploy(store, b"2", &["csv"], 20);
    assert!(!split(3, 10), "there is no such version");
    assert!(!split(2, 10), "it is the active one");
    assert_eq!(shown(), (2, 2, None));
    assert!(split(1, 10));
    assert!(split(1, 90));
    assert_eq!(shown(), (2, 2, Some((1, 90))));
    let limits = store.registry.set_limits("csv", Some(b"tight"));
    assert!(limits.unwrap() && shown().2.is_some());
    store.registry.activate("csv", 1).unwrap();
    assert_eq!(shown(), (1, 2, None));
    assert!(split(2, 1));
    deploy(store, b"3", &["csv"], 30);
    assert_eq!(shown(), (3, 3, None));
    assert!(split(2, 1));
    store.registry.delete("csv").unwrap();
    deploy(store, b"4", &["csv"], 40);
    assert_eq!(shown(), (4, 1, None));
    deploy(store, b"5", &["csv"], 50);
    assert!(split(4, 99));
}

pub(super) fn a_deleted_agent_never_reuses_a_number(store: &Store) {
    deploy(store, b"1", &["csv", "kept"], 10);
    deploy(store, b"2", &["csv"], 20);
    assert_eq!(numbers(&store.registry.delete("csv").unwrap()), [1, 2]);
    assert_eq!(store.registry.delete("csv").unwrap(), []);
    assert_eq!(store.registry.delete("unknown").unwrap(), []);
    assert_eq!(store.registry.agent("csv").unwrap(), None);
    assert_eq!(store.registry.version("csv", 1).unwrap(), None);
    assert_eq!(store.registry.activate("csv", 1).unwrap(), None);
    assert_eq!(store.registry.count(), 1);
    assert_eq!(deploy(store, b"1", &["csv"], 30)[0].number, 3);
    let agent = store.registry.agent("csv").unwrap().unwrap();
    assert_eq!((agent.versions, agent.active.created_ms), (1, 30));
}

pub(super) fn references_count_versions(store: &Store) {
    let module = Digest::of(b"1");
    assert_eq!(store.registry.references(&module).unwrap(), 0);
    deploy(store, b"1", &["a", "b"], 10);
    deploy(store, b"1", &["a"], 20);
    deploy(store, b"2", &["a"], 30);
    assert_eq!(store.registry.references(&module).unwrap(), 2);
    assert_eq!(store.registry.references(&Digest::of(b"2")).unwrap(), 1);
    store.registry.delete("a").unwrap();
    assert_eq!(store.registry.references(&module).unwrap(), 1);
}

pub(super) fn agents_are_listed_by_name_in_pages(store: &Store) {
    deploy(store, b"1", &["d", "b", "ab", "a", "c"], 10);
    store.registry.delete("c").unwrap();
    let list = |after, limit| {
        let agents = store.registry.agents(after, limit).unwrap();
        agents
            .into_iter()
            .map(|agent| agent.name)
            .collect::<Vec<_>>()
    };
    assert_eq!(list(None, 10), ["a", "ab", "b", "d"]);
    assert_eq!(list(None, 2), ["a", "ab"]);
    assert_eq!(list(Some("ab"), 1), ["b"]);
    assert_eq!(list(Some("c"), 9), ["d"]);
    assert_eq!(list(Some("d"), 9), Vec::<String>::new());
    assert_eq!(list(None, 0), Vec::<String>::new());
}

pub(super) fn large_definitions_come_back_whole(store: &Store) {
    for (number, size) in [4000, 4096, 5000, 300_000].into_iter().enumerate() {
        let definition = noise(size as u64, size);
        let definitions = [("big".to_owned(), definition.clone())];
        let digest = Digest::of(&[number as u8]);
        store.registry.deploy(digest, &definitions, 1).unwrap();
        let agent = store.registry.agent("big").unwrap().unwrap();
        assert_eq!(agent.active.definition, definition);
    }
    assert_eq!(store.registry.delete("big").unwrap().len(), 4);
}

pub(super) fn a_name_too_long_changes_nothing(store: &Store) {
    let definitions = [
        ("good".to_owned(), Vec::new()),
        ("x".repeat(300), Vec::new()),
    ];
    let refused = store.registry.deploy(Digest::of(b"1"), &definitions, 1);
    assert!(
        matches!(refused, Err(StoreError::LimitExceeded { .. })),
        "{refused:?}"
    );
    assert_eq!(store.registry.count(), 0);
    assert_eq!(store.registry.agent("good").unwrap(), None);
}

pub(super) fn names_that_begin_alike_stay_apart(store: &Store) {
    let long = "a".repeat(200);
    let names = ["a", "a\0", "aa", "a\0\0\0\u{1}", long.as_str()];
    for (number, name) in names.iter().enumerate() {
        for version in 0..=number {
            deploy(store, &[version as u8], &[name], 1);
        }
    }
    for (number, name) in names.iter().enumerate() {
        let versions = store.registry.versions(name).unwrap();
        assert_eq!(versions.len(), number + 1, "{name:?}");
        assert!(versions.iter().all(|version| version.agent == *name));
    }
    store.registry.delete("a").unwrap();
    assert_eq!(store.registry.count(), 4);
    assert_eq!(store.registry.references(&Digest::of(&[0])).unwrap(), 4);
}

pub(super) fn limits_belong_to_their_agent(store: &Store) {
    let limits = |name: &str| store.registry.limits(name).unwrap();
    let set = |name: &str, limits| store.registry.set_limits(name, limits).unwrap();
    assert!(!set("csv", Some(b"tight")), "there is no such agent");
    assert_eq!(limits("csv"), None);
    deploy(store, b"1", &["csv", "cs"], 10);
    assert!(set("csv", Some(b"tight")));
    assert_eq!(limits("csv").as_deref(), Some(&b"tight"[..]));
    assert_eq!(limits("cs"), None);
    // A deploy leaves them, unless it brings its own.
    deploy(store, b"2", &["csv"], 20);
    assert_eq!(limits("csv").as_deref(), Some(&b"tight"[..]));
    let definitions = ["csv", "cs"].map(|name| (name.to_owned(), b"{}".to_vec()));
    let module = Digest::of(b"3");
    let deployed = store
        .registry
        .deploy_with(module, &definitions, Some(b"wide"), 30)
        .unwrap();
    assert_eq!(numbers(&deployed), [3, 2]);
    for name in ["csv", "cs"] {
        assert_eq!(limits(name).as_deref(), Some(&b"wide"[..]));
    }
    assert!(set("csv", None));
    assert_eq!(limits("csv"), None);
    // They go with their agent, and do not come back with its name.
    store.registry.delete("cs").unwrap();
    deploy(store, b"4", &["cs"], 40);
    assert_eq!(limits("cs"), None);
    assert!(store.registry.set_limits("cs", Some(&[0; 5000])).is_err());
    assert_eq!(limits("cs"), None);
}
