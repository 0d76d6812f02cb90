use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

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
    ///
    /// ```
    /// # use dormouse_sdk::Json;
    /// # use std::collections::BTreeMap;
    /// assert_eq!(Json::new("tulips")?.as_str(), r#""tulips""#);
    /// assert!(Json::new(&BTreeMap::from([([1, 2], "a key that is a list")])).is_err());
    /// # Ok::<(), dormouse_sdk::AgentError>(())
    /// ```
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
    ///
    /// A whole number may come with a fraction of zero: clients that keep data as a protobuf
    /// `Struct` know only floating point (google/protobuf/struct.proto) and send `5` as `5.0`.
    ///
    /// ```
    /// # use dormouse_sdk::Json;
    /// let days: Vec<u32> = Json::from_text_unchecked("[5.0, 7]").deserialize()?;
    /// assert_eq!(days, [5, 7]);
    /// # Ok::<(), dormouse_sdk::AgentError>(())
    /// ```
    pub fn deserialize<T: DeserializeOwned>(&self) -> Result<T, AgentError> {
        let error = match serde_json::from_str(&self.0) {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let Ok(mut value) = serde_json::from_str(&self.0) else {
            return Err(error.into());
        };
        make_whole(&mut value);
        serde_json::from_value(value).map_err(|_same| error.into())
    }

    /// The text.
    ///
    /// ```
    /// # use dormouse_sdk::Json;
    /// let json = Json::parse("{ \"a\": 1 }")?;
    /// assert_eq!(json.as_str(), "{ \"a\": 1 }"); // as it came
    /// # Ok::<(), dormouse_sdk::AgentError>(())
    /// ```
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, owned.
    ///
    /// ```
    /// # use dormouse_sdk::Json;
    /// let text: String = Json::new(&[1, 2])?.into_string();
    /// assert_eq!(text, "[1,2]");
    /// # Ok::<(), dormouse_sdk::AgentError>(())
    /// ```
    pub fn into_string(self) -> String {
        self.0
    }
}

impl From<serde_json::Value> for Json {
    fn from(value: serde_json::Value) -> Self {
        Json(value.to_string())
    }
}

/// Turns floating-point numbers without a fraction into integers, as far as they are exact.
fn make_whole(value: &mut Value) {
    const EXACT: f64 = (1_u64 << 53) as f64;
    match value {
        Value::Number(number) => {
            let float = number.as_f64().filter(|_| number.is_f64());
            if let Some(float) = float.filter(|f| f.fract() == 0.0 && f.abs() <= EXACT) {
                *number = (float as i64).into();
            }
        }
        Value::Array(values) => values.iter_mut().for_each(make_whole),
        Value::Object(fields) => fields.values_mut().for_each(make_whole),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}
