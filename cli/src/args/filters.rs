//! Flags of `dormouse filters`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::{ListArgs, ServerArgs};
use crate::units::{Size, Span};

#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  dormouse filters put guard pii.wasm --agent greeter
  dormouse filters put guard guard                a crate folder, as `dormouse new guard --template filter` writes it
  dormouse filters put guard --config pii.json    changes that, and nothing else
  dormouse filters put guard --memory-limit 16MiB
  dormouse filters list
  dormouse filters show guard
  dormouse filters health guard
  dormouse filters delete guard")]
pub(crate) enum FilterCommand {
    /// List the filters in the order in which they are asked
    List(ListArgs),
    /// Show one: its settings, and what its calls may use
    Show(FilterShowArgs),
    /// Put a filter before agents, or change one
    Put(Box<FilterPutArgs>),
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
pub(crate) struct FilterShowArgs {
    pub(crate) name: String,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
With COMPONENT, what is not given has its default. Without it, only what is given changes, and the rest stays as it is.

Examples:
  dormouse filters put guard pii.wasm --agent greeter --order 2
  dormouse filters put guard --config pii.json                 the same component, agents and order
  dormouse filters put guard --limits strict --memory-limit 16MiB
  dormouse filters put guard --unset memory-limit --unset agent   before all agents")]
pub(crate) struct FilterPutArgs {
    /// What the filter is called here
    pub(crate) name: String,

    /// Its component, of the world zentinel:agent@2.0.0 or dormouse:filter@1.0.0, or the folder of a crate that becomes one
    /// [default: the one that it has]
    pub(crate) component: Option<PathBuf>,

    /// JSON file with its configuration
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Filters are asked in ascending order [default: 0]
    #[arg(long, allow_negative_numbers = true, value_name = "NUMBER")]
    pub(crate) order: Option<i32>,

    /// Let requests pass when the filter fails, instead of refusing them
    #[arg(long, conflicts_with = "fail_closed")]
    pub(crate) fail_open: bool,

    /// Refuse requests when the filter fails, which is the default
    #[arg(long)]
    pub(crate) fail_closed: bool,

    /// An agent that it stands before; may be repeated [default: all agents]
    #[arg(long = "agent", value_name = "NAME")]
    pub(crate) agents: Vec<String>,

    /// How bodies reach it: when they are whole, as they arrive, or as they arrive if they are long [default: buffer]
    #[arg(long, value_parser = ["buffer", "stream", "hybrid"], value_name = "MODE")]
    pub(crate) body: Option<String>,

    /// Bytes of a body, a message or an artifact that it sees at most [default: what it declares]
    #[arg(long, value_name = "BYTES")]
    pub(crate) max_body: Option<u64>,

    /// Live instances, which take turns [default: 2]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) instances: Option<usize>,

    #[command(flatten)]
    pub(crate) limits: FilterLimitArgs,

    /// Back to the default; may be repeated
    #[arg(long, value_name = "SETTING")]
    pub(crate) unset: Vec<FilterSetting>,

    /// Print the answer as JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// What calls of a filter may use.
#[derive(Debug, Args)]
pub(crate) struct FilterLimitArgs {
    /// What its calls may use, in place of what those of other filters may; the flags below change single limits of it
    #[arg(long, visible_alias = "preset", value_parser = ["strict", "minimal", "default", "high-performance"], value_name = "PRESET")]
    limits: Option<String>,

    /// A call may take this long, its waits included
    #[arg(long, value_name = "DURATION")]
    call_timeout: Option<Span>,

    /// A call may use a processor for this long
    #[arg(long, value_name = "DURATION")]
    cpu_limit: Option<Span>,

    /// Linear memory of an instance
    #[arg(long, value_name = "SIZE")]
    memory_limit: Option<Size>,

    /// Elements of one table of an instance
    #[arg(long, value_name = "N")]
    table_limit: Option<u64>,

    /// Tables of one module of the component
    #[arg(long, value_name = "N")]
    max_tables: Option<u64>,

    /// Bytes of the code of one function
    #[arg(long, value_name = "SIZE")]
    function_limit: Option<Size>,

    /// Bytes of the component
    #[arg(long, value_name = "SIZE")]
    component_limit: Option<Size>,

    /// Bytes of an answer, and bytes that a call may print
    #[arg(long, value_name = "SIZE")]
    output_limit: Option<Size>,

    /// Instructions of a call, on a server that counts them (`serve --fuel`)
    #[arg(long, value_name = "N")]
    fuel_limit: Option<u64>,
}

impl FilterLimitArgs {
    /// What is given, as the server calls it.
    pub(crate) fn members(&self) -> impl Iterator<Item = (&'static str, Value)> {
        let seconds = |span: Option<Span>| span.map(|span| json!(span.0.as_secs_f64()));
        let bytes = |size: Option<Size>| size.map(|size| json!(size.0));
        let number = |number: Option<u64>| number.map(|number| json!(number));
        let given = [
            (
                FilterSetting::Preset,
                self.limits.as_ref().map(|preset| json!(preset)),
            ),
            (FilterSetting::CallTimeout, seconds(self.call_timeout)),
            (FilterSetting::CpuLimit, seconds(self.cpu_limit)),
            (FilterSetting::MemoryLimit, bytes(self.memory_limit)),
            (FilterSetting::TableLimit, number(self.table_limit)),
            (FilterSetting::MaxTables, number(self.max_tables)),
            (FilterSetting::FunctionLimit, bytes(self.function_limit)),
            (FilterSetting::ComponentLimit, bytes(self.component_limit)),
            (FilterSetting::OutputLimit, bytes(self.output_limit)),
            (FilterSetting::FuelLimit, number(self.fuel_limit)),
        ];
        let given = given.into_iter();
        given.filter_map(|(limit, value)| Some((limit.limit()?, value?)))
    }
}

/// A setting by the name of its flag, of those that cannot be set to their default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FilterSetting {
    Config,
    Agent,
    MaxBody,
    /// All of the following
    Limits,
    Preset,
    CallTimeout,
    CpuLimit,
    MemoryLimit,
    TableLimit,
    MaxTables,
    FunctionLimit,
    ComponentLimit,
    OutputLimit,
    FuelLimit,
}

impl FilterSetting {
    /// What the server calls it.
    pub(crate) fn member(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Agent => "agents",
            Self::MaxBody => "max_body_bytes",
            _ => "limits",
        }
    }

    /// What the server calls it among the limits, if it is one of them.
    pub(crate) fn limit(self) -> Option<&'static str> {
        match self {
            Self::Preset => Some("preset"),
            Self::CallTimeout => Some("call_seconds"),
            Self::CpuLimit => Some("processor_seconds"),
            Self::MemoryLimit => Some("memory_bytes"),
            Self::TableLimit => Some("table_elements"),
            Self::MaxTables => Some("tables"),
            Self::FunctionLimit => Some("function_bytes"),
            Self::ComponentLimit => Some("component_bytes"),
            Self::OutputLimit => Some("output_bytes"),
            Self::FuelLimit => Some("fuel"),
            Self::Config | Self::Agent | Self::MaxBody | Self::Limits => None,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct FilterDeleteArgs {
    /// The filter's name
    pub(crate) name: String,

    #[command(flatten)]
    pub(crate) server: ServerArgs,
}
