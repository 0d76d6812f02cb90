//! The header fields of W3C Trace Context (<https://www.w3.org/TR/trace-context/>). Pure.

use hyper::HeaderMap;
use hyper::header::HeaderValue;
use std::fmt::{self, Write};

const PARENT: &str = "traceparent";
const STATE: &str = "tracestate";
/// Bytes of `tracestate`: as many as everybody passes on (§3.3.1.5). A longer one is left out whole.
const MAX_STATE_BYTES: usize = 512;
/// A traceparent of version 00.
const LENGTH: usize = 55;
/// Whoever sent it records the trace (§3.2.2.5).
const SAMPLED: u8 = 1;
/// The trace's id is random, says whoever began it (level 2 of the standard).
const RANDOM: u8 = 2;

/// A trace, and the span in it that comes before whatever is next.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Parent {
    pub(super) trace: [u8; 16],
    /// All zero before the first span of a trace that begins here.
    pub(super) span: [u8; 8],
    pub(super) flags: u8,
}

impl Parent {
    /// A trace that begins here.
    pub(super) fn new(trace: [u8; 16]) -> Self {
        Self {
            trace,
            span: [0; 8],
            flags: RANDOM,
        }
    }

    /// What a client has sent. What does not have the form, or is there twice, is as good as nothing (§3.2.2).
    pub(super) fn read(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(PARENT)?;
        if headers.get_all(PARENT).iter().nth(1).is_some() {
            return None;
        }
        Self::parse(value.to_str().ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let (head, rest) = bytes.split_at_checked(LENGTH)?;
        let [version] = hex(&head[..2])?;
        // Later versions may have more behind; what is in front stays (§3.2.2.1).
        let fits = match version {
            0 => rest.is_empty(),
            255 => false,
            _ => rest.is_empty() || rest[0] == b'-',
        };
        if !fits || [2, 35, 52].iter().any(|at| head[*at] != b'-') {
            return None;
        }
        let [flags] = hex(&head[53..])?;
        let parent = Self {
            trace: hex(&head[3..35])?,
            span: hex(&head[36..52])?,
            flags: flags & (SAMPLED | RANDOM),
        };
        (parent.trace != [0; 16] && parent.span != [0; 8]).then_some(parent)
    }

    pub(super) fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    pub(super) fn sampled(mut self) -> Self {
        self.flags |= SAMPLED;
        self
    }

    pub(super) fn write(&self, headers: &mut HeaderMap, state: Option<&str>) {
        let text = self.to_string();
        let value = HeaderValue::try_from(text).expect("hexadecimal digits and hyphens");
        headers.insert(PARENT, value);
        headers.remove(STATE);
        if let Some(state) = state.and_then(|state| HeaderValue::try_from(state).ok()) {
            headers.insert(STATE, state);
        }
    }
}

impl fmt::Display for Parent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace, span) = (text(&self.trace), text(&self.span));
        write!(f, "00-{trace}-{span}-{:02x}", self.flags)
    }
}

/// What other tracers want to find again, over all fields of the name in their order (§3.3.1).
pub(super) fn state(headers: &HeaderMap) -> Option<String> {
    let mut joined = String::new();
    for value in headers.get_all(STATE) {
        let value = value.to_str().ok()?;
        if !joined.is_empty() {
            joined.push(',');
        }
        joined.push_str(value);
        if joined.len() > MAX_STATE_BYTES {
            return None;
        }
    }
    (!joined.is_empty()).then_some(joined)
}

pub(super) fn text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        write!(text, "{byte:02x}").expect("a text takes all that is written");
    }
    text
}

/// Lower case only (§3.2.2).
fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_parent_is_read_and_written_as_it_was() {
        let parent = Parent::parse(GIVEN).unwrap();
        assert!(parent.is_sampled());
        assert_eq!(parent.to_string(), GIVEN);
        let unsampled = GIVEN.replace("-01", "-00");
        assert!(!Parent::parse(&unsampled).unwrap().is_sampled());
        let later = GIVEN.replace("00-4b", "cc-4b") + "-what-the-future-will-be-like";
        assert_eq!(Parent::parse(&later).unwrap().to_string(), GIVEN);
        let unknown_flags = GIVEN.replace("-01", "-ff");
        let known = Parent::parse(&unknown_flags).unwrap().to_string();
        assert!(known.ends_with("-03"), "{known}");
    }

    #[test]
    fn what_is_no_parent_counts_for_nothing() {
        for wrong in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
            "00-4bf92f3577b34da6a3ce929d0e0e473x-00f067aa0ba902b7-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
            "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-1",
        ] {
            assert!(Parent::parse(wrong).is_none(), "{wrong}");
        }
        let mut twice = HeaderMap::new();
        twice.append(PARENT, GIVEN.parse().unwrap());
        assert!(Parent::read(&twice).is_some());
        twice.append(PARENT, GIVEN.parse().unwrap());
        assert!(Parent::read(&twice).is_none());
    }

    #[test]
    fn a_state_is_joined_and_bounded() {
        let mut headers = HeaderMap::new();
        assert_eq!(state(&headers), None);
        headers.append(STATE, "a=1".parse().unwrap());
        headers.append(STATE, "b=2,c=3".parse().unwrap());
        assert_eq!(state(&headers).unwrap(), "a=1,b=2,c=3");
        headers.append(STATE, "x".repeat(MAX_STATE_BYTES).parse().unwrap());
        assert_eq!(state(&headers), None);
    }
}
