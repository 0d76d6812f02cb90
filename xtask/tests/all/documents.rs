//! Documents that are read only while they are short and can be cited.

use crate::{files, read};

const MAX_LINES: usize = 250;
const DECISIONS: &str = "docs/decisions/";

#[test]
fn the_map_fits_in_a_head() {
    let lines = read("ARCHITECTURE.md").lines().count();
    assert!(
        lines <= MAX_LINES,
        "ARCHITECTURE.md has {lines} lines, more than {MAX_LINES}: it is a map; reasons go to {DECISIONS}, \
         promises to SPECIFICATION.md"
    );
}

#[test]
fn decisions_are_numbered_without_gaps() {
    let files = files();
    let mut names = files
        .iter()
        .filter_map(|name| name.strip_prefix(DECISIONS))
        .peekable();
    assert!(
        names.peek().is_some(),
        "{DECISIONS} is empty: where are the decisions now? Tell this test"
    );
    for (number, name) in (1..).zip(names) {
        let should = format!("{number:04}-");
        assert!(
            name.starts_with(&should) && name.ends_with(".md"),
            "{DECISIONS}{name} should be {should}….md: decisions are numbered from 0001 without gaps, and one \
             that no longer holds stays and says which one replaced it"
        );
    }
}
