//! What JSON takes in memory once it is parsed: the text `{"a":0},` has eight bytes, its object seven hundred. So a bound on
//! bytes alone would let few megabytes take many gigabytes.

/// What the JSON of one request, message, artifact or outcome may weigh, in bytes of memory.
pub const MAX_WEIGHT: usize = 64 << 20;

/// A node of a map: `serde_json` keeps members in B-trees, whose nodes have room for eleven.
const OBJECT: usize = 640;
/// A member's share of further nodes, and its name.
const MEMBER: usize = 64;
/// A value in a list that has grown to twice what it needs.
const VALUE: usize = 64;
/// No text weighs more for each of its bytes: `{},` repeated has 236.
const PER_BYTE: usize = 256;

/// About how many bytes of memory a JSON text takes once it is parsed; never much less than it does. What is no JSON
/// weighs something, too.
pub fn weight(json: &[u8]) -> usize {
    let mut weight = json.len();
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        weight += match byte {
            b'"' => {
                skip_string(&mut bytes);
                0
            }
            b'{' => OBJECT,
            b':' => MEMBER,
            b'[' | b',' => VALUE,
            _ => 0,
        };
    }
    weight
}

/// To behind the quote that ends it.
fn skip_string(bytes: &mut std::slice::Iter<'_, u8>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'"' => return,
            _ => {}
        }
    }
}

/// Whether texts that belong together weigh more than [`MAX_WEIGHT`]. Those that are too short for it are not looked at.
pub fn are_too_heavy<'a>(texts: impl Iterator<Item = &'a [u8]> + Clone) -> bool {
    let bytes: usize = texts.clone().map(<[u8]>::len).sum();
    bytes > MAX_WEIGHT / PER_BYTE && texts.map(weight).sum::<usize>() > MAX_WEIGHT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_strings_weighs_its_bytes() {
        let text = br#""{[,:\"{{\\""#;
        assert_eq!(weight(text), text.len());
        assert_eq!(weight(br#"["#), 1 + VALUE);
        assert_eq!(weight(br#"{"a\\":[{}]}"#), 12 + 2 * OBJECT + MEMBER + VALUE);
        // Broken text ends where it ends.
        assert_eq!(weight(br#""\"#), 2);
        assert_eq!(weight(b"\""), 1);
    }

    #[test]
    fn no_text_weighs_more_for_a_byte_than_is_believed() {
        let nested = [br#"{"":"#.repeat(100), b"0".to_vec(), b"}".repeat(100)].concat();
        for heavy in [&br#"{"":0},"#.repeat(100), &b"{},".repeat(100), &nested] {
            assert!(weight(heavy) <= PER_BYTE * heavy.len());
        }
    }

    #[test]
    fn many_small_objects_are_too_heavy_and_long_texts_are_not() {
        let objects = br#"{"a":0},"#.repeat(100_000);
        assert!(are_too_heavy(std::iter::once(&*objects)));
        let half = &objects[..objects.len() / 2];
        assert!(!are_too_heavy(std::iter::once(half)));
        assert!(are_too_heavy([half, half].into_iter()));
        // Half a megabyte, each byte of which takes the most.
        let empty = b"{},".repeat(170_000);
        assert!(are_too_heavy(std::iter::once(&*empty)));
        let text = vec![b'{'; 16 << 20];
        let quoted = [b"\"", &*text, b"\""].concat();
        assert!(!are_too_heavy(std::iter::once(&*quoted)));
    }
}
