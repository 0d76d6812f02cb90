//! Finding personal data in text.

use crate::{card, iban};
use dormouse_filter_sdk::json::{Token, tokens};
use serde::Deserialize;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;

#[derive(Debug, Deserialize, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Card,
    Iban,
    Mail,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Card, Self::Iban, Self::Mail];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Card => "card",
            Self::Iban => "iban",
            Self::Mail => "mail",
        }
    }

    /// Digits without which there is none: of accounts with letters a third.
    fn digits(self) -> usize {
        match self {
            Self::Card => 13,
            Self::Iban => 7,
            Self::Mail => 0,
        }
    }

    /// Where it is in a text, in bytes.
    fn spans(self, text: &str) -> Vec<Range<usize>> {
        match self {
            Self::Card => card::spans(text),
            Self::Iban => iban::spans(text),
            Self::Mail => mails(text),
        }
    }
}

/// What was found, and what is left when it is taken out.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Found {
    pub(crate) kinds: BTreeSet<Kind>,
    pub(crate) rest: String,
}

/// Looks through a text. Each finding becomes the name of its kind in brackets.
pub(crate) fn in_text(text: &str, kinds: &[Kind]) -> Option<Found> {
    let text = &*narrow(text);
    let digits = count_digits(text.as_bytes());
    let mut spans = Vec::new();
    for &kind in kinds.iter().filter(|kind| digits >= kind.digits()) {
        spans.extend(kind.spans(text).into_iter().map(|span| (span, kind)));
    }
    if spans.is_empty() {
        return None;
    }
    spans.sort_by_key(|(span, _)| span.start);
    let (mut found, mut at) = (Found::default(), 0);
    for (span, kind) in spans {
        found.kinds.insert(kind);
        if span.start >= at {
            found.rest.push_str(&text[at..span.start]);
            found.rest.push('[');
            found.rest.push_str(kind.name());
            found.rest.push(']');
        }
        // One that lies across another's end is taken out with it.
        at = at.max(span.end);
    }
    found.rest.push_str(&text[at..]);
    Some(found)
}

/// Digits and signs in the width of Chinese letters as the usual ones.
fn narrow(text: &str) -> Cow<'_, str> {
    let is_wide = |letter: char| matches!(letter, '\u{ff0d}'..='\u{ff20}');
    // All of these begin with this byte, which few texts have.
    if !text.as_bytes().contains(&0xef) || !text.contains(is_wide) {
        return Cow::Borrowed(text);
    }
    let narrow = |letter: char| match u32::from(letter) {
        wide if is_wide(letter) => char::from_u32(wide - 0xfee0).unwrap_or(letter),
        _ => letter,
    };
    Cow::Owned(text.chars().map(narrow).collect())
}

fn count_digits(text: &[u8]) -> usize {
    text.iter()
        .map(|byte| usize::from(byte.is_ascii_digit()))
        .sum()
}

/// Whether there may be something in the strings, numbers and names of a JSON document that has not been read yet:
/// that takes much longer.
pub(crate) fn may_be_in(json: &str) -> bool {
    // The last is where wide letters begin.
    let is_sign = |byte: &u8| matches!(byte, b'@' | b'\\' | 0xef);
    json.as_bytes().iter().any(is_sign) || count_digits(json.as_bytes()) >= Kind::Iban.digits()
}

/// Looks through the strings, numbers and names of a JSON document. What is left of the document is one.
pub(crate) fn in_json(json: &str, kinds: &[Kind]) -> Option<Found> {
    let (mut found, mut at) = (Found::default(), 0);
    for token in tokens(json) {
        let (span, hit) = match token {
            Token::String(span) => {
                let hit = in_text(&unescaped(&json[span.clone()]), kinds);
                (span, hit)
            }
            Token::Number(span) => {
                let hit = whole(&json[span.clone()]).and_then(|text| in_text(&text, kinds));
                (span, hit)
            }
        };
        if let Some(hit) = hit {
            found.kinds.extend(hit.kinds);
            found.rest.push_str(&json[at..span.start]);
            found.rest.push_str(&Value::String(hit.rest).to_string());
            at = span.end;
        }
    }
    if found.kinds.is_empty() {
        return None;
    }
    found.rest.push_str(&json[at..]);
    Some(found)
}

/// What is between quotes, without escapes.
fn unescaped(string: &str) -> Cow<'_, str> {
    let unescaped = string.contains('\\').then(|| serde_json::from_str(string));
    match unescaped {
        Some(Ok(text)) => Cow::Owned(text),
        _ => Cow::Borrowed(string.trim_matches('"')),
    }
}

/// The digits of a whole number that has as many as a card. A measurement with many places is none.
fn whole(number: &str) -> Option<Cow<'_, str>> {
    const FEWEST: f64 = 1e12;
    const TOO_MANY: f64 = 1e19;
    if number
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'-')
    {
        return Some(Cow::Borrowed(number));
    }
    let float = number.parse::<f64>().ok()?;
    let has_digits = (FEWEST..=TOO_MANY).contains(&float.abs());
    (has_digits && float.fract() == 0.0).then(|| Cow::Owned(format!("{float:.0}")))
}

/// `local@domain.tld`: what people write, not all that RFC 5321 allows.
fn mails(text: &str) -> Vec<Range<usize>> {
    let found = text.match_indices('@').filter_map(|(at, _)| {
        let before = text[..at].char_indices().rev();
        let start = before.take_while(|(_, letter)| is_local(*letter)).last()?.0;
        let domain = &text[at + 1..];
        let end = domain.find(|letter: char| !is_domain(letter));
        let length = host(&domain[..end.unwrap_or(domain.len())])?;
        Some(start..at + 1 + length)
    });
    found.collect()
}

/// Bytes of the name of a host that a text begins with: all of it up to the last label that can be a top domain. What is
/// written behind an address without a space (`-Bob`, or a number of a list) is none of it.
fn host(text: &str) -> Option<usize> {
    let mut text = text;
    loop {
        let (name, last) = text.rsplit_once('.')?;
        if name.is_empty() {
            return None;
        }
        if let Some(top) = top(last) {
            return Some(name.len() + 1 + top.len());
        }
        text = name;
    }
}

/// The top domain that a label begins with.
fn top(label: &str) -> Option<&str> {
    if is_coded(label) {
        return Some(label.trim_end_matches('-'));
    }
    let word = label.split('-').next()?;
    (word.chars().count() > 1 && word.chars().all(char::is_alphabetic)).then_some(word)
}

/// A top domain of other letters, as computers write it (RFC 5890 §2.3.2.1).
fn is_coded(top: &str) -> bool {
    const PREFIX: &str = "xn--";
    let start = top.get(..PREFIX.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(PREFIX)) && top.len() > PREFIX.len()
}

fn is_local(letter: char) -> bool {
    const SIGNS: &[u8] = b"!#$%&'*+/=?^_`{|}~";
    is_domain(letter) || u8::try_from(letter).is_ok_and(|byte| SIGNS.contains(&byte))
}

fn is_domain(letter: char) -> bool {
    letter.is_alphanumeric() || matches!(letter, '.' | '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_personal_is_found_and_its_twin_is_not() {
        for (text, expected, rest) in [
            ("4111 1111 1111 1111", Some(Kind::Card), "[card]"),
            ("(4111-1111-1111-1111)", Some(Kind::Card), "([card])"),
            ("4111111111111112", None, ""),
            ("41111111111111111111111", None, ""),
            (
                "pay DE89 3704 0044 0532 0130 00 now",
                Some(Kind::Iban),
                "pay [iban] now",
            ),
            ("gb82west12345698765432", Some(Kind::Iban), "[iban]"),
            ("DE88370400440532013000", None, ""),
            (
                "schreib an jörg.doe+x@mail.example.com.",
                Some(Kind::Mail),
                "schreib an [mail].",
            ),
            (
                "a@b.example, c@d.example",
                Some(Kind::Mail),
                "[mail], [mail]",
            ),
            ("me@example.xn--p1ai!", Some(Kind::Mail), "[mail]!"),
            ("me@example.c3", None, ""),
            ("me@example.com-Bob", Some(Kind::Mail), "[mail]-Bob"),
            ("me@mail.example.com.2", Some(Kind::Mail), "[mail].2"),
            (
                "me@example.com.-1.3-x..",
                Some(Kind::Mail),
                "[mail].-1.3-x..",
            ),
            ("me@example.xn--p1ai--", Some(Kind::Mail), "[mail]--"),
            ("me@a-b.example", Some(Kind::Mail), "[mail]"),
            ("me@example.2", None, ""),
            ("me@.com-Bob", None, ""),
            ("me＠example.com", Some(Kind::Mail), "[mail]"),
            ("４１１１　１", None, ""),
            ("４１１１-1111-１１１１-1111", Some(Kind::Card), "[card]"),
            ("user@localhost", None, ""),
            ("a @ b.example", None, ""),
            ("@nobody.example", None, ""),
        ] {
            let found = in_text(text, &Kind::ALL);
            let expected = expected.map(|kind| Found {
                kinds: BTreeSet::from([kind]),
                rest: rest.to_owned(),
            });
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn documents_are_looked_through_to_their_leaves() {
        let json = r#"{"a":["me\u0040example.com",4111111111111111, 7.10],"x@y.example":{"b":null,"\"":"n\n"}}"#;
        let found = in_json(json, &Kind::ALL).unwrap();
        assert_eq!(found.kinds, BTreeSet::from([Kind::Card, Kind::Mail]));
        let left = r#"{"a":["[mail]","[card]", 7.10],"[mail]":{"b":null,"\"":"n\n"}}"#;
        assert_eq!(found.rest, left);
        // What is left of a string is escaped again.
        let found = in_json(r#"["\"me@example.com\n"]"#, &Kind::ALL).unwrap();
        assert_eq!(found.rest, r#"["\"[mail]\n"]"#);
        let nothing = json
            .replace('1', "2")
            .replace("\\u0040", "")
            .replace('@', "");
        assert_eq!(in_json(&nothing, &Kind::ALL), None);
    }

    #[test]
    fn numbers_in_documents_are_cards_if_they_are_whole() {
        for (number, expected) in [
            ("4111111111111111", Some(r#""[card]""#)),
            ("-4111111111111111", Some(r#""-[card]""#)),
            ("4111111111111111.0", Some(r#""[card]""#)),
            ("4.111111111111111e15", Some(r#""[card]""#)),
            ("6799990100000000019", Some(r#""[card]""#)),
            ("4111111111111112", None),
            ("1.4111111111111111", None),
            ("0.4111111111111111", None),
            ("4111111111111.25", None),
            ("1700000000007", None),
            ("1e300", None),
        ] {
            let found = in_json(number, &Kind::ALL).map(|found| found.rest);
            assert_eq!(found.as_deref(), expected, "{number}");
        }
    }

    #[test]
    fn a_document_that_need_not_be_read_is_not() {
        for (json, expected) in [
            ("[1, 2, 3]", false),
            (r#"{"text": "hello"}"#, false),
            (r#"{"text": "a\u0040b.example"}"#, true),
            (r#""a@b.example""#, true),
            ("4111111111111111", true),
            (r#""LV80BANKABCDEFGH51951""#, true),
        ] {
            assert_eq!(may_be_in(json), expected, "{json}");
        }
    }
}
