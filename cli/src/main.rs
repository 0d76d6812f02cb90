//! The `dormouse` binary: the platform and everything a developer types.
//!
//! Reading order: [`args`] (every command and flag), [`serve`] with [`config`] (the platform),
//! [`new`] (a project), [`deploy`] with [`cargo`] and [`limits`] (from a crate to an agent), [`send`] with
//! [`render`] and [`sse`] (talking to an agent), [`registry`] (agents and versions), [`settings`] (what holds for one agent), [`activity`] (tasks and logs), [`dev`] (all of it again after a change), [`inspect`] (a module), [`token`] (who is let in), [`doctor`]
//! (checking the machine), [`client`] (how all of them reach a server).

mod args;

mod config;
mod serve;

mod new;

mod cargo;
mod deploy;
mod limits;
mod log;
mod models;

mod render;
mod secrets;
mod send;
mod sse;

mod activity;
mod dev;
mod doctor;
mod filters;
mod inspect;
mod registry;
mod settings;
mod token;
mod traces;
mod units;

mod client;

use std::io;
use std::process::ExitCode;

/// Quick with the dozens of small things that a call allocates, and gives memory back when there are no calls: some seconds
/// after a deploy the idle server held 14 MB where mimalloc kept 111 MB.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

use args::{Cli, Command};
use clap::Parser;

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(if error.is::<Usage>() { 2 } else { 1 })
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    let done = match command {
        Command::Serve(args) => return serve::serve(*args),
        Command::Send(args) => return send::send(&args),
        Command::Doctor(args) => return doctor::doctor(&args),
        Command::New(args) => new::new(&args),
        Command::Deploy(args) => deploy::deploy(&args),
        Command::Agents(args) => registry::agents(&args),
        Command::Versions(args) => registry::versions(&args),
        Command::Rollback(args) => registry::rollback(&args),
        Command::Delete(args) => registry::delete(&args),
        Command::Config(args) => settings::config(&args),
        Command::Limits(args) => settings::limits(&args),
        Command::Tasks(args) => activity::tasks(&args),
        Command::Task(args) => activity::task(&args),
        Command::Cancel(args) => activity::cancel(&args),
        Command::Logs(args) => activity::logs(&args),
        Command::Dev(args) => dev::dev(&args),
        Command::Inspect(args) => inspect::inspect(&args),
        Command::Completions(args) => args.write(),
        Command::Filters(command) => filters::filters(command),
        Command::Token(command) => token::token(command),
    };
    done.map(|()| ExitCode::SUCCESS)
}

/// The command was used wrongly, in a way that only shows after parsing: exit code 2.
#[derive(Debug)]
struct Usage(String);

impl Usage {
    fn error(sentence: impl Into<String>) -> anyhow::Error {
        Self(sentence.into()).into()
    }
}

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// Whoever read our output has seen enough (`dormouse agents | head -1`); that is no failure.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
