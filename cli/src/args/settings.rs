//! Flags of the commands that show and change what holds for single agents.

use clap::{Args, ValueEnum};

use super::ServerArgs;
use crate::limits::LimitArgs;

#[derive(Debug, Args)]
#[command(after_help = "\
What is set here goes before `[config.AGENT]` of the server's configuration file, holds from the next call on, and
stays until it is unset or the agent is deleted. It is no secret: the agent sees it, and so does whoever may deploy. Secrets for
HTTP requests belong into the server's configuration file, as [secret.NAME].

Examples:
  dormouse config greeter                          what it reads
  dormouse config greeter greeting=Hello city=Oslo
  dormouse config greeter --unset city
  dormouse config greeter --json | jq .config")]
pub(crate) struct ConfigArgs {
    /// The agent's name
    pub(crate) agent: String,

    /// Set these values; what is behind the first = is the value
    #[arg(value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) set: Vec<(String, String)>,

    /// Take this value away; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) unset: Vec<String>,

    /// Print the server's answer as JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE, for example city=Oslo".to_owned()),
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
Without flags: what holds for the agent's calls, and what of it was set for this agent. What is set changes single limits and
leaves the others as they are; it holds from the next call on, for all versions, until it is unset or the agent is
deleted.

Examples:
  dormouse limits greeter
  dormouse limits greeter --preset strict --memory-limit 32MiB
  dormouse limits greeter --grant llm              besides what it was granted before
  dormouse limits greeter --unset memory-limit --unset grant
  dormouse limits greeter --reset                  as every other agent")]
pub(crate) struct LimitsArgs {
    /// The agent's name
    pub(crate) agent: String,

    #[command(flatten)]
    pub(crate) limits: LimitArgs,

    /// Take away what was set for this limit; may be repeated
    #[arg(long, value_name = "LIMIT")]
    pub(crate) unset: Vec<LimitName>,

    /// Take away all that was set, before anything else
    #[arg(long)]
    pub(crate) reset: bool,

    /// Print the server's answer as JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// A limit by the name of its flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LimitName {
    Preset,
    CallTimeout,
    CpuLimit,
    MemoryLimit,
    TableLimit,
    HostCallLimit,
    HandleLimit,
    LogRecordLimit,
    LogLimit,
    TaskLimit,
    MaxInstances,
    Concurrency,
    Isolation,
    Grant,
}

impl LimitName {
    /// What the server calls it.
    pub(crate) fn member(self) -> &'static str {
        match self {
            Self::Preset => "preset",
            Self::CallTimeout => "call_seconds",
            Self::CpuLimit => "processor_seconds",
            Self::MemoryLimit => "memory_bytes",
            Self::TableLimit => "table_elements",
            Self::HostCallLimit => "host_call_bytes",
            Self::HandleLimit => "handles",
            Self::LogRecordLimit => "log_records",
            Self::LogLimit => "log_bytes",
            Self::TaskLimit => "task_bytes",
            Self::MaxInstances => "max_instances",
            Self::Concurrency => "concurrency",
            Self::Isolation => "isolation",
            Self::Grant => "grants",
        }
    }
}
