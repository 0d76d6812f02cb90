//! The macros of `dormouse-sdk`, which re-exports them: use them from there.
//!
//! ```
//! use dormouse_sdk::skill; // not from `dormouse_sdk_macros`: what the macros make names `dormouse_sdk`
//!
//! #[skill(id = "greet", name = "Greeting", description = "Greets whoever writes.")]
//! struct Greet;
//! # assert_eq!(<Greet as dormouse_sdk::RegisteredSkill>::metadata().id, "greet");
//! ```

mod entrypoint;
mod init;
mod skill;
mod skill_file;
mod tool;

use proc_macro::TokenStream;

/// Marks the one function of a crate that names its agents:
/// `fn configure_agents() -> Vec<AgentDefinition>`, of any name and visibility.
///
/// On WebAssembly it makes the exports through which Dormouse discovers and calls the agents.
/// Natively it leaves the function as it is, for `main` to hand to `dormouse_sdk::serve`.
/// A second entrypoint in the same crate does not compile.
///
/// ```
/// use dormouse_sdk::prelude::*;
///
/// # #[skill(id = "greet", name = "Greeting", description = "Greets.")]
/// # struct Greet;
/// # impl SkillHandler for Greet {
/// #     async fn on_request(&self, _: &mut State, _: &ProgressSender, _: &Runtime, _: Content)
/// #         -> Result<OnRequestResult, AgentError> { Ok(OnRequestResult::completed("Hello")) }
/// # }
/// #[entrypoint]
/// pub fn configure_agents() -> Vec<AgentDefinition> {
///     vec![Agent::builder().with_name("greeter").with_skill(Greet).build()]
/// }
/// # fn main() {
/// assert_eq!(configure_agents()[0].name, "greeter");
/// # }
/// ```
#[proc_macro_attribute]
pub fn entrypoint(arguments: TokenStream, item: TokenStream) -> TokenStream {
    entrypoint::expand(arguments.into(), item.into())
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

/// Marks a function that the platform runs once, at deploy: `fn init()`, of any name. Every instance starts with the
/// memory that it leaves, so what is expensive to build is built once and not in each instance.
///
/// It must do without clocks, random numbers, output and every service of the platform, and end within five seconds
/// of processor time; else the deployment is refused. A `HashMap` asks for a random number, which all
/// instances would share: a `BTreeMap`, or a `HashMap` with a hasher of fixed keys, does not.
///
/// It makes a start quicker and nothing else: natively, in tests and in a module that is a component already it is
/// not called. So let it force what would else be built at its first use:
///
/// ```
/// use std::sync::LazyLock;
/// use dormouse_sdk::init;
///
/// static SQUARES: LazyLock<Vec<u32>> = LazyLock::new(|| (0..1000).map(|n| n * n).collect());
///
/// #[init]
/// fn init() {
///     LazyLock::force(&SQUARES);
/// }
/// # fn main() {
/// assert_eq!(SQUARES[12], 144); // natively built here, at its first use
/// # }
/// ```
#[proc_macro_attribute]
pub fn init(arguments: TokenStream, item: TokenStream) -> TokenStream {
    init::expand(arguments.into(), item.into())
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

/// Gives a type what its skill says about itself on the agent's card, as `RegisteredSkill`.
///
/// `id`, `name` and `description` are required text. `tags`, `examples`, `input_modes` and
/// `output_modes` are lists of text and may be left out; without tags, the id is the only one,
/// since A2A 1.0 wants at least one. Modes are media types; without them the agent's defaults hold.
///
/// ```
/// use dormouse_sdk::{RegisteredSkill, skill};
///
/// #[skill(
///     id = "stats",
///     name = "Column statistics",
///     description = "Describes each column of a CSV table.",
///     tags = ["csv", "statistics"],
///     examples = ["a,b\n1,2\n"],
///     input_modes = ["text/csv"],
///     output_modes = ["application/json"],
/// )]
/// struct Stats;
///
/// assert_eq!(Stats::metadata().tags, ["csv", "statistics"]);
/// ```
#[proc_macro_attribute]
pub fn skill(arguments: TokenStream, item: TokenStream) -> TokenStream {
    skill::expand(arguments.into(), item.into())
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

/// Makes a tool of a function, for `LlmWorker` and `AgentSkillDef`: `async fn name(arguments: T) -> Result<R, AgentError>`.
///
/// The model is told the function's name, its doc comment, and the JSON schema of `T`, whose fields are the parameters; `T`
/// derives serde's `Deserialize` and schemars' `JsonSchema`. `name` and `description` say something else. What is left of
/// the function is a `dormouse_sdk::BaseTool` of its name.
///
/// ```
/// use dormouse_sdk::{AgentError, BaseTool, tool};
///
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// struct Numbers {
///     left: i64,
///     right: i64,
/// }
///
/// /// Adds two numbers.
/// #[tool]
/// async fn sum(numbers: Numbers) -> Result<i64, AgentError> {
///     Ok(numbers.left + numbers.right)
/// }
///
/// // For `LlmWorker::<String>::builder(runtime.llm()).with_tool(sum)`.
/// assert_eq!(sum.declaration().description, "Adds two numbers.");
/// ```
#[proc_macro_attribute]
pub fn tool(arguments: TokenStream, item: TokenStream) -> TokenStream {
    tool::expand(arguments.into(), item.into())
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

/// Compiles in a skill that is a file: the path of a `SKILL.md`, or of its folder, from the folder of the crate's
/// `Cargo.toml`. Gives a `dormouse_sdk::AgentSkillDef` for `AgentBuilder::with_skill_def`.
///
/// The file is that of the [agentskills specification](https://agentskills.io/specification): front matter with `name`
/// and `description`, then instructions for a model. What is wrong with it is told when the crate is compiled. Other keys of the
/// front matter are not used.
///
/// ```
/// use dormouse_sdk::{Agent, include_skill};
///
/// let summarise = include_skill!("../tests/skills/summarise");
/// let editor = Agent::builder().with_name("editor").with_skill_def(summarise).build();
/// assert_eq!(editor.skills().count(), 1);
/// ```
#[proc_macro]
pub fn include_skill(arguments: TokenStream) -> TokenStream {
    skill_file::expand(arguments.into())
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
