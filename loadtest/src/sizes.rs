//! How large the workloads with many agents are.

use clap::Args;
use serde::Serialize;

use crate::{fleet::Layout, module::MAX_AGENTS};

/// The defaults make a run of a minute or two; the promises speak of the sizes in brackets.
#[derive(Debug, Clone, Args, Serialize)]
#[command(next_help_heading = "Sizes of the workloads with many agents")]
pub struct Sizes {
    /// storm, density: agents deployed [promise: 100000]
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000), value_name = "N")]
    pub agents: u32,

    /// storm, density: agents of one module; with 1 every agent has code of its own
    #[arg(long, default_value_t = MAX_AGENTS, value_parser = clap::value_parser!(u8).range(1..=i64::from(MAX_AGENTS)), value_name = "N")]
    pub agents_per_module: u8,

    /// storm, density: one module for all agents, each of which is another name of the one that it declares
    #[arg(long, conflicts_with = "agents_per_module")]
    pub shared_module: bool,

    /// density: agents woken and kept alive at once, at most --agents [promise: 10000]
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=1_000_000), value_name = "N")]
    pub live: u32,

    /// burst: calls at once
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=10_000), value_name = "N")]
    pub burst: u32,

    /// mixed: calls that wait at any time
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000), value_name = "N")]
    pub waiting: u32,

    /// deploy: uploads under load [promise: 500]
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000_000), value_name = "N")]
    pub redeploys: u32,

    /// soak: calls [promise: 1000000]
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..), value_name = "N")]
    pub calls: u64,

    /// soak: agents
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(4..=100_000), value_name = "N")]
    pub soak_agents: u32,
}

impl Sizes {
    /// How the agents of storm and density share modules.
    pub fn layout(&self) -> Layout {
        if self.shared_module {
            Layout::Names
        } else {
            Layout::PerModule(self.agents_per_module)
        }
    }
}
