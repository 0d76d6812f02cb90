//! The clock that lets running code be interrupted: one per process, whatever engines that has.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Counts the engines' epochs while guests run. It is a thread of its own, so a guest that holds
/// up every event loop is still interrupted; and it rests when nothing has run for a while, so
/// that an idle process costs no wake-ups.
pub struct Clock {
    shared: Arc<ClockState>,
    thread: Option<JoinHandle<()>>,
}

struct ClockState {
    /// Guests that run or wait inside a call at this moment.
    running: AtomicUsize,
    asleep: AtomicBool,
    stop: AtomicBool,
    tick: Duration,
}

/// Time without a running guest after which the clock rests. Longer than the pause between two
/// calls of a busy guest, so that they do not pay for waking it.
const REST_AFTER: Duration = Duration::from_millis(200);

/// Keeps the clock ticking.
pub struct Running<'a>(&'a AtomicUsize);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Clock {
    /// Starts the clock of these engines, which increments their epochs once per `tick`.
    pub fn start(engines: Vec<wasmtime::Engine>, tick: Duration) -> Self {
        let shared = Arc::new(ClockState {
            running: AtomicUsize::new(0),
            asleep: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            tick,
        });
        let state = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("epoch".into())
            .spawn(move || state.run(&engines))
            .expect("a process that cannot start one thread cannot serve");
        Self {
            shared,
            thread: Some(thread),
        }
    }

    /// How often the epoch is incremented.
    pub fn tick(&self) -> Duration {
        self.shared.tick
    }

    /// Must be held while guest code may run: the clock rests while nobody holds one.
    pub fn enter(&self) -> Running<'_> {
        self.shared.running.fetch_add(1, Ordering::SeqCst);
        if self.shared.asleep.load(Ordering::SeqCst)
            && let Some(thread) = &self.thread
        {
            thread.thread().unpark();
        }
        Running(&self.shared.running)
    }
}

impl ClockState {
    fn run(&self, engines: &[wasmtime::Engine]) {
        let mut quiet = Duration::ZERO;
        while !self.stop.load(Ordering::SeqCst) {
            // Not asleep: who drops the clock wakes it.
            std::thread::park_timeout(self.tick);
            engines.iter().for_each(wasmtime::Engine::increment_epoch);
            if self.running.load(Ordering::SeqCst) > 0 {
                quiet = Duration::ZERO;
                continue;
            }
            quiet += self.tick;
            if quiet >= REST_AFTER {
                self.rest();
                quiet = Duration::ZERO;
            }
        }
    }

    /// Sleeps until a guest runs. One that enters before `asleep` is set is seen by the loop, a
    /// later one sees `asleep` and unparks.
    fn rest(&self) {
        self.asleep.store(true, Ordering::SeqCst);
        while self.running.load(Ordering::SeqCst) == 0 && !self.stop.load(Ordering::SeqCst) {
            std::thread::park();
        }
        self.asleep.store(false, Ordering::SeqCst);
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // The thread does not panic.
            let _ended = thread.join();
        }
    }
}
