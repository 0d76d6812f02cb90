//! Card numbers (ISO/IEC 7812): as they are printed, in groups, with other numbers beside them.

use crate::group::{Gap, Separator};
use std::ops::Range;

/// Digits of a number, and of all of its groups but the last when there are other numbers beside it.
const DIGITS: std::ops::RangeInclusive<usize> = 13..=19;
const GROUP: usize = 4;

/// Digits without anything between them.
struct Group {
    at: Range<usize>,
    /// What is between it and the one before.
    before: Option<Separator>,
}

/// Where they are. They may lie across each other: which groups belong together is not always clear.
pub(crate) fn spans(text: &str) -> Vec<Range<usize>> {
    let (mut found, mut groups) = (Vec::new(), Vec::<Group>::new());
    let mut gap = Gap::Wide;
    for (at, letter) in text.char_indices() {
        if !letter.is_ascii_digit() {
            gap = gap.and(letter);
            continue;
        }
        match (groups.last_mut(), gap) {
            (Some(last), Gap::None) => last.at.end += 1,
            (_, gap) => {
                let before = gap.separator();
                if before.is_none() {
                    search(text, &groups, &mut found);
                    groups.clear();
                }
                let at = at..at + 1;
                groups.push(Group { at, before });
            }
        }
        gap = Gap::None;
    }
    search(text, &groups, &mut found);
    found
}

/// Among groups with one separator between each two.
fn search(text: &str, groups: &[Group], found: &mut Vec<Range<usize>>) {
    let bytes = match groups {
        [first, .., last] => last.at.end - first.at.start,
        [only] => only.at.len(),
        [] => 0,
    };
    if bytes < *DIGITS.start() {
        return;
    }
    // In groups of any size, if nothing else is beside them.
    for alone in groups.chunk_by(|_, next| next.before == Some(Separator::Space)) {
        let digits = alone.iter().map(|group| group.at.len()).sum::<usize>();
        let span = alone[0].at.start..alone[alone.len() - 1].at.end;
        if DIGITS.contains(&digits) && is_card(text, &span) {
            found.push(span);
        }
    }
    for first in 0..groups.len() {
        found.extend(longest(text, &groups[first..]));
    }
}

/// The longest number that begins with the first of the groups. The separator in it is always the same; once there
/// may be the end of a line instead, but a list of numbers is none.
fn longest(text: &str, groups: &[Group]) -> Option<Range<usize>> {
    let (mut digits, mut lines, mut separator, mut found) = (0, 0, None, None);
    for (index, group) in groups.iter().enumerate() {
        if index > 0 {
            match group.before {
                Some(Separator::Line) => lines += 1,
                other if separator.is_none() || separator == other => separator = other,
                _ => break,
            }
        }
        digits += group.at.len();
        if digits > *DIGITS.end() || lines > 1 {
            break;
        }
        let span = groups[0].at.start..group.at.end;
        let is_list = lines == 1 && separator.is_none();
        if digits >= *DIGITS.start() && !is_list && is_card(text, &span) {
            found = Some(span);
        }
        if group.at.len() < GROUP {
            break;
        }
    }
    found
}

/// Of text with 13 to 19 digits in it.
fn is_card(text: &str, span: &Range<usize>) -> bool {
    let (mut digits, mut count) = ([0; 19], 0);
    for byte in text[span.clone()].bytes().filter(u8::is_ascii_digit) {
        digits[count] = byte - b'0';
        count += 1;
    }
    let digits = &digits[..count];
    has_issuer(digits) && luhn(digits)
}

/// Whether a network of cards gives out numbers of this length that begin so. Times in ms, µs and ns begin with 1 and
/// have 13, 16 and 19 digits, of which one in ten has a right check digit.
fn has_issuer(digits: &[u8]) -> bool {
    let start = digits[..4]
        .iter()
        .fold(0, |sum, &digit| sum * 10 + u16::from(digit));
    match start {
        // Visa; Mastercard; Mir; American Express.
        4000..=4999 => matches!(digits.len(), 13 | 16 | 18 | 19),
        2221..=2720 | 5100..=5599 => digits.len() == 16,
        2200..=2205 => digits.len() >= 16,
        3400..=3499 | 3700..=3799 => digits.len() == 15,
        // Diners Club; JCB.
        3000..=3099 | 3600..=3699 | 3800..=3999 => digits.len() >= 14,
        3528..=3589 => digits.len() >= 16,
        // Discover, RuPay, UnionPay; Troy.
        6000..=6099 | 6200..=6299 | 6440..=6599 | 8100..=8299 => digits.len() >= 16,
        9792 => digits.len() == 16,
        // Maestro and its kind.
        5000..=5099 | 5600..=5899 | 6300..=6399 | 6700..=6799 => true,
        _ => false,
    }
}

fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let digit = u32::from(*digit) * (1 + place as u32 % 2);
            digit / 10 + digit % 10
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(text: &str) -> Vec<&str> {
        spans(text).into_iter().map(|span| &text[span]).collect()
    }

    #[test]
    fn numbers_of_every_network_are_found() {
        for number in [
            "4222222222222",
            "4111111111111111",
            "5555555555554444",
            "2223003122003222",
            "378282246310005",
            "30569309025904",
            "36227206271667",
            "3530111333300000",
            "6011111111111117",
            "6205500000000000004",
            "6759649826438453",
            "6799990100000000019",
            "2200000000000053",
            "6304000000000000",
        ] {
            assert_eq!(taken(number)[0], number);
            let mut wrong = number.to_owned().into_bytes();
            let last = wrong.len() - 1;
            wrong[last] = b'0' + (wrong[last] - b'0' + 1) % 10;
            let wrong = String::from_utf8(wrong).unwrap();
            assert_eq!(taken(&wrong), [""; 0]);
        }
    }

    #[test]
    fn they_are_found_as_people_write_them() {
        for (text, expected) in [
            ("4111 1111 1111 1111 12/27", "4111 1111 1111 1111"),
            ("4111111111111111 123", "4111111111111111"),
            ("card 12 4111 1111 1111 1111", "4111 1111 1111 1111"),
            ("4111.1111.1111.1111", "4111.1111.1111.1111"),
            ("4111/1111/1111/1111", "4111/1111/1111/1111"),
            (
                "4111\u{2011}1111\u{2011}1111\u{2011}1111.",
                "4111\u{2011}1111\u{2011}1111\u{2011}1111",
            ),
            (
                "4111\u{2010}1111\u{2013}1111\u{2015}1111",
                "4111\u{2010}1111\u{2013}1111\u{2015}1111",
            ),
            (
                "4111\u{a0}1111\u{202f}1111\u{2009}1111",
                "4111\u{a0}1111\u{202f}1111\u{2009}1111",
            ),
            ("4111\t1111\t1111\t1111", "4111\t1111\t1111\t1111"),
            ("4111  1111  1111  1111", "4111  1111  1111  1111"),
            ("4111 1111\n1111 1111", "4111 1111\n1111 1111"),
            ("4111-1111\r\n1111-1111", "4111-1111\r\n1111-1111"),
            ("3782 822463 10005 1234", "3782 822463 10005"),
            ("4222 222 222 222", "4222 222 222 222"),
            (
                "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1",
                "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1",
            ),
            ("12/27/4111111111111111", "4111111111111111"),
            ("1.4111111111111111.2", "4111111111111111"),
            ("VISA4111111111111111x", "4111111111111111"),
            ("2024-01-02\n4111-1111-1111-1111", "4111-1111-1111-1111"),
        ] {
            assert!(taken(text).contains(&expected), "{text}: {:?}", taken(text));
        }
        let two = "4111 1111 1111 1111 5555 5555 5555 4444";
        let found = taken(two);
        for card in ["4111 1111 1111 1111", "5555 5555 5555 4444"] {
            assert!(found.contains(&card), "{found:?}");
        }
    }

    #[test]
    fn ordinary_numbers_are_none() {
        for text in [
            "41111111111111111111111",
            "0000000000000000",
            // Times in ms, µs and ns; dates.
            "1700000000007",
            "1700000000000008",
            "1700000000000000005",
            "2024-01-15 2024-01-13",
            "5/12/2024\n6/12/2029",
            // Prices, versions, addresses, coordinates.
            "45.12 46.30 51.20 53.18",
            "4.11.1 4.11.1 4.11.1 4.11.11 4.11.12",
            "4511.12/4111.15/4511.18/4511.19",
            "192.168.100.200 192.168.100.201",
            "5411.3312 5412.8816",
            // Phone numbers, one beside another and one below another.
            "555-123-4567\n555-123-4568\n555-123-4569",
            "+49 30 901820 +49 30 901821",
            "0151 23456789 0160 1234567",
            "06 12 34 56 78 06 12 34 56 79",
            "(555) 123-4567, (555) 765-4321",
            "+65 6123 4567\n+65 6123 4568",
            // Orders, one below another.
            "41111111\n11111111",
            "4111\n1111\n1111\n1111",
            "4111, 1111, 1111, 1111",
            "4111   1111   1111   1111",
            "4111 - 1111 - 1111 - 1111",
            // Thousands.
            "4,111,111,111,111,111",
            "4.111.111.111.111.111",
            // An article number (EAN-13), a container (SSCC), a telephone's IMEI.
            "9780306406157",
            "106141412345678908",
            "550e8400-e29b-41d4-8716-446655440000",
            "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAx MjM0NTY3ODkwMTIzNDU2Nzg5",
            "sha256:4111d1111e1111f1111a1111b2222c3333d4444",
            "490154203237518",
        ] {
            // With one of these at its end it has a right check digit.
            for last in 0..10 {
                let text = format!("{}{last}", &text[..text.len() - 1]);
                assert_eq!(taken(&text), [""; 0], "{text}");
            }
        }
    }
}
