//! What can go wrong, by whose fault it is.

use std::io;
use std::path::PathBuf;
use std::time::Duration;
use thiserror::Error;

/// Why a component is refused, or a call of an agent has no answer.
#[derive(Debug, Error)]
pub enum WasmRuntimeError {
    #[error("the engine does not start: {0}")]
    EngineCreation(String),
    #[error("{path} cannot be read")]
    LoadFile {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("this is not a component: {0}")]
    InvalidModule(String),
    #[error("the component could not be compiled: {0}")]
    Compilation(String),
    /// An export is missing or has another signature, or an import is not offered.
    #[error(
        "the component does not fit the world zentinel:agent@2.0.0, nor dormouse:filter@1.0.0: {0}"
    )]
    FunctionNotFound(String),
    /// It was asked what only those of the other world know. It has not noticed.
    #[error("the agent is of the world {0}, which does not know this event")]
    OtherWorld(&'static str),
    #[error("the component could not be instantiated: {0}")]
    Instantiation(String),
    /// What `configure` said.
    #[error("the agent refuses its configuration: {0}")]
    Configuration(String),
    #[error("the agent failed in {function}: {cause}")]
    FunctionCall {
        function: &'static str,
        cause: String,
    },
    #[error("the agent is over its limit of {0}")]
    ResourceLimit(String),
    #[error("the agent did not answer within {0:?}")]
    Timeout(Duration),
    /// What `health-check` said.
    #[error("the agent is unhealthy: {0}")]
    AgentError(String),
    #[error("there is no {kind} {id:?}")]
    Unknown { kind: &'static str, id: String },
    #[error("the runtime has been shut down, or the agent was unloaded")]
    Shutdown,
}
