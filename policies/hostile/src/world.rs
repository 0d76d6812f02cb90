//! What a filter is told of a request, and what it can reach: in words, for tests.

use dormouse_filter_sdk::{Answer, Request};
use std::hash::{BuildHasher, RandomState};
use std::io::Read;
use std::net::{TcpStream, ToSocketAddrs, UdpSocket};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// None for what is not of this kind.
pub(crate) fn answer(request: &Request<'_>, what: &str) -> Option<Answer> {
    let word = match what {
        "metadata" => return Some(metadata(request)),
        "headers" => return Some(Answer::allow().set_response("x-headers", &headers(request))),
        "edit" => return Some(edit()),
        "tls" => {
            let version = request.metadata.tls_version.as_deref();
            return Some(Answer::allow().set_response("x-tls", version.unwrap_or("none")));
        }
        "network" => told(TcpStream::connect("127.0.0.1:1").map(drop), "connected"),
        "udp" => {
            let bound = UdpSocket::bind("127.0.0.1:0");
            told(
                bound.and_then(|socket| socket.send_to(b"x", "127.0.0.1:9").map(drop)),
                "sent",
            )
        }
        "lookup" => told("localhost:80".to_socket_addrs().map(drop), "found"),
        "files" => told(std::fs::read_dir("/").map(drop), "read"),
        "environment" => std::env::vars().count().to_string(),
        "stdin" => {
            let mut all = Vec::new();
            let read = std::io::stdin().read_to_end(&mut all);
            read.map_or_else(|error| error.kind().to_string(), |count| count.to_string())
        }
        "random" => RandomState::new().hash_one(0).to_string(),
        "clock" => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            now.unwrap_or_default().as_millis().to_string()
        }
        "time" => {
            let begun = Instant::now();
            while begun.elapsed().is_zero() {}
            "passes".to_owned()
        }
        _ => return None,
    };
    Some(Answer::allow().tag(&word))
}

fn told(tried: std::io::Result<()>, word: &str) -> String {
    tried.map_or_else(|_error| "refused".to_owned(), |()| word.to_owned())
}

/// All fields, in headers of the response.
fn metadata(request: &Request<'_>) -> Answer {
    let metadata = request.metadata;
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "none".to_owned());
    [
        ("correlation-id", metadata.correlation_id.clone()),
        ("request-id", metadata.request_id.clone()),
        ("client-ip", metadata.client_ip.clone()),
        ("client-port", metadata.client_port.to_string()),
        ("server-name", text(&metadata.server_name)),
        ("protocol", metadata.protocol.clone()),
        ("tls-version", text(&metadata.tls_version)),
        ("route-id", text(&metadata.route_id)),
        ("upstream-id", text(&metadata.upstream_id)),
        ("timestamp-ms", metadata.timestamp_ms.to_string()),
        ("traceparent", text(&metadata.traceparent)),
        ("method", request.method.to_owned()),
        ("uri", request.uri.to_owned()),
    ]
    .iter()
    .fold(Answer::allow(), |answer, (name, value)| {
        answer.set_response(&format!("x-{name}"), value)
    })
}

/// Those of the request that begin with `x-`, in their order.
fn headers(request: &Request<'_>) -> String {
    let headers = request.headers.iter();
    let ours = headers.filter(|header| header.name.starts_with("x-"));
    let ours: Vec<String> = ours
        .map(|header| format!("{}={}", header.name, header.value))
        .collect();
    ours.join(" ")
}

/// Edits of every kind; the next filter says what is left of them.
fn edit() -> Answer {
    Answer::allow()
        .set_request("x-do", "headers")
        .set_request("x-set", "1")
        .add_request("x-set", "2")
        .remove_request("x-gone")
        .add_request("x-kept", "more")
        .remove_request("x-again")
        .add_request("x-again", "new")
        .set_response("x-order", "1")
        .add_response("x-order", "2")
        .add_response("x-order", "3")
        .set_response("x-not", "there")
        .remove_response("x-not")
}

#[cfg(test)]
mod tests {
    use super::*;
    use dormouse_filter_sdk::testing;

    #[test]
    fn it_says_what_it_is_told() {
        let (metadata, headers) = (testing::metadata(7), testing::headers(&[("x-a", "1")]));
        let request = Request {
            metadata: &metadata,
            method: "GET",
            uri: "/",
            headers: &headers,
        };
        let said = |what| answer(&request, what).map(|answer| format!("{:?}", answer.response()));
        assert!(said("metadata").is_some_and(|said| said.contains("4711")));
        assert!(said("headers").is_some_and(|said| said.contains("x-a=1")));
        assert!(said("no such thing").is_none());
    }
}
