//! Traces by the real binary, to a collector on this machine.

use super::filters::policy;
use super::push::{Post, receive};
use super::{Server, answer, data, data_dir, guest, reply, text};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::net::TcpListener;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CLIENT: &str = "00f067aa0ba902b7";

fn given() -> String {
    format!("00-{TRACE}-{CLIENT}-01")
}

/// A span as the collector has got it.
#[derive(Debug)]
pub(super) struct Span(Value);

impl Span {
    fn text(&self, member: &str) -> &str {
        self.0[member].as_str().unwrap_or_default()
    }

    pub(super) fn name(&self) -> &str {
        self.text("name")
    }

    pub(super) fn id(&self) -> &str {
        self.text("spanId")
    }

    fn attribute(&self, key: &str) -> &Value {
        let attributes = self.0["attributes"].as_array().unwrap();
        let found = attributes.iter().find(|one| one["key"] == key);
        found.map_or(&Value::Null, |found| &found["value"])
    }

    fn says(&self, key: &str, text: &str) -> bool {
        self.attribute(key)["stringValue"] == text
    }
}

/// A collector, and where it is.
pub(super) fn collector() -> (String, Receiver<Post>) {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    (format!("http://{address}"), receive(address))
}

/// All spans of a server that has stopped, once the collector has them, each once: a batch that was on its way when the
/// server stopped is sent again, because nobody knows whether it got there.
pub(super) fn spans(posts: &Receiver<Post>) -> Vec<Span> {
    let mut spans = Vec::new();
    let mut known = HashSet::new();
    for (fields, body) in posts.try_iter() {
        let is_json = fields
            .iter()
            .any(|field| field == "content-type: application/json");
        assert!(
            is_json && fields[0].starts_with("POST /v1/traces "),
            "{fields:?}"
        );
        let resource = &body["resourceSpans"][0];
        assert_eq!(resource["resource"]["attributes"][0]["key"], "service.name");
        let scope = resource["scopeSpans"][0]["spans"].as_array().unwrap();
        let new = scope
            .iter()
            .filter(|span| known.insert(span["spanId"].to_string()));
        spans.extend(new.cloned().map(Span));
    }
    spans
}

fn one<'a>(spans: &'a [Span], what: &str, fits: impl Fn(&Span) -> bool) -> &'a Span {
    let mut found = spans.iter().filter(|span| fits(span));
    match (found.next(), found.next()) {
        (Some(one), None) => one,
        (first, second) => panic!("{what}: {first:?} {second:?} of {spans:#?}"),
    }
}

#[test]
fn one_trace_goes_through_filters_agents_and_their_calls() {
    let dir = data_dir();
    let (endpoint, posts) = collector();
    let flags = ["--otlp-endpoint", &endpoint, "--grant", "agent:relay-b"];
    let server = Server::start(dir.path(), &flags);
    server.deploy(&guest("services"));
    let guard = |name: &str, world: &str| {
        server.filter(name, &policy(world), json!({"agents": ["relay-a"]}));
    };
    guard("guard", "hostile");
    guard("words", "hostile-messages");
    let params = data(json!({"path": ["relay-b"]})).skill("relay").params();
    let request = server.rpc_request("relay-a", "SendMessage", &params);
    let sent = answer(request.header("traceparent", given()));
    assert!(reply(&sent.json()["result"]).contains("heard"), "{sent:?}");
    assert!(server.stop().success());

    let spans = spans(&posts);
    for span in &spans {
        assert_eq!(span.text("traceId"), TRACE, "{span:?}");
        let time = |member| span.text(member).parse::<u64>().unwrap();
        assert!(
            time("startTimeUnixNano") <= time("endTimeUnixNano"),
            "{span:?}"
        );
    }
    let ids: HashMap<_, _> = spans.iter().map(|span| (span.id(), span.name())).collect();
    assert_eq!(ids.len(), spans.len(), "each has an id of its own");
    let below = |name: &str, above: &Span| {
        let fits = |span: &Span| span.name() == name && span.text("parentSpanId") == above.id();
        one(&spans, name, fits)
    };
    let root = one(&spans, "root", |span| span.text("parentSpanId") == CLIENT);
    assert_eq!((root.name(), &root.0["kind"]), ("send", &json!(2)));
    assert!(root.says("dormouse.agent", "relay-a") && root.says("dormouse.code", "ok"));
    assert_eq!(
        root.attribute("http.response.status_code")["intValue"],
        "200"
    );
    for (filter, phase) in [
        ("guard", "request_headers"),
        ("guard", "response_headers"),
        ("words", "message"),
        ("words", "result"),
    ] {
        let asked = one(&spans, filter, |span| {
            span.says("dormouse.filter", filter) && span.says("dormouse.phase", phase)
        });
        assert_eq!(asked.text("parentSpanId"), root.id());
        assert!(asked.says("dormouse.decision", "allow"), "{asked:?}");
    }
    let call = below("call", root);
    assert!(call.says("dormouse.outcome", "message") && call.says("dormouse.skill", "relay"));
    assert!(call.attribute("dormouse.memory_bytes")["intValue"].is_string());
    assert!(below("start", call).says("dormouse.temperature", "cold"));
    let asked = below("agent", call);
    assert!(asked.says("dormouse.callee", "relay-b"));
    let inner = below("send", asked);
    assert!(inner.says("dormouse.agent", "relay-b"));
    let start = below("start", below("call", inner));
    assert!(start.says("dormouse.temperature", "warm"), "code is loaded");
    for span in &spans {
        let above = span.text("parentSpanId");
        assert!(above == CLIENT || ids.contains_key(above), "{span:?}");
    }
}

#[test]
fn a_trace_begins_here_and_says_why_a_request_was_blocked() {
    let dir = data_dir();
    let (endpoint, posts) = collector();
    let server = Server::start(dir.path(), &["--otlp-endpoint", &endpoint]);
    server.deploy(&guest("echo"));
    server.deploy(&guest("services"));
    server.filter("guard", &policy("hostile"), json!({"agents": ["echo"]}));
    assert_eq!(server.told("block").status, 403);
    // A task, and what it remembers.
    server.send("relay-a", text("hm").skill("relay"));
    let save = json!({"do": "save", "key": "k", "value": 1});
    server.send("services", data(save).skill("remember"));
    assert!(server.stop().success());

    let spans = spans(&posts);
    let filter = one(&spans, "filter", |span| span.name() == "filter");
    assert!(filter.says("dormouse.decision", "block"), "{filter:?}");
    let rules = &filter.attribute("dormouse.rule_ids")["arrayValue"]["values"];
    assert_eq!(rules[0]["stringValue"], "r1");
    let status = "http.response.status_code";
    let blocked = |span: &Span| span.attribute(status)["intValue"] == "403";
    let blocked = one(&spans, "blocked", blocked);
    assert_eq!(filter.text("parentSpanId"), blocked.id());
    assert_eq!(blocked.text("parentSpanId"), "", "it is the first");
    let commit = one(&spans, "commit", |span| span.name() == "commit");
    let call = one(&spans, "call", |span| {
        span.id() == commit.text("parentSpanId")
    });
    assert!(call.says("dormouse.outcome", "input_required"), "{call:?}");
    let saved = one(&spans, "memory", |span| span.name() == "memory.save");
    assert_eq!(saved.0["kind"], 3);
    let traces: HashSet<_> = spans.iter().map(|span| span.text("traceId")).collect();
    assert_eq!(traces.len(), 3);
}

#[test]
fn a_collector_that_hangs_or_is_down_harms_nothing() {
    let dir = data_dir();
    // It takes connections, and never says a word.
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", hanging.local_addr().unwrap());
    let server = Server::start(dir.path(), &["--otlp-endpoint", &endpoint]);
    server.deploy(&guest("echo"));
    let send = |server: &Server| assert_eq!(reply(&server.send("echo", text("hm"))), "hm");
    // More than may wait: each is a request, a call and a start.
    (0..1200).for_each(|_| send(&server));
    let dropped = server.metric("dormouse_trace_spans_total", &["outcome=\"dropped\""]);
    assert!(dropped > 0.0, "{dropped}");
    let begun = Instant::now();
    assert!(server.stop().success());
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(20), "it waited {took:?}");

    drop(hanging);
    let server = Server::start(dir.path(), &["--otlp-endpoint", &endpoint]);
    send(&server);
    server.until("spans are lost", |server| {
        server.metric("dormouse_trace_spans_total", &["outcome=\"failed\""]) >= 3.0
    });
    send(&server);
    assert!(server.stop().success());
}
