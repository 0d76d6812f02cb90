//! What a request's head says about the protocol: its version and its media types. Pure.

use crate::errors::{A2aError, Kind};
use crate::respond::Reply;
use crate::uri;
use dormouse_services::model::Extension;
use hyper::HeaderMap;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderValue};

/// URIs of extensions, separated by commas (A2A 1.0 §3.2.6).
const EXTENSIONS: &str = "a2a-extensions";

/// Only A2A 1.0 is spoken here; whoever names no version means 0.3 (A2A 1.0 §3.6.2).
pub(crate) fn version(headers: &HeaderMap, query: Option<&str>) -> Result<(), A2aError> {
    let header = headers
        .get("a2a-version")
        .map(|value| value.to_str().unwrap_or("?").trim());
    let parameter = match header {
        Some(_) => None,
        None => uri::parameter(query, "A2A-Version"),
    };
    let asked = match header.or(parameter.as_deref()) {
        None | Some("") => "0.3",
        Some(version) => version,
    };
    // A patch number does not count (A2A 1.0 §3.6).
    if asked == "1.0" || asked.strip_prefix("1.0.").is_some_and(is_number) {
        return Ok(());
    }
    let sentence =
        format!("A2A version {asked} is not served here; send the header \"A2A-Version: 1.0\"");
    Err(A2aError::new(Kind::VersionNotSupported, sentence))
}

/// The agent's extensions that the client activates (A2A 1.0 §3.3.4, §4.6).
///
/// # Errors
/// ExtensionSupportRequired if one that the agent requires is not among them.
pub(crate) fn extensions(
    headers: &HeaderMap,
    offered: &[Extension],
) -> Result<Vec<String>, A2aError> {
    if offered.is_empty() {
        return Ok(Vec::new());
    }
    let named: Vec<&str> = headers
        .get_all(EXTENSIONS)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .collect();
    activated(&named, offered)
}

/// Tells the client which extensions are active (A2A 1.0 §3.2.6), if any.
pub(crate) fn announce(activated: Option<HeaderValue>, reply: &mut Reply) {
    if let Some(activated) = activated {
        reply.headers_mut().insert(EXTENSIONS, activated);
    }
}

/// The header that names these extensions.
pub(crate) fn named(activated: &[String]) -> Option<HeaderValue> {
    if activated.is_empty() {
        return None;
    }
    // An agent's URI that no header can carry was not named by one either.
    HeaderValue::try_from(activated.join(", ")).ok()
}

/// The same for URIs from anywhere.
pub(crate) fn activated(named: &[&str], offered: &[Extension]) -> Result<Vec<String>, A2aError> {
    let missing = offered
        .iter()
        .find(|extension| extension.required && !named.contains(&&*extension.uri));
    if let Some(extension) = missing {
        let sentence = format!(
            "this agent requires the extension {}; name it in the header \"A2A-Extensions\"",
            extension.uri
        );
        return Err(A2aError::new(Kind::ExtensionSupportRequired, sentence));
    }
    let uris = offered.iter().map(|extension| &extension.uri);
    Ok(uris
        .filter(|uri| named.contains(&uri.as_str()))
        .cloned()
        .collect())
}

/// Whether the body is said to be JSON.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    let essence = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map(str::trim);
    essence.is_some_and(|essence| {
        ["application/json", "application/a2a+json"]
            .iter()
            .any(|known| essence.eq_ignore_ascii_case(known))
    })
}

/// Whether the client names the media type of A2A's own JSON (A2A 1.0 §11.2), and does not refuse it.
pub(crate) fn wants_a2a_json(headers: &HeaderMap) -> bool {
    [CONTENT_TYPE, ACCEPT]
        .iter()
        .flat_map(|name| headers.get_all(name))
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|range| {
            let mut pieces = range.split(';').map(str::trim);
            let essence = pieces.next().unwrap_or_default();
            essence.eq_ignore_ascii_case("application/a2a+json") && !pieces.any(is_refusal)
        })
}

/// A weight of nothing: `q=0` (RFC 9110 §12.4.2).
fn is_refusal(parameter: &str) -> bool {
    parameter.split_once('=').is_some_and(|(name, weight)| {
        name.trim().eq_ignore_ascii_case("q") && weight.trim().parse() == Ok(0.0)
    })
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn only_version_1_0_is_served() {
        let check = |header: Option<&'static str>, query| {
            let mut headers = HeaderMap::new();
            if let Some(header) = header {
                headers.insert("a2a-version", header.parse().unwrap());
            }
            version(&headers, query).is_ok()
        };
        for (header, query, served) in [
            (Some("1.0"), None, true),
            (Some("1.0.1"), None, true),
            (None, Some("A2A-Version=1.0"), true),
            (Some("0.3"), Some("A2A-Version=1.0"), false),
            (None, None, false),
            (Some(""), None, false),
            (Some("1.1"), None, false),
            (Some("1"), None, false),
            (Some("1.0.x"), None, false),
            (Some("2.0"), None, false),
        ] {
            assert_eq!(check(header, query), served, "{header:?} {query:?}");
        }
    }

    #[test]
    fn media_types_are_mirrored() {
        let headers = |name: hyper::header::HeaderName, value: &'static str| {
            HeaderMap::from_iter([(name, hyper::header::HeaderValue::from_static(value))])
        };
        assert!(is_json(&headers(
            CONTENT_TYPE,
            "Application/JSON; charset=utf-8"
        )));
        assert!(!is_json(&headers(CONTENT_TYPE, "text/plain")) && !is_json(&HeaderMap::new()));
        assert!(wants_a2a_json(&headers(
            ACCEPT,
            "application/a2a+json, */*"
        )));
        for (accept, wants) in [
            ("Application/A2A+JSON", true),
            ("text/plain;q=0, application/a2a+json ; q=0.5", true),
            ("application/a2a+json;q=0", false),
            ("application/json, application/a2a+json; Q=0.000", false),
            ("application/a2a+jsonp", false),
            ("application/json", false),
        ] {
            assert_eq!(wants_a2a_json(&headers(ACCEPT, accept)), wants, "{accept}");
        }
    }
}
