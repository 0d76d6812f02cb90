//! Services that an agent has only if it says that it needs them and its operator grants it.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use thiserror::Error;
use url::Url;

/// A service that needs a grant: it costs somebody money, leaves the machine or has others work. As a text it is `llm`,
/// a destination such as `https://api.example.com`, or `agent:NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Service {
    /// Language models.
    Llm,
    /// HTTP requests to this origin.
    Http(Origin),
    /// Calls of the agent of this name.
    Agent(String),
}

/// Scheme, host and port of an HTTP request (RFC 6454).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    https: bool,
    /// As the URL standard writes it: names in lower case, addresses in their one form.
    host: String,
    port: u16,
}

/// Not the text of a [`Service`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{0:?} is no service that can be granted; there is `llm`, a destination with scheme, host and port such as \
     https://api.example.com, and an agent such as agent:planner"
)]
pub struct NoService(String);

const AGENT: &str = "agent:";
/// Bytes of a service's text: a host name has up to 253.
const MAX_BYTES: usize = 300;

impl Service {
    /// The words by which denials are counted.
    pub const KINDS: [&str; 3] = ["llm", "http", "agents"];

    pub fn kind(&self) -> &'static str {
        match self {
            Self::Llm => "llm",
            Self::Http(_) => "http",
            Self::Agent(_) => "agents",
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Llm => f.write_str("llm"),
            Self::Http(origin) => origin.fmt(f),
            Self::Agent(name) => write!(f, "{AGENT}{name}"),
        }
    }
}

impl FromStr for Service {
    type Err = NoService;

    fn from_str(text: &str) -> Result<Self, NoService> {
        let none = || NoService(text.chars().take(80).collect());
        if text.len() > MAX_BYTES {
            return Err(none());
        }
        if text == "llm" {
            return Ok(Self::Llm);
        }
        match text.strip_prefix(AGENT) {
            Some(name) if is_name(name) => Ok(Self::Agent(name.to_owned())),
            Some(_) => Err(none()),
            None => Origin::parse(text).map(Self::Http).ok_or_else(none),
        }
    }
}

impl TryFrom<String> for Service {
    type Error = NoService;

    fn try_from(text: String) -> Result<Self, NoService> {
        text.parse()
    }
}

impl From<Service> for String {
    fn from(service: Service) -> Self {
        service.to_string()
    }
}

fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&name.len()) && name.bytes().all(fits)
}

impl Origin {
    /// An origin and nothing else: no path, no query, no user, no wildcard. `None` if it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        if text
            .bytes()
            .any(|byte| byte.is_ascii_control() || byte == b' ')
        {
            return None;
        }
        let url = Url::parse(text).ok()?;
        let bare = matches!(url.path(), "" | "/")
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        let https = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let host = url.host_str().filter(|host| !host.contains('*'))?;
        bare.then_some(Self {
            https,
            host: host.to_owned(),
            port: url.port_or_known_default()?,
        })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, usual) = if self.https {
            ("https", 443)
        } else {
            ("http", 80)
        };
        write!(f, "{scheme}://{}", self.host)?;
        if self.port != usual {
            write!(f, ":{}", self.port)?;
        }
        Ok(())
    }
}

/// A set of services. None by default; then it holds nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants(Option<Arc<[Service]>>);

impl Grants {
    pub fn has(&self, service: &Service) -> bool {
        self.services().any(|granted| granted == service)
    }

    /// What is in both.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let both = self.services().filter(|service| other.has(service));
        both.cloned().collect()
    }

    /// What is in either.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        self.services().chain(other.services()).cloned().collect()
    }

    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.0.iter().flat_map(|services| services.iter())
    }
}

impl FromIterator<Service> for Grants {
    fn from_iter<I: IntoIterator<Item = Service>>(services: I) -> Self {
        let mut services: Vec<Service> = services.into_iter().collect();
        services.sort_unstable();
        services.dedup();
        Self((!services.is_empty()).then(|| services.into()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_service_has_one_text() {
        for (text, kept) in [
            ("llm", "llm"),
            ("https://API.example.com:443/", "https://api.example.com"),
            ("http://api.example.com:443", "http://api.example.com:443"),
            ("http://0x7f.1", "http://127.0.0.1"),
            ("https://[::0:1]:8443", "https://[::1]:8443"),
            ("agent:planner", "agent:planner"),
        ] {
            let service: Service = text.parse().unwrap();
            assert_eq!(service.to_string(), kept);
            assert_eq!(kept.parse(), Ok(service));
        }
    }

    #[test]
    fn what_is_no_service_is_refused() {
        let long = format!("https://{}", "a".repeat(300));
        for text in [
            "",
            "root",
            "LLM",
            "agent:",
            "agent:Planner",
            "agent:a/b",
            "https://",
            "ftp://example.com",
            "https://example.com/path",
            "https://example.com?q",
            "https://example.com#f",
            "https://user@example.com",
            "https://exa mple.com",
            "https://example.com\n",
            "*",
            "https://*",
            "example.com",
            "https://example.com:99999",
            &long,
        ] {
            let told = text.parse::<Service>();
            assert!(told.is_err(), "{text}: {told:?}");
        }
    }

    #[test]
    fn sets_do_not_care_for_order() {
        let set =
            |texts: &[&str]| -> Grants { texts.iter().map(|text| text.parse().unwrap()).collect() };
        let both = set(&["agent:a", "llm", "llm"]);
        assert_eq!(both, set(&["llm", "agent:a"]));
        assert_eq!(both.and(&set(&["llm", "agent:b"])), set(&["llm"]));
        assert_eq!(
            both.or(&set(&["agent:b"])),
            set(&["agent:b", "agent:a", "llm"])
        );
        assert_eq!(both.and(&Grants::default()), Grants::default());
    }
}
