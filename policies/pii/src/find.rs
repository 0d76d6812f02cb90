//! Finding personal data in text.

use serde::Deserialize;
use serde_json::Value;
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

    /// Where it is in a text, in bytes.
    fn spans(self, text: &str) -> Vec<Range<usize>> {
        match self {
            Self::Card => cards(text),
            Self::Iban => ibans(text),
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
    let mut spans: Vec<(Range<usize>, Kind)> = kinds
        .iter()
        .flat_map(|kind| kind.spans(text).into_iter().map(|span| (span, *kind)))
        .collect();
    if spans.is_empty() {
        return None;
    }
    spans.sort_by_key(|(span, _)| span.start);
    let (mut found, mut at) = (Found::default(), 0);
    for (span, kind) in spans {
        found.kinds.insert(kind);
        if span.start >= at {
            found.rest.push_str(&text[at..span.start]);
            found.rest.push_str(&format!("[{}]", kind.name()));
        }
        // One that lies across another's end is taken out with it.
        at = at.max(span.end);
    }
    found.rest.push_str(&text[at..]);
    Some(found)
}

/// Looks through the strings, numbers and names of a JSON document, and takes out what it finds; names of members
/// included.
pub(crate) fn in_value(value: &mut Value, kinds: &[Kind], found: &mut Found) {
    match value {
        Value::String(text) => {
            if let Some(one) = in_text(text, kinds) {
                found.kinds.extend(one.kinds);
                *text = one.rest;
            }
        }
        Value::Number(number) => {
            if let Some(one) = in_text(&number.to_string(), kinds) {
                found.kinds.extend(one.kinds);
                *value = Value::String(one.rest);
            }
        }
        Value::Array(values) => values
            .iter_mut()
            .for_each(|one| in_value(one, kinds, found)),
        Value::Object(fields) => {
            let taken = std::mem::take(fields);
            for (name, mut one) in taken {
                in_value(&mut one, kinds, found);
                let name = match in_text(&name, kinds) {
                    Some(hit) => {
                        found.kinds.extend(hit.kinds);
                        hit.rest
                    }
                    None => name,
                };
                fields.insert(name, one);
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
}

/// Letters that may stand in a number, with where each is; without single spaces and hyphens between them.
type Run = Vec<(usize, char)>;

fn runs(text: &str, fits: impl Fn(char) -> bool) -> Vec<Run> {
    let mut runs = vec![Run::new()];
    let mut between = 0;
    for (at, letter) in text.char_indices() {
        if fits(letter) {
            if between > 1 {
                runs.push(Run::new());
            }
            between = 0;
            runs.last_mut().expect("there is one").push((at, letter));
        } else if matches!(letter, ' ' | '-' | '\u{a0}') {
            between += 1;
        } else {
            between = 2;
        }
    }
    runs
}

/// Of letters that have a byte each.
fn span(run: &[(usize, char)]) -> Range<usize> {
    match run {
        [first, .., last] => first.0..last.0 + 1,
        _ => 0..0,
    }
}

/// 13 to 19 digits with the check digit of ISO/IEC 7812. Longer runs are numbers of something else.
fn cards(text: &str) -> Vec<Range<usize>> {
    let runs = runs(text, |letter| letter.is_ascii_digit()).into_iter();
    runs.filter(|run| {
        let digits: String = run.iter().map(|(_, digit)| digit).collect();
        (13..=19).contains(&digits.len()) && luhn(&digits) && !digits.starts_with('0')
    })
    .map(|run| span(&run))
    .collect()
}

fn luhn(digits: &str) -> bool {
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let digit = u32::from(digit - b'0') * (1 + place as u32 % 2);
            digit / 10 + digit % 10
        })
        .sum();
    sum.is_multiple_of(10)
}

/// Two letters, two check digits, up to 30 more (ISO 13616), and a remainder of 1 by 97. Words beside it run into
/// it, so every beginning is tried.
fn ibans(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for run in runs(text, |letter| letter.is_ascii_alphanumeric()) {
        let letters: Vec<u8> = run
            .iter()
            .map(|(_, letter)| letter.to_ascii_uppercase() as u8)
            .collect();
        let mut at = 0;
        while at + 15 <= letters.len() {
            let length = length_of(&letters[at..at + 2]);
            let account = letters.get(at..at + length);
            if length > 0 && account.is_some_and(is_iban) {
                found.push(span(&run[at..at + length]));
                at += length;
            } else {
                at += 1;
            }
        }
    }
    found
}

/// The lengths of countries' accounts (ISO 13616 registry): the remainder alone fits one word in 97.
fn length_of(country: &[u8]) -> usize {
    match country {
        b"NO" => 15,
        b"BE" => 16,
        b"DK" | b"FI" | b"NL" => 18,
        b"AT" | b"LT" | b"LU" | b"EE" => 20,
        b"CH" | b"HR" | b"LI" | b"LV" => 21,
        b"BG" | b"DE" | b"GB" | b"GE" | b"IE" => 22,
        b"AE" | b"IL" => 23,
        b"CZ" | b"ES" | b"RO" | b"SA" | b"SE" | b"SK" => 24,
        b"PT" => 25,
        b"IS" | b"TR" => 26,
        b"FR" | b"GR" | b"IT" | b"SM" => 27,
        b"CY" | b"HU" | b"PL" => 28,
        _ => 0,
    }
}

/// Of an account of the right length.
fn is_iban(account: &[u8]) -> bool {
    if !account[2..4].iter().all(u8::is_ascii_digit) {
        return false;
    }
    let turned = account[4..].iter().chain(&account[..4]);
    let remainder = turned.fold(0, |rest: u32, &letter| match letter {
        b'0'..=b'9' => (rest * 10 + u32::from(letter - b'0')) % 97,
        _ => (rest * 100 + u32::from(letter - b'A') + 10) % 97,
    });
    remainder == 1
}

/// `local@domain.tld`: what people write, not all that RFC 5321 allows.
fn mails(text: &str) -> Vec<Range<usize>> {
    let is_local =
        |letter: &char| letter.is_alphanumeric() || ".!#$%&'*+/=?^_`{|}~-".contains(*letter);
    let is_domain = |letter: &char| letter.is_alphanumeric() || ".-".contains(*letter);
    let size = |letter: char| letter.len_utf8();
    let found = text.match_indices('@').filter_map(|(at, _)| {
        let local = text[..at].chars().rev().take_while(is_local);
        let start = at - local.map(size).sum::<usize>();
        let domain = text[at + 1..].chars().take_while(is_domain);
        let domain = &text[at + 1..at + 1 + domain.map(size).sum::<usize>()];
        let domain = domain.trim_end_matches(['.', '-']);
        let (name, top) = domain.rsplit_once('.')?;
        let is_top = top.chars().count() > 1 && top.chars().all(char::is_alphabetic);
        let is_mail = start < at && !name.is_empty() && is_top;
        is_mail.then_some(start..at + 1 + domain.len())
    });
    found.collect()
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
        let mut value: Value = serde_json::from_str(
            r#"{"a": ["me\u0040example.com", 4111111111111111, 7], "x@y.example": {"b": null}}"#,
        )
        .unwrap();
        let mut found = Found::default();
        in_value(&mut value, &Kind::ALL, &mut found);
        assert_eq!(found.kinds, BTreeSet::from([Kind::Card, Kind::Mail]));
        let left = serde_json::json!({"a": ["[mail]", "[card]", 7], "[mail]": {"b": null}});
        assert_eq!(value, left);
    }
}
