//! Every command and flag. The doc comments are the `--help` texts.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand};
use dormouse_gateway::tokens::Scope;
use serde_json::Value;

mod activity;
mod agents;
mod filters;
mod settings;

pub(crate) use activity::{CancelArgs, LogsArgs, TaskArgs, TasksArgs};
pub(crate) use agents::{DeployArgs, NewArgs, RollbackArgs, Template};
pub(crate) use filters::{
    FilterCommand, FilterHealthArgs, FilterPutArgs, FilterSetting, FilterShowArgs,
};
pub(crate) use settings::{ConfigArgs, LimitName, LimitsArgs};

use crate::config::{LogFormat, Settings};
use crate::units::Span;

/// Where commands look for a server unless told otherwise.
pub(crate) const DEFAULT_SERVER: &str = "http://127.0.0.1:8080";

#[derive(Debug, Parser)]
#[command(
    name = "dormouse",
    version,
    about = "Runs A2A agents as WebAssembly: asleep until somebody calls",
    arg_required_else_help = true,
    after_help = "\
From nothing to an answer:
  dormouse doctor                        is this machine ready?
  dormouse serve                         run the platform (leave it running)
  dormouse new greeter                   write an agent
  dormouse deploy greeter                compile and upload it
  dormouse send greeter \"Hello\"          talk to it

Exit code: 0 done, 1 failed, 2 wrong usage."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the platform: deployed agents answer at http://ADDR:PORT/agents/NAME
    Serve(Box<ServeArgs>),
    /// Write a new agent project that builds
    New(NewArgs),
    /// Compile a crate (or take a .wasm file) and upload it
    Deploy(DeployArgs),
    /// Send one A2A message to an agent and print its answer
    Send(SendArgs),
    /// List the deployed agents
    Agents(ListArgs),
    /// List the versions of an agent
    Versions(AgentArgs),
    /// Make another version of an agent the active one, or give it a share of new work
    #[command(visible_alias = "activate")]
    Rollback(RollbackArgs),
    /// Delete an agent with all its versions
    Delete(DeleteArgs),
    /// Show what an agent reads as its configuration, or change it
    Config(ConfigArgs),
    /// Show what calls of an agent may use, or change it
    Limits(LimitsArgs),
    /// List your latest tasks, of one agent or of all
    Tasks(TasksArgs),
    /// Show a task: what was said, its artifacts and its state
    Task(TaskArgs),
    /// Cancel a task
    Cancel(CancelArgs),
    /// Show what an agent has logged lately, and how its calls failed
    Logs(LogsArgs),
    /// Work on an agent: a platform of its own, built and deployed again after every change
    Dev(DevArgs),
    /// Show what a module is: digest, kind, imports, exports, agents
    Inspect(InspectArgs),
    /// Put filters before agents, list and delete them
    #[command(subcommand)]
    Filters(FilterCommand),
    /// Make, list and revoke API tokens
    #[command(subcommand)]
    Token(TokenCommand),
    /// Print a script that completes commands in your shell
    Completions(CompletionsArgs),
    /// Check this machine and say how to mend what is wrong
    Doctor(DoctorArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Prints one line `listening on http://ADDR:PORT` (https with --tls-cert) on stdout when it can serve; logs go to stderr
(RUST_LOG=debug shows more). SIGTERM and Ctrl-C end running calls in order and exit 0; a second
signal ends at once.

Examples:
  dormouse serve
  dormouse serve --listen 127.0.0.1:0 --data-dir /var/lib/dormouse
  dormouse serve --config dormouse.toml --idle-timeout 5m

A configuration file has the flags' names as keys; flags win over the file:
  listen = \"127.0.0.1:8080\"
  public-url = \"https://agents.example.com\"
  idle-timeout = \"5m\"")]
pub(crate) struct ServeArgs {
    /// TOML file with these settings
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) settings: Settings,

    /// How logs are written to stderr
    #[arg(long, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    pub(crate) log_format: LogFormat,
}

/// How to reach a server.
#[derive(Debug, Clone, Args)]
pub(crate) struct ServerArgs {
    /// The server's address
    #[arg(long, env = "DORMOUSE_SERVER", default_value = DEFAULT_SERVER, value_name = "URL")]
    pub(crate) server: String,

    /// API token, sent as `Authorization: Bearer`
    #[arg(
        long,
        env = "DORMOUSE_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN"
    )]
    pub(crate) token: Option<String>,

    /// Trust the certificates in this file (PEM), beside those of the system, when the server's address is https://
    #[arg(long, env = "DORMOUSE_CA", value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
}

impl ServerArgs {
    /// How a command that is proposed names the same server; empty if it would find it anyway.
    pub(crate) fn flag(&self) -> String {
        let found_anyway =
            std::env::var("DORMOUSE_SERVER").unwrap_or_else(|_| DEFAULT_SERVER.to_owned());
        let mut flags = String::new();
        if self.server != found_anyway {
            flags = format!(" --server {}", self.server);
        }
        if let Some(ca) = &self.ca
            && std::env::var_os("DORMOUSE_CA").is_none()
        {
            flags += &format!(" --ca {}", ca.display());
        }
        flags
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dormouse send greeter \"Hello\"
  dormouse send csv-stats \"Statistics, please\" --file sales.csv
  dormouse send report-writer \"A report on dormice\" --stream
  dormouse send trip-planner \"To Lisbon\"            asks back, and prints how to continue:
  dormouse send trip-planner \"In May\" --task 0199…

Exit code: 0 answered (or asked back), 1 the task failed, was rejected or canceled.")]
pub(crate) struct SendArgs {
    /// The agent's name
    pub(crate) agent: String,

    /// What to say
    #[arg(required_unless_present_any = ["data", "file"])]
    pub(crate) text: Option<String>,

    /// The skill to call; not needed when the agent has one, or with --task
    #[arg(long, value_name = "ID")]
    pub(crate) skill: Option<String>,

    /// Continue this task
    #[arg(long, value_name = "ID")]
    pub(crate) task: Option<String>,

    /// Start the task in this context
    #[arg(long, value_name = "ID")]
    pub(crate) context: Option<String>,

    /// Print what happens while it happens
    #[arg(long)]
    pub(crate) stream: bool,

    /// Structured data to send along
    #[arg(long, value_name = "JSON", value_parser = parse_json)]
    pub(crate) data: Option<Value>,

    /// A file to send along
    #[arg(long, value_name = "PATH")]
    pub(crate) file: Option<PathBuf>,

    /// Print the A2A answer as JSON; with --stream, one event a line
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Print the server's answer as JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct AgentArgs {
    /// The agent's name
    pub(crate) agent: String,

    /// Print the server's answer as JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// The agent's name
    pub(crate) agent: String,

    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,

    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Subcommand)]
#[command(after_help = "\
As long as there is no token, a server on a loopback address lets everybody in. The first token must
have the scope admin; from then on every request needs one, except for cards and health.

Examples:
  dormouse token create ann --scope admin
  dormouse token create ci --scope deploy --expires 90d
  dormouse token create ann --scope admin --data-dir dormouse-data    while no server runs
  dormouse token list
  dormouse token revoke ci")]
pub(crate) enum TokenCommand {
    /// Make a token and show it, once
    Create(TokenCreateArgs),
    /// List the tokens, without their secrets
    List(TokenListArgs),
    /// Revoke a token: the next request with it is refused
    Revoke(TokenRevokeArgs),
}

/// Where tokens are kept: at a server, or in a folder that no server uses.
#[derive(Debug, Args)]
pub(crate) struct TokenPlace {
    /// Work on this data folder, which no server may be using, instead of asking a server
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The token alone is printed to stdout, so that a script can keep it:
  DORMOUSE_TOKEN=$(dormouse token create ann --scope admin)

Scopes:
  deploy    upload modules; switch and delete agents; read metrics
  invoke    talk to agents
  admin     tokens, and everything else")]
pub(crate) struct TokenCreateArgs {
    /// The token's name and the principal it stands for, who owns the tasks of its requests
    pub(crate) name: String,

    /// What it may be used for: deploy, invoke, admin
    #[arg(
        long = "scope",
        value_name = "SCOPE",
        required = true,
        value_delimiter = ','
    )]
    pub(crate) scopes: Vec<Scope>,

    /// It is worth nothing after this long [default: it does not expire]
    #[arg(long, value_name = "DURATION")]
    pub(crate) expires: Option<Span>,

    /// Print the answer as JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) place: TokenPlace,
}

#[derive(Debug, Args)]
pub(crate) struct TokenListArgs {
    /// Print the answer as JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) place: TokenPlace,
}

#[derive(Debug, Args)]
pub(crate) struct TokenRevokeArgs {
    /// The token's name
    pub(crate) name: String,

    #[command(flatten)]
    pub(crate) place: TokenPlace,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Exit code: 1 if a check failed; warnings do not count.

Examples:
  dormouse doctor
  dormouse doctor --data-dir /var/lib/dormouse --json")]
pub(crate) struct DoctorArgs {
    /// The data folder that `serve` will use
    #[arg(long, value_name = "DIR", default_value = crate::config::DEFAULT_DATA_DIR)]
    pub(crate) data_dir: PathBuf,

    /// The address that `serve` will listen on
    #[arg(long, value_name = "ADDR:PORT", default_value_t = crate::config::DEFAULT_LISTEN)]
    pub(crate) listen: std::net::SocketAddr,

    /// Print the checks as JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

fn parse_json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))
}

#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Builds the crate, serves it, shows what it logs, and does it again whenever a file changes. What the
platform keeps is thrown away at the end, unless --data-dir says where it belongs.

Examples:
  dormouse dev
  dormouse dev agents/greeter --listen 127.0.0.1:9000")]
pub(crate) struct DevArgs {
    /// A crate folder
    #[arg(value_name = "PATH", default_value = ".")]
    pub(crate) path: PathBuf,

    /// Which crate of a workspace
    #[arg(long, short, value_name = "NAME")]
    pub(crate) package: Option<String>,

    /// Where the platform listens; port 0 picks a free one
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDR:PORT")]
    pub(crate) listen: String,

    /// Keep tasks and modules in this folder
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dormouse inspect target/wasm32-wasip1/release/greeter.wasm
  dormouse inspect blake3:8f3a…                    a module that is stored on the server

Exit code: 0 it can be deployed, 1 it would be refused.")]
pub(crate) struct InspectArgs {
    /// A .wasm file, or the digest of a stored module
    pub(crate) module: String,

    /// Print it as JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dormouse completions bash > /etc/bash_completion.d/dormouse
  dormouse completions zsh > ~/.zfunc/_dormouse")]
pub(crate) struct CompletionsArgs {
    pub(crate) shell: clap_complete::Shell,
}

impl CompletionsArgs {
    /// Prints the script.
    pub(crate) fn write(&self) -> anyhow::Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "dormouse", &mut script);
        Ok(std::io::stdout().lock().write_all(&script)?)
    }
}
