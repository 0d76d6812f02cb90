//! Keeps personal data out of what agents are told: mail addresses, card numbers and bank accounts (IBAN) in the
//! bodies of requests, and of responses if it is asked to. The world has no way to change a body, so it blocks,
//! or only says what it saw.

mod find;

use dormouse_filter_sdk::{Answer, Chunk, Filter, filter};
use find::Kind;
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    action: Action,
    /// Which are looked for; all of them unless it says otherwise.
    kinds: Vec<Kind>,
    responses: bool,
}

#[derive(Deserialize, Clone, Copy, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Action {
    Block,
    /// Into the audit record only.
    Warn,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            action: Action::Block,
            kinds: Kind::ALL.to_vec(),
            responses: false,
        }
    }
}

struct Pii {
    config: Config,
    /// Bodies that are not whole yet, by request.
    open: BTreeMap<String, Vec<u8>>,
}

/// Bodies that may be open at a time, and bytes of one.
const MAX_OPEN: usize = 64;
const MAX_BYTES: usize = dormouse_filter_sdk::MAX_BODY as usize;

impl Pii {
    /// The whole body, once it is here.
    fn collect(&mut self, chunk: &Chunk<'_>) -> Result<Option<Vec<u8>>, Answer> {
        let mut body = self.open.remove(chunk.correlation_id).unwrap_or_default();
        if body.len() + chunk.data.len() > MAX_BYTES || self.open.len() >= MAX_OPEN {
            return Err(Answer::block(413, "this is too large to be inspected").reason("too_large"));
        }
        body.extend_from_slice(chunk.data);
        if chunk.last {
            return Ok(Some(body));
        }
        self.open.insert(chunk.correlation_id.to_owned(), body);
        Ok(None)
    }

    fn inspect(&mut self, chunk: &Chunk<'_>) -> Answer {
        let body = match self.collect(chunk) {
            Ok(Some(body)) => body,
            Ok(None) => return Answer::allow().needs_more(),
            Err(refusal) => return refusal,
        };
        let found = find::in_body(&body, &self.config.kinds);
        let answer = match (found.is_empty(), self.config.action) {
            (true, _) => return Answer::allow(),
            (false, Action::Warn) => Answer::allow(),
            (false, Action::Block) => Answer::block(422, "personal data must not be sent here"),
        };
        let answer = answer.tag("pii").confidence(0.9);
        found
            .iter()
            .fold(answer, |answer, kind| answer.rule(kind.name()))
    }
}

impl Filter for Pii {
    const NAME: &str = "pii";
    const EVENTS: &[&str] = &["request_body", "response_body"];
    const STREAMING: bool = true;

    fn configure(config: &str) -> Result<Self, String> {
        let config = serde_json::from_str(config).map_err(|error| error.to_string())?;
        Ok(Self {
            config,
            open: BTreeMap::new(),
        })
    }

    fn request_body(&mut self, chunk: &Chunk<'_>) -> Answer {
        self.inspect(chunk)
    }

    fn response_body(&mut self, chunk: &Chunk<'_>) -> Answer {
        if self.config.responses {
            self.inspect(chunk)
        } else {
            Answer::allow()
        }
    }
}

filter!(Pii);

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(data: &[u8], index: u32, last: bool) -> Chunk<'_> {
        Chunk {
            correlation_id: "c",
            data,
            index,
            last,
        }
    }

    #[test]
    fn a_number_in_two_pieces_is_found() {
        let mut filter = Pii::configure("{}").unwrap();
        let first = filter.request_body(&chunk(br#"{"text": "4111 1111 "#, 0, false));
        assert!(first.is_allow() && first.response().needs_more);
        let second = filter.request_body(&chunk(br#"1111 1111"}"#, 1, true));
        assert_eq!(second.status(), Some(422));
        assert_eq!(second.response().audit.rule_ids, ["card"]);
        // The next request begins anew.
        assert!(filter.request_body(&chunk(b"{}", 0, true)).is_allow());
    }

    #[test]
    fn warnings_let_pass_and_other_kinds_are_not_looked_for() {
        let body = br#"{"text": "me@example.com"}"#;
        let answer = |config| {
            Pii::configure(config)
                .unwrap()
                .request_body(&chunk(body, 0, true))
        };
        assert_eq!(answer("{}").status(), Some(422));
        let warned = answer(r#"{"action": "warn"}"#);
        assert!(warned.is_allow());
        assert_eq!(warned.response().audit.rule_ids, ["mail"]);
        assert!(answer(r#"{"kinds": ["card"]}"#).is_allow());
        let mut filter = Pii::configure("{}").unwrap();
        assert!(filter.response_body(&chunk(body, 0, true)).is_allow());
    }

    #[test]
    fn what_is_too_large_is_refused_rather_than_let_pass() {
        let mut filter = Pii::configure("{}").unwrap();
        let half = vec![b'x'; MAX_BYTES / 2 + 1];
        assert!(filter.request_body(&chunk(&half, 0, false)).is_allow());
        assert_eq!(
            filter.request_body(&chunk(&half, 1, true)).status(),
            Some(413)
        );
    }
}
