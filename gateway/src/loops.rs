//! The event loops of connections: a thread for each core, with a runtime of its own (`docs/decisions/0027`). A connection
//! stays where it was put, and so do its requests, with what they touch in that core's cache. The runtime that started
//! the server does the rest.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

/// The loops. They end when it is dropped, and what still runs on them with them.
pub(crate) struct Loops {
    loops: Vec<Loop>,
    _stop: DropGuard,
}

struct Loop {
    handle: Handle,
    connections: Arc<AtomicUsize>,
}

/// Counts a connection for as long as it is kept.
pub(crate) struct OnLoop(Arc<AtomicUsize>);

impl Drop for OnLoop {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Loops {
    /// As many as there are cores.
    ///
    /// # Errors
    /// When the system gives no more threads or descriptors.
    pub(crate) fn start() -> io::Result<Self> {
        let stop = CancellationToken::new();
        let count = thread::available_parallelism().map_or(1, usize::from);
        let start = |_| {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let handle = runtime.handle().clone();
            let stopped = stop.clone().cancelled_owned();
            thread::Builder::new()
                .name("event-loop".into())
                .spawn(move || {
                    runtime.block_on(stopped);
                    runtime.shutdown_background();
                })?;
            Ok(Loop {
                handle,
                connections: Arc::default(),
            })
        };
        Ok(Self {
            loops: (0..count).map(start).collect::<io::Result<_>>()?,
            _stop: stop.drop_guard(),
        })
    }

    pub(crate) fn handles(&self) -> impl Iterator<Item = &Handle> {
        self.loops.iter().map(|one| &one.handle)
    }

    /// The loop with the fewest connections, for one more.
    pub(crate) fn place(&self) -> (&Handle, OnLoop) {
        let connections = |one: &&Loop| one.connections.load(Ordering::Relaxed);
        let least = self.loops.iter().min_by_key(connections);
        let least = least.expect("there is at least one core");
        least.connections.fetch_add(1, Ordering::Relaxed);
        (&least.handle, OnLoop(Arc::clone(&least.connections)))
    }
}
