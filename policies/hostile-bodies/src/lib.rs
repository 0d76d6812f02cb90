//! For the platform's tests of bodies: says in which pieces they came, and blocks or fails where they say so.

use dormouse_filter_sdk::{Answer, Chunk, Filter, filter, metrics};

/// The pieces of the request that is on its way.
struct Bodies {
    pieces: Vec<String>,
}

impl Bodies {
    fn piece(&mut self, chunk: &Chunk<'_>) -> Answer {
        let says = |word: &[u8]| chunk.data.windows(word.len()).any(|found| found == word);
        if says(b"TRAP!") {
            panic!("as asked");
        }
        if says(b"BLOCK!") {
            return Answer::block(422, "the body says so");
        }
        Answer::allow()
    }
}

impl Filter for Bodies {
    const NAME: &str = "hostile-bodies";
    const EVENTS: &[&str] = &["request_body", "response_body"];
    const STREAMING: bool = true;

    fn configure(_config: &str) -> Result<Self, String> {
        Ok(Self { pieces: Vec::new() })
    }

    fn request_body(&mut self, chunk: &Chunk<'_>) -> Answer {
        if chunk.index == 0 {
            self.pieces.clear();
        }
        let end = if chunk.last { "." } else { "" };
        self.pieces.push(format!("{}{end}", chunk.data.len()));
        let answer = self.piece(chunk);
        if chunk.last {
            answer.set_response("x-pieces", &self.pieces.join(" "))
        } else {
            answer.needs_more()
        }
    }

    fn response_body(&mut self, chunk: &Chunk<'_>) -> Answer {
        metrics::count("pieces", 1);
        metrics::count("bytes", chunk.data.len() as u64);
        metrics::count("ends", u64::from(chunk.last));
        self.piece(chunk).needs_more()
    }
}

filter!(Bodies);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_in_which_pieces_a_body_came() {
        let mut filter = Bodies::configure("").unwrap();
        let mut tell = |data, index, last| {
            filter.request_body(&Chunk {
                correlation_id: "c",
                data,
                index,
                last,
            })
        };
        assert!(tell(b"abc", 0, false).response().needs_more);
        let whole = tell(b"de", 1, true).response().response_headers.clone();
        assert!(format!("{whole:?}").contains("3 2."), "{whole:?}");
        assert_eq!(tell(b"a BLOCK! b", 0, true).status(), Some(422));
    }
}
