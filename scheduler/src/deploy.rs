//! From uploaded bytes to known agents: check, lift, discover.

use crate::code::{CodeCache, unless_short};
use crate::config::CallLimits;
use crate::convert;
use crate::engine::Engine;
use crate::instance::{DeadlinePassed, Instance, Needs, is_too_much_for_host};
use crate::lane::{Lane, Owner, Pace, SlowLane, Work};
use crate::metrics::{Counted, Ended};
use dormouse_services::Service;
use dormouse_services::model::AgentDefinition;
use dormouse_store::Digest;
use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::time::Instant;
use thiserror::Error;
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wasmparser::{Encoding, Parser, Payload, Validator, WasmFeatures};
use wit_component::ComponentEncoder;

/// What an upload turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    pub digest: Digest,
    pub kind: ModuleKind,
    pub definitions: Vec<AgentDefinition>,
}

/// The two binary kinds of WebAssembly, told by the preamble (component model, Binary.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModuleKind {
    /// A core module for `wasm32-wasip1`; it is lifted into a component.
    CoreModule,
    Component,
}

/// Why an upload is refused. Nothing of it is kept.
#[derive(Debug, Clone, Error)]
pub enum DeployError {
    #[error("this is not WebAssembly: it does not begin with the bytes `\\0asm`")]
    NotWasm,
    #[error("this WebAssembly binary is neither a core module nor a component of a known version")]
    UnknownKind,
    #[error("the module has {size} bytes, more than the limit of {limit}")]
    TooLarge { size: usize, limit: usize },
    #[error("the module is damaged or incomplete: {0}")]
    Malformed(wasmparser::BinaryReaderError),
    #[error(
        "a function of the module has {size} bytes, more than the limit of {limit}: it would take minutes to compile"
    )]
    FunctionTooLarge { size: usize, limit: usize },
    #[error("the module imports something that the platform does not offer: {0}")]
    UnknownImport(String),
    #[error(
        "the module is not an agent of this platform: {0}. Build it with dormouse-sdk and \
         #[entrypoint], as a cdylib for wasm32-wasip1"
    )]
    NoEntrypoint(String),
    #[error("the module could not be lifted into a component: {0}")]
    Lift(String),
    #[error("the module could not be compiled: {0}")]
    Compile(String),
    #[error("the module's initialisation trapped: {0}")]
    InitTrapped(String),
    #[error("the module's initialisation used up its {seconds} seconds of processor time")]
    InitTimeout { seconds: f32 },
    #[error(
        "the module's initialisation calls {0}, which every instance would share: it must do without clocks, random \
         numbers (a HashMap takes one; a BTreeMap does not), output and services"
    )]
    InitImport(String),
    #[error("the module cannot be initialised at deploy: {0}")]
    Snapshot(String),
    #[error("the module's entrypoint trapped: {0}")]
    EntrypointTrapped(String),
    #[error("the module's entrypoint did not return within {seconds} seconds")]
    EntrypointTimeout { seconds: f32 },
    #[error("the module's entrypoint returned a definition that is not allowed: {0}")]
    InvalidDefinition(String),
    #[error("the module could not be instantiated: {0}")]
    Instantiate(String),
    #[error("the engine failed: {0}")]
    Engine(String),
    #[error(
        "the platform has run out of something that its machine limits ({0}); try again later. Its operator \
         finds the limits with `dormouse doctor`"
    )]
    Shortage(String),
    #[error("compiled code could not be written: {0}")]
    Disk(Arc<io::Error>),
    #[error("the platform is stopping")]
    Stopped,
}

impl DeployError {
    /// The error's name for machines.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotWasm => "not_wasm",
            Self::UnknownKind => "unknown_kind",
            Self::TooLarge { .. } => "module_too_large",
            Self::Malformed(_) => "malformed_module",
            Self::FunctionTooLarge { .. } => "function_too_large",
            Self::UnknownImport(_) => "unknown_import",
            Self::NoEntrypoint(_) => "no_entrypoint",
            Self::Lift(_) => "lift_failed",
            Self::Compile(_) => "compile_failed",
            Self::InitTrapped(_) => "init_trapped",
            Self::InitTimeout { .. } => "init_timeout",
            Self::InitImport(_) => "init_import",
            Self::Snapshot(_) => "snapshot_failed",
            Self::EntrypointTrapped(_) => "entrypoint_trapped",
            Self::EntrypointTimeout { .. } => "entrypoint_timeout",
            Self::InvalidDefinition(_) => "invalid_definition",
            Self::Instantiate(_) => "instantiation_failed",
            Self::Engine(_) => "engine_failed",
            Self::Shortage(_) => "machine_limit",
            Self::Disk(_) => "disk_failed",
            Self::Stopped => "stopping",
        }
    }

    pub(crate) fn disk(error: io::Error) -> Self {
        Self::Disk(Arc::new(error))
    }

    /// Whether the upload is at fault, not the platform.
    pub fn is_caller_fault(&self) -> bool {
        !matches!(
            self,
            Self::Engine(_) | Self::Shortage(_) | Self::Disk(_) | Self::Stopped
        )
    }
}

/// Checks, lifts, compiles and discovers. Only compiled code is kept, under the module's digest.
pub(crate) async fn prepare(
    engine: &Arc<Engine>,
    lane: Option<&SlowLane>,
    code: &Arc<CodeCache>,
    limits: &CallLimits,
    bytes: bytes::Bytes,
) -> Result<Prepared, DeployError> {
    if bytes.len() > limits.module_bytes {
        return Err(DeployError::TooLarge {
            size: bytes.len(),
            limit: limits.module_bytes,
        });
    }
    let checked = bytes.clone();
    let check = tokio::task::spawn_blocking(move || {
        let kind = check(&checked)?;
        Ok::<_, DeployError>((kind, Digest::of(&checked)))
    });
    let (kind, digest) = check.await.map_err(|_died| DeployError::Stopped)??;
    let upload = code.uploads.begin(digest);
    let new = code.compile(digest, Some(bytes)).await?;
    if new {
        upload.made_code();
    }
    match discover(engine, lane, code, limits, digest).await {
        Ok(definitions) => {
            upload.accepted();
            Ok(Prepared {
                digest,
                kind,
                definitions,
            })
        }
        Err(error) => {
            // Code that was there before belongs to a deployed agent, and may do so by now.
            if upload.refused() {
                code.forget_refused(digest).await;
            }
            Err(match error {
                // Code that was made just now, and that no slot of the pool is large enough for.
                DeployError::Engine(why) if new => DeployError::Instantiate(why),
                error => error,
            })
        }
    }
}

/// Asks a stored module for its agents again; compiles it if its code is missing.
pub(crate) async fn describe(
    engine: &Arc<Engine>,
    lane: Option<&SlowLane>,
    code: &Arc<CodeCache>,
    limits: &CallLimits,
    digest: Digest,
) -> Result<Vec<AgentDefinition>, DeployError> {
    code.compile(digest, None).await?;
    discover(engine, lane, code, limits, digest).await
}

/// Tells the kind of a binary and validates it as a whole.
pub(crate) fn check(bytes: &[u8]) -> Result<ModuleKind, DeployError> {
    if !bytes.starts_with(b"\0asm") {
        return Err(DeployError::NotWasm);
    }
    let kind = match Parser::new(0).parse_all(bytes).next() {
        Some(Ok(Payload::Version {
            encoding: Encoding::Module,
            ..
        })) => ModuleKind::CoreModule,
        Some(Ok(Payload::Version {
            encoding: Encoding::Component,
            ..
        })) => ModuleKind::Component,
        Some(Ok(_)) => return Err(DeployError::UnknownKind),
        Some(Err(error)) if bytes.len() < 8 => return Err(DeployError::Malformed(error)),
        _ => return Err(DeployError::UnknownKind),
    };
    Validator::new_with_features(WasmFeatures::all())
        .validate_all(bytes)
        .map_err(DeployError::Malformed)?;
    check_functions(bytes)?;
    if kind == ModuleKind::CoreModule {
        check_core(bytes)?;
    }
    Ok(kind)
}

/// Bytes of one function. A thread compiles a whole one, and the time for that is no more bounded than by its size:
/// up to 45 s and 1.4 GB for this. The largest in CPython's interpreter has 430 KB.
const MAX_FUNCTION_BYTES: usize = 1 << 20;

/// Looks at every module in it.
fn check_functions(bytes: &[u8]) -> Result<(), DeployError> {
    for payload in Parser::new(0).parse_all(bytes) {
        if let Payload::CodeSectionEntry(body) = payload.map_err(DeployError::Malformed)? {
            let (size, limit) = (body.range().len(), MAX_FUNCTION_BYTES);
            if size > limit {
                return Err(DeployError::FunctionTooLarge { size, limit });
            }
        }
    }
    Ok(())
}

/// Looks at the imports and the contract of a core module, for a better word than the lifting
/// would have.
fn check_core(bytes: &[u8]) -> Result<(), DeployError> {
    let mut has_contract = false;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(DeployError::Malformed)? {
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import.map_err(DeployError::Malformed)?;
                    if !is_offered(import.module) {
                        let name = format!("`{}` of `{}`", import.name, import.module);
                        return Err(DeployError::UnknownImport(name));
                    }
                }
            }
            Payload::CustomSection(section) if section.name().starts_with("component-type") => {
                has_contract = true;
            }
            _ => {}
        }
    }
    if has_contract {
        Ok(())
    } else {
        Err(DeployError::NoEntrypoint(
            "it does not carry the world dormouse:agent/agent".into(),
        ))
    }
}

fn is_offered(module: &str) -> bool {
    module == WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME
        || module == "$root"
        || ["dormouse:agent/", "wasi:", "[export]"]
            .iter()
            .any(|known| module.starts_with(known))
}

/// A component as it is, or a core module lifted by the preview1 reactor adapter.
pub(crate) fn lift(bytes: &[u8]) -> Result<Vec<u8>, DeployError> {
    if Parser::is_component(bytes) {
        return Ok(bytes.to_vec());
    }
    let lifted = ComponentEncoder::default()
        .validate(true)
        .module(bytes)
        .and_then(|encoder| {
            encoder.adapter(
                WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME,
                WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
            )
        })
        .and_then(|mut encoder| encoder.encode());
    lifted.map_err(|error| DeployError::Lift(format!("{error:#}")))
}

/// Calls the entrypoint in an instance that has no call and therefore no service. Nobody knows it yet, so it runs where
/// it holds up nobody; without a lane, where it is.
async fn discover(
    engine: &Arc<Engine>,
    lane: Option<&SlowLane>,
    code: &Arc<CodeCache>,
    limits: &CallLimits,
    digest: Digest,
) -> Result<Vec<AgentDefinition>, DeployError> {
    let loader = Arc::clone(code);
    let metrics = Arc::clone(&code.metrics);
    let load = tokio::task::spawn_blocking(move || loader.load_unshared(digest));
    let code = load.await.map_err(|_died| DeployError::Stopped)??;
    let deadline = Instant::now() + limits.discovery;
    let seconds = limits.discovery.as_secs_f32();
    let timeout = move || DeployError::EntrypointTimeout { seconds };
    let (engine, limits, pace) = (Arc::clone(engine), limits.clone(), Pace::new());
    let same = Arc::clone(&pace);
    let asked = Box::pin(async move {
        let mut instance = Instance::start_to_ask(&engine, &code, &limits, deadline, same)
            .await
            .map_err(|e| unless_short(&e, DeployError::Instantiate))?;
        let mut counted = Counted::start(&metrics);
        counted.end = Ended::Discovery;
        let asked = async {
            let definitions = instance.definitions(&engine).await?;
            Ok((definitions, instance.needs(&engine).await?))
        };
        asked.await.map_err(|error: wasmtime::Error| {
            if error.is::<DeadlinePassed>() {
                timeout()
            } else if is_too_much_for_host(&error) {
                let limit = limits.host_call_bytes;
                DeployError::InvalidDefinition(format!("it has more than {limit} bytes"))
            } else {
                unless_short(&error, DeployError::EntrypointTrapped)
            }
        })
    });
    let asked: Work<_> = match lane {
        Some(lane) => Box::pin(Lane::new(lane, Owner::Deploys, pace, asked).moved()),
        None => asked,
    };
    let (declared, needs) = tokio::time::timeout_at(deadline.into(), asked)
        .await
        .map_err(|_elapsed| timeout())??;
    let mut definitions = convert::definitions(declared, MAX_DEFINITION_BYTES)
        .await
        .map_err(|nonsense| DeployError::InvalidDefinition(nonsense.to_string()))?;
    check_definitions(&definitions).map_err(DeployError::InvalidDefinition)?;
    add_needs(&mut definitions, needs).map_err(DeployError::InvalidDefinition)?;
    Ok(definitions)
}

/// Puts what the module says of its agents' needs into their definitions.
fn add_needs(definitions: &mut [AgentDefinition], needs: Vec<Needs>) -> Result<(), String> {
    for (name, services) in needs {
        let agent = definitions.iter_mut().find(|agent| agent.name == name);
        let name: String = name.chars().take(80).collect();
        let agent =
            agent.ok_or_else(|| format!("`{name}` needs services, but there is no such agent"))?;
        for service in services {
            let service: Service = service
                .parse()
                .map_err(|unknown| format!("agent `{name}` needs a service: {unknown}"))?;
            if !agent.needs.contains(&service) {
                agent.needs.push(service);
            }
            if agent.needs.len() > MAX_NEEDS {
                return Err(format!(
                    "agent `{name}` needs more than {MAX_NEEDS} services"
                ));
            }
        }
    }
    Ok(())
}

/// Agents of one module.
const MAX_AGENTS: usize = 64;
/// Calls in one instance at a time.
const MAX_CONCURRENCY: u32 = 1_000;
/// Services that one agent needs.
const MAX_NEEDS: usize = 64;
/// Skills of one agent.
const MAX_SKILLS: usize = 256;
/// Bytes of one definition as JSON: it is read whenever an agent wakes.
const MAX_DEFINITION_BYTES: usize = 256 << 10;

fn check_definitions(definitions: &[AgentDefinition]) -> Result<(), String> {
    if definitions.is_empty() || definitions.len() > MAX_AGENTS {
        let count = definitions.len();
        return Err(format!(
            "a module declares 1 to {MAX_AGENTS} agents, not {count}"
        ));
    }
    let mut names = HashSet::new();
    for agent in definitions {
        let name: String = agent.name.chars().take(80).collect();
        if !is_label(&agent.name) {
            return Err(format!(
                "`{name}` is no agent name: use 1 to 63 of a-z, 0-9 and inner hyphens (RFC 1123)"
            ));
        }
        if !names.insert(&agent.name) {
            return Err(format!("two agents are named `{name}`"));
        }
        if agent.skills.is_empty() || agent.skills.len() > MAX_SKILLS {
            let count = agent.skills.len();
            return Err(format!(
                "agent `{name}` has {count} skills; 1 to {MAX_SKILLS} are allowed"
            ));
        }
        let mut ids = HashSet::new();
        for skill in &agent.skills {
            if skill.id.is_empty() || skill.id.len() > 128 {
                return Err(format!(
                    "agent `{name}` has a skill whose id is empty or too long"
                ));
            }
            if !ids.insert(&skill.id) {
                return Err(format!(
                    "agent `{name}` has two skills with the id `{}`",
                    skill.id
                ));
            }
        }
        if !(1..=MAX_CONCURRENCY).contains(&agent.concurrency) {
            let calls = agent.concurrency;
            return Err(format!(
                "agent `{name}` takes {calls} calls at a time; 1 to {MAX_CONCURRENCY} are allowed"
            ));
        }
        let size = serde_json::to_vec(agent).map_or(usize::MAX, |json| json.len());
        if size > MAX_DEFINITION_BYTES {
            return Err(format!("the definition of agent `{name}` is over 256 KiB"));
        }
    }
    Ok(())
}

/// Whether an agent can have this name: an RFC 1123 label in lower case.
pub fn is_label(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&name.len())
        && name.bytes().all(inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}
