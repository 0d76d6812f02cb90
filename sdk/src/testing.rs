//! Skills under test, without a server and without WebAssembly.

use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use crate::agent::RegisteredSkill;
use crate::dispatch::{self, Call};
use crate::native::{self, Effect, Memory, NativeHost};
use crate::native_services::NativeServices;
use crate::{
    Agent, AgentDefinition, AgentError, AgentReply, AgentRequest, Artifact, CallContext, Content,
    HttpRequest, HttpResponse, Level, LlmRequest, LlmResponse, Outcome, Role, SkillHandler,
    SkillSlot, Turn,
};

/// A client that talks to one skill, in one context. A message continues the task that waits for
/// input, if there is one; otherwise it starts the next task.
///
/// ```
/// use dormouse_sdk::Outcome;
/// use dormouse_sdk::prelude::*;
/// use dormouse_sdk::testing::Conversation;
///
/// #[skill(id = "order", name = "Order", description = "Takes an order.")]
/// struct Order;
///
/// impl SkillHandler for Order {
///     async fn on_request(
///         &self, _: &mut State, _: &ProgressSender, _: &Runtime, content: Content,
///     ) -> Result<OnRequestResult, AgentError> {
///         let message = "How many?".into();
///         Ok(OnRequestResult::InputRequired { message, slot: SkillSlot::new(content.text()) })
///     }
///
///     async fn on_input_received(
///         &self, state: &mut State, _: &ProgressSender, _: &Runtime, content: Content,
///     ) -> Result<OnInputResult, AgentError> {
///         let thing: String = state.slot()?.unwrap_or_default();
///         Ok(OnInputResult::completed(format!("{} {thing}", content.text())))
///     }
/// }
///
/// let mut conversation = Conversation::new(Order);
/// let question = conversation.send("tulips");
/// assert!(matches!(question.outcome, Outcome::InputRequired { .. }));
/// assert_eq!(conversation.send("12").text(), "12 tulips");
/// ```
pub struct Conversation {
    agents: [AgentDefinition; 1],
    memory: Rc<RefCell<Memory>>,
    services: Rc<NativeServices>,
    context: CallContext,
    tasks_started: u32,
    history: Vec<Turn>,
    slot: Option<SkillSlot>,
}

impl Conversation {
    /// A new context with this skill, its only one, as the principal "anonymous".
    pub fn new<S: SkillHandler + RegisteredSkill>(skill: S) -> Self {
        Self::with_agent(Agent::builder().with_name("test").with_skill(skill).build())
    }

    /// A new context with the first skill of this agent, as the principal "anonymous".
    ///
    /// # Panics
    /// [`send`](Self::send) does, if the agent has no skill.
    pub fn with_agent(agent: AgentDefinition) -> Self {
        Conversation {
            memory: Rc::default(),
            services: Rc::default(),
            context: CallContext {
                agent: agent.name.clone(),
                task_id: String::new(),
                context_id: "context-1".to_owned(),
                principal: "anonymous".to_owned(),
                metadata: None,
                message_id: "message-1".to_owned(),
                reference_task_ids: Vec::new(),
                extensions: Vec::new(),
                deadline: Duration::from_secs(60),
            },
            tasks_started: 0,
            history: Vec::new(),
            slot: None,
            agents: [agent],
        }
    }

    /// The same conversation as another principal.
    pub fn with_principal(mut self, principal: impl Into<String>) -> Self {
        self.context.principal = principal.into();
        self
    }

    /// The same conversation, with a function in the place of the language model.
    pub fn with_llm(
        self,
        model: impl Fn(&LlmRequest) -> Result<LlmResponse, AgentError> + 'static,
    ) -> Self {
        *self.services.model.borrow_mut() = Some(Rc::new(model));
        self
    }

    /// The same conversation, with one more value of the agent's configuration.
    ///
    /// ```
    /// # use dormouse_sdk::prelude::*;
    /// # use dormouse_sdk::testing::Conversation;
    /// # #[skill(id = "greet", name = "Greet", description = "Greets.")]
    /// # struct Greet;
    /// # impl SkillHandler for Greet {
    /// #     async fn on_request(&self, _: &mut State, _: &ProgressSender, runtime: &Runtime, _: Content)
    /// #         -> Result<OnRequestResult, AgentError> {
    /// let greeting = runtime.config("greeting")?.unwrap_or("Hello".to_owned());
    /// # Ok(OnRequestResult::completed(greeting)) } }
    /// assert_eq!(Conversation::new(Greet).send("?").text(), "Hello");
    /// let mut french = Conversation::new(Greet).with_config("greeting", "Bonjour");
    /// assert_eq!(french.send("?").text(), "Bonjour");
    /// ```
    pub fn with_config(self, key: impl Into<String>, value: impl Into<String>) -> Self {
        let values = &self.services.config;
        values.borrow_mut().insert(key.into(), value.into());
        self
    }

    /// The same conversation, with a function in the place of all other agents.
    pub fn with_agents(
        self,
        agents: impl Fn(&AgentRequest) -> Result<AgentReply, AgentError> + 'static,
    ) -> Self {
        *self.services.agents.borrow_mut() = Some(Rc::new(agents));
        self
    }

    /// The same conversation, with a function in the place of every server that the skill sends to.
    pub fn with_http(
        self,
        servers: impl Fn(&HttpRequest) -> Result<HttpResponse, AgentError> + 'static,
    ) -> Self {
        *self.services.servers.borrow_mut() = Some(Rc::new(servers));
        self
    }

    /// Sends a message and waits for the call to end. A panic of the skill is a panic of the test.
    pub fn send(&mut self, content: impl Into<Content>) -> Answer {
        let slot = self.slot.take();
        if slot.is_none() {
            self.tasks_started += 1;
            self.context.task_id = format!("task-{}", self.tasks_started);
            self.history.clear();
        }
        let content = content.into();
        self.record(Role::User, &content);
        let events = Rc::new(RefCell::new(Vec::new()));
        let sink = Rc::clone(&events);
        let host = Rc::new(NativeHost::new(
            Rc::clone(&self.memory),
            Rc::clone(&self.services),
            &self.context,
            self.history.clone(),
            move |effect| {
                sink.borrow_mut().push(Event::from(effect));
                Ok(())
            },
        ));
        let skill = self.agents[0].skills[0].metadata.id.clone();
        let call = Call {
            context: self.context.clone(),
            skill,
            slot,
            content,
        };
        let outcome = block_on(dispatch::run(&self.agents, call, Rc::clone(&host) as _));
        host.keep_state();
        let answer = Answer {
            events: events.take(),
            outcome,
        };
        if let Some(message) = answer.message() {
            self.record(Role::Agent, message);
        }
        if let Outcome::InputRequired { slot, .. } | Outcome::AuthRequired { slot, .. } =
            &answer.outcome
        {
            self.slot = Some(slot.clone());
        }
        answer
    }

    fn record(&mut self, role: Role, content: &Content) {
        self.history.push(Turn {
            role,
            content: content.clone(),
        });
    }
}

/// What a call did and how it ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// What it did, in order.
    pub events: Vec<Event>,
    /// How it ended.
    pub outcome: Outcome,
}

impl Answer {
    /// The message that the call ended with.
    pub fn message(&self) -> Option<&Content> {
        match &self.outcome {
            Outcome::Completed { message, .. } => message.as_ref(),
            Outcome::InputRequired { message, .. } | Outcome::AuthRequired { message, .. } => {
                Some(message)
            }
            Outcome::Message(message) | Outcome::Rejected(message) | Outcome::Failed(message) => {
                Some(message)
            }
        }
    }

    /// The text of that message; empty without one.
    pub fn text(&self) -> String {
        self.message().map(Content::text).unwrap_or_default()
    }

    /// The texts of the progress updates, in order.
    pub fn updates(&self) -> Vec<String> {
        self.events
            .iter()
            .filter_map(|event| match event {
                Event::Update(content) => Some(content.text()),
                _ => None,
            })
            .collect()
    }

    /// The artifacts as a client holds them in the end: chunks put together, in order of first
    /// appearance, then those of the outcome.
    pub fn artifacts(&self) -> Vec<Artifact> {
        let mut artifacts = Vec::new();
        for event in &self.events {
            if let Event::Artifact {
                artifact, append, ..
            } = event
            {
                native::merge_artifact(&mut artifacts, artifact.clone(), *append);
            }
        }
        if let Outcome::Completed {
            artifacts: last, ..
        } = &self.outcome
        {
            artifacts.extend(last.iter().cloned());
        }
        artifacts
    }
}

/// Something that a call did before it ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// It sent a progress update.
    Update(Content),
    /// It sent an artifact or a chunk of one.
    Artifact {
        /// The artifact or chunk.
        artifact: Artifact,
        /// Whether it adds to the artifact of that id.
        append: bool,
        /// Whether no more chunks follow.
        last: bool,
    },
    /// It wrote a log record.
    Log {
        /// How much it matters.
        level: Level,
        /// What it says.
        message: String,
        /// Names and values.
        fields: Vec<(String, String)>,
    },
}

impl From<Effect> for Event {
    fn from(effect: Effect) -> Self {
        match effect {
            Effect::Update(content) => Event::Update(content),
            Effect::Artifact {
                artifact,
                append,
                last,
            } => Event::Artifact {
                artifact,
                append,
                last,
            },
            Effect::Log {
                level,
                message,
                fields,
            } => Event::Log {
                level,
                message,
                fields,
            },
        }
    }
}

/// Runs a future on this thread, parked while it waits.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}
