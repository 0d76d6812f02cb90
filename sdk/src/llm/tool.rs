use std::rc::Rc;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::schema;
use crate::host::LocalFuture;
use crate::{AgentError, Json};

/// What a model is told of a tool.
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
pub trait BaseTool {
    /// What the model is told of it.
    fn declaration(&self) -> ToolDeclaration;

    /// Does what the model asks for. The model is told of an error, too, and may try again.
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
