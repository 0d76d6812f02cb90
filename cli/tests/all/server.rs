//! A server that answers each connection with the next of its prepared answers.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::{self, JoinHandle};

use serde_json::Value;

pub(crate) struct FakeServer {
    pub(crate) url: String,
    requests: JoinHandle<Vec<Request>>,
}

/// What a client sent.
#[derive(Debug)]
pub(crate) struct Request {
    /// `POST /agents/x HTTP/1.1`, without the version.
    pub(crate) line: String,
    /// Lower-case names.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.as_str())
    }
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self {
            status,
            content_type: "application/json",
            body: body.to_string(),
        }
    }

    /// A stream of these JSON-RPC results; the connection is closed behind the last one.
    pub(crate) fn stream(results: &[Value]) -> Self {
        let event = |result: &Value| {
            format!("id: 1\ndata: {{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{result}}}\n\n")
        };
        Self {
            status: 200,
            content_type: "text/event-stream",
            body: results.iter().map(event).collect(),
        }
    }
}

impl FakeServer {
    pub(crate) fn start(answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serve = move |answer| serve(listener.accept().unwrap().0, answer);
        let requests = thread::spawn(move || answers.into_iter().map(serve).collect());
        Self { url, requests }
    }

    /// The requests, after every answer was given.
    pub(crate) fn requests(self) -> Vec<Request> {
        self.requests.join().unwrap()
    }
}

fn serve(mut stream: TcpStream, answer: Answer) -> Request {
    let request = read(&mut BufReader::new(stream.try_clone().unwrap()));
    let Answer {
        status,
        content_type,
        body,
    } = answer;
    write!(
        stream,
        "HTTP/1.1 {status} X\r\ncontent-type: {content_type}\r\nconnection: close\r\n\r\n{body}"
    )
    .unwrap();
    request
}

fn read(from: &mut impl BufRead) -> Request {
    let mut lines = from
        .by_ref()
        .lines()
        .map(Result::unwrap)
        .take_while(|line| !line.is_empty());
    let line = lines
        .next()
        .unwrap()
        .trim_end_matches(" HTTP/1.1")
        .to_owned();
    let header = |line: String| {
        let (name, value) = line.split_once(':').unwrap();
        (name.to_lowercase(), value.trim().to_owned())
    };
    let headers: Vec<(String, String)> = lines.map(header).collect();
    let mut request = Request {
        line,
        headers,
        body: Vec::new(),
    };
    let length: usize = request
        .header("content-length")
        .map_or(0, |length| length.parse().unwrap());
    request.body.resize(length, 0);
    from.read_exact(&mut request.body).unwrap();
    request
}
