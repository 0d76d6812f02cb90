//! Reads server-sent events (WHATWG HTML, §9.2), as far as A2A uses them: the data of each event.

use std::io::{self, BufRead, Read};

/// Bytes of one line; a larger one ends the stream with an error.
const MAX_LINE_BYTES: u64 = 64 << 20;

/// The data of each event, in order.
pub(crate) struct Events<R> {
    from: R,
}

impl<R: BufRead> Events<R> {
    pub(crate) fn new(from: R) -> Self {
        Self { from }
    }

    /// The data of the next event; `None` at the end. An event that the end cut off is dropped.
    pub(crate) fn next_data(&mut self) -> io::Result<Option<String>> {
        let mut data: Option<String> = None;
        while let Some(line) = self.line()? {
            if line.is_empty() {
                if data.is_some() {
                    return Ok(data);
                }
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            if field == "data" {
                let value = value.strip_prefix(' ').unwrap_or(value);
                match &mut data {
                    Some(data) => {
                        data.push('\n');
                        data.push_str(value);
                    }
                    None => data = Some(value.to_owned()),
                }
            }
        }
        Ok(None)
    }

    fn line(&mut self) -> io::Result<Option<String>> {
        let mut line = String::new();
        let read = (&mut self.from).take(MAX_LINE_BYTES).read_line(&mut line)?;
        if read == 0 {
            return Ok(None);
        }
        if !line.ends_with('\n') && read as u64 == MAX_LINE_BYTES {
            return Err(io::Error::other("an event of the stream is too large"));
        }
        let line = line.strip_suffix('\n').unwrap_or(&line);
        Ok(Some(line.strip_suffix('\r').unwrap_or(line).to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(stream: &str) -> Vec<String> {
        let mut events = Events::new(stream.as_bytes());
        std::iter::from_fn(|| events.next_data().expect("reading from memory")).collect()
    }

    #[test]
    fn data_lines_of_an_event_are_joined_and_all_else_is_skipped() {
        let stream =
            ": hello\n\nid: 7\nevent: x\ndata: {\"a\":\ndata:1}\n\ndata: 2\r\n\r\nretry: 5\n\n";
        assert_eq!(all(stream), ["{\"a\":\n1}", "2"]);
    }

    #[test]
    fn an_event_without_its_empty_line_is_dropped() {
        assert_eq!(all("data: 1\n\ndata: 2\n"), ["1"]);
    }
}
