use dormouse_store::{Digest, Put, Store, Totals};

use crate::support::noise;

pub(super) fn a_module_is_kept_once_and_removed(store: &Store) {
    let bytes = noise(1, 100_000);
    let digest = Digest::of(&bytes);
    assert_eq!(store.modules.get(&digest).unwrap(), None);
    assert_eq!(store.modules.size(&digest).unwrap(), None);
    assert_eq!(
        store.modules.put(&bytes).unwrap(),
        Put { digest, new: true }
    );
    assert_eq!(
        store.modules.put(&bytes).unwrap(),
        Put { digest, new: false }
    );
    assert_eq!(store.modules.get(&digest).unwrap(), Some(bytes));
    assert_eq!(store.modules.size(&digest).unwrap(), Some(100_000));
    assert!(store.modules.remove(&digest).unwrap());
    assert!(!store.modules.remove(&digest).unwrap());
    assert_eq!(store.modules.get(&digest).unwrap(), None);
}

pub(super) fn totals_follow_every_change(store: &Store) {
    assert_eq!(store.modules.totals(), Totals::default());
    let first = store.modules.put(&noise(1, 10)).unwrap().digest;
    store.modules.put(&noise(2, 20)).unwrap();
    store.modules.put(&noise(2, 20)).unwrap();
    assert_eq!(
        store.modules.totals(),
        Totals {
            modules: 2,
            bytes: 30
        }
    );
    store.modules.remove(&first).unwrap();
    store.modules.remove(&first).unwrap();
    assert_eq!(
        store.modules.totals(),
        Totals {
            modules: 1,
            bytes: 20
        }
    );
    assert!(store.modules.put(&noise(1, 10)).unwrap().new);
}

pub(super) fn an_empty_module_is_a_module(store: &Store) {
    let digest = store.modules.put(b"").unwrap().digest;
    assert_eq!(store.modules.get(&digest).unwrap(), Some(Vec::new()));
}
