//! The lives of an instance: hot, parked, evicted, warm, cold, restarted without a compile.

use super::{Server, data_dir, example, guest, reply, text};

const ECHO: &str = "echo";

fn echo(server: &Server) {
    assert_eq!(reply(&server.send(ECHO, text("hello"))), "hello");
}

pub(super) fn no_instances(server: &Server) {
    server.until("every instance is evicted", |server| {
        server.metric("dormouse_instances", &[]) == 0.0
    });
}

#[test]
fn a_parked_instance_answers_hot_then_leaves() {
    let dir = data_dir();
    let server = Server::start(dir.path(), &["--idle-timeout", "5s"]);
    server.deploy(&guest(ECHO));
    echo(&server);
    let hot = server.started("hot");
    echo(&server);
    assert_eq!(server.started("hot"), hot + 1.0);
    assert_eq!(
        server.metric("dormouse_instances", &["state=\"parked\""]),
        1.0
    );
    no_instances(&server);
    assert_eq!(
        server.metric("dormouse_evictions_total", &["reason=\"idle\""]),
        1.0
    );
    let warm = server.started("warm");
    echo(&server);
    assert_eq!(server.started("warm"), warm + 1.0);
}

#[test]
fn an_agent_chooses_who_shares_its_instances() {
    let dir = data_dir();
    let server = Server::start(dir.path(), &[]);
    server.deploy(&guest("counter"));
    let count = |agent: &str, context: &str| {
        let mut message = text("x");
        message.message["contextId"] = context.into();
        reply(&server.send(agent, message)).to_owned()
    };
    let counted = |agent: &str| [count(agent, "a"), count(agent, "a"), count(agent, "b")];
    assert_eq!(counted("counter-shared"), ["1", "2", "3"]);
    assert_eq!(counted("counter-principal"), ["1", "2", "3"]);
    assert_eq!(counted("counter-context"), ["1", "2", "1"]);
    assert_eq!(counted("counter-call"), ["1", "1", "1"]);
}

#[test]
fn without_its_code_in_memory_an_agent_starts_cold() {
    let dir = data_dir();
    let flags = ["--idle-timeout", "0s", "--code-idle-timeout", "0s"];
    let server = Server::start(dir.path(), &flags);
    server.deploy(&guest(ECHO));
    for _ in 0..3 {
        echo(&server);
    }
    assert_eq!(server.started("cold"), 3.0);
    assert_eq!(server.started("warm") + server.started("hot"), 0.0);
}

#[test]
fn a_restarted_server_answers_without_a_compile() {
    let dir = data_dir();
    let server = Server::start(dir.path(), &[]);
    server.deploy(&guest(ECHO));
    server.deploy(&example("csv-stats"));
    assert_eq!(server.metric("dormouse_compiles_total", &[]), 2.0);
    assert!(server.stop().success());

    let server = Server::start(dir.path(), &[]);
    echo(&server);
    assert_eq!(server.metric("dormouse_compiles_total", &[]), 0.0);
    assert_eq!(server.started("cold"), 1.0);
    assert_eq!(server.metric("dormouse_modules", &[]), 2.0);
}

#[test]
fn lost_compiled_code_is_made_again() {
    let dir = data_dir();
    let server = Server::start(dir.path(), &[]);
    server.deploy(&guest(ECHO));
    assert!(server.stop().success());
    let code = dir.path().join("data/code");
    assert!(
        !super::files(&code).is_empty(),
        "compiled code is below {}",
        code.display()
    );
    std::fs::remove_dir_all(&code).unwrap();

    let server = Server::start(dir.path(), &[]);
    echo(&server);
    assert_eq!(server.metric("dormouse_compiles_total", &[]), 1.0);
}

#[test]
fn damaged_compiled_code_is_made_again() {
    let dir = data_dir();
    let server = Server::start(dir.path(), &[]);
    server.deploy(&guest(ECHO));
    assert!(server.stop().success());
    for file in super::files(&dir.path().join("data/code")) {
        let code = std::fs::read(&file).unwrap();
        std::fs::write(&file, &code[..code.len() / 3]).unwrap();
    }

    let server = Server::start(dir.path(), &[]);
    echo(&server);
    echo(&server);
    assert_eq!(server.metric("dormouse_compiles_total", &[]), 1.0);
    // The first call finds the damage, or the look at all code after the start found it before.
    assert_eq!(server.started("stored") + server.started("cold"), 1.0);
}

#[test]
fn memory_returns_when_the_instances_have_gone() {
    let dir = data_dir();
    let server = Server::start(dir.path(), &["--idle-timeout", "1s"]);
    server.deploy(&guest("hostile"));
    let resident = || server.metric("process_resident_memory_bytes", &[]);
    // The first calls load the code and warm the allocator's slots; they are not the leak sought.
    let storm = || {
        std::thread::scope(|scope| {
            for _ in 0..32 {
                scope.spawn(|| server.send("hostile", text("x").skill("counter")));
            }
        });
        no_instances(&server);
    };
    storm();
    let before = resident();
    for _ in 0..5 {
        storm();
    }
    let grown = resident() - before;
    let mib = f64::from(1 << 20);
    assert!(
        grown < 32.0 * mib,
        "resident memory grew by {} MiB",
        grown / mib
    );
}
