//! Services that an agent has only if it says that it needs them and its operator grants them.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// A service that needs a grant: it costs somebody money or leaves the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    /// Language models.
    Llm,
}

/// Not the name of a [`Service`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is no service that can be granted; there is: llm")]
pub struct NoService(String);

impl Service {
    pub const ALL: [Self; 1] = [Self::Llm];

    /// The word in manifests, flags and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Llm => "llm",
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Service {
    type Err = NoService;

    fn from_str(word: &str) -> Result<Self, NoService> {
        let known = Self::ALL.into_iter().find(|known| known.as_str() == word);
        known.ok_or_else(|| NoService(word.chars().take(80).collect()))
    }
}

/// A set of services. None by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Grants(u8);

impl Grants {
    pub fn has(self, service: Service) -> bool {
        self.0 & bit(service) != 0
    }

    /// What is in both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What is in either.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub fn services(self) -> impl Iterator<Item = Service> {
        Service::ALL
            .into_iter()
            .filter(move |service| self.has(*service))
    }
}

fn bit(service: Service) -> u8 {
    1 << service as u8
}

impl FromIterator<Service> for Grants {
    fn from_iter<I: IntoIterator<Item = Service>>(services: I) -> Self {
        Self(services.into_iter().map(bit).fold(0, |set, bit| set | bit))
    }
}
