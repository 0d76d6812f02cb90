//! `dormouse new`.

use std::fs;
use std::path::Path;

use crate::{dormouse, stderr, stdout};

fn sdk() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("sdk")
}

#[test]
fn writes_a_project() {
    let folder = tempfile::tempdir().unwrap();
    let output = dormouse(folder.path())
        .args(["new", "my-greeter", "--sdk"])
        .arg(sdk())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let read = |path| fs::read_to_string(folder.path().join("my-greeter").join(path)).unwrap();
    assert!(read("Cargo.toml").contains("name = \"my-greeter\""));
    assert!(read("Cargo.toml").contains(&format!("path = \"{}\"", sdk().display())));
    assert!(read("src/lib.rs").contains(".with_name(\"my-greeter\")"));
    assert!(read("src/main.rs").contains("my_greeter::configure_agents()"));
    assert!(read("tests/conversation.rs").contains("use my_greeter::Echo;"));
    assert!(read("README.md").contains("dormouse send my-greeter"));
    assert_eq!(read(".gitignore"), "/target\n");
}

#[test]
fn writes_other_beginnings() {
    let folder = tempfile::tempdir().unwrap();
    let sdk = sdk();
    for (template, file, told) in [
        ("multi-turn", "src/lib.rs", "on_input_received"),
        ("llm", "script.json", "replies"),
        ("llm", "README.md", "dormouse deploy --grant llm"),
        ("filter", "Cargo.toml", "policies/sdk\""),
        ("filter", "tests/decisions.rs", "use filter_18::Guard;"),
        (
            "llm",
            "tests/conversation.rs",
            r#"format!(r#"{{"dish": {:?}"#,
        ),
    ] {
        let name = format!("{template}-{}", file.len());
        let output = dormouse(folder.path())
            .args(["new", &name, "--template", template, "--sdk"])
            .arg(&sdk)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        let text = fs::read_to_string(folder.path().join(&name).join(file)).unwrap();
        assert!(text.contains(told), "{template} {file}: {text}");
        assert!(!text.contains("{%") && !text.contains("{{ "), "{text}");
    }
    let output = dormouse(folder.path())
        .args(["new", "x", "--template", "other"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn says_where_the_sdk_comes_from() {
    let folder = tempfile::tempdir().unwrap();
    let output = dormouse(folder.path())
        .args(["new", "greeter"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(
        stdout(&output).contains("not on crates.io yet"),
        "{}",
        stdout(&output)
    );
}

#[test]
fn refuses_to_overwrite() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("greeter")).unwrap();
    let output = dormouse(folder.path())
        .args(["new", "greeter"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("there already"));
    assert_eq!(
        fs::read_dir(folder.path().join("greeter")).unwrap().count(),
        0
    );
}

#[test]
fn refuses_names_that_cannot_be_in_a_url() {
    let folder = tempfile::tempdir().unwrap();
    let output = dormouse(folder.path())
        .args(["new", "My_Greeter"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("\"my-greeter\""),
        "{}",
        stderr(&output)
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn refuses_an_sdk_that_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let output = dormouse(folder.path())
        .args(["new", "greeter", "--sdk", "."])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
