//! Skills that end their instance.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::skill;
use dormouse_sdk::{AgentError, OnRequestResult};

skill!("trap", Trap, "Panics.", |_state, _progress, _content| {
    panic!("this skill panics");
});

skill!(
    "unreachable",
    Unreachable,
    "Executes `unreachable`.",
    |_state, _progress, _content| {
        #[cfg(target_family = "wasm")]
        std::arch::wasm32::unreachable();
        #[cfg(not(target_family = "wasm"))]
        std::process::abort();
    }
);

skill!(
    "recurse",
    Recurse,
    "Overflows its stack.",
    |_state, _progress, _content| {
        let depth = recurse(0);
        Ok(OnRequestResult::completed(depth.to_string()))
    }
);

#[allow(unconditional_recursion, reason = "that is the point")]
fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    recurse(depth + 1) + frame[1]
}

skill!(
    "memory-bomb",
    MemoryBomb,
    "Allocates until it is refused.",
    |_state, _progress, _content| {
        let mut hoard = Vec::new();
        loop {
            hoard.push(black_box(vec![1_u8; 1024 * 1024]));
        }
    }
);

/// What grows the table by 63 elements and tells its size before, or -1. Rust has no word for that, so the
/// instruction is written over the bytes of this constant when guests are built (`xtask/src/guests.rs`).
#[inline(never)]
fn grow_table() -> i64 {
    -0x7ab1_eb0b_ab1e_b0b5
}

skill!(
    "table-bomb",
    TableBomb,
    "Grows its table until it is refused.",
    |_state, _progress, _content| {
        let grow: fn() -> i64 = grow_table;
        let mut last = 0;
        loop {
            let size = black_box(grow)();
            if size < 0 {
                return Err(AgentError::failed(format!("refused after {last} elements")));
            }
            last = size;
        }
    }
);

/// Allocates as everybody does, until it is told not to: from then on it recurses for ever when it is asked for
/// a page or more. The host asks it when it hands over a value.
struct Sly;

static SLY: AtomicBool = AtomicBool::new(false);

// SAFETY: all of it is done by the system's allocator, or never returns.
unsafe impl GlobalAlloc for Sly {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() >= 4096 && SLY.load(Ordering::Relaxed) {
            black_box(recurse(0));
        }
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Sly = Sly;

skill!(
    "recurse-in-host",
    RecurseInHost,
    "Overflows its stack while the host hands it a value.",
    |state, _progress, _content| {
        state.task().save("page", &"x".repeat(8192))?;
        SLY.store(true, Ordering::Relaxed);
        let page: Option<String> = state.task().load("page")?;
        Ok(OnRequestResult::completed(page.unwrap_or_default()))
    }
);
