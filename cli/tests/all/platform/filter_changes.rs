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

/// Changes the order of `guard`, or takes it away, while the agent is in its call.
fn change(server: &Server, filter: &[u8], settings: Option<&Value>) {
    server.until("the filter has seen an update", |server| {
        server.metric("dormouse_filter_seconds_count", &["phase=\"result\""]) >= 1.0
    });
    match settings {
        Some(settings) => drop(server.filter("guard", filter, settings.clone())),
        None => {
            let gone = answer(server.request("DELETE", "/v1/filters/guard"));
            assert_eq!(gone.status, 200);
        }
    }
}

#[test]
fn what_an_agent_says_is_redacted_whatever_changes_in_the_meantime() {
    let redact = json!({"config": "reply=redact"});
    let mut moved = redact.clone();
    moved["order"] = 7.into();
    for fail in ["closed", "open"] {
        for after in [Some(&moved), None] {
            let data = data_dir();
            let server = Server::start(data.path(), &[]);
            server.deploy(&guest("hostile"));
            let filter = policy("hostile-messages");
            let mut before = redact.clone();
            before["fail"] = fail.into();
            server.filter("guard", &filter, before);
            let params = super::data(json!({"ms": 1_000})).skill("slow").params();
            let stream = server.stream("hostile", "SendStreamingMessage", &params);
            change(&server, &filter, after);
            let events = Value::from(stream.rest()).to_string();
            assert!(events.contains("sleeping"), "{events}");
            assert!(events.contains("TASK_STATE_COMPLETED"), "{events}");
            assert!(events.contains("[redacted]"), "{events}");
            assert!(!events.contains("awake"), "{events}");
        }
    }
}

#[test]
fn a_stream_goes_on_through_a_change_of_its_filter() {
    let data = data_dir();
    let server = Server::start(data.path(), &[]);
    server.deploy(&guest("hostile"));
    let filter = policy("hostile-bodies");
    server.filter("guard", &filter, json!({}));
    let params = super::data(json!({"ms": 1_000})).skill("slow").params();
    let stream = server.stream("hostile", "SendStreamingMessage", &params);
    assert!(stream.next().is_some());
    server.filter("guard", &filter, json!({"order": 7}));
    let events = Value::from(stream.rest()).to_string();
    assert!(events.contains("TASK_STATE_COMPLETED"), "{events}");
    // The numbers of a filter end with what has begun under it.
    let gone = answer(server.request("DELETE", "/v1/filters/guard"));
    assert_eq!(gone.status, 200);
    server.until("its numbers are forgotten", |server| {
        let text = String::from_utf8(server.get("/metrics").body).unwrap();
        !text.contains("filter=\"guard\"")
    });
}
