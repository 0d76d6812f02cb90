//! The strings and numbers of a JSON document, where they stand: for filters that look at long documents, of which a
//! tree takes much longer to build than they have time.

use std::ops::Range;

/// Where a string, with its quotes and escapes, or a number is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    String(Range<usize>),
    Number(Range<usize>),
}

/// The strings, names of members included, and numbers of a document, in their order. What is not JSON has tokens,
/// too, of no meaning.
///
/// ```
/// use dormouse_filter_sdk::json::{Token, tokens};
///
/// let json = r#"{"a\"b": [-1.5, true]}"#;
/// let found: Vec<Token> = tokens(json).collect();
/// assert_eq!(found, [Token::String(1..7), Token::Number(10..14)]);
/// assert_eq!(&json[10..14], "-1.5");
/// ```
pub fn tokens(json: &str) -> impl Iterator<Item = Token> {
    let bytes = json.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        let starts = |byte: &u8| matches!(byte, b'"' | b'-' | b'0'..=b'9');
        let start = at + bytes[at..].iter().position(starts)?;
        let token = if bytes[start] == b'"' {
            at = end_of_string(bytes, start + 1);
            Token::String(start..at)
        } else {
            let ends = |byte: &u8| !matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
            let rest = &bytes[start..];
            at = start + rest.iter().position(ends).unwrap_or(rest.len());
            Token::Number(start..at)
        };
        Some(token)
    })
}

/// After its closing quote.
fn end_of_string(bytes: &[u8], mut at: usize) -> usize {
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_where_they_are() {
        for (json, expected) in [
            ("", &[][..]),
            ("null", &[]),
            (r#""a\\","b""#, &[Token::String(0..5), Token::String(6..9)]),
            (r#""\"1""#, &[Token::String(0..5)]),
            (
                r#"{"ä":1e-7,"":[-0]}"#,
                &[
                    Token::String(1..5),
                    Token::Number(6..10),
                    Token::String(11..13),
                    Token::Number(15..17),
                ],
            ),
            // What is no document ends, too.
            (r#"1"a\"#, &[Token::Number(0..1), Token::String(1..4)]),
            (r#""a"#, &[Token::String(0..2)]),
        ] {
            assert_eq!(tokens(json).collect::<Vec<_>>(), expected, "{json}");
        }
    }
}
