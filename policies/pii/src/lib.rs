//! Keeps personal data out of what agents are told, and if it is asked to, out of what they say: mail addresses, card
//! numbers and bank accounts (IBAN). It takes them out, refuses the message, or only says what it saw.

mod card;
mod find;
mod group;
mod iban;

use dormouse_filter_sdk::message::{
    Content, MessageFilter, Part, PartContent, Subject, Verdict, ids,
};
use dormouse_filter_sdk::{message_filter, metrics, text_of, text_of_url};
use find::{Found, Kind};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::BTreeSet;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    action: Action,
    /// Which are looked for; all of them unless it says otherwise.
    kinds: Vec<Kind>,
    /// Whether what agents say is looked at, too.
    responses: bool,
}

#[derive(Deserialize, Clone, Copy, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Action {
    Block,
    /// Takes it out. Where that cannot be done it blocks.
    Redact,
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

struct Pii(Config);

/// What takes the place of a file with personal data in it.
const TAKEN_OUT: &str = "[a file with personal data]";

impl Pii {
    /// `ids` are looked at, too; they cannot be changed.
    fn inspect<'a>(&self, ids: impl Iterator<Item = &'a str>, content: &Content) -> Verdict {
        let mut kinds = BTreeSet::new();
        let mut replaced = Vec::new();
        for (at, part) in content.parts.iter().enumerate() {
            if let Some((found, rest)) = self.part(part) {
                kinds.extend(found);
                replaced.push((at, rest));
            }
        }
        // What no filter can change: names, media types, descriptions and metadata.
        let mut fixed = self.around(content);
        let ids = ids.filter(|id| !is_uuid(id));
        let in_ids = ids.filter_map(|id| find::in_text(id, &self.0.kinds));
        fixed.extend(in_ids.flat_map(|one| one.kinds));
        let is_fixed = !fixed.is_empty();
        kinds.extend(fixed);
        if kinds.is_empty() {
            return Verdict::allow();
        }
        metrics::count("found", kinds.len() as u64);
        let verdict = match self.0.action {
            Action::Warn => Verdict::allow(),
            Action::Redact if !is_fixed => replaced
                .into_iter()
                .fold(Verdict::allow(), |verdict, (at, rest)| {
                    verdict.replace(at, rest)
                }),
            Action::Block | Action::Redact => Verdict::block("personal data must not be sent here"),
        };
        let verdict = verdict.tag("pii").confidence(0.9);
        kinds
            .iter()
            .fold(verdict, |verdict, kind| verdict.rule(kind.name()))
    }

    /// What is in a part, and what is left without it.
    fn part(&self, part: &Part) -> Option<(BTreeSet<Kind>, PartContent)> {
        let kinds = &self.0.kinds;
        match &part.content {
            PartContent::Text(text) => {
                let found = find::in_text(text, kinds)?;
                Some((found.kinds, PartContent::Text(found.rest)))
            }
            PartContent::Data(json) if !find::may_be_in(json) => None,
            PartContent::Data(json) => {
                let found = find::in_json(json, kinds)?;
                match serde_json::from_str::<IgnoredAny>(json) {
                    Ok(_) => Some((found.kinds, PartContent::Data(found.rest))),
                    Err(_no_json) => Some((found.kinds, PartContent::Text(TAKEN_OUT.to_owned()))),
                }
            }
            PartContent::Url(url) => self.file(url).or_else(|| self.file(&text_of_url(url))),
            PartContent::Raw(bytes) => self.file(&text_of(bytes)),
        }
    }

    fn file(&self, text: &str) -> Option<(BTreeSet<Kind>, PartContent)> {
        let found = find::in_text(text, &self.0.kinds)?;
        Some((found.kinds, PartContent::Text(TAKEN_OUT.to_owned())))
    }

    fn around(&self, content: &Content) -> BTreeSet<Kind> {
        let kinds = &self.0.kinds;
        let mut found = BTreeSet::new();
        let mut add = |one: Option<Found>| found.extend(one.into_iter().flat_map(|one| one.kinds));
        let of_parts = content.parts.iter().map(|part| &part.metadata);
        for json in of_parts.chain([&content.metadata]).flatten() {
            if find::may_be_in(json) {
                add(find::in_json(json, kinds));
            }
        }
        let parts = content.parts.iter();
        let of_parts = parts.flat_map(|part| [&part.filename, &part.media_type]);
        let names = of_parts.chain([&content.name, &content.description]);
        names
            .flatten()
            .for_each(|name| add(find::in_text(name, kinds)));
        found
    }
}

/// What most ids are (RFC 9562 §4). Some of them have the digits of a card.
fn is_uuid(id: &str) -> bool {
    let mut groups = id.split('-').map(|group| {
        let is_hex = group.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex.then_some(group.len())
    });
    [8, 4, 4, 4, 12]
        .into_iter()
        .all(|length| groups.next() == Some(Some(length)))
        && groups.next().is_none()
}

impl MessageFilter for Pii {
    const NAME: &str = "pii";
    /// What can be looked at in a small part of the time that a filter has, whatever is in it.
    const MAX_BYTES: u64 = 128 << 10;

    fn configure(config: &str) -> Result<Self, String> {
        let config: Config = serde_json::from_str(config).map_err(|error| error.to_string())?;
        if config.kinds.is_empty() {
            return Err("kinds is empty: nothing would be looked for".to_owned());
        }
        Ok(Self(config))
    }

    fn message(&mut self, subject: &Subject, content: &Content) -> Verdict {
        self.inspect(ids(subject), content)
    }

    fn events(&self) -> &'static [&'static str] {
        if self.0.responses {
            Self::EVENTS
        } else {
            &["message"]
        }
    }

    fn result(&mut self, _subject: &Subject, content: &Content) -> Verdict {
        // The ids of a turn are those of its message.
        self.inspect(std::iter::empty(), content)
    }
}

message_filter!(Pii);

#[cfg(test)]
mod tests {
    use super::*;
    use dormouse_filter_sdk::message::testing::{content, subject, text};

    const MAIL: &str = "me@example.com";

    fn pii(config: &str) -> Pii {
        Pii::configure(config).unwrap()
    }

    #[test]
    fn it_blocks_warns_or_redacts() {
        let said = text("write to me@example.com");
        let verdict = |config| pii(config).message(&subject(), &said);
        assert!(!verdict("{}").is_allow());
        let warned = verdict(r#"{"action": "warn"}"#);
        assert!(warned.is_allow() && warned.replaced().is_empty());
        assert_eq!(warned.rules(), ["mail"]);
        let redacted = verdict(r#"{"action": "redact"}"#);
        assert!(redacted.is_allow());
        let left = PartContent::Text("write to [mail]".into());
        assert_eq!(redacted.replaced(), [(0, &left)]);
        assert!(verdict(r#"{"kinds": ["card"]}"#).rules().is_empty());
        assert_eq!(pii("{}").events(), ["message"]);
        let mut both = pii(r#"{"responses": true}"#);
        assert_eq!(both.events(), ["message", "result"]);
        assert!(!both.result(&subject(), &said).is_allow());
    }

    #[test]
    fn every_kind_of_part_is_looked_at() {
        let parts = vec![
            PartContent::Text("hello".into()),
            PartContent::Data(r#"{"to": "me\u0040example.com"}"#.into()),
            PartContent::Raw(MAIL.as_bytes().to_vec()),
            PartContent::Url(format!("https://example.com/?q={MAIL}")),
        ];
        let verdict = pii(r#"{"action": "redact"}"#).message(&subject(), &content(parts));
        let taken_out = PartContent::Text(TAKEN_OUT.into());
        let data = PartContent::Data(r#"{"to": "[mail]"}"#.into());
        assert_eq!(
            verdict.replaced(),
            [(1, &data), (2, &taken_out), (3, &taken_out)]
        );
    }

    #[test]
    fn escapes_in_addresses_hide_nothing() {
        for (url, is_allowed) in [
            ("https://x.example/?q=me%40example.com", false),
            ("https://x.example/?card=4111%201111%201111%201111", false),
            ("https://x.example/?card=4111+1111+1111+1111", false),
            ("https://x.example/?card=4111%201111%201111%201112", true),
            ("https://x.example/100%?q=me%4", true),
        ] {
            let said = content(vec![PartContent::Url(url.into())]);
            let verdict = pii("{}").message(&subject(), &said);
            assert_eq!(verdict.is_allow(), is_allowed, "{url}");
        }
    }

    #[test]
    fn one_that_looks_for_nothing_is_refused() {
        let error = Pii::configure(r#"{"kinds": []}"#).err().unwrap();
        assert!(error.contains("kinds"), "{error}");
    }

    #[test]
    fn ids_of_a_message_hide_nothing() {
        const CARD: &str = "4111111111111111";
        // One that has the digits of a card, and one that is no id of that kind.
        const UUID: &str = "abcdef01-abcd-4abc-4111-111111111111";
        let wrong = format!("{UUID}1");
        for (id, is_allowed) in [
            (MAIL, false),
            (CARD, false),
            ("m-1", true),
            (UUID, true),
            ("4111-1111-1111-1111", false),
            (&wrong, true),
        ] {
            for hide in [
                |subject: &mut Subject, id: &str| subject.message_id = id.to_owned(),
                |subject: &mut Subject, id: &str| subject.context_id = Some(id.to_owned()),
            ] {
                let mut subject = subject();
                hide(&mut subject, id);
                let verdict = pii(r#"{"action": "redact"}"#).message(&subject, &text("hello"));
                assert_eq!(verdict.is_allow(), is_allowed, "{id}");
                let both = pii(r#"{"responses": true}"#).result(&subject, &text("hello"));
                assert!(both.is_allow(), "{id}");
            }
        }
    }

    #[test]
    fn what_cannot_be_taken_out_is_refused() {
        for hide in [
            |said: &mut Content| said.metadata = Some(r#"{"x": "me\u0040example.com"}"#.into()),
            |said: &mut Content| said.name = Some(MAIL.into()),
            |said: &mut Content| said.parts[0].filename = Some(MAIL.into()),
            |said: &mut Content| said.parts[0].media_type = Some(format!("text/plain; x={MAIL}")),
        ] {
            let mut said = text("hello");
            hide(&mut said);
            let verdict = pii(r#"{"action": "redact"}"#).message(&subject(), &said);
            assert!(!verdict.is_allow());
            assert_eq!(verdict.rules(), ["mail"]);
        }
    }

    /// Each in a document or a text of the size that just passes, with an address at its end.
    #[test]
    fn what_is_as_long_as_may_be_is_looked_at_to_its_end() {
        let most = usize::try_from(Pii::MAX_BYTES).unwrap();
        for piece in [
            "a",
            "1",
            "4 ",
            "4111 ",
            "411111 ",
            "GT12",
            "MD20AB",
            "de89",
            "@",
            "a@",
            "a@b.",
            "!",
            "a@b.cc ",
            "4111 1111 1111 1111 ",
            "\u{451}",
            "\u{301}",
            " \n",
            "4-",
        ] {
            let end = " me@example.com";
            let mut said = piece.repeat((most - end.len()) / piece.len()) + end;
            said.insert_str(0, &" ".repeat(most - said.len()));
            assert_eq!(said.len(), most);
            let verdict = pii(r#"{"action": "redact"}"#).message(&subject(), &text(&said));
            assert!(verdict.rules().iter().any(|rule| rule == "mail"), "{piece}");
        }
        for piece in ["1,", "[],", "{},", r#""","#, r#"{"":{}},"#, "1e15,"] {
            let end = r#""me@example.com"]"#;
            let json = format!(
                "[{}{end}",
                piece.repeat((most - end.len() - 1) / piece.len())
            );
            let data = content(vec![PartContent::Data(json)]);
            let verdict = pii(r#"{"action": "redact"}"#).message(&subject(), &data);
            assert_eq!(verdict.replaced().len(), 1, "{piece}");
        }
    }

    #[test]
    fn data_that_is_deep_or_broken_hides_nothing() {
        let deep = |text| format!("{}{text:?}{}", "[".repeat(500), "]".repeat(500));
        let taken_out = PartContent::Text(TAKEN_OUT.into());
        for (json, expected) in [
            (deep(MAIL), PartContent::Data(deep("[mail]"))),
            (format!("{MAIL:?}]"), taken_out.clone()),
            (format!("[{MAIL:?}"), taken_out.clone()),
            (format!(r#"["\x{MAIL}"]"#), taken_out),
        ] {
            let data = content(vec![PartContent::Data(json.clone())]);
            let verdict = pii(r#"{"action": "redact"}"#).message(&subject(), &data);
            assert_eq!(verdict.replaced(), [(0, &expected)], "{json}");
        }
    }
}
