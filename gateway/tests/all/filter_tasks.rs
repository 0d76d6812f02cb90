//! Tasks that are read by their id alone pass the filters of their agent.

use crate::filters::policy;
use crate::support::{start, start_on, waiting_task};
use dormouse_store::{
    Done, KeptRecord, Record, StoreError, TaskId, TaskPage, TaskQuery, TaskStore, TaskWrite,
};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A store that cannot read the next head that it is asked for.
struct Failing {
    store: Arc<dyn TaskStore>,
    fails: AtomicBool,
}

impl TaskStore for Failing {
    fn head(&self, task: TaskId) -> Result<Option<Vec<u8>>, StoreError> {
        if self.fails.swap(false, Ordering::SeqCst) {
            return Err(StoreError::Busy);
        }
        self.store.head(task)
    }

    fn commit(&self, write: TaskWrite, done: Done) {
        self.store.commit(write, done);
    }

    fn keep(&self, records: Vec<Record>, done: Done) {
        self.store.keep(records, done);
    }

    fn events(
        &self,
        task: TaskId,
        from: u64,
        limit: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        self.store.events(task, from, limit)
    }

    fn state(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.state(key)
    }

    fn records(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<KeptRecord>, StoreError> {
        self.store.records(prefix, after, limit)
    }

    fn list(&self, query: &TaskQuery) -> Result<TaskPage, StoreError> {
        self.store.list(query)
    }

    fn open_tasks(&self) -> Result<Vec<TaskId>, StoreError> {
        self.store.open_tasks()
    }

    fn counts(&self) -> BTreeMap<u8, u64> {
        self.store.counts()
    }

    fn found_damage(&self) {
        self.store.found_damage();
    }
}

#[tokio::test]
async fn a_task_that_cannot_be_read_at_first_does_not_leave_unseen() {
    let server = start(|_| {}).await;
    let id = waiting_task(&server).await;
    let mut store = server.leave().await;
    let failing = Arc::new(Failing {
        store: Arc::clone(&store.tasks),
        fails: AtomicBool::new(false),
    });
    store.tasks = Arc::<Failing>::clone(&failing);
    let server = start_on(store, |_| {}, |_| {}).await;
    server.filter("guard", &policy("hostile"), json!({})).await;
    failing.fails.store(true, Ordering::SeqCst);
    let path = format!("GET /v1/tasks/{id}");
    let answer = server.ask(&path, b"").await;
    assert_eq!(answer.status, 500, "{}", answer.head);
    assert!(!failing.fails.load(Ordering::SeqCst));
    let answer = server.ask(&path, b"").await;
    assert_eq!(answer.status, 200);
    assert!(answer.header("x-count").is_some(), "{}", answer.head);
    let answer = server.ask(&format!("POST /v1/tasks/{id}"), b"").await;
    assert_eq!(answer.status, 405);
    let missing = server.ask("GET /v1/tasks/none", b"").await;
    assert_eq!(missing.json()["error"]["code"], "unknown_task");
}
