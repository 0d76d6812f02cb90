use dormouse_sdk::prelude::*;

#[entrypoint]
struct Agents;

fn main() {}
