//! Where agents of `serve` may send HTTP requests inside, and the secrets that the host puts into them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use dormouse_services::egress::{Egress, Injected};
use dormouse_services::net::{AllowList, HttpClient};
use dormouse_services::{Origin, Services};
use reqwest::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderName, TRANSFER_ENCODING};
use serde::Deserialize;

use crate::Usage;
use crate::models;

/// One `[secret.NAME]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct SecretSettings {
    /// Scheme, host and port of the requests that it is put into.
    origin: String,
    header: String,
    /// What comes before it.
    #[serde(default)]
    prefix: String,
    /// The environment variable that has it.
    key_env: Option<String>,
    /// The file that has it.
    key_file: Option<PathBuf>,
    /// Those whose requests it is put into; without, all that may send there.
    agents: Option<BTreeSet<String>>,
}

/// # Errors
/// Wrong usage, as one sentence.
pub(crate) fn egress(
    inside: AllowList,
    settings: BTreeMap<String, SecretSettings>,
    services: &Services,
) -> anyhow::Result<Egress> {
    let secrets = settings.into_iter().map(|(name, settings)| {
        let wrong = |what: String| Usage::error(format!("the secret [secret.{name}]: {what}"));
        injected(settings).map_err(wrong)
    });
    let secrets = secrets.collect::<Result<_, _>>()?;
    Egress::new(HttpClient::new(inside), secrets, services.denied.clone())
        .map_err(|wrong| Usage::error(format!("a secret cannot be sent: {wrong}")))
}

fn injected(settings: SecretSettings) -> Result<Injected, String> {
    let origin = Origin::parse(&settings.origin).ok_or_else(|| {
        let given = &settings.origin;
        format!("origin is scheme, host and port, such as https://api.example.com, not {given:?}")
    })?;
    let header: HeaderName = settings.header.parse().map_err(|_| {
        let given = &settings.header;
        format!("header must be the name of one, not {given:?}")
    })?;
    // What says where a request goes, and how long it is, is not a secret's place.
    if [HOST, CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION].contains(&header) {
        return Err(format!("header must not be {header}"));
    }
    let key = models::key(settings.key_env.as_deref(), settings.key_file.as_deref())?;
    Ok(Injected {
        origin,
        header,
        prefix: settings.prefix,
        secret: key.ok_or("give key-env or key-file")?,
        agents: settings.agents,
    })
}
