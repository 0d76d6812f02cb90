//! Flags of `dormouse filters`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{ListArgs, ServerArgs};

#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  dormouse filters put guard pii.wasm --agent greeter
  dormouse filters put guard guard                a crate folder, as `dormouse new guard --template filter` writes it
  dormouse filters put guard --config pii.json    with the component that is there
  dormouse filters list
  dormouse filters health guard
  dormouse filters delete guard")]
pub(crate) enum FilterCommand {
    /// List the filters in the order in which they are asked
    List(ListArgs),
    /// Put a filter before agents, or change one
    Put(FilterPutArgs),
    /// Ask a filter's instances for their health now, and replace those that are not well
    Health(FilterHealthArgs),
    /// Take a filter away
    Delete(FilterDeleteArgs),
}

#[derive(Debug, Args)]
pub(crate) struct FilterHealthArgs {
    pub(crate) name: String,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct FilterPutArgs {
    /// What the filter is called here
    pub(crate) name: String,

    /// Its component, of the world zentinel:agent@2.0.0 or dormouse:filter@1.0.0, or the folder of a crate that becomes one
    /// [default: the one that it has]
    pub(crate) component: Option<PathBuf>,

    /// JSON file with its configuration
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Filters are asked in ascending order
    #[arg(
        long,
        default_value_t = 0,
        allow_negative_numbers = true,
        value_name = "NUMBER"
    )]
    pub(crate) order: i32,

    /// Let requests pass when the filter fails, instead of refusing them
    #[arg(long)]
    pub(crate) fail_open: bool,

    /// An agent that it stands before; may be repeated [default: all agents]
    #[arg(long = "agent", value_name = "NAME")]
    pub(crate) agents: Vec<String>,

    /// How bodies reach it: when they are whole, as they arrive, or as they arrive if they are long
    #[arg(long, value_parser = ["buffer", "stream", "hybrid"], default_value = "buffer", value_name = "MODE")]
    pub(crate) body: String,

    /// Bytes of a body, a message or an artifact that it sees at most [default: what it declares]
    #[arg(long, value_name = "BYTES")]
    pub(crate) max_body: Option<u64>,

    /// Live instances, which take turns
    #[arg(long, default_value_t = 2, value_name = "NUMBER")]
    pub(crate) instances: usize,

    /// Print the answer as JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct FilterDeleteArgs {
    /// The filter's name
    pub(crate) name: String,

    #[command(flatten)]
    pub(crate) server: ServerArgs,
}
