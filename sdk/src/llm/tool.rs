use std::rc::Rc;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::schema;
use crate::host::LocalFuture;
use crate::{AgentError, Json};

/// What a model is told of a tool.
///
/// ```
/// use dormouse_sdk::{AgentError, BaseTool, tool};
///
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// struct Place { city: String }
///
/// /// Tells the weather of a city.
/// #[tool]
/// async fn weather(place: Place) -> Result<String, AgentError> {
///     Ok(format!("Rain in {}", place.city))
/// }
///
/// let declaration = weather.declaration();
/// assert_eq!((&*declaration.name, &*declaration.description), ("weather", "Tells the weather of a city."));
/// let schema: serde_json::Value = declaration.parameters.deserialize()?;
/// assert_eq!(schema["properties"]["city"]["type"], "string");
/// # Ok::<(), AgentError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ToolDeclaration {
    /// 1 to 64 of letters, digits, `_` and `-`.
    pub name: String,
    /// What it does, for the model.
    pub description: String,
    /// A JSON schema of an object.
    pub parameters: Json,
}

/// Something that a model may ask for in [`LlmWorker`](super::LlmWorker). Most are a function
/// with [`tool`](macro@crate::tool), or a [`FunctionTool`].
///
/// ```
/// use std::pin::Pin;
/// use dormouse_sdk::{AgentError, BaseTool, Json, ToolDeclaration};
///
/// /// A tool that is known only when the agent runs, from its configuration for example.
/// struct Lookup { name: String, answers: Json }
///
/// impl BaseTool for Lookup {
///     fn declaration(&self) -> ToolDeclaration {
///         ToolDeclaration {
///             name: self.name.clone(),
///             description: format!("Looks up {}.", self.name),
///             parameters: Json::from_text_unchecked(r#"{"type": "object"}"#),
///         }
///     }
///
///     fn run_async(&self, _: Json) -> Pin<Box<dyn Future<Output = Result<Json, AgentError>> + '_>> {
///         Box::pin(async { Ok(self.answers.clone()) })
///     }
/// }
///
/// let teas = Lookup { name: "teas".to_owned(), answers: Json::new(&["green", "black"])? };
/// assert_eq!(teas.declaration().description, "Looks up teas.");
/// # Ok::<(), AgentError>(())
/// ```
pub trait BaseTool {
    /// What the model is told of it.
    ///
    /// ```
    /// # use dormouse_sdk::{BaseTool, FunctionTool};
    /// # #[derive(serde::Deserialize, schemars::JsonSchema)]
    /// # struct Sum { left: i64, right: i64 }
    /// let sum = FunctionTool::new("sum", "Adds two numbers.", async |sum: Sum| Ok(sum.left + sum.right));
    /// assert_eq!(sum.declaration().name, "sum");
    /// ```
    fn declaration(&self) -> ToolDeclaration;

    /// Does what the model asks for. The model is told of an error, too, and may try again.
    ///
    /// ```
    /// # use dormouse_sdk::{BaseTool, FunctionTool, Json, OnRequestResult, testing::Conversation};
    /// # #[derive(serde::Deserialize, schemars::JsonSchema)]
    /// # struct Sum { left: i64, right: i64 }
    /// # let mut talk = Conversation::with_function(async |state, progress, runtime, content| {
    /// let sum = FunctionTool::new("sum", "Adds two numbers.", async |sum: Sum| Ok(sum.left + sum.right));
    /// let three = sum.run_async(Json::parse(r#"{"left": 1, "right": 2}"#)?).await?;
    /// assert_eq!(three.as_str(), "3");
    /// let error = sum.run_async(Json::parse(r#"{"left": 1}"#)?).await.unwrap_err();
    /// assert!(error.to_string().contains("right"));
    /// # Ok(OnRequestResult::completed("ok")) });
    /// # assert_eq!(talk.send("").text(), "ok");
    /// ```
    fn run_async(
        &self,
        arguments: Json,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<Json, AgentError>> + '_>>;
}

impl<T: BaseTool + ?Sized> BaseTool for Rc<T> {
    fn declaration(&self) -> ToolDeclaration {
        (**self).declaration()
    }

    fn run_async(
        &self,
        arguments: Json,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<Json, AgentError>> + '_>> {
        (**self).run_async(arguments)
    }
}

/// A function as a tool. Its argument is a type whose fields are the tool's parameters.
///
/// ```
/// use dormouse_sdk::FunctionTool;
/// use schemars::JsonSchema;
/// use serde::Deserialize;
///
/// #[derive(Deserialize, JsonSchema)]
/// struct Sum {
///     left: i64,
///     right: i64,
/// }
///
/// let tool = FunctionTool::new("sum", "Adds two numbers.", async |sum: Sum| Ok(sum.left + sum.right));
/// ```
pub struct FunctionTool {
    declaration: ToolDeclaration,
    function: Box<dyn Fn(Json) -> LocalFuture<'static, Result<Json, AgentError>>>,
}

impl FunctionTool {
    /// A tool of this name. `description` is for the model.
    ///
    /// ```
    /// # use dormouse_sdk::{BaseTool, FunctionTool};
    /// # #[derive(serde::Deserialize, schemars::JsonSchema)]
    /// # struct Word { word: String }
    /// // Unlike a function with `#[tool]`, a closure brings along what it needs.
    /// let known = std::rc::Rc::new(["rain".to_owned()]);
    /// let knows = FunctionTool::new("knows", "Whether a word is known.", move |asked: Word| {
    ///     let known = std::rc::Rc::clone(&known);
    ///     async move { Ok(known.contains(&asked.word)) }
    /// });
    /// assert_eq!(knows.declaration().description, "Whether a word is known.");
    /// ```
    pub fn new<A, R, F, O>(
        name: impl Into<String>,
        description: impl Into<String>,
        function: F,
    ) -> Self
    where
        A: DeserializeOwned + JsonSchema + 'static,
        R: Serialize,
        F: Fn(A) -> O + 'static,
        O: Future<Output = Result<R, AgentError>> + 'static,
    {
        let (parameters, _) = schema::of::<A>();
        let function = Rc::new(function);
        FunctionTool {
            declaration: ToolDeclaration {
                name: name.into(),
                description: description.into(),
                parameters: parameters.into(),
            },
            function: Box::new(move |arguments| {
                let function = Rc::clone(&function);
                Box::pin(async move {
                    let arguments = arguments.deserialize()?;
                    Json::new(&function(arguments).await?)
                })
            }),
        }
    }
}

impl BaseTool for FunctionTool {
    fn declaration(&self) -> ToolDeclaration {
        self.declaration.clone()
    }

    fn run_async(
        &self,
        arguments: Json,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<Json, AgentError>> + '_>> {
        (self.function)(arguments)
    }
}
