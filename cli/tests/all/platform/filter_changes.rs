//! Filters that change while clients come and go.

use super::filters::policy;
use super::*;
use std::io::Write;
use std::net::TcpStream;

/// A client that says all of its request and leaves after a while.
fn leave(server: &Server, request: &str, body: &str, after: Duration) {
    let address = server.url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    let all =
        format!("{request} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n{body}");
    stream.write_all(all.as_bytes()).unwrap();
    std::thread::sleep(after);
}

fn names(server: &Server) -> Vec<String> {
    let filters = server.get("/v1/filters").json()["filters"].clone();
    let name = |entry: &Value| entry["name"].as_str().unwrap().to_owned();
    filters.as_array().unwrap().iter().map(name).collect()
}

#[test]
fn a_change_happens_wholly_or_not_at_all_when_its_client_leaves() {
    let data = data_dir();
    let server = Server::start(data.path(), &[]);
    let hostile = policy("hostile");
    let entry = server.filter("last", &hostile, json!({})).json();
    let body = json!({"digest": entry["digest"], "instances": 4}).to_string();
    for number in 0..24 {
        let after = Duration::from_micros(number * 500);
        let put = format!("PUT /v1/filters/f{}", number % 4);
        leave(&server, &put, &body, after);
        let delete = format!("DELETE /v1/filters/f{}", (number + 2) % 4);
        leave(&server, &delete, "", after / 4);
    }
    // Changes are one after the other, so that those above are done when this one is.
    server.filter("last", &hostile, json!({"instances": 1}));
    let in_path = names(&server);
    server.kill();
    let server = Server::start(data.path(), &[]);
    assert_eq!(names(&server), in_path, "the store and the path agree");
    for number in 0..24 {
        let after = Duration::from_micros(number * 500);
        leave(&server, "PUT /v1/filters/f0", &body, after);
    }
    server.filter("last", &hostile, json!({"instances": 1}));
    for name in names(&server) {
        let path = format!("/v1/filters/{name}");
        assert_eq!(answer(server.request("DELETE", &path)).status, 200);
    }
    // Nothing holds a place any more.
    for name in ["a", "b", "c", "d"] {
        server.filter(name, &hostile, json!({"instances": 8}));
    }
}
