//! Which tasks with configurations have grown, for the deliveries to look at.

use dormouse_store::TaskId;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use tokio::sync::Notify;

/// How far a task's log is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Upto {
    pub(crate) seq: u64,
    /// The entry at `seq` ended the task.
    pub(crate) ended: bool,
}

/// Filled where entries become durable, on the store's thread, and emptied by the deliveries. It holds
/// one entry a task, and none when nobody delivers.
#[derive(Default)]
pub(crate) struct Wakes {
    grown: Mutex<HashMap<TaskId, Upto>>,
    listening: AtomicBool,
    notify: Notify,
}

impl Wakes {
    pub(crate) fn wake(&self, task: TaskId, upto: Upto) {
        if !self.listening.load(Ordering::Acquire) {
            return;
        }
        self.lock().insert(task, upto);
        self.notify.notify_one();
    }

    /// From now on wakes are kept. To be called before the store is searched, so that nothing falls
    /// between the two.
    pub(crate) fn listen(&self) {
        self.listening.store(true, Ordering::Release);
    }

    pub(crate) fn stop(&self) {
        self.listening.store(false, Ordering::Release);
        self.lock().clear();
    }

    /// What has grown since the last call; waits for it.
    pub(crate) async fn next(&self) -> HashMap<TaskId, Upto> {
        loop {
            let grown = std::mem::take(&mut *self.lock());
            if !grown.is_empty() {
                return grown;
            }
            self.notify.notified().await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<TaskId, Upto>> {
        // A plain map, whole even when a panic poisoned it.
        self.grown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
