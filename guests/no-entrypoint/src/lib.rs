//! A WebAssembly module that is no agent.

// SAFETY: no other symbol of this crate has the name.
#[unsafe(no_mangle)]
pub extern "C" fn add(left: i32, right: i32) -> i32 {
    left.wrapping_add(right)
}
