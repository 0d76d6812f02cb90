//! Who is working on what: at most one worker for each configuration.

use super::delivery::Shared;
use super::wakes::Upto;
use dormouse_store::TaskId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Who is working on what.
#[derive(Default)]
pub(crate) struct Workers(Mutex<HashMap<(TaskId, String), Slot>>);

struct Slot {
    upto: watch::Sender<Upto>,
    cancel: CancellationToken,
    ended: CancellationToken,
}

impl Workers {
    /// Tells the worker of a configuration how far to go; false if it has none.
    pub(super) fn raise(&self, task: TaskId, id: &str, upto: Upto) -> bool {
        let workers = self.lock();
        let Some(slot) = workers.get(&(task, id.to_owned())) else {
            return false;
        };
        slot.upto.send_if_modified(|known| {
            let more = upto.seq > known.seq || upto.ended && !known.ended;
            if more {
                *known = upto;
            }
            more
        });
        true
    }

    /// Ends the worker of a configuration, if it has one.
    pub(crate) async fn stop(&self, task: TaskId, id: &str) {
        let ended = {
            let workers = self.lock();
            let Some(slot) = workers.get(&(task, id.to_owned())) else {
                return;
            };
            slot.cancel.cancel();
            slot.ended.clone()
        };
        ended.cancelled().await;
    }

    pub(super) fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(TaskId, String), Slot>> {
        // A plain map, whole even when a panic poisoned it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to work on one configuration.
pub(super) struct Seat {
    shared: Arc<Shared>,
    key: (TaskId, String),
    /// Ends the work.
    pub(super) cancel: CancellationToken,
    left: bool,
    /// After the slot is free: whoever waits for the end may begin again at once.
    _ended: DropGuard,
}

impl Seat {
    /// Takes the place of a configuration that nobody works on; the caller has its task's turn.
    pub(super) fn take(
        shared: &Arc<Shared>,
        key: (TaskId, String),
        upto: Upto,
    ) -> (Self, watch::Receiver<Upto>) {
        let (upto, follow) = watch::channel(upto);
        let (cancel, ended) = (shared.stop.child_token(), CancellationToken::new());
        let slot = Slot {
            upto,
            cancel: cancel.clone(),
            ended: ended.clone(),
        };
        shared.engine.book.workers.lock().insert(key.clone(), slot);
        shared.metrics.queued.inc();
        let seat = Self {
            shared: Arc::clone(shared),
            key,
            cancel,
            left: false,
            _ended: ended.drop_guard(),
        };
        (seat, follow)
    }

    /// Leaves, unless there is more to do than up to `seq`.
    pub(super) fn leave(&mut self, seq: u64) -> bool {
        let mut workers = self.shared.engine.book.workers.lock();
        let more = workers
            .get(&self.key)
            .is_some_and(|slot| slot.upto.borrow().seq > seq);
        if !more {
            workers.remove(&self.key);
            self.left = true;
        }
        !more
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if !self.left {
            self.shared.engine.book.workers.lock().remove(&self.key);
        }
        self.shared.metrics.queued.dec();
        self.shared.room.notify_one();
    }
}
