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

/// The same of the SDK for filters.
#[test]
fn the_copies_of_the_worlds_of_filters_are_these_worlds() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    if !root.join("policies").exists() {
        return;
    }
    for world in ["filter/agent.wit", "message/filter.wit"] {
        let original = fs::read_to_string(root.join("wit").join(world)).unwrap();
        let copy = fs::read_to_string(root.join("policies/sdk/wit").join(world)).unwrap();
        assert_eq!(copy, original, "{world}");
    }
}
