//! `cargo xtask …`: what developers and CI type. It only runs other programs: cargo, the `dormouse`
//! binary, Python.
//!
//! Reading order: [`demo`] (the platform with the examples, answering), [`checks`] (everything that
//! CI runs), [`bench`] (the load generator), [`instructions`] (what a hot call takes), [`fuzz`] (the parsers' fuzz targets), [`languages`] (agents that are not in Rust),
//! [`examples`] (those in the SDK's documentation), [`guests`] (agents for WebAssembly) and [`setup`] (what
//! all of them need), [`server`] and [`metrics`] (the running platform), [`step`] (how a command is
//! run and told).

mod bench;
mod checks;
mod clients;
mod conformance;
mod demo;
mod examples;
mod fuzz;
mod guests;
mod instructions;
mod languages;
mod metrics;
mod server;
mod setup;
mod step;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    arg_required_else_help = true
)]
/// Set-up, demo, tests and measurements of Dormouse
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what building agents needs, and check for the rest
    Setup,
    /// Build the examples and the test guests for WebAssembly, which many tests need
    Guests,
    /// Build everything, serve it, deploy the examples and talk to them
    Demo {
        /// Where the platform listens; port 0 picks a free one
        #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDR:PORT")]
        listen: SocketAddr,
        /// End after the messages instead of going on serving
        #[arg(long)]
        exit: bool,
    },
    /// Run everything that CI runs, until the first failure
    Test {
        /// Install cargo-deny if it is missing
        #[arg(long)]
        install: bool,
    },
    /// Run A2A's official test kit, and compare with what is known (docs/conformance.md)
    Conformance {
        /// A checkout of a2aproject/a2a-tck
        #[arg(long, value_name = "FOLDER")]
        kit: PathBuf,
    },
    /// Feed the parsers of requests what they do not expect, and look whether they break (fuzz/)
    Fuzz {
        /// Only this target
        #[arg(value_parser = fuzz::TARGETS)]
        target: Option<String>,
        /// How long each target runs
        #[arg(long, default_value_t = 600, value_name = "N")]
        seconds: u64,
    },
    /// Build the example agents in Python and JavaScript, deploy and call them; part of `test`
    Languages,
    /// Look whether every public item of the SDK has an example; part of `test`
    Examples,
    /// Count the instructions of a hot call with valgrind, and compare with what is kept
    Instructions {
        /// Keep what is counted
        #[arg(long)]
        keep: bool,
    },
    /// Measure: throughput and latency from hot, warm and cold, next to a bare HTTP echo
    #[command(after_help = "\
Examples:
  cargo xtask bench                                     every workload, 10 s per phase
  cargo xtask bench -- --quick                          a first look
  cargo xtask bench -- --workloads storm,neighbour --check --plot plots
  cargo xtask bench -- --workloads hot --json")]
    Bench {
        /// Flags of the load generator; `-- --help` lists them
        #[arg(last = true)]
        flags: Vec<String>,
    },
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Setup => setup::setup(),
        Task::Guests => guests::guests(),
        Task::Demo { listen, exit } => demo::demo(listen, exit),
        Task::Test { install } => return checks::run(install),
        Task::Conformance { kit } => conformance::conformance(&kit),
        Task::Fuzz { target, seconds } => fuzz::fuzz(target.as_deref(), seconds),
        Task::Languages => languages::languages(),
        Task::Examples => examples::examples(),
        Task::Instructions { keep } => instructions::instructions(keep),
        Task::Bench { flags } => bench::bench(&flags),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
