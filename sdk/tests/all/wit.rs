use std::fs;
use std::path::Path;

/// The crate is published with a copy of its contract; in the repository the original stands
/// beside it, and the two must be one.
#[test]
fn the_copy_of_the_contract_is_the_contract() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let original = here.join("../wit/agent.wit");
    if !original.exists() {
        return;
    }
    let copy = fs::read_to_string(here.join("wit/agent.wit")).unwrap();
    assert_eq!(copy, fs::read_to_string(original).unwrap());
}
