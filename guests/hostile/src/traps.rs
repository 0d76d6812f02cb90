//! Skills that end their instance.

use std::hint::black_box;

use crate::skill;

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
        Ok(dormouse_sdk::OnRequestResult::completed(depth.to_string()))
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
