use std::fmt;
use std::rc::Rc;

use crate::Json;
use crate::skill::DynSkill;

/// One A2A agent: what its card says, and the code behind each skill.
///
/// ```
/// use dormouse_sdk::{Agent, AgentDefinition, Service};
///
/// fn configure_agents() -> Vec<AgentDefinition> {
///     vec![Agent::builder().with_name("adviser").with_grant(Service::Llm).build()]
/// }
///
/// // What a test of a crate may want to know: who is there, and what the operator will be asked for.
/// let agent = &configure_agents()[0];
/// assert_eq!((agent.name.as_str(), &agent.needs[..]), ("adviser", &[Service::Llm][..]));
/// ```
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
///
/// ```
/// use dormouse_sdk::{Agent, Service};
///
/// let adviser = Agent::builder()
///     .with_grant(Service::Llm)
///     .with_grant(Service::agent("csv-stats"))
///     .with_grant(Service::http("https://api.example.com"))
///     .build();
/// // These are the words of `dormouse deploy --grant`.
/// let asked: Vec<String> = adviser.needs.iter().map(Service::to_string).collect();
/// assert_eq!(asked, ["llm", "agent:csv-stats", "https://api.example.com"]);
/// ```
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
    ///
    /// ```
    /// use dormouse_sdk::{Agent, Service};
    ///
    /// let coordinator = Agent::builder().with_grant(Service::agent("csv-stats")).build();
    /// assert_eq!(coordinator.needs, [Service::Agent("csv-stats".to_owned())]);
    /// ```
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
///
/// ```
/// use dormouse_sdk::{Agent, Provider};
///
/// let agent = Agent::builder().with_provider("Example Ltd", "https://example.com").build();
/// let on_the_card = Provider {
///     organization: "Example Ltd".to_owned(),
///     url: "https://example.com".to_owned(),
/// };
/// assert_eq!(agent.provider, Some(on_the_card));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// The organisation's name.
    pub organization: String,
    /// Its web site.
    pub url: String,
}

/// An extension of the protocol that an agent speaks (A2A 1.0 §4.6).
///
/// ```
/// use dormouse_sdk::{Agent, Extension, Json};
///
/// let citations = Extension {
///     uri: "https://example.com/ext/citations/v1".to_owned(),
///     description: "Names the sources of every answer, in the style that the client asks for.".to_owned(),
///     required: true,
///     params: Some(Json::parse(r#"{"styles": ["apa", "mla"]}"#)?),
/// };
/// let agent = Agent::builder().with_extension(citations).build();
/// assert!(agent.extensions[0].required);
/// # Ok::<(), dormouse_sdk::AgentError>(())
/// ```
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

/// Who may meet the memory of an instance that has already served a call.
///
/// ```
/// use dormouse_sdk::{Agent, Isolation};
///
/// // It caches what a principal has said, so no other principal may meet its memory.
/// let agent = Agent::builder().with_isolation(Isolation::Principal).build();
/// assert_ne!(agent.isolation, Isolation::default());
/// ```
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
///
/// ```
/// use dormouse_sdk::{RegisteredSkill, SkillMetadata, skill};
///
/// #[skill(id = "sum", name = "Sum", description = "Adds numbers.", examples = ["1 + 2"])]
/// struct Sum;
///
/// let SkillMetadata { tags, examples, input_modes, .. } = Sum::metadata();
/// assert_eq!(tags, ["sum"]); // A2A wants a tag: without any it is the id.
/// assert_eq!(examples, ["1 + 2"]);
/// assert!(input_modes.is_empty());
/// ```
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
    ///
    /// ```
    /// # use dormouse_sdk::{RegisteredSkill, skill};
    /// #[skill(id = "sum", name = "Sum", description = "Adds numbers.", input_modes = ["text/csv"])]
    /// struct Sum;
    ///
    /// assert_eq!(Sum::metadata().input_modes, ["text/csv"]);
    /// ```
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
