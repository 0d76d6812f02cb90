//! Flags of the commands that show what happened.

use clap::Args;

use super::ServerArgs;

#[derive(Debug, Args)]
pub(crate) struct TasksArgs {
    /// The agent's name [default: all agents]
    pub(crate) agent: Option<String>,

    /// How many, the latest first
    #[arg(long, default_value_t = 50, value_name = "N")]
    pub(crate) limit: usize,

    /// Print the tasks as JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TaskArgs {
    /// The task's id, as `dormouse send` and `dormouse tasks` print it
    #[arg(value_name = "ID")]
    pub(crate) task: String,

    /// Print the server's answer as JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CancelArgs {
    /// The task's id
    #[arg(value_name = "ID")]
    pub(crate) task: String,

    /// Print the task as JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The server keeps the latest 1,000 records of an agent in memory. Its own log, on stderr, has all of them.

Examples:
  dormouse logs greeter
  dormouse logs greeter -f
  dormouse logs greeter --json | jq 'select(.level == \"error\")'")]
pub(crate) struct LogsArgs {
    /// The agent's name
    pub(crate) agent: String,

    /// Go on with what is logged from now on
    #[arg(long, short)]
    pub(crate) follow: bool,

    /// How many of the latest records to begin with
    #[arg(long, short = 'n', default_value_t = 100, value_name = "N")]
    pub(crate) lines: usize,

    /// Print one JSON object per line
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) server: ServerArgs,
}
