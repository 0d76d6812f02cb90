//! Server-sent events (html.spec.whatwg.org/multipage/server-sent-events.html), as far as models send them: their data.

use thiserror::Error;

/// Bytes of one event. Models send a few words at a time.
pub(super) const MAX_EVENT_BYTES: usize = 256 << 10;

/// An event without an end.
#[derive(Debug, Error)]
#[error("one piece of the answer has more than {MAX_EVENT_BYTES} bytes")]
pub(super) struct EventTooLong;

/// Puts events together from bytes that come in any portions.
#[derive(Default)]
pub(super) struct Events {
    line: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    /// The last byte was a CR: an LF now is part of the same line end.
    after_cr: bool,
}

impl Events {
    /// The data of the events that these bytes end.
    ///
    /// # Errors
    /// After one nothing that follows can be trusted.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<Vec<String>, EventTooLong> {
        let mut ended = Vec::new();
        for &byte in bytes {
            let after_cr = std::mem::replace(&mut self.after_cr, byte == b'\r');
            match byte {
                b'\n' if after_cr => {}
                b'\n' | b'\r' => ended.extend(self.end_line()),
                _ if self.line.len() + self.data.len() >= MAX_EVENT_BYTES => {
                    return Err(EventTooLong);
                }
                _ => self.line.push(byte),
            }
        }
        Ok(ended)
    }

    fn end_line(&mut self) -> Option<String> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            let data = std::mem::take(&mut self.data);
            let has_data = std::mem::take(&mut self.has_data);
            return has_data.then(|| String::from_utf8_lossy(&data).into_owned());
        }
        // The names of events are in their data, too; comments keep connections open.
        if let Some(data) = line.strip_prefix(b"data:") {
            if self.has_data {
                self.data.push(b'\n');
            }
            self.data
                .extend_from_slice(data.strip_prefix(b" ").unwrap_or(data));
            self.has_data = true;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn events_are_the_same_however_their_bytes_are_cut() {
        let bytes = "event: x\r\ndata: {\"a\":\"é\"}\r\n\r\n: wait\n\ndata:1\ndata: 2\n\nid: 7\n\ndata: \r\rdata: cut"
            .as_bytes();
        let expected = ["{\"a\":\"é\"}", "1\n2", ""];
        for size in 1..=bytes.len() {
            let mut events = Events::default();
            let heard = bytes.chunks(size).map(|bytes| events.take(bytes).unwrap());
            let heard: Vec<String> = heard.flatten().collect();
            assert_eq!(heard, expected, "in portions of {size}");
        }
    }

    #[test]
    fn an_event_without_an_end_is_not_kept() {
        let mut events = Events::default();
        let portion = [b'x'; 4096];
        let portions = MAX_EVENT_BYTES / portion.len();
        for _ in 0..portions {
            events.take(&portion).unwrap();
        }
        assert!(events.take(b"x").is_err());
        let mut events = Events::default();
        let line = b"data: 0123456789\n";
        let lines = (0..MAX_EVENT_BYTES).map(|_| events.take(line));
        assert!(
            lines
                .take(MAX_EVENT_BYTES / 10 + 2)
                .any(|took| took.is_err())
        );
    }
}
