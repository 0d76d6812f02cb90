//! International bank account numbers (ISO 13616): a country, two check digits, an account of that country's form, and
//! a remainder of 1 by 97.

use crate::group::Gap;
use std::ops::Range;

/// The forms of accounts: so many digits (`n`), capital letters (`a`), or either (`c`). From the IBAN registry of SWIFT.
const FORMS: [(&[u8; 2], &str); 89] = [
    (b"AD", "8n12c"),
    (b"AE", "19n"),
    (b"AL", "8n16c"),
    (b"AT", "16n"),
    (b"AZ", "4a20c"),
    (b"BA", "16n"),
    (b"BE", "12n"),
    (b"BG", "4a6n8c"),
    (b"BH", "4a14c"),
    (b"BI", "23n"),
    (b"BR", "23n1a1c"),
    (b"BY", "4c4n16c"),
    (b"CH", "5n12c"),
    (b"CR", "18n"),
    (b"CY", "8n16c"),
    (b"CZ", "20n"),
    (b"DE", "18n"),
    (b"DJ", "23n"),
    (b"DK", "14n"),
    (b"DO", "4c20n"),
    (b"EE", "16n"),
    (b"EG", "25n"),
    (b"ES", "20n"),
    (b"FI", "14n"),
    (b"FK", "2a12n"),
    (b"FO", "14n"),
    (b"FR", "10n11c2n"),
    (b"GB", "4a14n"),
    (b"GE", "2a16n"),
    (b"GI", "4a15c"),
    (b"GL", "14n"),
    (b"GR", "7n16c"),
    (b"GT", "24c"),
    (b"HN", "4a20n"),
    (b"HR", "17n"),
    (b"HU", "24n"),
    (b"IE", "4a14n"),
    (b"IL", "19n"),
    (b"IQ", "4a15n"),
    (b"IS", "22n"),
    (b"IT", "1a10n12c"),
    (b"JO", "4a4n18c"),
    (b"KW", "4a22c"),
    (b"KZ", "3n13c"),
    (b"LB", "4n20c"),
    (b"LC", "4a24c"),
    (b"LI", "5n12c"),
    (b"LT", "16n"),
    (b"LU", "3n13c"),
    (b"LV", "4a13c"),
    (b"LY", "21n"),
    (b"MC", "10n11c2n"),
    (b"MD", "20c"),
    (b"ME", "18n"),
    (b"MK", "3n10c2n"),
    (b"MN", "16n"),
    (b"MR", "23n"),
    (b"MT", "4a5n18c"),
    (b"MU", "4a19n3a"),
    (b"NI", "4a20n"),
    (b"NL", "4a10n"),
    (b"NO", "11n"),
    (b"OM", "3n16c"),
    (b"PK", "4a16c"),
    (b"PL", "24n"),
    (b"PS", "4a21c"),
    (b"PT", "21n"),
    (b"QA", "4a21c"),
    (b"RO", "4a16c"),
    (b"RS", "18n"),
    (b"RU", "14n15c"),
    (b"SA", "2n18c"),
    (b"SC", "4a20n3a"),
    (b"SD", "14n"),
    (b"SE", "20n"),
    (b"SI", "15n"),
    (b"SK", "20n"),
    (b"SM", "1a10n12c"),
    (b"SO", "19n"),
    (b"ST", "21n"),
    (b"SV", "4a20n"),
    (b"TL", "19n"),
    (b"TN", "20n"),
    (b"TR", "6n16c"),
    (b"UA", "6n19c"),
    (b"VA", "18n"),
    (b"VG", "4a16n"),
    (b"XK", "16n"),
    (b"YE", "4a4n18c"),
];

/// Where they are. Words beside one run into it, so every beginning is tried.
pub(crate) fn spans(text: &str) -> Vec<Range<usize>> {
    let (mut found, mut at) = (Vec::new(), 0);
    let bytes = text.as_bytes();
    while at + 4 <= bytes.len() {
        match bytes[at].is_ascii_alphabetic().then(|| end(text, at)) {
            Some(Some(end)) => {
                found.push(at..end);
                at = end;
            }
            _ => at += 1,
        }
    }
    found
}

/// The end of the one that begins here.
fn end(text: &str, start: usize) -> Option<usize> {
    let bytes = &text.as_bytes()[start..];
    let (country, next) = bytes.split_at_checked(2)?;
    if !country[1].is_ascii_alphabetic() || next.first()?.is_ascii_alphabetic() {
        return None;
    }
    let mut letters = Letters {
        text,
        at: start + 2,
    };
    let check = [letters.next()?, letters.next()?];
    if !check.iter().all(u8::is_ascii_digit) {
        return None;
    }
    // "no" before a number is a word, unless it is written like a country.
    let is_apart = !next[0].is_ascii_digit();
    let is_word = start == 0 || !text.as_bytes()[start - 1].is_ascii_alphanumeric();
    if is_apart && !(is_word && country.iter().all(u8::is_ascii_uppercase)) {
        return None;
    }
    let country = [0, 1].map(|index| country[index].to_ascii_uppercase());
    let form = FORMS.binary_search_by(|(one, _)| (*one).cmp(&country));
    let (mut rest, mut count, mut digits) = (0, 4, 2);
    let form = FORMS[form.ok()?].1.bytes();
    let mut run = 0;
    for kind in form {
        if kind.is_ascii_digit() {
            run = run * 10 + usize::from(kind - b'0');
            continue;
        }
        for _ in 0..std::mem::take(&mut run) {
            let letter = letters.next()?;
            let is_digit = letter.is_ascii_digit();
            if (kind == b'n' && !is_digit) || (kind == b'a' && is_digit) {
                return None;
            }
            rest = remainder(rest, letter);
            digits += usize::from(is_digit);
            count += 1;
        }
    }
    let rest = country.into_iter().chain(check).fold(rest, remainder);
    // A longer number is another one, and words are none, whatever the remainder.
    let is_longer = text
        .as_bytes()
        .get(letters.at)
        .is_some_and(u8::is_ascii_digit);
    (rest == 1 && !is_longer && digits * 3 >= count).then_some(letters.at)
}

/// By 97, when this letter has been written behind.
fn remainder(rest: u32, letter: u8) -> u32 {
    match letter {
        b'0'..=b'9' => (rest * 10 + u32::from(letter - b'0')) % 97,
        _ => (rest * 100 + u32::from(letter - b'A') + 10) % 97,
    }
}

/// Letters and digits of ASCII in capitals, without single separators between them.
struct Letters<'a> {
    text: &'a str,
    /// After the last one.
    at: usize,
}

impl Iterator for Letters<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        // Mostly there is nothing between them.
        let next = *self.text.as_bytes().get(self.at)?;
        if next.is_ascii_alphanumeric() {
            self.at += 1;
            return Some(next.to_ascii_uppercase());
        }
        let rest = &self.text[self.at..];
        let mut gap = Gap::None;
        for (at, letter) in rest.char_indices() {
            if letter.is_ascii_alphanumeric() {
                self.at += at + 1;
                return Some(letter.to_ascii_uppercase() as u8);
            }
            gap = gap.and(letter);
            if gap == Gap::Wide {
                break;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(text: &str) -> Vec<&str> {
        spans(text).into_iter().map(|span| &text[span]).collect()
    }

    /// The examples of the registry.
    const EXAMPLES: &str = "AD1200012030200359100100 AE070331234567890123456 AL47212110090000000235698741 AT611904300234573201 \
        AZ21NABZ00000000137010001944 BA391290079401028494 BE68539007547034 BG80BNBG96611020345678 BH67BMAG00001299123456 \
        BI4210000100010000332045181 BR1800360305000010009795493C1 BY13NBRB3600900000002Z00AB00 CH9300762011623852957 \
        CR05015202001026284066 CY17002001280000001200527600 CZ6508000000192000145399 DE89370400440532013000 \
        DJ2100010000000154000100186 DK5000400440116243 DO28BAGR00000001212453611324 EE382200221020145685 \
        EG380019000500000000263180002 ES9121000418450200051332 FI2112345600000785 FK88SC123456789012 FO6264600001631634 \
        FR1420041010050500013M02606 GB29NWBK60161331926819 GE29NB0000000101904917 GI75NWBK000000007099453 \
        GL8964710001000206 GR1601101250000000012300695 GT82TRAJ01020000001210029690 HN88CABF00000000000250005469 \
        HR1210010051863000160 HU42117730161111101800000000 IE29AIBK93115212345678 IL620108000000099999999 \
        IQ98NBIQ850123456789012 IS140159260076545510730339 IT60X0542811101000000123456 JO94CBJO0010000000000131000302 \
        KW81CBKU0000000000001234560101 KZ86125KZT5004100100 LB62099900000001001901229114 \
        LC55HEMM000100010012001200023015 LI21088100002324013AA LT121000011101001000 LU280019400644750000 \
        LV80BANK0000435195001 LY83002048000020100120361 MC5811222000010123456789030 MD24AG000225100013104168 \
        ME25505000012345678951 MK07250120000058984 MN121234123456789123 MR1300020001010000123456753 \
        MT84MALT011000012345MTLCAST001S MU17BOMM0101101030300200000MUR NI45BAPR00000013000003558124 NL91ABNA0417164300 \
        NO9386011117947 OM810180000001299123456 PK36SCBL0000001123456702 PL61109010140000071219812874 \
        PS92PALS000000000400123456702 PT50000201231234567890154 QA58DOHB00001234567890ABCDEFG RO49AAAA1B31007593840000 \
        RS35260005601001611379 RU0304452522540817810538091310419 SA0380000000608010167519 \
        SC18SSCB11010000000000001497USD SD8811123456789012 SE4550000000058398257466 SI56263300012039086 \
        SK3112000000198742637541 SM86U0322509800000000270100 SO211000001001000100141 ST23000100010051845310146 \
        SV62CENR00000000000000700025 TL380080012345678910157 TN5910006035183598478831 TR330006100519786457841326 \
        UA213223130000026007233566001 VA59001123000012345678 VG96VPVG0000012345678901 XK051212012345678906 \
        YE15CBYE0001018861234567891234";

    #[test]
    fn accounts_of_every_country_are_found() {
        let mut countries = Vec::new();
        for account in EXAMPLES.split_whitespace() {
            assert_eq!(taken(account), [account]);
            assert_eq!(taken(&account.to_lowercase()).len(), 1, "{account}");
            let groups: Vec<_> = account.as_bytes().chunks(4).collect();
            let printed = String::from_utf8(groups.join(&b' ')).unwrap();
            assert_eq!(taken(&format!("to {printed}!")), [&*printed]);
            // Another check digit is right for no account.
            let mut wrong = account.to_owned().into_bytes();
            wrong[3] = b'0' + (wrong[3] - b'0' + 1) % 10;
            let wrong = String::from_utf8(wrong).unwrap();
            assert_eq!(taken(&wrong), [""; 0], "{wrong}");
            countries.push(&account.as_bytes()[..2]);
        }
        let table: Vec<_> = FORMS.iter().map(|(country, _)| &country[..]).collect();
        assert_eq!(countries, table, "each has its example, in order");
    }

    #[test]
    fn they_are_found_as_people_write_them() {
        for text in [
            "DE89.3704.0044.0532.0130.00",
            "DE89/3704/0044/0532/0130/00",
            "DE89\u{2011}3704\u{2011}0044\u{2011}0532\u{2011}0130\u{2011}00",
            "DE89 3704 0044\n0532 0130 00",
            "DE89 3704 0044\r\n0532 0130 00",
            "DE 89 37040044 0532013000",
        ] {
            assert_eq!(taken(&format!("IBAN {text}, thanks")), [text]);
            assert_eq!(taken(&format!("12 {text} 12 and")), [text]);
        }
        assert_eq!(taken("IBANDE89370400440532013000x").len(), 1);
    }

    #[test]
    fn ordinary_text_has_none() {
        // Beside each are numbers of which one has a remainder of 1.
        for number in 0..97 {
            for text in [
                format!("order no 12345678901{number:02}"),
                format!("piano 12345678901{number:02}"),
                format!("NO12345678901{number:02}00"),
                format!("MD {number:02} is how many there are of them and so on and on"),
                format!("gt{number:02}-of-the-words-that-follow-each-other-here"),
                format!("DE{number:02} and then words like in any sentence"),
                format!("550e8400-e29b-41d4-a716-4466554400{number:02}"),
                format!("de{number:02}0a1b2c3d4e5f60718293a4b5c6d7e8f9"),
                format!("see v1.2.{number:02}/2024 12:30"),
            ] {
                assert_eq!(taken(&text), [""; 0], "{text}");
            }
        }
    }
}
