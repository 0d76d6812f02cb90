use dormouse_sdk::prelude::*;

#[init]
fn init() -> u32 {
    7
}

fn main() {}
