//! What makes agents: new projects, deployments, versions.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::ServerArgs;
use crate::limits::LimitArgs;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dormouse new greeter
  dormouse new concierge --template multi-turn
  dormouse new greeter --sdk ../dormouse/sdk
  dormouse new guard --template filter

Then:
  cd greeter
  cargo test           the agent's own tests, natively
  cargo run            serve it natively, for trying it with any A2A client
  dormouse deploy      put it on a running platform")]
pub(crate) struct NewArgs {
    /// The agent's or filter's name and the folder's: lower-case letters, digits and inner hyphens
    #[arg(value_name = "NAME")]
    pub(crate) name: String,

    /// What to begin with
    #[arg(long, value_enum, default_value_t = Template::OneShot, value_name = "TEMPLATE")]
    pub(crate) template: Template,

    /// A local checkout of the SDK crate to depend on, instead of the published one
    #[arg(long, env = "DORMOUSE_SDK_PATH", value_name = "PATH")]
    pub(crate) sdk: Option<PathBuf>,
}

/// What a new project is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Template {
    /// Answers one message at a time
    OneShot,
    /// Asks back, and remembers what it has asked
    MultiTurn,
    /// Has a language model answer, with a tool
    Llm,
    /// Is no agent: sees requests before agents do, and lets them pass or not
    Filter,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dormouse deploy                          the crate in this folder
  dormouse deploy agents/greeter
  dormouse deploy . --package greeter      one crate of a workspace
  dormouse deploy greeter.wasm             a module that is already built
  dormouse deploy --name greeter-test      its one agent under another name
  dormouse deploy --probe \"Hello\"          only if it answers that
  dormouse deploy --limits strict --memory-limit 8MiB --cpu-limit 2s

With --probe the new version is called once before it takes over, in an instance of its own, and nothing of the call is
kept. If it traps, fails, rejects or is late, the version before stays, and nothing is deployed.
Limits are those of its agents from then on, in place of what was set for them before; without any, they keep
what they have. `dormouse limits NAME` shows and changes them.
A crate folder is compiled with `cargo build --target wasm32-wasip1 --release`.
The target is installed with `rustup target add wasm32-wasip1`.")]
pub(crate) struct DeployArgs {
    /// A crate folder or a .wasm file
    #[arg(value_name = "PATH", default_value = ".")]
    pub(crate) path: PathBuf,

    /// Which crate of a workspace
    #[arg(long, short, value_name = "NAME")]
    pub(crate) package: Option<String>,

    /// What to call the agent, if the module declares only one [default: as it declares]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,

    /// Call the new version with this text first, and deploy it only if all is well
    #[arg(long, value_name = "TEXT")]
    pub(crate) probe: Option<String>,

    /// The skill to probe [default: the one that fits the text]
    #[arg(long, value_name = "ID", requires = "probe")]
    pub(crate) probe_skill: Option<String>,

    #[command(flatten)]
    pub(crate) limits: LimitArgs,

    /// Print the server's answer as JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dormouse rollback greeter        back to the version before the active one
  dormouse rollback greeter 3      to version 3
  dormouse activate greeter 4 --percent 10
                                   version 4 takes a tenth of the tasks that begin; the rest stays

A share lasts until the next deploy, rollback or activate. A task goes on with the version that it began with.")]
pub(crate) struct RollbackArgs {
    /// The agent's name
    pub(crate) agent: String,

    /// The version's number [default: the one before the active version]
    pub(crate) version: Option<u32>,

    /// Only this share of new work, 1 to 99; all of a context goes one way
    #[arg(long, value_name = "P", requires = "version", value_parser = clap::value_parser!(u8).range(1..=99))]
    pub(crate) percent: Option<u8>,

    /// Print the server's answer as JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) server: ServerArgs,
}
