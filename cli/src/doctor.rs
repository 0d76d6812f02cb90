//! `dormouse doctor`: is this machine ready, and how to mend what is not.

mod machine;

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, ExitCode};

use serde::Serialize;

use crate::args::DoctorArgs;
use crate::cargo;
use crate::client::Client;

pub(crate) fn doctor(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let server = server(args);
    let running = server.level == Level::Ok;
    let [map_count, address_space, memory, open_files] = machine::limits();
    let checks = [
        program("cargo", Level::Fail),
        program("rustup", Level::Warn),
        target(),
        machine::kernel(),
        map_count,
        address_space,
        memory,
        open_files,
        machine::disk(&args.data_dir),
        machine::data_dir(&args.data_dir, running),
        port(args.listen, running),
        server,
    ];
    let out = &mut io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&checks)?)?;
    } else {
        print(out, &checks)?;
    }
    let failed = checks.iter().any(|check| check.level == Level::Fail);
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// One line of the doctor.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    level: Level,
    /// What was found.
    found: String,
    /// How to mend it, if it needs mending.
    #[serde(skip_serializing_if = "Option::is_none")]
    mend: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    /// Works, but not as well as it could.
    Warn,
    /// Something that a user needs does not work.
    Fail,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self {
            name,
            level: Level::Ok,
            found: found.into(),
            mend: None,
        }
    }

    fn bad(
        name: &'static str,
        level: Level,
        found: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self {
            name,
            level,
            found: found.into(),
            mend: Some(mend.into()),
        }
    }
}

fn print(out: &mut impl Write, checks: &[Check]) -> io::Result<()> {
    for check in checks {
        let level = match check.level {
            Level::Ok => "ok  ",
            Level::Warn => "warn",
            Level::Fail => "FAIL",
        };
        writeln!(out, "{level}  {:<14} {}", check.name, check.found)?;
        if let Some(mend) = &check.mend {
            writeln!(out, "{:21} {mend}", "")?;
        }
    }
    Ok(())
}

fn program(name: &'static str, missing: Level) -> Check {
    match Command::new(name).arg("--version").output() {
        Ok(output) if output.status.success() => {
            let text = String::from_utf8_lossy(&output.stdout);
            Check::ok(name, text.lines().next().unwrap_or_default())
        }
        _ => Check::bad(
            name,
            missing,
            "cannot be run",
            "install Rust from https://rustup.rs",
        ),
    }
}

fn target() -> Check {
    let here = std::path::Path::new(".");
    match cargo::has_target(here, cargo::TARGET) {
        Ok(true) => Check::ok("wasm target", format!("{} is installed", cargo::TARGET)),
        Ok(false) => Check::bad(
            "wasm target",
            Level::Fail,
            format!(
                "{} is missing: crates cannot be compiled to agents",
                cargo::TARGET
            ),
            format!("rustup target add {}", cargo::TARGET),
        ),
        Err(error) => Check::bad(
            "wasm target",
            Level::Fail,
            format!("{error:#}"),
            "install Rust from https://rustup.rs",
        ),
    }
}

fn port(listen: SocketAddr, running: bool) -> Check {
    match TcpListener::bind(listen) {
        Ok(_) => Check::ok("port", format!("{listen} is free")),
        Err(_) if running => Check::ok(
            "port",
            format!("{listen} is in use, and a server is running"),
        ),
        Err(error) => Check::bad(
            "port",
            Level::Fail,
            format!("cannot listen on {listen}: {error}"),
            "end what uses it, or choose another: dormouse serve --listen 127.0.0.1:0",
        ),
    }
}

fn server(args: &DoctorArgs) -> Check {
    let address = &args.server.server;
    match Client::new(&args.server).and_then(|client| client.ready()) {
        Ok(status) if status.is_success() => Check::ok("server", format!("{address} is ready")),
        Ok(status) => Check::bad(
            "server",
            Level::Warn,
            format!("{address} answers {status}"),
            "it may be draining, or it is no Dormouse server",
        ),
        Err(_) => Check::bad(
            "server",
            Level::Warn,
            format!("nobody answers at {address}"),
            "start it: dormouse serve",
        ),
    }
}
