use std::fmt;
use std::rc::Rc;

use crate::skill::{DynSkill, SkillHandler};
use crate::{AgentSkillDef, Json};

/// The start of an agent's definition.
///
/// ```
/// # use dormouse_sdk::prelude::*;
/// # #[skill(id = "greet", name = "Greeting", description = "Greets.")]
/// # struct Greet;
/// # impl SkillHandler for Greet {
/// #     async fn on_request(&self, _: &mut State, _: &ProgressSender, _: &Runtime, _: Content)
/// #         -> Result<OnRequestResult, AgentError> { Ok(OnRequestResult::completed("hi")) }
/// # }
/// let agent = Agent::builder()
///     .with_name("greeter")
///     .with_version("1.2.0")
///     .with_description("Greets people")
///     .with_isolation(Isolation::Principal)
///     .with_concurrency(16)
///     .with_skill(Greet)
///     .build();
/// assert_eq!(agent.name, "greeter");
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Agent;

impl Agent {
    /// A definition to fill in: version "0.0.1", isolation [`Isolation::Shared`], concurrency 1,
    /// text and JSON in and out, no skill yet.
    pub fn builder() -> AgentBuilder {
        let modes = || vec!["text/plain".to_owned(), "application/json".to_owned()];
        AgentBuilder(AgentDefinition {
            name: String::new(),
            version: "0.0.1".to_owned(),
            description: String::new(),
            default_input_modes: modes(),
            default_output_modes: modes(),
            isolation: Isolation::Shared,
            concurrency: 1,
            skills: Vec::new(),
            provider: None,
            documentation_url: None,
            icon_url: None,
            extensions: Vec::new(),
            streaming: true,
            push_notifications: true,
            needs: Vec::new(),
        })
    }
}

/// One A2A agent: what its card says, and the code behind each skill.
#[derive(Debug)]
pub struct AgentDefinition {
    /// Part of the agent's URL: `[a-z0-9]` and inner `-`, at most 63 characters (RFC 1123).
    pub name: String,
    /// The author's version text for the card; the platform counts deployments itself.
    pub version: String,
    /// What the agent does, for people and for other agents.
    pub description: String,
    /// Media types that a skill takes unless it says otherwise.
    pub default_input_modes: Vec<String>,
    /// Media types that a skill answers with unless it says otherwise.
    pub default_output_modes: Vec<String>,
    /// Who may meet the memory of a used instance.
    pub isolation: Isolation,
    /// Calls that may wait in one instance at a time; at least 1.
    pub concurrency: u32,
    pub(crate) skills: Vec<RegisteredHandler>,
    /// Who offers the agent.
    pub provider: Option<Provider>,
    /// Where to read more.
    pub documentation_url: Option<String>,
    /// A picture for lists of agents.
    pub icon_url: Option<String>,
    /// Extensions of the protocol that the agent speaks.
    pub extensions: Vec<Extension>,
    /// Whether clients may stream.
    pub streaming: bool,
    /// Whether clients may have events pushed.
    pub push_notifications: bool,
    /// Services that the agent needs; what it gets of them, the platform's operator says.
    pub needs: Vec<Service>,
}

/// A service that an agent has only if its definition says that it needs it and the platform's operator grants it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Service {
    /// Language models: [`Runtime::llm`](crate::Runtime::llm).
    Llm,
    /// HTTP requests to an origin: [`Runtime::http`](crate::Runtime::http).
    Http(String),
    /// Calls of another agent: [`Runtime::agents`](crate::Runtime::agents).
    Agent(String),
}

impl Service {
    /// HTTP requests to this scheme, host and port, such as `https://api.example.com` or `http://10.0.0.7:8080`. There
    /// are no wildcards; the platform checks it at deploy.
    ///
    /// ```
    /// use dormouse_sdk::{Agent, Service};
    ///
    /// let agent = Agent::builder().with_grant(Service::http("https://api.example.com")).build();
    /// assert_eq!(agent.needs[0].to_string(), "https://api.example.com");
    /// ```
    pub fn http(origin: impl Into<String>) -> Self {
        Service::Http(origin.into())
    }

    /// Calls of the agent that is deployed under this name.
    pub fn agent(name: impl Into<String>) -> Self {
        Service::Agent(name.into())
    }
}

/// The text in manifests and in `dormouse deploy --grant`.
impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Service::Llm => f.write_str("llm"),
            Service::Http(origin) => f.write_str(origin),
            Service::Agent(name) => write!(f, "agent:{name}"),
        }
    }
}

/// Who offers an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// The organisation's name.
    pub organization: String,
    /// Its web site.
    pub url: String,
}

/// An extension of the protocol that an agent speaks (A2A 1.0 §4.6).
#[derive(Debug, Clone, PartialEq)]
pub struct Extension {
    /// Names the extension and its version.
    pub uri: String,
    /// What the agent does with it.
    pub description: String,
    /// Whether a client that does not name it in `A2A-Extensions` is refused.
    pub required: bool,
    /// A JSON object, as the extension defines it.
    pub params: Option<Json>,
}

impl AgentDefinition {
    /// What each skill says about itself, in the order of registration.
    ///
    /// ```
    /// # use dormouse_sdk::Agent;
    /// assert_eq!(Agent::builder().with_name("empty").build().skills().count(), 0);
    /// ```
    pub fn skills(&self) -> impl Iterator<Item = &SkillMetadata> {
        self.skills.iter().map(|skill| &skill.metadata)
    }
}

/// Fills in an [`AgentDefinition`]; see [`Agent::builder`].
#[derive(Debug)]
pub struct AgentBuilder(AgentDefinition);

impl AgentBuilder {
    /// The agent's name: `[a-z0-9]` and inner `-`, at most 63 characters. It must be given, and
    /// is checked at deploy.
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.0.name = name.into();
        self
    }

    /// The version text of the card.
    pub fn with_version(mut self, version: impl Into<String>) -> Self {
        self.0.version = version.into();
        self
    }

    /// What the agent does.
    pub fn with_description(mut self, description: impl Into<String>) -> Self {
        self.0.description = description.into();
        self
    }

    /// Adds a skill. An agent needs at least one.
    pub fn with_skill<S: SkillHandler + RegisteredSkill>(mut self, skill: S) -> Self {
        self.0.skills.push(RegisteredHandler {
            metadata: S::metadata(),
            handler: Rc::new(skill),
        });
        self
    }

    /// Adds a skill that is a file, from [`include_skill!`](crate::include_skill). A model does its work, so the agent
    /// needs the grant [`Service::Llm`], which this says, too.
    pub fn with_skill_def(mut self, skill: AgentSkillDef) -> Self {
        self.0.skills.push(RegisteredHandler {
            metadata: skill.metadata(),
            handler: Rc::new(skill),
        });
        self.with_grant(Service::Llm)
    }

    /// Who may meet the memory of a used instance.
    pub fn with_isolation(mut self, isolation: Isolation) -> Self {
        self.0.isolation = isolation;
        self
    }

    /// How many calls may be in one instance at a time, 1 to 1,000. While one waits in an `await`, the others run, on
    /// one thread; a panic takes all of them along.
    pub fn with_concurrency(mut self, calls: u32) -> Self {
        self.0.concurrency = calls;
        self
    }

    /// The media types that skills take unless they say otherwise.
    pub fn with_default_input_modes(
        mut self,
        modes: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        self.0.default_input_modes = modes.into_iter().map(Into::into).collect();
        self
    }

    /// The media types that skills answer with unless they say otherwise.
    pub fn with_default_output_modes(
        mut self,
        modes: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        self.0.default_output_modes = modes.into_iter().map(Into::into).collect();
        self
    }

    /// Who offers the agent.
    pub fn with_provider(
        mut self,
        organization: impl Into<String>,
        url: impl Into<String>,
    ) -> Self {
        self.0.provider = Some(Provider {
            organization: organization.into(),
            url: url.into(),
        });
        self
    }

    /// Where to read more.
    pub fn with_documentation_url(mut self, url: impl Into<String>) -> Self {
        self.0.documentation_url = Some(url.into());
        self
    }

    /// A picture for lists of agents.
    pub fn with_icon_url(mut self, url: impl Into<String>) -> Self {
        self.0.icon_url = Some(url.into());
        self
    }

    /// An extension of the protocol that the agent speaks. A call finds those that its client has
    /// activated in [`CallContext::extensions`](crate::CallContext).
    ///
    /// ```
    /// use dormouse_sdk::{Agent, Extension};
    ///
    /// let agent = Agent::builder().with_extension(Extension {
    ///     uri: "https://example.com/ext/citations/v1".to_owned(),
    ///     description: "Names the sources of every answer.".to_owned(),
    ///     required: false,
    ///     params: None,
    /// });
    /// assert_eq!(agent.build().extensions.len(), 1);
    /// ```
    pub fn with_extension(mut self, extension: Extension) -> Self {
        self.0.extensions.push(extension);
        self
    }

    /// Says that the agent needs a service. Its operator grants it, with `dormouse deploy --grant` for example;
    /// until then the service answers with [`AgentError::Denied`](crate::AgentError).
    ///
    /// ```
    /// use dormouse_sdk::{Agent, Service};
    ///
    /// let agent = Agent::builder().with_name("adviser").with_grant(Service::Llm).build();
    /// assert_eq!(agent.needs, [Service::Llm]);
    /// ```
    pub fn with_grant(mut self, service: Service) -> Self {
        if !self.0.needs.contains(&service) {
            self.0.needs.push(service);
        }
        self
    }

    /// Takes streaming off the card. It costs an agent nothing, so there is seldom a reason.
    pub fn without_streaming(mut self) -> Self {
        self.0.streaming = false;
        self
    }

    /// Takes push notifications off the card.
    pub fn without_push_notifications(mut self) -> Self {
        self.0.push_notifications = false;
        self
    }

    /// The definition, unchecked: whether it is a legal agent is decided at deploy.
    pub fn build(self) -> AgentDefinition {
        self.0
    }
}

/// Who may meet the memory of an instance that has already served a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Isolation {
    /// Any caller.
    #[default]
    Shared,
    /// Only the principal it served before.
    Principal,
    /// Only the context it served before.
    Context,
    /// Nobody: every call has a fresh instance.
    Call,
}

/// What a skill says about itself on the agent's card (A2A 1.0 AgentSkill).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SkillMetadata {
    /// Names the skill within its agent.
    pub id: String,
    /// A name for people.
    pub name: String,
    /// What it does.
    pub description: String,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// Things one could write to it.
    pub examples: Vec<String>,
    /// Media types it takes; empty means the agent's defaults.
    pub input_modes: Vec<String>,
    /// Media types it answers with; empty means the agent's defaults.
    pub output_modes: Vec<String>,
}

/// A type with skill metadata; `#[skill(…)]` implements it.
///
/// ```
/// use dormouse_sdk::{RegisteredSkill, skill};
///
/// #[skill(id = "sum", name = "Sum", description = "Adds numbers.", tags = ["math"])]
/// struct Sum;
///
/// assert_eq!(Sum::metadata().id, "sum");
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say what skill it is",
    label = "needs `#[skill(id = \"…\", name = \"…\", description = \"…\")]` on its type"
)]
pub trait RegisteredSkill {
    /// What the skill says about itself.
    fn metadata() -> SkillMetadata;
}

pub(crate) struct RegisteredHandler {
    pub(crate) metadata: SkillMetadata,
    pub(crate) handler: Rc<dyn DynSkill>,
}

impl fmt::Debug for RegisteredHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.metadata.fmt(f)
    }
}

/// What `#[entrypoint]` makes of the author's function.
#[doc(hidden)]
pub trait Entrypoint: 'static {
    fn agents() -> Vec<AgentDefinition>;
}
