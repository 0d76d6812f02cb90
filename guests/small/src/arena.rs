//! An allocator for a guest whose calls leave nothing behind: it takes the next bytes of the memory, and begins again when
//! nothing of them is in use.

use core::alloc::{GlobalAlloc, Layout};
use core::arch::wasm32::{memory_grow, memory_size};
use core::cell::Cell;
use core::ptr;

/// Bytes (WebAssembly core specification, 4.2.8).
const PAGE: usize = 64 << 10;

struct Arena {
    next: Cell<usize>,
    /// How many blocks are in use.
    blocks: Cell<usize>,
}

#[global_allocator]
static ARENA: Arena = Arena {
    next: Cell::new(0),
    blocks: Cell::new(0),
};

unsafe extern "C" {
    /// The linker's: what is behind it belongs to nobody.
    static __heap_base: u8;
}

// SAFETY: a guest has one thread.
unsafe impl Sync for Arena {}

// SAFETY: blocks lie behind one another, from the linker's data on, in memory that there is; only once all of them have
// been given back is one given out again.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if self.blocks.get() == 0 {
            self.next.set((&raw const __heap_base).addr());
        }
        let block = self.next.get().next_multiple_of(layout.align());
        let end = block + layout.size();
        let there = memory_size(0) * PAGE;
        let missing = end.saturating_sub(there).div_ceil(PAGE);
        if missing > 0 && memory_grow(0, missing) == usize::MAX {
            return ptr::null_mut();
        }
        self.next.set(end);
        self.blocks.set(self.blocks.get() + 1);
        ptr::with_exposed_provenance_mut(block)
    }

    unsafe fn dealloc(&self, _block: *mut u8, _layout: Layout) {
        self.blocks.set(self.blocks.get() - 1);
    }
}
