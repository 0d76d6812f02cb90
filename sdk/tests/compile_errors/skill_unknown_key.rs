use dormouse_sdk::prelude::*;

#[skill(id = "a", name = "A", description = "Misspelt.", tag = ["a"])]
struct Misspelt;

fn main() {}
