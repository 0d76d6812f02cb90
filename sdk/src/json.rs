use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::AgentError;

/// A JSON document (RFC 8259), kept as text: it is parsed only by those who look into it, and
/// straight into their own type.
///
/// ```
/// # fn main() -> Result<(), dormouse_sdk::AgentError> {
/// use dormouse_sdk::Json;
///
/// let json = Json::new(&[1, 2, 3])?;
/// assert_eq!(json.as_str(), "[1,2,3]");
/// assert_eq!(json.deserialize::<Vec<u8>>()?, [1, 2, 3]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Json(String);

impl Json {
    /// Serialises a value. Fails for what JSON cannot express, such as a map with keys that are
    /// not text.
    pub fn new(value: &(impl Serialize + ?Sized)) -> Result<Self, AgentError> {
        Ok(Json(serde_json::to_string(value)?))
    }

    /// Takes text after checking that it is JSON.
    ///
    /// ```
    /// # use dormouse_sdk::Json;
    /// assert!(Json::parse("{\"a\": 1}").is_ok());
    /// assert!(Json::parse("{a: 1}").is_err());
    /// ```
    pub fn parse(text: impl Into<String>) -> Result<Self, AgentError> {
        let text = text.into();
        serde_json::from_str::<serde::de::IgnoredAny>(&text)?;
        Ok(Json(text))
    }

    /// Takes text that is known to be JSON, unchecked. The platform fails a call that hands it
    /// something else.
    ///
    /// ```
    /// # use dormouse_sdk::Json;
    /// assert_eq!(Json::from_text_unchecked("null").as_str(), "null");
    /// ```
    pub fn from_text_unchecked(text: impl Into<String>) -> Self {
        Json(text.into())
    }

    /// Parses into a type of the caller's choice; `serde_json::Value` takes everything.
    pub fn deserialize<T: DeserializeOwned>(&self) -> Result<T, AgentError> {
        Ok(serde_json::from_str(&self.0)?)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, owned.
    pub fn into_string(self) -> String {
        self.0
    }
}

impl From<serde_json::Value> for Json {
    fn from(value: serde_json::Value) -> Self {
        Json(value.to_string())
    }
}
