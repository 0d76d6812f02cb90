//! A filter with a way to go wrong for each test: the header `x-do` says which. Without it, and in all other
//! phases, it is a model filter that edits headers and counts. What it is told about the request, and what it has of the
//! world, is in `world`.

mod world;

use dormouse_filter_sdk::{Answer, Chunk, Filter, Header, Request, filter, metrics};
use std::time::Duration;

struct Hostile {
    count: u32,
    events: Vec<u32>,
    /// How long its shutdown takes.
    lingers: Duration,
    /// What to block the response to the request on its way with.
    later: Option<u16>,
}

/// Bytes of a page of linear memory.
const PAGE: usize = 64 << 10;

#[cfg(target_arch = "wasm32")]
fn pages() -> usize {
    core::arch::wasm32::memory_size(0)
}

#[cfg(target_arch = "wasm32")]
fn grow(pages: usize) -> bool {
    core::arch::wasm32::memory_grow(0, pages) != usize::MAX
}

#[cfg(not(target_arch = "wasm32"))]
fn pages() -> usize {
    0
}

#[cfg(not(target_arch = "wasm32"))]
fn grow(_pages: usize) -> bool {
    false
}

/// For whoever reads the answer, and for clients.
fn said(word: &str) -> Answer {
    Answer::allow().tag(word).set_response("x-word", word)
}

impl Hostile {
    fn go_wrong(&mut self, what: &str, number: usize) -> Answer {
        let count = self.count.to_string();
        match what {
            "trap" => panic!("as asked"),
            "loop" => loop {
                std::hint::black_box(number);
            },
            "spin" => {
                let spun = (0..number).fold(0, |sum, one| std::hint::black_box(sum ^ one));
                Answer::allow().tag(&spun.to_string())
            }
            "sleep" => {
                std::thread::sleep(Duration::from_millis(number as u64));
                Answer::allow()
            }
            "linger" => {
                self.lingers = Duration::from_millis(number as u64);
                Answer::allow()
            }
            "pages" => said(&pages().to_string()),
            "grow" => said(if grow(number) { "grown" } else { "refused" }),
            "allocate" => {
                let mut held = Vec::new();
                loop {
                    // Not written to: its time is to be over later than its memory, on a busy machine, too.
                    held.push(Vec::<u8>::with_capacity(PAGE));
                    std::hint::black_box(&held);
                }
            }
            "print" => {
                println!("{}", "x".repeat(number));
                Answer::allow()
            }
            "lines" => {
                println!("{}", "\n".repeat(number.saturating_sub(1)));
                Answer::allow()
            }
            "half" => {
                // Nothing keeps it here until the line ends.
                eprint!("half a line");
                Answer::allow()
            }
            "flood" => Answer::block(403, &"x".repeat(number)),
            "status" => Answer::block(number as u16, "as asked"),
            "redirect" => Answer::redirect(number as u16, "https://elsewhere.example/"),
            "newline" => Answer::allow().set_response("x-split", "a\r\nset-cookie: b=c"),
            "hop-by-hop" => Answer::allow()
                .set_request("content-length", "1")
                .set_request("transfer-encoding", "chunked")
                .set_request("host", "elsewhere.example")
                .set_response("content-length", "1")
                .set_response("connection", "close")
                .set_response("x-kept", "yes"),
            "metrics" => {
                metrics::count("asked", 2);
                metrics::gauge("level", 0.5);
                metrics::observe("size", number as f64);
                for other in 0..number {
                    metrics::count(&format!("flood_{other}"), 1);
                }
                metrics::count("Not A Name\n", 1);
                metrics::gauge("level", f64::NAN);
                Answer::allow()
            }
            "count" => Answer::allow().tag(&count),
            "block" => Answer::block(403, "as asked")
                .with_header("set-cookie", "a=1")
                .with_header("set-cookie", "b=2")
                .rule("r1")
                .reason("asked"),
            _ => Answer::allow()
                .set_request("x-seen", &count)
                .set_response("x-count", &count)
                .tag("seen")
                .confidence(0.5),
        }
    }
}

impl Filter for Hostile {
    const NAME: &str = "hostile";
    const EVENTS: &[&str] = &["request_headers", "request_body", "response_headers"];

    fn configure(config: &str) -> Result<Self, String> {
        match config {
            "refuse" | r#""refuse""# => Err("as asked".to_owned()),
            "trap" => panic!("as asked"),
            _ => Ok(Self {
                count: 0,
                events: Vec::new(),
                lingers: Duration::ZERO,
                later: None,
            }),
        }
    }

    fn request_headers(&mut self, request: &Request<'_>) -> Answer {
        self.count += 1;
        let asked = request.header("x-do").unwrap_or_default();
        let (what, number) = asked.split_once(' ').unwrap_or((asked, "0"));
        self.later = (what == "later").then(|| number.parse().unwrap_or_default());
        let number = number.parse().unwrap_or_default();
        world::answer(request, what).unwrap_or_else(|| self.go_wrong(what, number))
    }

    fn request_body(&mut self, chunk: &Chunk<'_>) -> Answer {
        self.events.push(chunk.index);
        if chunk.data.windows(5).any(|word| word == b"TRAP!") {
            panic!("as asked");
        }
        if chunk.data.windows(6).any(|word| word == b"BLOCK!") {
            return Answer::block(422, "the body says so");
        }
        Answer::allow().tag(&chunk.data.len().to_string())
    }

    fn response_headers(&mut self, _id: &str, status: u16, _headers: &[Header]) -> Answer {
        if let Some(block) = self.later.take() {
            return Answer::block(block, "the head says so").with_header("x-blocked", "later");
        }
        Answer::allow().set_response("x-status-seen", &status.to_string())
    }

    fn health(&self) -> Result<String, String> {
        match self.count {
            13 => Err("thirteen is too many".to_owned()),
            count => Ok(count.to_string()),
        }
    }

    fn shutdown(&mut self) {
        std::thread::sleep(self.lingers);
        println!("shut down after {}", self.count);
    }
}

filter!(Hostile);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_says_so_is_blocked() {
        let mut filter = Hostile::configure("").unwrap();
        let mut status = |data| {
            let chunk = Chunk {
                correlation_id: "c",
                data,
                index: 0,
                last: true,
            };
            filter.request_body(&chunk).status()
        };
        assert_eq!(status(b"a BLOCK! b"), Some(422));
        assert_eq!(status(b"a BLOCK b"), None);
    }
}
