//! What a new user does, as README.md says it, and what `dormouse new` writes: built, tested, deployed, called.

use super::{Server, answer, data_dir, guest, text};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// The commands of the section of README.md, without their comments, in their order.
fn readme(section: &str) -> Vec<String> {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("README.md");
    let text = std::fs::read_to_string(readme).unwrap();
    let begin = text.find(&format!("\n## {section}\n")).unwrap() + 4;
    let section = text[begin..].split("\n## ").next().unwrap();
    let commands = section
        .split("```sh\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap());
    let lines = commands
        .flat_map(str::lines)
        .map(|line| line.split("  #").next().unwrap().trim());
    lines
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

/// A line of a shell in this folder, with this `dormouse`. What projects need is built once, not in every run.
fn shell(folder: &Path, line: &str, server: &Server) -> Command {
    let bin = Path::new(env!("CARGO_BIN_EXE_dormouse")).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("sh");
    command
        .args(["-c", line])
        .current_dir(folder)
        .env("PATH", path)
        .env("DORMOUSE_SERVER", &server.url)
        .env(
            "CARGO_TARGET_DIR",
            concat!(env!("CARGO_TARGET_TMPDIR"), "/dev"),
        );
    command
}

fn done(output: Output, line: &str) -> String {
    let told = crate::stderr(&output);
    assert!(
        output.status.success(),
        "{line}: {} {told}",
        crate::stdout(&output)
    );
    crate::stdout(&output)
}

/// Runs `dormouse dev` until it has deployed, and ends it.
fn develop(mut dev: Command) {
    let mut dev = dev.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(dev.stdout.take().unwrap()).lines();
    let deployed = lines
        .map_while(Result::ok)
        .any(|line| line.contains("dormouse send"));
    assert!(deployed, "dev ended before it had deployed");
    let pid = rustix::process::Pid::from_child(&dev);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(dev.wait().unwrap().success());
}

#[test]
fn the_first_agent_of_the_readme() {
    let folder = data_dir();
    let data = data_dir();
    let server = Server::start(data.path(), &[]);
    let mut answers = Vec::new();
    let mut ran = Vec::new();
    for line in readme("A first agent") {
        let word = line
            .split_whitespace()
            .nth(1)
            .unwrap_or_default()
            .to_owned();
        // Installed it is, and it serves; `curl` is shown for who has no dormouse.
        if !(line.starts_with("dormouse ") || line.starts_with("sed ")) || word == "serve" {
            continue;
        }
        if word == "dev" {
            // Its own `exec`, so that the signal reaches it and not the shell.
            let line = format!("exec {line} --listen 127.0.0.1:0");
            develop(shell(folder.path(), &line, &server));
        } else {
            let told = done(
                shell(folder.path(), &line, &server).output().unwrap(),
                &line,
            );
            if word == "send" {
                answers.push(told.trim().to_owned());
            }
        }
        ran.push(word);
    }
    for word in [
        "new", "deploy", "send", "dev", "logs", "versions", "rollback",
    ] {
        assert!(
            ran.iter().any(|ran| ran == word),
            "README.md does not show {word}"
        );
    }
    let said: Vec<&str> = answers
        .iter()
        .filter_map(|answer| answer.lines().last())
        .collect();
    assert_eq!(
        said,
        ["You said: Hello", "I heard: Hello", "You said: Hello"]
    );
}

#[test]
fn every_template_builds_passes_its_tests_and_answers() {
    let folder = data_dir();
    let data = data_dir();
    let sdk = concat!(env!("CARGO_MANIFEST_DIR"), "/../sdk");
    let run = |line: &str, server: &Server| {
        done(shell(folder.path(), line, server).output().unwrap(), line)
    };
    let plain = Server::start(data.path(), &[]);
    for (name, template) in [
        ("waiter", "multi-turn"),
        ("cook", "llm"),
        ("parrot", "one-shot"),
    ] {
        run(
            &format!("dormouse new {name} --template {template} --sdk {sdk}"),
            &plain,
        );
        run(
            &format!("cargo test --quiet --test conversation --manifest-path {name}/Cargo.toml"),
            &plain,
        );
    }
    run("dormouse deploy waiter", &plain);
    let asked = run("dormouse send waiter 'A table for 4' --json", &plain);
    let asked: serde_json::Value = serde_json::from_str(&asked).unwrap();
    let task = asked["task"]["id"].as_str().unwrap();
    let booked = run(
        &format!("dormouse send waiter Friday --task {task}"),
        &plain,
    );
    assert!(booked.contains("Booked."), "{booked}");
    assert!(plain.stop().success());

    let script = folder.path().join("cook/script.json");
    let server = Server::start(data.path(), &["--llm-script", script.to_str().unwrap()]);
    run(
        "dormouse deploy cook --grant llm --probe 'Something with fish'",
        &server,
    );
    let recommended = run("dormouse send cook 'Something with fish'", &server);
    assert!(
        recommended.contains("Fish soup: It is the lightest."),
        "{recommended}"
    );
}

#[test]
fn a_filter_of_the_template_builds_passes_its_tests_and_stands_before_agents() {
    let folder = data_dir();
    let data = data_dir();
    let server = Server::start(data.path(), &[]);
    server.deploy(&guest("echo"));
    let run = |line: &str| done(shell(folder.path(), line, &server).output().unwrap(), line);
    // The kit for agents, as DORMOUSE_SDK_PATH names it: that for filters is in the same checkout.
    let sdk = concat!(env!("CARGO_MANIFEST_DIR"), "/../sdk");
    let told = run(&format!("dormouse new teams --template filter --sdk {sdk}"));
    assert!(told.contains("dormouse filters put teams ."), "{told}");
    run("cargo test --quiet --test decisions --manifest-path teams/Cargo.toml");
    run("dormouse filters put teams teams");
    let send = |header: &str| {
        let request = server.rpc_request("echo", "SendMessage", &text("hm").params());
        answer(request.header(header, "7")).status
    };
    assert_eq!((send("x-team"), send("x-customer")), (200, 400));
    std::fs::write(folder.path().join("my.json"), r#"{"header": "x-customer"}"#).unwrap();
    run("dormouse filters put teams --config my.json");
    assert_eq!((send("x-team"), send("x-customer")), (400, 200));
    run("dormouse filters delete teams");
    assert_eq!(send("x-team"), 200);
}
