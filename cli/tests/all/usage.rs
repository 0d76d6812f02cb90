//! Wrong usage ends with exit code 2 and a sentence.

use std::fs;

use crate::{dormouse, run, stderr, stdout};

#[test]
fn wrong_arguments_exit_2() {
    let cases: &[&[&str]] = &[
        &[],
        &["hibernate"],
        &["send", "greeter"],
        &["send", "greeter", "hi", "--data", "{"],
        &["serve", "--listen", "here"],
        &["serve", "--idle-timeout", "soon"],
        &["serve", "--max-instances", "0"],
        &["serve", "--call-timeout", "0s"],
        &["rollback", "greeter", "first"],
        &["agents", "--server", "nowhere"],
        &["agents", "--server", "ftp://example.com"],
        &["delete", "greeter", "--server", "http://127.0.0.1:9"],
        &["token"],
        &["token", "create", "ann"],
        &["token", "create", "ann", "--scope", "root"],
        &[
            "token",
            "create",
            "ann",
            "--scope",
            "invoke",
            "--expires",
            "soon",
        ],
        &[
            "token",
            "create",
            "ann",
            "--scope",
            "invoke",
            "--data-dir",
            "data",
        ],
        &[
            "token",
            "create",
            "a b",
            "--scope",
            "admin",
            "--data-dir",
            "data",
        ],
        &["token", "list", "--data-dir", "none"],
        &["token", "revoke", "ann", "--data-dir", "none"],
    ];
    for case in cases {
        let output = run(case);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{case:?}: {}",
            stderr(&output)
        );
        assert!(!stderr(&output).is_empty(), "{case:?}");
    }
}

#[test]
fn every_command_teaches_with_help() {
    for command in [
        "serve", "new", "deploy", "send", "rollback", "token", "doctor",
    ] {
        let output = run(&[command, "--help"]);
        assert!(output.status.success(), "{command}");
        assert!(stdout(&output).contains("Examples:"), "{command}");
    }
}

#[test]
fn strangers_are_let_in_only_when_asked_for() {
    let output = run(&["serve", "--listen", "0.0.0.0:0"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("--insecure"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_wrong_configuration_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let cases = [
        ("idle-timeot = \"5m\"", "idle-timeot"),
        ("idle-timeout = \"soon\"", "idle-timeout"),
        ("max-instances = 0", "max-instances"),
        ("listen = \"0.0.0.0:0\"", "--insecure"),
        ("public-url = \"agents.example.com\"", "public URL"),
    ];
    for (text, told) in cases {
        fs::write(folder.path().join("dormouse.toml"), text).unwrap();
        let output = dormouse(folder.path())
            .args(["serve", "--config", "dormouse.toml"])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(
            stderr(&output).contains(told),
            "{text}: {}",
            stderr(&output)
        );
    }
    let output = dormouse(folder.path())
        .args(["serve", "--config", "missing.toml"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_server_that_is_not_there_is_told_how_to_start() {
    // A listener that is closed again leaves a port on which nobody answers.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    for command in [
        &["agents"][..],
        &["send", "greeter", "hi"],
        &["versions", "greeter"],
    ] {
        let output = run(&[command, &["--server", &format!("http://{port}")]].concat());
        assert_eq!(output.status.code(), Some(1));
        assert!(
            stderr(&output).contains("dormouse serve"),
            "{}",
            stderr(&output)
        );
    }
}
