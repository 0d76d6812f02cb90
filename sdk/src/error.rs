/// Why a skill could not do its work. Returned from a handler it ends the task as failed, with
/// this error's text as the message that the client reads.
///
/// ```
/// use dormouse_sdk::AgentError;
///
/// // Some errors are worth another try or another way; the rest goes to the client by `?`.
/// fn is_worth_another_try(error: &AgentError) -> bool {
///     matches!(error, AgentError::Unavailable(_))
/// }
///
/// fn count(json: &str) -> Result<usize, AgentError> {
///     let names: Vec<String> = serde_json::from_str(json)?;
///     match names.len() {
///         0 => Err(AgentError::invalid_input("no names")),
///         some => Ok(some),
///     }
/// }
///
/// assert_eq!(count("[]").unwrap_err().to_string(), "invalid input: no names");
/// assert!(!is_worth_another_try(&count("{}").unwrap_err()));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// The skill says so, in a sentence for the client.
    #[error("{0}")]
    Failed(String),
    /// The client's message lacks something or has it in a form the skill does not take.
    #[error("invalid input: {0}")]
    InvalidInput(String),
    /// A value is not JSON, or not of the expected form.
    #[error("not the expected JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The call has ended (cancelled, timed out): nothing more is taken from it.
    #[error("the call has ended")]
    Ended,
    /// The agent has no right to this service; the text says what its operator can do.
    #[error("not allowed: {0}")]
    Denied(String),
    /// A limit of the platform; the text names it.
    #[error("over a limit: {0}")]
    Limit(String),
    /// The platform's fault; the text says what.
    #[error("the platform could not do it: {0}")]
    Unavailable(String),
    /// Any other error of the skill's own.
    #[error(transparent)]
    Other(Box<dyn std::error::Error + Send + Sync>),
}

impl AgentError {
    /// A failure in the skill's own words.
    ///
    /// ```
    /// let error = dormouse_sdk::AgentError::failed("the shelf is empty");
    /// assert_eq!(error.to_string(), "the shelf is empty");
    /// ```
    pub fn failed(sentence: impl Into<String>) -> Self {
        AgentError::Failed(sentence.into())
    }

    /// Complains about the client's message.
    ///
    /// ```
    /// let error = dormouse_sdk::AgentError::invalid_input("no CSV found");
    /// assert_eq!(error.to_string(), "invalid input: no CSV found");
    /// ```
    pub fn invalid_input(sentence: impl Into<String>) -> Self {
        AgentError::InvalidInput(sentence.into())
    }

    /// Carries another error.
    ///
    /// ```
    /// # use dormouse_sdk::AgentError;
    /// let parsed: Result<u32, AgentError> = "many".parse::<u32>().map_err(AgentError::other);
    /// assert!(parsed.is_err());
    /// ```
    pub fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        AgentError::Other(error.into())
    }
}
