use dormouse_sdk::prelude::*;

#[skill(name = "Nameless", description = "Has no id.")]
struct Nameless;

fn main() {}
