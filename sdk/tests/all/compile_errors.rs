/// What the macros refuse, with the words that an author reads.
#[test]
fn mistakes_are_told_at_compile_time() {
    trybuild::TestCases::new().compile_fail("tests/compile_errors/*.rs");
}
