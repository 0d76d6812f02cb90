//! What the headers of a request must be like: there, not there, of one of some values, not too long.

use dormouse_filter_sdk::{Answer, Filter, Request, filter, is_header_name, is_header_value};
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    required: Vec<String>,
    forbidden: Vec<String>,
    /// Of these headers, if they are there, every value is one of the list. Names in small letters, once configured.
    values: BTreeMap<String, Vec<String>>,
    /// Bytes of one value.
    max_value_bytes: usize,
    /// Headers of a request.
    max_headers: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            required: Vec::new(),
            forbidden: Vec::new(),
            values: BTreeMap::new(),
            max_value_bytes: 8 << 10,
            max_headers: 100,
        }
    }
}

struct HeaderRules(Config);

/// # Errors
/// Of what no request has. Such a rule would keep nobody out.
fn check(config: &Config) -> Result<(), String> {
    let names = config.required.iter().chain(&config.forbidden);
    let mut names = names.chain(config.values.keys());
    if let Some(name) = names.find(|name| !is_header_name(name)) {
        return Err(format!("{name:?} is not the name of a header"));
    }
    let never = |value: &&String| !is_header_value(value) || value.trim() != **value;
    if let Some(value) = config.values.values().flatten().find(never) {
        return Err(format!("no header has the value {value:?}"));
    }
    Ok(())
}

impl HeaderRules {
    /// The rule that is broken, and what the client is told.
    fn broken(&self, request: &Request<'_>) -> Option<(&'static str, String)> {
        let config = &self.0;
        let missing = config
            .required
            .iter()
            .find(|name| request.header(name).is_none());
        if let Some(name) = missing {
            return Some(("required", format!("the header {name} is missing")));
        }
        let there = config
            .forbidden
            .iter()
            .find(|name| request.header(name).is_some());
        if let Some(name) = there {
            return Some(("forbidden", format!("the header {name} must not be sent")));
        }
        if request.headers.len() > config.max_headers {
            return Some(("max-headers", "there are too many headers".to_owned()));
        }
        request.headers.iter().find_map(|header| {
            if header.value.len() > config.max_value_bytes {
                let sentence = format!("the header {} is too long", header.name);
                return Some(("max-value-bytes", sentence));
            }
            let rule = config
                .values
                .get_key_value(&header.name.to_ascii_lowercase());
            let (name, allowed) = rule?;
            let sentence = format!("the header {name} has a value that is not allowed");
            (!allowed.contains(&header.value)).then_some(("values", sentence))
        })
    }
}

impl Filter for HeaderRules {
    const NAME: &str = "header-rules";
    const EVENTS: &[&str] = &["request_headers"];

    fn configure(config: &str) -> Result<Self, String> {
        let mut config: Config = serde_json::from_str(config).map_err(|error| error.to_string())?;
        check(&config)?;
        for (name, values) in std::mem::take(&mut config.values) {
            if config
                .values
                .insert(name.to_ascii_lowercase(), values)
                .is_some()
            {
                return Err(format!("values has {name:?} twice, in other letters"));
            }
        }
        Ok(Self(config))
    }

    fn request_headers(&mut self, request: &Request<'_>) -> Answer {
        match self.broken(request) {
            None => Answer::allow(),
            Some((rule, sentence)) => Answer::block(400, &sentence).rule(rule),
        }
    }
}

filter!(HeaderRules);

#[cfg(test)]
mod tests {
    use super::*;
    use dormouse_filter_sdk::testing;

    #[test]
    fn each_rule_is_kept() {
        let config = r#"{"required": ["X-Team"], "forbidden": ["x-debug"], "max_value_bytes": 5,
                         "values": {"x-team": ["blue", "red"]}, "max_headers": 2}"#;
        for (pairs, expected) in [
            (&[("x-team", "blue")][..], None),
            (&[("X-TEAM", "red"), ("a", "12345")], None),
            (&[], Some("required")),
            (&[("x-team", "blue"), ("X-Debug", "")], Some("forbidden")),
            (&[("x-team", "blue"), ("x-team", "green")], Some("values")),
            (
                &[("x-team", "blue"), ("a", "123456")],
                Some("max-value-bytes"),
            ),
            (
                &[("x-team", "red"), ("a", ""), ("b", "")],
                Some("max-headers"),
            ),
        ] {
            let (metadata, headers) = (testing::metadata(0), testing::headers(pairs));
            let answer = HeaderRules::configure(config)
                .unwrap()
                .request_headers(&Request {
                    metadata: &metadata,
                    method: "POST",
                    uri: "/",
                    headers: &headers,
                });
            let rules = &answer.response().audit.rule_ids;
            assert_eq!(rules.first().map(|rule| &**rule), expected, "{pairs:?}");
            assert_eq!(answer.status(), expected.map(|_| 400));
        }
    }

    #[test]
    fn what_can_never_match_is_refused() {
        for (config, word) in [
            (r#"{"required": ["x debug"]}"#, "x debug"),
            (r#"{"forbidden": ["x-debug "]}"#, "x-debug "),
            (r#"{"forbidden": [""]}"#, "name"),
            (r#"{"values": {"x:team": ["blue"]}}"#, "x:team"),
            (r#"{"values": {"x-team": ["blue", " red"]}}"#, " red"),
            (r#"{"values": {"x-team": ["a\nb"]}}"#, "value"),
            (r#"{"values": {"x-team": ["a"], "X-Team": ["b"]}}"#, "twice"),
        ] {
            let error = HeaderRules::configure(config).err().unwrap();
            assert!(error.contains(word), "{config}: {error}");
        }
        let plain = r#"{"required": ["X-A"], "forbidden": ["x-b"], "values": {"x-c": [""]}}"#;
        assert!(HeaderRules::configure(plain).is_ok());
    }
}
