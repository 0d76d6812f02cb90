use dormouse_loadtest::module::{Label, Template};

use crate::pool::labelled;

/// One function without instructions, and the label in a custom section of the name `l`.
fn smallest() -> Vec<u8> {
    let mut module =
        b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x0a\x04\x01\x02\0\x0b".to_vec();
    module.extend(b"\0\x2a\x01l");
    module.extend(b"dormouse-load-label:01:load-0000:0000000");
    module
}

const LABEL: Label = Label {
    agents: 3,
    kind: 'x',
    number: 42,
    revision: 7,
};

#[test]
fn a_label_names_agents_and_changes_nothing_else() {
    let template = Template::new(smallest()).unwrap();
    let module = template.module(&LABEL);
    let names = labelled(&module).unwrap();
    assert_eq!(names, ["x-0000042-00", "x-0000042-01", "x-0000042-02"]);
    assert!(module.ends_with(b"dormouse-load-label:03:x-0000042:0000007"));
    assert_eq!(module[..28], smallest()[..28]);
}

#[test]
fn a_grown_module_has_copies_of_its_functions() {
    // 10,000 copies need counts and sizes of more than one byte.
    let grown = Template::new(smallest()).unwrap().grown(40_000).unwrap();
    let module = grown.module(&LABEL);
    assert!((40_000..40_020).contains(&module.len()), "{}", module.len());
    assert_eq!(
        labelled(&module).unwrap().len(),
        3,
        "the label is still found"
    );
    let twice = Template::new(module.to_vec()).unwrap().grown(80_000);
    let length = twice.unwrap().module(&LABEL).len();
    assert!(
        (80_000..80_020).contains(&length),
        "it can be read again: {length}"
    );
}

#[test]
fn what_is_no_template_is_refused_with_its_reason() {
    let twice = [smallest(), smallest()].concat();
    let cut = smallest()[..60].to_vec();
    for (bytes, reason) in [
        (b"\0asm\x01\0\0\0".to_vec(), "no label"),
        (twice, "more than one"),
        (cut, "cut off"),
    ] {
        let refusal = Template::new(bytes).unwrap_err().to_string();
        assert!(refusal.contains(reason), "{refusal}");
    }
    let mut torn = smallest();
    torn[9] = 0x7f;
    assert!(Template::new(torn).unwrap().grown(1_000).is_err());
}

/// Needs `cargo xtask guests`.
#[test]
fn the_test_guest_is_a_template() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../guests/target/wasm32-wasip1/release/load.wasm"
    );
    let template = Template::read(path.as_ref()).expect("build it with `cargo xtask guests`");
    let grown = template.grown(1_000_000).unwrap().module(&LABEL);
    assert!(
        (1_000_000..1_100_000).contains(&grown.len()),
        "{}",
        grown.len()
    );
}
