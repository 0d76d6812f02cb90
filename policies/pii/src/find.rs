//! Finding personal data in text.

use dormouse_filter_sdk::text_of;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeSet;

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

    fn is_in(self, text: &str) -> bool {
        match self {
            Self::Card => has_card(text),
            Self::Iban => has_iban(text),
            Self::Mail => has_mail(text),
        }
    }
}

/// In the strings of a JSON document, as they read once their escapes are undone; else in the text as it is.
pub(crate) fn in_body(body: &[u8], kinds: &[Kind]) -> BTreeSet<Kind> {
    let mut found = BTreeSet::new();
    match serde_json::from_slice(body) {
        Ok(value) => in_value(&value, kinds, &mut found),
        Err(_no_json) => in_text(&text_of(body), kinds, &mut found),
    }
    found
}

fn in_value(value: &Value, kinds: &[Kind], found: &mut BTreeSet<Kind>) {
    match value {
        Value::String(text) => in_text(text, kinds, found),
        Value::Number(number) => in_text(&number.to_string(), kinds, found),
        Value::Array(values) => values.iter().for_each(|one| in_value(one, kinds, found)),
        Value::Object(fields) => fields.iter().for_each(|(name, one)| {
            in_text(name, kinds, found);
            in_value(one, kinds, found);
        }),
        Value::Null | Value::Bool(_) => {}
    }
}

fn in_text(text: &str, kinds: &[Kind], found: &mut BTreeSet<Kind>) {
    found.extend(kinds.iter().filter(|kind| kind.is_in(text)));
}

/// Runs of characters that may stand in a number, without single spaces and hyphens between them.
fn runs(text: &str, fits: impl Fn(char) -> bool) -> Vec<String> {
    let mut runs = vec![String::new()];
    let mut between = 0;
    for letter in text.chars() {
        if fits(letter) {
            if between > 1 {
                runs.push(String::new());
            }
            between = 0;
            runs.last_mut().expect("there is one").push(letter);
        } else if matches!(letter, ' ' | '-' | '\u{a0}') {
            between += 1;
        } else {
            between = 2;
        }
    }
    runs
}

/// 13 to 19 digits with the check digit of ISO/IEC 7812. Longer runs are numbers of something else.
fn has_card(text: &str) -> bool {
    runs(text, |letter| letter.is_ascii_digit())
        .iter()
        .any(|digits| (13..=19).contains(&digits.len()) && luhn(digits) && !digits.starts_with('0'))
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
    sum % 10 == 0
}

/// Two letters, two check digits, up to 30 more (ISO 13616), and a remainder of 1 by 97. Words beside it run into
/// it, so every beginning is tried.
fn has_iban(text: &str) -> bool {
    runs(text, |letter| letter.is_ascii_alphanumeric())
        .iter()
        .any(|run| {
            let run = run.to_ascii_uppercase().into_bytes();
            let starts = (0..run.len().saturating_sub(14)).filter(|&at| {
                run[at..at + 2].iter().all(u8::is_ascii_uppercase)
                    && run[at + 2..at + 4].iter().all(u8::is_ascii_digit)
            });
            starts.into_iter().any(|at| {
                let most = (run.len() - at).min(34);
                (15..=most).any(|length| is_iban(&run[at..at + length]))
            })
        })
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

fn is_iban(account: &[u8]) -> bool {
    if account.len() != length_of(&account[..2]) {
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
fn has_mail(text: &str) -> bool {
    let is_local =
        |letter: &char| letter.is_alphanumeric() || ".!#$%&'*+/=?^_`{|}~-".contains(*letter);
    let is_domain = |letter: &char| letter.is_alphanumeric() || ".-".contains(*letter);
    text.match_indices('@').any(|(at, _)| {
        let local = text[..at].chars().rev().take_while(is_local).count();
        let domain: String = text[at + 1..].chars().take_while(is_domain).collect();
        let domain = domain.trim_end_matches(['.', '-']);
        local > 0
            && domain.rsplit_once('.').is_some_and(|(name, top)| {
                !name.is_empty() && top.chars().count() > 1 && top.chars().all(char::is_alphabetic)
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_personal_is_found_and_its_twin_is_not() {
        for (text, expected) in [
            ("4111 1111 1111 1111", Some(Kind::Card)),
            ("4111-1111-1111-1111", Some(Kind::Card)),
            ("4111111111111112", None),
            ("41111111111111111111111", None),
            ("pay DE89 3704 0044 0532 0130 00 now", Some(Kind::Iban)),
            ("gb82west12345698765432", Some(Kind::Iban)),
            ("DE88370400440532013000", None),
            ("write to j.doe+x@mail.example.com.", Some(Kind::Mail)),
            ("user@localhost", None),
            ("a @ b.example", None),
            ("@nobody.example", None),
        ] {
            let mut found = BTreeSet::new();
            in_text(text, &Kind::ALL, &mut found);
            let expected: BTreeSet<Kind> = expected.into_iter().collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn escapes_hide_nothing() {
        for body in [
            r#"{"parts": [{"text": "me\u0040example.com"}]}"#,
            r#"{"me\u0040example.com": 1}"#,
            "not JSON: me@example.com",
        ] {
            assert!(
                in_body(body.as_bytes(), &Kind::ALL).contains(&Kind::Mail),
                "{body}"
            );
        }
        assert!(in_body(br#"{"n": 4111111111111111}"#, &Kind::ALL).contains(&Kind::Card));
    }
}
