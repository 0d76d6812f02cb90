//! The agent as a WebAssembly module: exports that lead to its skills, imports behind [`CallHost`].

use std::cell::OnceCell;
use std::rc::Rc;
use std::time::Duration;

use bindings::dormouse::agent::{log, tasks, types};
use bindings::exports::dormouse::agent::{entrypoint, manifest, skills};
use bindings::wasi::clocks::monotonic_clock;

use crate::agent::Entrypoint;
use crate::dispatch::{self, Call};
use crate::host::{CallHost, LocalFuture, Scope};
use crate::{
    AgentDefinition, AgentError, Artifact, CallContext, Content, Extension, Isolation, Json, Level,
    LlmRequest, LlmResponse, MemoryEntry, MemoryHit, MemoryQuery, MemoryScope, Outcome, Part,
    PartContent, Role, SkillSlot, Turn,
};

#[allow(
    missing_docs,
    unreachable_pub,
    unsafe_code,
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    clippy::allow_attributes_without_reason,
    reason = "generated from the WIT"
)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "wit",
        inline: "
            package dormouse:sdk;
            /// An agent, with what the SDK needs of WASI besides.
            world sdk {
                include dormouse:agent/agent@0.1.0;
                export dormouse:agent/manifest@0.1.0;
                import wasi:clocks/monotonic-clock@0.3.0;
                import wasi:http/client@0.3.0;
                import wasi:config/store@0.2.0-rc.1;
            }
        ",
        world: "dormouse:sdk/sdk",
        pub_export_macro: true,
        default_bindings_module: "::dormouse_sdk::__private::bindings",
        generate_all,
    });
}

mod agents;
pub(crate) mod http;
mod services;

pub(crate) use agents::call_agent;
pub(crate) use services::{next, stream};

/// By `wasi:config`.
pub(crate) fn config(key: &str) -> Result<Option<String>, AgentError> {
    use bindings::wasi::config::store::{self, Error};

    store::get(key).map_err(|error| match error {
        Error::Upstream(text) | Error::Io(text) => AgentError::Unavailable(text),
    })
}

thread_local! {
    // A module has one entrypoint, so one list; it is built once for the life of the instance.
    static AGENTS: OnceCell<Rc<[AgentDefinition]>> = const { OnceCell::new() };
}

fn agents<E: Entrypoint>() -> Rc<[AgentDefinition]> {
    AGENTS.with(|agents| Rc::clone(agents.get_or_init(|| E::agents().into())))
}

impl<E: Entrypoint> entrypoint::Guest for E {
    fn definitions() -> Vec<types::AgentDefinition> {
        agents::<E>().iter().map(definition).collect()
    }
}

impl<E: Entrypoint> manifest::Guest for E {
    fn needs() -> Vec<(String, Vec<String>)> {
        let agents = agents::<E>();
        let needy = agents.iter().filter(|agent| !agent.needs.is_empty());
        needy
            .map(|agent| {
                let needs = agent.needs.iter().map(ToString::to_string);
                (agent.name.clone(), needs.collect())
            })
            .collect()
    }
}

impl<E: Entrypoint> skills::Guest for E {
    async fn on_request(
        call: skills::Call,
        ctx: types::CallContext,
        skill: String,
        message: types::Message,
    ) -> types::Outcome {
        enter::<E>(call, ctx, skill, None, message).await
    }

    async fn on_input(
        call: skills::Call,
        ctx: types::CallContext,
        skill: String,
        slot: types::Json,
        message: types::Message,
    ) -> types::Outcome {
        let slot = SkillSlot(Json::from_text_unchecked(slot));
        enter::<E>(call, ctx, skill, Some(slot), message).await
    }
}

async fn enter<E: Entrypoint>(
    call: skills::Call,
    ctx: types::CallContext,
    skill: String,
    slot: Option<SkillSlot>,
    message: types::Message,
) -> types::Outcome {
    let context = CallContext {
        agent: ctx.agent,
        task_id: ctx.task_id,
        context_id: ctx.context_id,
        principal: ctx.principal,
        metadata: ctx.metadata.map(Json::from_text_unchecked),
        message_id: ctx.message_id,
        reference_task_ids: ctx.reference_task_ids,
        extensions: ctx.extensions,
        deadline: Duration::from_millis(ctx.deadline_ms),
    };
    let entered = Call {
        context,
        skill,
        slot,
        content: message.into(),
    };
    dispatch::run(&agents::<E>(), entered, Rc::new(Platform { call }))
        .await
        .into()
}

/// The platform, as far as one call may speak to it.
struct Platform {
    call: skills::Call,
}

impl CallHost for Platform {
    fn handle(&self) -> &skills::Call {
        &self.call
    }

    fn update(&self, content: Content) -> LocalFuture<'_, Result<(), AgentError>> {
        Box::pin(async move { Ok(self.call.update(content.into()).await?) })
    }

    fn artifact(
        &self,
        artifact: Artifact,
        append: bool,
        last: bool,
    ) -> LocalFuture<'_, Result<(), AgentError>> {
        Box::pin(async move { Ok(self.call.artifact(artifact.into(), append, last).await?) })
    }

    fn history(&self, limit: u32) -> LocalFuture<'_, Result<Vec<Turn>, AgentError>> {
        Box::pin(async move {
            let turns = self.call.history(limit).await?;
            Ok(turns.into_iter().map(Turn::from).collect())
        })
    }

    fn state_get(&self, scope: Scope, key: &str) -> Result<Option<String>, AgentError> {
        Ok(self.call.state_get(scope.into(), key)?)
    }

    fn state_set(&self, scope: Scope, key: &str, value: Option<String>) -> Result<(), AgentError> {
        Ok(self.call.state_set(scope.into(), key, value.as_deref())?)
    }

    fn log(&self, level: Level, message: &str, fields: &[(&str, &str)]) {
        let fields: Vec<(String, String)> = fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        log::write(level.into(), message, &fields);
    }

    fn sleep(&self, time: Duration) -> LocalFuture<'_, ()> {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Box::pin(monotonic_clock::wait_for(nanoseconds))
    }

    fn memory_save(
        &self,
        scope: MemoryScope,
        entry: MemoryEntry,
    ) -> LocalFuture<'_, Result<(), AgentError>> {
        Box::pin(services::save(&self.call, scope, entry))
    }

    fn memory_load(
        &self,
        scope: MemoryScope,
        key: String,
    ) -> LocalFuture<'_, Result<Option<MemoryEntry>, AgentError>> {
        Box::pin(services::load(&self.call, scope, key))
    }

    fn memory_delete(
        &self,
        scope: MemoryScope,
        key: String,
    ) -> LocalFuture<'_, Result<bool, AgentError>> {
        Box::pin(services::delete(&self.call, scope, key))
    }

    fn memory_list(
        &self,
        scope: MemoryScope,
        prefix: String,
        after: Option<String>,
        limit: u32,
    ) -> LocalFuture<'_, Result<Vec<MemoryEntry>, AgentError>> {
        Box::pin(services::list(&self.call, scope, prefix, after, limit))
    }

    fn memory_search(
        &self,
        scope: MemoryScope,
        query: MemoryQuery,
    ) -> LocalFuture<'_, Result<Vec<MemoryHit>, AgentError>> {
        Box::pin(services::search(&self.call, scope, query))
    }

    fn generate(&self, request: LlmRequest) -> LocalFuture<'_, Result<LlmResponse, AgentError>> {
        Box::pin(services::generate(&self.call, request))
    }
}

fn definition(agent: &AgentDefinition) -> types::AgentDefinition {
    types::AgentDefinition {
        name: agent.name.clone(),
        version: agent.version.clone(),
        description: agent.description.clone(),
        default_input_modes: agent.default_input_modes.clone(),
        default_output_modes: agent.default_output_modes.clone(),
        isolation: match agent.isolation {
            Isolation::Shared => types::Isolation::Shared,
            Isolation::Principal => types::Isolation::Principal,
            Isolation::Context => types::Isolation::Context,
            Isolation::Call => types::Isolation::Call,
        },
        concurrency: agent.concurrency,
        skills: agent
            .skills()
            .map(|skill| types::SkillDefinition {
                id: skill.id.clone(),
                name: skill.name.clone(),
                description: skill.description.clone(),
                tags: skill.tags.clone(),
                examples: skill.examples.clone(),
                input_modes: skill.input_modes.clone(),
                output_modes: skill.output_modes.clone(),
            })
            .collect(),
        provider: agent.provider.as_ref().map(|provider| types::Provider {
            organization: provider.organization.clone(),
            url: provider.url.clone(),
        }),
        documentation_url: agent.documentation_url.clone(),
        icon_url: agent.icon_url.clone(),
        extensions: agent.extensions.iter().map(extension).collect(),
        streaming: agent.streaming,
        push_notifications: agent.push_notifications,
    }
}

fn extension(extension: &Extension) -> types::Extension {
    types::Extension {
        uri: extension.uri.clone(),
        description: extension.description.clone(),
        required: extension.required,
        params: extension
            .params
            .as_ref()
            .map(|params| params.as_str().to_owned()),
    }
}

impl From<tasks::TaskError> for AgentError {
    fn from(error: tasks::TaskError) -> Self {
        match error {
            tasks::TaskError::Ended => AgentError::Ended,
            tasks::TaskError::Limit(text) => AgentError::Limit(text),
            tasks::TaskError::Unavailable(text) => AgentError::Unavailable(text),
        }
    }
}

impl From<Scope> for tasks::Scope {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::Task => tasks::Scope::Task,
            Scope::Context => tasks::Scope::Context,
        }
    }
}

impl From<Level> for log::Level {
    fn from(level: Level) -> Self {
        match level {
            Level::Trace => log::Level::Trace,
            Level::Debug => log::Level::Debug,
            Level::Info => log::Level::Info,
            Level::Warn => log::Level::Warn,
            Level::Error => log::Level::Error,
        }
    }
}

impl From<tasks::Turn> for Turn {
    fn from(turn: tasks::Turn) -> Self {
        let role = match turn.role {
            tasks::Role::User => Role::User,
            tasks::Role::Agent => Role::Agent,
        };
        Turn {
            role,
            content: turn.message.into(),
        }
    }
}

impl From<types::Message> for Content {
    fn from(message: types::Message) -> Self {
        Content {
            parts: message.parts.into_iter().map(Part::from).collect(),
            metadata: message.metadata.map(Json::from_text_unchecked),
        }
    }
}

impl From<Content> for types::Message {
    fn from(content: Content) -> Self {
        types::Message {
            parts: content.parts.into_iter().map(types::Part::from).collect(),
            metadata: content.metadata.map(Json::into_string),
        }
    }
}

impl From<types::Part> for Part {
    fn from(part: types::Part) -> Self {
        let content = match part.content {
            types::PartContent::Text(text) => PartContent::Text(text),
            types::PartContent::Raw(bytes) => PartContent::Raw(bytes),
            types::PartContent::Url(url) => PartContent::Url(url),
            types::PartContent::Data(json) => PartContent::Data(Json::from_text_unchecked(json)),
        };
        Part {
            content,
            filename: part.filename,
            media_type: part.media_type,
            metadata: part.metadata.map(Json::from_text_unchecked),
        }
    }
}

impl From<Part> for types::Part {
    fn from(part: Part) -> Self {
        let content = match part.content {
            PartContent::Text(text) => types::PartContent::Text(text),
            PartContent::Raw(bytes) => types::PartContent::Raw(bytes),
            PartContent::Url(url) => types::PartContent::Url(url),
            PartContent::Data(json) => types::PartContent::Data(json.into_string()),
        };
        types::Part {
            content,
            filename: part.filename,
            media_type: part.media_type,
            metadata: part.metadata.map(Json::into_string),
        }
    }
}

impl From<Artifact> for types::Artifact {
    fn from(artifact: Artifact) -> Self {
        types::Artifact {
            id: artifact.id,
            name: artifact.name,
            description: artifact.description,
            parts: artifact.parts.into_iter().map(types::Part::from).collect(),
            metadata: artifact.metadata.map(Json::into_string),
        }
    }
}

impl From<Outcome> for types::Outcome {
    fn from(outcome: Outcome) -> Self {
        let awaited = |message: Content, slot: SkillSlot| types::AwaitedInput {
            message: message.into(),
            slot: slot.0.into_string(),
        };
        match outcome {
            Outcome::Completed { message, artifacts } => {
                types::Outcome::Completed(types::Completion {
                    message: message.map(Into::into),
                    artifacts: artifacts.into_iter().map(Into::into).collect(),
                })
            }
            Outcome::InputRequired { message, slot } => {
                types::Outcome::InputRequired(awaited(message, slot))
            }
            Outcome::AuthRequired { message, slot } => {
                types::Outcome::AuthRequired(awaited(message, slot))
            }
            Outcome::Message(message) => types::Outcome::Message(message.into()),
            Outcome::Rejected(reason) => types::Outcome::Rejected(reason.into()),
            Outcome::Failed(error) => types::Outcome::Failed(error.into()),
        }
    }
}
