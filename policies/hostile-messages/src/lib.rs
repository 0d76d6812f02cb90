//! A filter of messages with a way to go wrong for each test: the first word of a text that begins with `do:` says which.
//! What agents say is looked at in the same way. Its configuration says what to do with the rest: `"update=redact"`.

use dormouse_filter_sdk::message::{Content, Kind, MessageFilter, PartContent, Subject, Verdict};
use dormouse_filter_sdk::{message_filter, metrics};
use std::time::Duration;

struct Hostile {
    /// Kinds of content, and what to do with each.
    usual: Vec<(String, String)>,
}

impl Hostile {
    fn go_wrong(&self, subject: &Subject, content: &Content) -> Verdict {
        let Some(PartContent::Text(text)) = content.parts.first().map(|part| &part.content) else {
            return Verdict::allow();
        };
        let kind = match content.kind {
            Kind::Message => "message",
            Kind::Update => "update",
            Kind::Artifact => "artifact",
            Kind::Reply => "reply",
        };
        metrics::count(kind, 1);
        let usual = self.usual.iter().find(|(named, _)| named == kind);
        let usual = usual.map_or("", |(_, what)| what);
        match text.strip_prefix("do: ").map_or(usual, str::trim) {
            "trap" => panic!("as asked"),
            "loop" => loop {
                std::hint::black_box(text);
            },
            "sleep" => {
                std::thread::sleep(Duration::from_secs(60));
                Verdict::allow()
            }
            "block" => Verdict::block("as asked").rule("r1").reason("asked"),
            "no such part" => Verdict::allow().redact(content.parts.len(), "x"),
            "a file" => Verdict::allow().replace(0, PartContent::Raw(vec![1])),
            "no json" => Verdict::allow().redact_data(0, "{"),
            "no name" => Verdict::allow().annotate("", "1"),
            "no value" => Verdict::allow().annotate("a", "{"),
            "flood" => Verdict::allow().redact(0, "x".repeat(1_000_000)),
            "redact" => Verdict::allow().redact(0, "[redacted]"),
            "data" => Verdict::allow().redact_data(0, r#"{"was": "text"}"#),
            "annotate" => {
                let seen = format!(
                    r#"{{"agent": {:?}, "skill": {:?}, "principal": {:?}}}"#,
                    subject.agent, subject.skill, subject.principal
                );
                Verdict::allow().annotate("seen", seen)
            }
            _ => Verdict::allow(),
        }
    }
}

impl MessageFilter for Hostile {
    const NAME: &str = "hostile-messages";

    fn configure(config: &str) -> Result<Self, String> {
        match config {
            r#""refuse""# => Err("as asked".to_owned()),
            config => {
                let rules = config.trim_matches('"').split_whitespace();
                let rule = |rule: &str| {
                    let (kind, what) = rule.split_once('=')?;
                    Some((kind.to_owned(), what.to_owned()))
                };
                let usual = rules.filter_map(rule).collect();
                Ok(Self { usual })
            }
        }
    }

    fn message(&mut self, subject: &Subject, content: &Content) -> Verdict {
        // What is for the way back is let through here.
        let is_for_later = matches!(
            content.parts.first().map(|part| &part.content),
            Some(PartContent::Text(text)) if text.ends_with(' ')
        );
        if is_for_later {
            return Verdict::allow();
        }
        self.go_wrong(subject, content)
    }

    fn result(&mut self, subject: &Subject, content: &Content) -> Verdict {
        self.go_wrong(subject, content)
    }
}

message_filter!(Hostile);

#[cfg(test)]
mod tests {
    use super::*;
    use dormouse_filter_sdk::message::testing::{subject, text};

    #[test]
    fn it_does_what_it_is_told_on_the_way_it_is_told() {
        let mut filter = Hostile::configure("").unwrap();
        assert!(!filter.message(&subject(), &text("do: block")).is_allow());
        assert!(filter.message(&subject(), &text("do: block ")).is_allow());
        assert!(!filter.result(&subject(), &text("do: block ")).is_allow());
        assert!(filter.message(&subject(), &text("block")).is_allow());
        let mut filter = Hostile::configure(r#""message=block""#).unwrap();
        assert!(!filter.message(&subject(), &text("anything")).is_allow());
    }
}
