//! Write [A2A] agents for Dormouse.
//!
//! An agent is a library crate with `crate-type = ["cdylib", "rlib"]`. It has skills, and one
//! [`entrypoint`] that names its agents:
//!
//! ```
//! use dormouse_sdk::prelude::*;
//!
//! #[skill(id = "greet", name = "Greeting", description = "Greets whoever writes.", tags = ["hello"])]
//! struct Greet;
//!
//! impl SkillHandler for Greet {
//!     async fn on_request(
//!         &self,
//!         _state: &mut State,
//!         progress: &ProgressSender,
//!         _runtime: &Runtime,
//!         content: Content,
//!     ) -> Result<OnRequestResult, AgentError> {
//!         progress.send_update("Thinking of something nice to say").await?;
//!         Ok(OnRequestResult::completed(format!("Hello, {}!", content.text())))
//!     }
//! }
//!
//! #[entrypoint]
//! pub fn configure_agents() -> Vec<AgentDefinition> {
//!     vec![Agent::builder().with_name("greeter").with_skill(Greet).build()]
//! }
//! # fn main() {
//! let answer = dormouse_sdk::testing::Conversation::new(Greet).send("Ada");
//! assert_eq!(answer.text(), "Hello, Ada!");
//! # }
//! ```
//!
//! `cargo build --release --target wasm32-wasip1` makes the module that Dormouse runs. Built
//! natively, the same crate is tested with [`testing`] and served to A2A clients with [`serve`]:
//!
//! ```no_run
//! # use dormouse_sdk::AgentDefinition;
//! # fn configure_agents() -> Vec<AgentDefinition> { Vec::new() }
//! fn main() -> std::io::Result<()> {
//!     dormouse_sdk::serve(configure_agents())
//! }
//! ```
//!
//! [A2A]: https://a2a-protocol.org

// Lets the code that the macros generate name this crate from inside it, too.
extern crate self as dormouse_sdk;

mod skill;
mod skill_file;

mod agent;
mod builder;
mod content;
mod json;
mod state;

mod progress;
mod runtime;

mod agents;
mod http;
mod join;
mod llm;
mod memory;

mod error;

mod dispatch;
mod host;

#[cfg(target_family = "wasm")]
mod wasm;

#[cfg(not(target_family = "wasm"))]
mod native;
#[cfg(not(target_family = "wasm"))]
mod native_services;
#[cfg(not(target_family = "wasm"))]
pub mod testing;

#[cfg(any(feature = "serve", target_family = "wasm"))]
mod serve;

pub use agent::{
    AgentDefinition, Extension, Isolation, Provider, RegisteredSkill, Service, SkillMetadata,
};
pub use agents::{AgentReply, AgentRequest, AgentTask, AgentTaskState, Agents};
pub use builder::{Agent, AgentBuilder};
pub use content::{Artifact, Content, File, FileSource, Part, PartContent};
pub use dormouse_sdk_macros::{entrypoint, include_skill, init, skill, tool};
pub use error::AgentError;
pub use http::{Http, HttpRequest, HttpResponse};
pub use join::join_all;
pub use json::Json;
pub use llm::{
    BaseTool, FunctionTool, Llm, LlmFunction, LlmPiece, LlmRequest, LlmResponse, LlmStream,
    LlmTurn, LlmWorker, LlmWorkerBuilder, StopReason, Thread, TokenUsage, ToolCall,
    ToolDeclaration, ToolResult,
};
pub use memory::{Memory, MemoryEntry, MemoryHit, MemoryQuery, MemoryScope};
pub use progress::ProgressSender;
pub use runtime::{CallContext, Level, Role, Runtime, Turn};
#[cfg(any(feature = "serve", target_family = "wasm"))]
pub use serve::serve;
#[cfg(all(feature = "serve", not(target_family = "wasm")))]
pub use serve::serve_on;
pub use skill::{OnInputResult, OnRequestResult, Outcome, SkillHandler, SkillSlot};
pub use skill_file::AgentSkillDef;
pub use state::{State, StateScope};

/// Everything a skill usually names.
///
/// ```
/// use dormouse_sdk::prelude::*;
///
/// #[skill(id = "echo", name = "Echo", description = "Says the same.")]
/// struct Echo;
///
/// impl SkillHandler for Echo {
///     async fn on_request(&self, _: &mut State, _: &ProgressSender, _: &Runtime, content: Content)
///         -> Result<OnRequestResult, AgentError> {
///         Ok(OnRequestResult::completed(content))
///     }
/// }
///
/// let agent: AgentDefinition = Agent::builder().with_name("echo").with_skill(Echo).build();
/// # assert_eq!(agent.skills().count(), 1);
/// ```
pub mod prelude {
    pub use crate::{
        Agent, AgentDefinition, AgentError, Artifact, Content, Isolation, OnInputResult,
        OnRequestResult, ProgressSender, Runtime, SkillHandler, SkillSlot, State,
    };
    // From where they are: `crate::skill` would be a module of that name, too.
    pub use dormouse_sdk_macros::{entrypoint, include_skill, init, skill, tool};
}

/// What the macros expand to; no promise to anybody else.
#[doc(hidden)]
pub mod __private {
    pub use crate::agent::Entrypoint;
    #[cfg(target_family = "wasm")]
    pub use crate::wasm::bindings;
}
