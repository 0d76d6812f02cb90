//! What a client asks for: where to post a task's events, and how to say who posts.

use dormouse_store::TaskId;
use serde::{Deserialize, Serialize};
use std::fmt;
use thiserror::Error;
use uuid::Uuid;

/// Bytes of an id that a client chooses; it becomes part of a key in the store.
const MAX_ID_BYTES: usize = 128;
/// Bytes of the token, and of the scheme.
const MAX_TOKEN_BYTES: usize = 1024;
/// Bytes of the credentials: JSON Web Tokens of some issuers are this long.
const MAX_CREDENTIALS_BYTES: usize = 8192;

/// A TaskPushNotificationConfig (A2A 1.0 §4.3.1) that has passed validation.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushConfig {
    pub id: String,
    pub url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication: Option<Authentication>,
    /// What `traceparent` says to the receiver: the request that has made this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

/// How to authenticate to the receiver: `Authorization: {scheme} {credentials}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authentication {
    pub scheme: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Secret>,
}

/// A text that no log and no debug output shows.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the receiver and for the owner of the configuration.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Debug for PushConfig {
    /// Without the URL: its path or query may be what the receiver knows its callers by.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushConfig")
            .field("id", &self.id)
            .field("authentication", &self.authentication)
            .finish_non_exhaustive()
    }
}

/// Why a configuration is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PushConfigError {
    #[error("{what} is longer than {limit} bytes")]
    TooLong { what: &'static str, limit: usize },
    #[error("{0}")]
    Invalid(&'static str),
}

impl PushConfig {
    /// Checks all but the URL, which the HTTP client checks (`HttpClient::target`). Without an id it
    /// is given one.
    pub fn new(
        id: Option<String>,
        url: String,
        token: Option<String>,
        authentication: Option<(String, Option<String>)>,
    ) -> Result<Self, PushConfigError> {
        let given = |text: &String| !text.is_empty();
        let id = match id.filter(given) {
            Some(id) => check_id(id)?,
            None => Uuid::now_v7().to_string(),
        };
        let token = token.filter(given);
        if let Some(token) = &token {
            check_field("the token", token, MAX_TOKEN_BYTES)?;
        }
        let authentication = authentication
            .map(|(scheme, credentials)| authentication_of(scheme, credentials.filter(given)))
            .transpose()?;
        Ok(Self {
            id,
            url,
            token: token.map(Secret),
            authentication,
            traceparent: None,
        })
    }
}

fn check_id(id: String) -> Result<String, PushConfigError> {
    too_long(
        "the id of the push notification configuration",
        &id,
        MAX_ID_BYTES,
    )?;
    // It is a segment of a path in the HTTP+JSON binding.
    if id
        .chars()
        .any(|letter| letter.is_control() || letter == '/')
    {
        return Err(PushConfigError::Invalid(
            "the id of a push notification configuration must not contain slashes or control characters",
        ));
    }
    Ok(id)
}

fn authentication_of(
    scheme: String,
    credentials: Option<String>,
) -> Result<Authentication, PushConfigError> {
    too_long("the authentication scheme", &scheme, MAX_TOKEN_BYTES)?;
    // A token of RFC 9110 §5.6.2.
    let is_token = !scheme.is_empty()
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
    if !is_token {
        return Err(PushConfigError::Invalid(
            "authentication.scheme must be the name of an HTTP authentication scheme, for example Bearer",
        ));
    }
    if let Some(credentials) = &credentials {
        check_field("the credentials", credentials, MAX_CREDENTIALS_BYTES)?;
    }
    Ok(Authentication {
        scheme,
        credentials: credentials.map(Secret),
    })
}

/// What goes into a header field: no line break can be in it, and so no other field.
fn check_field(what: &'static str, text: &str, limit: usize) -> Result<(), PushConfigError> {
    too_long(what, text, limit)?;
    let visible = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if !visible || text.trim() != text {
        return Err(PushConfigError::Invalid(
            "the token and the credentials may contain visible ASCII characters, and spaces between them",
        ));
    }
    Ok(())
}

fn too_long(what: &'static str, text: &str, limit: usize) -> Result<(), PushConfigError> {
    if text.len() > limit {
        return Err(PushConfigError::TooLong { what, limit });
    }
    Ok(())
}

/// How far a receiver has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// The last event that was taken, or given up.
    pub(crate) seq: u64,
    /// Events given up in a row, up to that one.
    pub(crate) given_up: u8,
}

impl Cursor {
    pub(crate) fn at(seq: u64) -> Self {
        Self { seq, given_up: 0 }
    }

    pub(crate) fn encode(self) -> Vec<u8> {
        let mut bytes = self.seq.to_be_bytes().to_vec();
        bytes.push(self.given_up);
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (seq, rest) = bytes.split_first_chunk()?;
        let [given_up] = *rest else { return None };
        Some(Self {
            seq: u64::from_be_bytes(*seq),
            given_up,
        })
    }
}

/// Keys of records: the configuration, and its cursor. Only a configuration that is owed something,
/// now or later, has a cursor: one whose task has ended and that has been told so has none, nor has
/// one that was given up.
pub(crate) const CONFIGS: &[u8] = b"pc";
pub(crate) const CURSORS: &[u8] = b"pq";

pub(crate) fn task_prefix(kind: &[u8], task: TaskId) -> Vec<u8> {
    [kind, task.as_bytes()].concat()
}

pub(crate) fn record_key(kind: &[u8], task: TaskId, id: &str) -> Vec<u8> {
    [kind, task.as_bytes(), id.as_bytes()].concat()
}

/// The task and the id in a key.
pub(crate) fn parse_key(key: &[u8]) -> Option<(TaskId, String)> {
    let (task, id) = key.get(CONFIGS.len()..)?.split_at_checked(16)?;
    let id = String::from_utf8(id.to_vec()).ok()?;
    Some((TaskId::from_slice(task).ok()?, id))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn with(
        id: &str,
        token: &str,
        authentication: Option<(&str, &str)>,
    ) -> Result<PushConfig, PushConfigError> {
        PushConfig::new(
            Some(id.to_owned()),
            "https://example.com/hook".to_owned(),
            Some(token.to_owned()),
            authentication.map(|(scheme, secret)| (scheme.to_owned(), Some(secret.to_owned()))),
        )
    }

    #[test]
    fn what_could_become_another_header_is_refused() {
        assert!(with("a b:ü", "t0k en", Some(("Bearer", "a.b-c=="))).is_ok());
        for (id, token, authentication) in [
            ("a\nb", "", None),
            ("a/b", "", None),
            ("", "a\r\nX: y", None),
            ("", "a\u{7f}", None),
            ("", " a", None),
            ("", "ü", None),
            ("", "", Some(("Bearer\r\nX:", "y"))),
            ("", "", Some(("", "y"))),
            ("", "", Some(("Bearer token", "y"))),
            ("", "", Some(("Bearer", "y\nX: z"))),
            ("", "", Some(("Bearer", "y\0"))),
        ] {
            assert!(with(id, token, authentication).is_err(), "{id:?} {token:?}");
        }
        let long = "x".repeat(MAX_CREDENTIALS_BYTES + 1);
        assert!(with(&long[..MAX_ID_BYTES + 1], "", None).is_err());
        assert!(with("", &long[..MAX_TOKEN_BYTES + 1], None).is_err());
        assert!(with("", "", Some(("Bearer", &long))).is_err());
    }

    #[test]
    fn empty_texts_are_none_and_ids_are_made() {
        let [one, two] = [(); 2].map(|()| with("", "", Some(("Basic", ""))).unwrap());
        assert_ne!(one.id, two.id);
        assert_eq!(one.token, None);
        assert_eq!(one.authentication.unwrap().credentials, None);
    }

    #[test]
    fn secrets_are_not_shown() {
        let mut config = with("id", "hidden-1", Some(("Bearer", "hidden-2"))).unwrap();
        config.url = "https://example.com/hidden-3".to_owned();
        let shown = format!("{config:?} {:?} {:?}", config.token, config.authentication);
        assert!(
            shown.contains("Bearer") && !shown.contains("hidden"),
            "{shown}"
        );
    }

    #[test]
    fn keys_and_cursors_come_back() {
        let task = Uuid::now_v7();
        let key = record_key(CURSORS, task, "an id");
        assert!(key.starts_with(&task_prefix(CURSORS, task)));
        assert_eq!(parse_key(&key), Some((task, "an id".to_owned())));
        assert_eq!(parse_key(&key[..9]), None);
        let cursor = Cursor {
            seq: 1 << 40,
            given_up: 2,
        };
        assert_eq!(Cursor::decode(&cursor.encode()), Some(cursor));
        assert_eq!(Cursor::decode(b"12345678"), None);
    }
}
