//! Adds to a request what later filters want to know, and takes away what they should not see: fixed headers, and headers
//! from what the platform knows of the request. Agents see no headers at all.

use dormouse_filter_sdk::{
    Answer, Filter, Header, Request, filter, is_header_name, is_header_value,
};
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    /// Set on requests, after what is removed.
    request: BTreeMap<String, String>,
    remove: Vec<String>,
    /// Set on responses.
    response: BTreeMap<String, String>,
    /// Headers that get a fact about the request.
    facts: BTreeMap<String, Fact>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
enum Fact {
    ClientIp,
    CorrelationId,
    Agent,
    Protocol,
}

struct Enrich(Config);

impl Filter for Enrich {
    const NAME: &str = "enrich";
    const EVENTS: &[&str] = &["request_headers", "response_headers"];

    fn configure(config: &str) -> Result<Self, String> {
        let config: Config = serde_json::from_str(config).map_err(|error| error.to_string())?;
        let set = config.request.iter().chain(&config.response);
        let names = set.clone().map(|(name, _)| name);
        let names = names.chain(&config.remove).chain(config.facts.keys());
        if let Some(name) = names.into_iter().find(|name| !is_header_name(name)) {
            return Err(format!("{name:?} is not the name of a header"));
        }
        if let Some((name, _)) = set.into_iter().find(|(_, value)| !is_header_value(value)) {
            return Err(format!("the value of {name:?} is not a header's"));
        }
        Ok(Self(config))
    }

    fn events(&self) -> &'static [&'static str] {
        let Config {
            request,
            remove,
            response,
            facts,
        } = &self.0;
        let of_requests = !(request.is_empty() && remove.is_empty() && facts.is_empty());
        match (of_requests, !response.is_empty()) {
            (true, true) => Self::EVENTS,
            (true, false) => &["request_headers"],
            (false, true) => &["response_headers"],
            (false, false) => &[],
        }
    }

    fn request_headers(&mut self, request: &Request<'_>) -> Answer {
        let config = &self.0;
        let answer = config
            .remove
            .iter()
            .fold(Answer::allow(), |answer, name| answer.remove_request(name));
        let answer = config.request.iter().fold(answer, |answer, (name, value)| {
            answer.set_request(name, value)
        });
        config.facts.iter().fold(answer, |answer, (name, fact)| {
            let metadata = request.metadata;
            let value = match fact {
                Fact::ClientIp => &metadata.client_ip,
                Fact::CorrelationId => &metadata.correlation_id,
                Fact::Agent => metadata.route_id.as_deref().unwrap_or_default(),
                Fact::Protocol => &metadata.protocol,
            };
            if is_header_value(value) {
                answer.set_request(name, value)
            } else {
                // An edit that is none would be this filter's failure, for everybody. Nobody else says it either.
                answer.remove_request(name)
            }
        })
    }

    fn response_headers(&mut self, _id: &str, _status: u16, _headers: &[Header]) -> Answer {
        let headers = self.0.response.iter();
        headers.fold(Answer::allow(), |answer, (name, value)| {
            answer.set_response(name, value)
        })
    }
}

filter!(Enrich);

#[cfg(test)]
mod tests {
    use super::*;
    use dormouse_filter_sdk::{HeaderOp, testing};

    #[test]
    fn it_is_asked_about_what_it_changes() {
        for (config, events) in [
            ("{}", &[][..]),
            (r#"{"remove": ["cookie"]}"#, &["request_headers"]),
            (r#"{"response": {"x-by": "us"}}"#, &["response_headers"]),
            (
                r#"{"request": {"x-env": "a"}, "response": {"x-by": "us"}}"#,
                &["request_headers", "response_headers"],
            ),
        ] {
            assert_eq!(Enrich::configure(config).unwrap().events(), events);
        }
    }

    #[test]
    fn what_is_configured_is_set_in_order() {
        let config = r#"{"request": {"x-env": "test"}, "remove": ["cookie"],
                         "facts": {"x-from": "client-ip", "x-agent": "agent"}, "response": {"x-served-by": "us"}}"#;
        let mut filter = Enrich::configure(config).unwrap();
        let metadata = testing::metadata(0);
        let answer = filter.request_headers(&Request {
            metadata: &metadata,
            method: "POST",
            uri: "/",
            headers: &[],
        });
        let set = |name, value| HeaderOp::Set(testing::headers(&[(name, value)]).remove(0));
        assert_eq!(
            answer.response().request_headers,
            [
                HeaderOp::Remove("cookie".into()),
                set("x-env", "test"),
                set("x-agent", "echo"),
                set("x-from", "192.0.2.1")
            ]
        );
        let answer = filter.response_headers("c", 200, &[]);
        assert_eq!(
            answer.response().response_headers,
            [set("x-served-by", "us")]
        );
    }

    #[test]
    fn a_fact_that_no_header_can_say_is_left_out() {
        let mut filter = Enrich::configure(r#"{"facts": {"x-agent": "agent"}}"#).unwrap();
        let mut metadata = testing::metadata(0);
        for (agent, is_said) in [
            ("echo", true),
            ("", true),
            ("a\nb", false),
            ("a\0", false),
            ("\u{7f}", false),
        ] {
            metadata.route_id = Some(agent.to_owned());
            let answer = filter.request_headers(&Request {
                metadata: &metadata,
                method: "GET",
                uri: "/",
                headers: &[],
            });
            let said = HeaderOp::Set(testing::headers(&[("x-agent", agent)]).remove(0));
            // What the client says under that name goes in any case.
            let removed = HeaderOp::Remove("x-agent".to_owned());
            let expected = if is_said { said } else { removed };
            assert_eq!(answer.response().request_headers, [expected], "{agent:?}");
        }
    }

    #[test]
    fn what_is_no_header_and_no_fact_is_refused() {
        for (config, word) in [
            (r#"{"facts": {"x": "password"}}"#, "password"),
            (r#"{"facts": {"x y": "agent"}}"#, "x y"),
            (r#"{"remove": ["a:"]}"#, "a:"),
            (r#"{"request": {"": "a"}}"#, "name"),
            (r#"{"response": {"x-a": "a\nb"}}"#, "x-a"),
        ] {
            let error = Enrich::configure(config).err().unwrap();
            assert!(error.contains(word), "{config}: {error}");
        }
    }
}
