//! The two encodings of a URL's text: percent in paths, form in queries.

use std::borrow::Cow;

/// A path segment as meant. Escapes that are none stay as they are.
pub(crate) fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.first_chunk::<2>().filter(|_| byte == b'%');
        match digits.and_then(|[high, low]| Some(hex(*high)? << 4 | hex(*low)?)) {
            Some(escaped) => {
                decoded.push(escaped);
                rest = &after[2..];
            }
            None => {
                decoded.push(byte);
                rest = after;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&decoded).into_owned())
}

/// The parameters of a query, in order.
pub(crate) fn query(query: Option<&str>) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    query
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (form(name), form(value))
        })
}

/// The first parameter of this name.
pub(crate) fn parameter<'a>(text: Option<&'a str>, name: &str) -> Option<Cow<'a, str>> {
    query(text)
        .find(|(known, _)| known == name)
        .map(|(_, value)| value)
}

fn form(text: &str) -> Cow<'_, str> {
    if text.contains('+') {
        return Cow::Owned(decode(&text.replace('+', " ")).into_owned());
    }
    decode(text)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_resolved_and_broken_ones_kept() {
        for (text, meant) in [
            ("abc", "abc"),
            ("a%3Ab", "a:b"),
            ("%c3%a4", "ä"),
            ("%", "%"),
            ("%4", "%4"),
            ("%zz%41", "%zzA"),
        ] {
            assert_eq!(decode(text), meant);
        }
    }

    #[test]
    fn queries_are_form_encoded() {
        let pairs: Vec<_> = query(Some("a=1&b=x+y%2B&&c")).collect();
        assert_eq!(
            pairs,
            [
                ("a".into(), "1".into()),
                ("b".into(), "x y+".into()),
                ("c".into(), "".into())
            ]
        );
        assert_eq!(parameter(Some("a=1&a=2"), "a").as_deref(), Some("1"));
        assert_eq!(parameter(None, "a"), None);
    }
}
