//! The table must be able to grow, or nobody could make it a bomb (`src/traps.rs`).

fn main() {
    if std::env::var("CARGO_CFG_TARGET_FAMILY").as_deref() == Ok("wasm") {
        println!("cargo:rustc-link-arg-cdylib=--growable-table");
    }
}
