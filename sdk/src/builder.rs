//! How a definition is written: [`Agent::builder`] and what follows.

use std::rc::Rc;

use crate::agent::RegisteredHandler;
use crate::{
    AgentDefinition, AgentSkillDef, Extension, Isolation, Provider, RegisteredSkill, Service,
    SkillHandler,
};

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
    ///
    /// ```
    /// use dormouse_sdk::{Agent, Isolation};
    ///
    /// let agent = Agent::builder().with_name("greeter").build();
    /// assert_eq!((agent.version.as_str(), agent.concurrency), ("0.0.1", 1));
    /// assert_eq!(agent.isolation, Isolation::Shared);
    /// assert_eq!(agent.default_input_modes, ["text/plain", "application/json"]);
    /// ```
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

/// Fills in an [`AgentDefinition`]; see [`Agent::builder`].
///
/// ```
/// use dormouse_sdk::{Agent, AgentBuilder};
///
/// // What the agents of a crate have in common.
/// fn ours(name: &str) -> AgentBuilder {
///     let builder = Agent::builder().with_name(name).with_version(env!("CARGO_PKG_VERSION"));
///     builder.with_provider("Example Ltd", "https://example.com")
/// }
///
/// let agents = ["reader", "writer"].map(|name| ours(name).build());
/// assert_eq!(agents[0].provider, agents[1].provider);
/// ```
#[derive(Debug)]
pub struct AgentBuilder(AgentDefinition);

impl AgentBuilder {
    /// The agent's name: `[a-z0-9]` and inner `-`, at most 63 characters. It must be given, and
    /// is checked at deploy.
    ///
    /// ```
    /// # use dormouse_sdk::Agent;
    /// let agent = Agent::builder().with_name("csv-stats").build();
    /// assert_eq!(agent.name, "csv-stats"); // served at /agents/csv-stats
    /// ```
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.0.name = name.into();
        self
    }

    /// The version text of the card.
    ///
    /// ```
    /// # use dormouse_sdk::Agent;
    /// let agent = Agent::builder().with_version("1.2.0").build();
    /// assert_eq!(agent.version, "1.2.0");
    /// ```
    pub fn with_version(mut self, version: impl Into<String>) -> Self {
        self.0.version = version.into();
        self
    }

    /// What the agent does.
    ///
    /// ```
    /// # use dormouse_sdk::Agent;
    /// let agent = Agent::builder().with_description("Describes the columns of CSV tables").build();
    /// assert!(agent.description.contains("CSV"));
    /// ```
    pub fn with_description(mut self, description: impl Into<String>) -> Self {
        self.0.description = description.into();
        self
    }

    /// Adds a skill. An agent needs at least one.
    ///
    /// ```
    /// # use dormouse_sdk::prelude::*;
    /// # #[skill(id = "greet", name = "Greeting", description = "Greets.")]
    /// # struct Greet;
    /// # impl SkillHandler for Greet {
    /// #     async fn on_request(&self, _: &mut State, _: &ProgressSender, _: &Runtime, content: Content)
    /// #         -> Result<OnRequestResult, AgentError> {
    /// #         Ok(OnRequestResult::completed(format!("Hello, {}!", content.text())))
    /// #     }
    /// # }
    /// let agent = Agent::builder().with_name("greeter").with_skill(Greet).build();
    /// let ids: Vec<_> = agent.skills().map(|skill| skill.id.as_str()).collect();
    /// assert_eq!(ids, ["greet"]);
    /// ```
    pub fn with_skill<S: SkillHandler + RegisteredSkill>(mut self, skill: S) -> Self {
        self.0.skills.push(RegisteredHandler {
            metadata: S::metadata(),
            handler: Rc::new(skill),
        });
        self
    }

    /// Adds a skill that is a file, from [`include_skill!`](crate::include_skill). A model does its work, so the agent
    /// needs the grant [`Service::Llm`], which this says, too.
    ///
    /// ```
    /// use dormouse_sdk::{Agent, Service, include_skill};
    ///
    /// let skill = include_skill!("tests/skills/summarise");
    /// let agent = Agent::builder().with_name("editor").with_skill_def(skill).build();
    /// assert_eq!(agent.skills().next().map(|skill| skill.id.as_str()), Some("summarise"));
    /// assert_eq!(agent.needs, [Service::Llm]);
    /// ```
    pub fn with_skill_def(mut self, skill: AgentSkillDef) -> Self {
        self.0.skills.push(RegisteredHandler {
            metadata: skill.metadata(),
            handler: Rc::new(skill),
        });
        self.with_grant(Service::Llm)
    }

    /// Who may meet the memory of a used instance.
    ///
    /// ```
    /// # use dormouse_sdk::{Agent, Isolation};
    /// let agent = Agent::builder().with_isolation(Isolation::Call).build();
    /// assert_eq!(agent.isolation, Isolation::Call);
    /// ```
    pub fn with_isolation(mut self, isolation: Isolation) -> Self {
        self.0.isolation = isolation;
        self
    }

    /// How many calls may be in one instance at a time, 1 to 1,000. While one waits in an `await`, the others run, on
    /// one thread; a panic takes all of them along.
    ///
    /// ```
    /// # use dormouse_sdk::Agent;
    /// // It waits for a model most of the time, so a hundred calls share one instance.
    /// let agent = Agent::builder().with_concurrency(100).build();
    /// assert_eq!(agent.concurrency, 100);
    /// ```
    pub fn with_concurrency(mut self, calls: u32) -> Self {
        self.0.concurrency = calls;
        self
    }

    /// The media types that skills take unless they say otherwise.
    ///
    /// ```
    /// # use dormouse_sdk::Agent;
    /// let agent = Agent::builder().with_default_input_modes(["text/csv"]).build();
    /// assert_eq!(agent.default_input_modes, ["text/csv"]); // in place of text and JSON
    /// ```
    pub fn with_default_input_modes(
        mut self,
        modes: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        self.0.default_input_modes = modes.into_iter().map(Into::into).collect();
        self
    }

    /// The media types that skills answer with unless they say otherwise.
    ///
    /// ```
    /// # use dormouse_sdk::Agent;
    /// let agent = Agent::builder().with_default_output_modes(["image/png", "image/svg+xml"]).build();
    /// assert_eq!(agent.default_output_modes.len(), 2);
    /// ```
    pub fn with_default_output_modes(
        mut self,
        modes: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        self.0.default_output_modes = modes.into_iter().map(Into::into).collect();
        self
    }

    /// Who offers the agent.
    ///
    /// ```
    /// # use dormouse_sdk::Agent;
    /// let agent = Agent::builder().with_provider("Example Ltd", "https://example.com").build();
    /// assert!(agent.provider.is_some_and(|by| by.organization == "Example Ltd"));
    /// ```
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
    ///
    /// ```
    /// # use dormouse_sdk::Agent;
    /// let agent = Agent::builder().with_documentation_url("https://example.com/docs/greeter").build();
    /// assert!(agent.documentation_url.is_some());
    /// ```
    pub fn with_documentation_url(mut self, url: impl Into<String>) -> Self {
        self.0.documentation_url = Some(url.into());
        self
    }

    /// A picture for lists of agents.
    ///
    /// ```
    /// # use dormouse_sdk::Agent;
    /// let agent = Agent::builder().with_icon_url("https://example.com/greeter.svg").build();
    /// assert!(agent.icon_url.is_some_and(|url| url.ends_with(".svg")));
    /// ```
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
    ///
    /// ```
    /// # use dormouse_sdk::Agent;
    /// let agent = Agent::builder().without_streaming().build();
    /// assert!(!agent.streaming && agent.push_notifications);
    /// ```
    pub fn without_streaming(mut self) -> Self {
        self.0.streaming = false;
        self
    }

    /// Takes push notifications off the card.
    ///
    /// ```
    /// # use dormouse_sdk::Agent;
    /// let agent = Agent::builder().without_push_notifications().build();
    /// assert!(agent.streaming && !agent.push_notifications);
    /// ```
    pub fn without_push_notifications(mut self) -> Self {
        self.0.push_notifications = false;
        self
    }

    /// The definition, unchecked: whether it is a legal agent is decided at deploy.
    ///
    /// ```
    /// # use dormouse_sdk::Agent;
    /// let agent = Agent::builder().with_name("Not a legal name").build();
    /// assert_eq!(agent.name, "Not a legal name"); // refused at deploy, not here
    /// ```
    pub fn build(self) -> AgentDefinition {
        self.0
    }
}
