//! Skills under test, without a server and without WebAssembly.
//!
//! A [`Conversation`] calls the skill as a client would. What is not there natively, models, servers and other agents, the
//! test gives it:
//!
//! ```
//! use dormouse_sdk::{LlmResponse, OnRequestResult, testing::Conversation};
//!
//! // In a crate: `Conversation::new(Adviser)`, with a type that has `#[skill(…)]`.
//! let adviser = Conversation::with_function(async |_, progress, runtime, content| {
//!     progress.send_update("Asking").await?;
//!     let advice = runtime.llm().generate(content.text()).await?;
//!     Ok(OnRequestResult::completed(advice.text))
//! });
//! let mut talk = adviser.with_llm(|_| Ok(LlmResponse::text("Take an umbrella.")));
//! let answer = talk.send("Oslo?");
//! assert_eq!(answer.updates(), ["Asking"]);
//! assert_eq!(answer.text(), "Take an umbrella.");
//! ```

mod answer;
mod function;

pub use answer::{Answer, Event};

use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use crate::dispatch::{self, Call};
use crate::native::{Memory, NativeHost};
use crate::native_services::NativeServices;
use crate::{
    Agent, AgentDefinition, AgentError, AgentReply, AgentRequest, CallContext, Content,
    HttpRequest, HttpResponse, LlmRequest, LlmResponse, OnRequestResult, Outcome, ProgressSender,
    RegisteredSkill, Role, Runtime, SkillHandler, SkillSlot, State, Turn,
};
use function::Function;

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
    ///
    /// ```
    /// # use dormouse_sdk::prelude::*;
    /// # use dormouse_sdk::testing::Conversation;
    /// # #[skill(id = "greet", name = "Greeting", description = "Greets.")]
    /// # struct Greet;
    /// # impl SkillHandler for Greet {
    /// #     async fn on_request(&self, _: &mut State, _: &ProgressSender, _: &Runtime, content: Content)
    /// #         -> Result<OnRequestResult, AgentError> {
    /// #         Ok(OnRequestResult::completed(format!("Hello, {}!", content.text())))
    /// #     }
    /// # }
    /// let mut talk = Conversation::new(Greet);
    /// assert_eq!(talk.send("Ada").text(), "Hello, Ada!");
    /// ```
    pub fn new<S: SkillHandler + RegisteredSkill>(skill: S) -> Self {
        Self::with_agent(Agent::builder().with_name("test").with_skill(skill).build())
    }

    /// A new context with the first skill of this agent, as the principal "anonymous".
    ///
    /// ```
    /// # use dormouse_sdk::prelude::*;
    /// # use dormouse_sdk::testing::Conversation;
    /// # #[skill(id = "greet", name = "Greeting", description = "Greets.")]
    /// # struct Greet;
    /// # impl SkillHandler for Greet {
    /// #     async fn on_request(&self, _: &mut State, _: &ProgressSender, _: &Runtime, content: Content)
    /// #         -> Result<OnRequestResult, AgentError> {
    /// #         Ok(OnRequestResult::completed(format!("Hello, {}!", content.text())))
    /// #     }
    /// # }
    /// let greeter = Agent::builder().with_name("greeter").with_skill(Greet).build();
    /// assert_eq!(Conversation::with_agent(greeter).send("Ada").text(), "Hello, Ada!");
    /// ```
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

    /// A new context with a function in the place of a skill, as the principal "anonymous": for what an agent has besides
    /// its skills. It answers first messages only.
    ///
    /// ```
    /// use dormouse_sdk::{AgentError, HttpResponse, OnRequestResult, Runtime, testing::Conversation};
    ///
    /// /// What several skills of an agent call.
    /// async fn rate(runtime: &Runtime, currency: &str) -> Result<f64, AgentError> {
    ///     let url = format!("https://rates.example.com/{currency}");
    ///     runtime.http().get(url).send().await?.successful()?.json()
    /// }
    ///
    /// let mut talk = Conversation::with_function(async |_, _, runtime, _| {
    ///     assert_eq!(rate(runtime, "eur").await?, 1.17);
    ///     assert!(rate(runtime, "xyz").await.is_err());
    ///     Ok(OnRequestResult::completed("as it should be"))
    /// })
    /// .with_http(|request| match request.url() {
    ///     "https://rates.example.com/eur" => Ok(HttpResponse::new(200, "1.17")),
    ///     _ => Ok(HttpResponse::new(404, "")),
    /// });
    /// assert_eq!(talk.send("").text(), "as it should be");
    /// ```
    pub fn with_function(
        function: impl AsyncFn(
            &mut State,
            &ProgressSender,
            &Runtime,
            Content,
        ) -> Result<OnRequestResult, AgentError>
        + 'static,
    ) -> Self {
        Self::new(Function(function))
    }

    /// The same conversation as another principal.
    ///
    /// ```
    /// # use dormouse_sdk::{OnRequestResult, testing::Conversation};
    /// let mut talk = Conversation::with_function(async |_, _, runtime, _| {
    ///     Ok(OnRequestResult::completed(&*runtime.context().principal))
    /// });
    /// assert_eq!(talk.send("Who am I?").text(), "anonymous");
    /// assert_eq!(talk.with_principal("ann").send("And now?").text(), "ann");
    /// ```
    pub fn with_principal(mut self, principal: impl Into<String>) -> Self {
        self.context.principal = principal.into();
        self
    }

    /// The same conversation, with a function in the place of the language model.
    ///
    /// ```
    /// # use dormouse_sdk::{LlmResponse, OnRequestResult, testing::Conversation};
    /// let talk = Conversation::with_function(async |_, _, runtime, content| {
    ///     let answer = runtime.llm().generate(content.text()).await?;
    ///     Ok(OnRequestResult::completed(answer.text))
    /// });
    /// // A model that says how many turns it was shown.
    /// let mut talk = talk.with_llm(|request| Ok(LlmResponse::text(request.thread.turns.len().to_string())));
    /// assert_eq!(talk.send("Hello").text(), "1");
    /// ```
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
    ///
    /// ```
    /// # use dormouse_sdk::{AgentError, AgentReply, OnRequestResult, testing::Conversation};
    /// let talk = Conversation::with_function(async |_, _, runtime, _| {
    ///     let weather = runtime.agents().call("weather", "Oslo").await;
    ///     let said = weather.map(|reply| reply.text());
    ///     Ok(OnRequestResult::completed(said.unwrap_or("I do not know".to_owned())))
    /// });
    /// // How the skill takes it when the other has no time.
    /// let mut talk = talk.with_agents(|_| Err(AgentError::Unavailable("no instance is free".to_owned())));
    /// assert_eq!(talk.send("Rain?").text(), "I do not know");
    /// ```
    pub fn with_agents(
        self,
        agents: impl Fn(&AgentRequest) -> Result<AgentReply, AgentError> + 'static,
    ) -> Self {
        *self.services.agents.borrow_mut() = Some(Rc::new(agents));
        self
    }

    /// The same conversation, with a function in the place of every server that the skill sends to.
    ///
    /// ```
    /// # use dormouse_sdk::{HttpResponse, OnRequestResult, testing::Conversation};
    /// let talk = Conversation::with_function(async |_, _, runtime, _| {
    ///     let page = runtime.http().get("https://example.com").send().await?.successful()?;
    ///     Ok(OnRequestResult::completed(page.text()))
    /// });
    /// let mut talk = talk.with_http(|_| Ok(HttpResponse::new(503, "")));
    /// assert!(talk.send("?").text().ends_with("status 503"));
    /// ```
    pub fn with_http(
        self,
        servers: impl Fn(&HttpRequest) -> Result<HttpResponse, AgentError> + 'static,
    ) -> Self {
        *self.services.servers.borrow_mut() = Some(Rc::new(servers));
        self
    }

    /// Sends a message and waits for the call to end. A panic of the skill is a panic of the test.
    ///
    /// ```
    /// # use dormouse_sdk::{Content, OnRequestResult, testing::Conversation};
    /// let mut talk = Conversation::with_function(async |_, _, _, content| {
    ///     let bytes = content.files().count();
    ///     Ok(OnRequestResult::completed(format!("{bytes} files, {:?}", content.text())))
    /// });
    /// assert_eq!(talk.send("words").text(), "0 files, \"words\"");
    /// assert_eq!(talk.send(Content::from_file("a.csv", "text/csv", b"x")).text(), "1 files, \"\"");
    /// ```
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
