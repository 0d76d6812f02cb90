use dormouse_store::{Digest, MAX_TOKENS, Store, StoreError, TokenRecord};

fn token(name: &str) -> TokenRecord {
    TokenRecord {
        name: name.to_owned(),
        hash: Digest::of(name.as_bytes()),
        scopes: 5,
        created_ms: 10,
        expires_ms: None,
    }
}

pub(super) fn tokens_are_kept_by_name_and_forgotten(store: &Store) {
    assert_eq!(store.tokens.tokens().unwrap(), []);
    let expiring = TokenRecord {
        expires_ms: Some(u64::MAX),
        scopes: 255,
        ..token("a")
    };
    for one in [&token("c"), &expiring, &token("ab")] {
        assert!(store.tokens.add(one).unwrap());
    }
    let all = [expiring, token("ab"), token("c")];
    assert_eq!(store.tokens.tokens().unwrap(), all);
    assert!(store.tokens.remove("a").unwrap());
    assert!(!store.tokens.remove("a").unwrap());
    assert!(!store.tokens.remove("unknown").unwrap());
    assert_eq!(store.tokens.tokens().unwrap(), all[1..]);
    assert_eq!(store.registry.count(), 0);
}

pub(super) fn a_name_or_a_hash_is_there_once(store: &Store) {
    assert!(store.tokens.add(&token("a")).unwrap());
    let renamed = TokenRecord {
        name: "b".to_owned(),
        ..token("a")
    };
    let rehashed = TokenRecord {
        hash: Digest::of(b"x"),
        scopes: 1,
        ..token("a")
    };
    for one in [renamed, rehashed] {
        assert!(!store.tokens.add(&one).unwrap());
    }
    assert_eq!(store.tokens.tokens().unwrap(), [token("a")]);
}

pub(super) fn a_token_over_a_limit_is_not_kept(store: &Store) {
    let refused = store.tokens.add(&token(&"x".repeat(200)));
    assert!(
        matches!(refused, Err(StoreError::LimitExceeded { .. })),
        "{refused:?}"
    );
    const { assert!(MAX_TOKENS <= 10_000, "all of them are in memory") };
    assert_eq!(store.tokens.tokens().unwrap(), []);
}
