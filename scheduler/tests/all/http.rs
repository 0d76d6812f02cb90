//! HTTP requests of a real guest: what goes out, with what, and what does not.

use crate::harness::{Deployed, Platform, answer, data, text};
use dormouse_scheduler::VersionRef;
use dormouse_services::egress::{Egress, Injected};
use dormouse_services::llm::Secret;
use dormouse_services::net::{AllowList, HttpClient, Lookup, Trust};
use dormouse_services::{Grants, Services};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Barrier;

/// A server that keeps what it is asked, and answers with what the path says.
struct Site {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Site {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let (kept, meeting) = (Arc::clone(&asked), Arc::new(Barrier::new(3)));
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (kept, meeting) = (Arc::clone(&kept), Arc::clone(&meeting));
                tokio::spawn(async move {
                    let request = read(&mut stream).await;
                    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
                    kept.lock().unwrap().push(request);
                    if path == "/meet" {
                        meeting.wait().await;
                    }
                    let _ = stream.write_all(&reply(&path)).await;
                });
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    fn url(&self, host: &str, path: &str) -> String {
        format!("http://{host}:{}{path}", self.address.port())
    }
}

/// Head and body of a request with a length.
async fn read(stream: &mut tokio::net::TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("content-length")
                    .then(|| value.parse().unwrap())
            });
            if body.len() >= length.unwrap_or(0) {
                return text;
            }
        }
        match stream.read(&mut piece).await {
            Ok(0) | Err(_) => return text,
            Ok(read) => bytes.extend_from_slice(&piece[..read]),
        }
    }
}

fn reply(path: &str) -> Vec<u8> {
    match path {
        "/cut" => b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf".to_vec(),
        "/garbage" => b"what?\r\n\r\n".to_vec(),
        "/huge" => b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n".to_vec(),
        path => {
            let location = path.strip_prefix("/to?").unwrap_or_default();
            let (status, body) = if location.is_empty() {
                (200, "fine")
            } else {
                (302, "elsewhere")
            };
            format!(
                "HTTP/1.1 {status} X\r\nlocation: {location}\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            )
            .into_bytes()
        }
    }
}

/// Every name leads to these.
fn lookup(to: Vec<SocketAddr>) -> Lookup {
    Arc::new(move |_, _| {
        let to = to.clone();
        Box::pin(async move { Ok(to) })
    })
}

struct World {
    platform: Platform,
    agent: Deployed,
}

impl World {
    /// An agent that was granted `destinations`, where names lead to `to` and the operator lets `inside` in.
    async fn new(destinations: &[String], to: Vec<SocketAddr>, inside: &[&str]) -> Self {
        Self::with_secrets(destinations, to, inside, Vec::new()).await
    }

    async fn with_secrets(
        destinations: &[String],
        to: Vec<SocketAddr>,
        inside: &[&str],
        secrets: Vec<Injected>,
    ) -> Self {
        let allow: AllowList = inside.iter().map(|rule| rule.parse().unwrap()).collect();
        let client = HttpClient::with(allow, lookup(to), Trust::only([]));
        let services = Services::default();
        let egress = Egress::new(client, secrets, services.denied.clone()).unwrap();
        let platform = Platform::with_egress(egress, services).await;
        let deployed = platform.deploy("services").await;
        let grants: Grants = destinations
            .iter()
            .map(|one| one.parse().unwrap())
            .collect();
        let version = VersionRef {
            grants,
            ..(*deployed.version).clone()
        };
        let agent = Deployed {
            definition: deployed.definition,
            version: Arc::new(version),
        };
        Self { platform, agent }
    }

    async fn fetch(&self, orders: Value) -> String {
        let called = self.platform.call(&self.agent, "fetch", data(orders));
        let (_, settled) = tokio::time::timeout(Duration::from_secs(20), called)
            .await
            .unwrap();
        answer(&settled)
    }

    fn outcome(&self, outcome: &str) -> f64 {
        self.platform.egress_outcome(outcome)
    }
}

#[tokio::test]
async fn a_request_goes_where_it_was_granted_and_its_answer_comes_back() {
    let site = Site::start().await;
    let granted = site.url("api.test", "");
    let world = World::new(&[granted], vec![site.address], &["127.0.0.1"]).await;
    let url = site.url("api.test", "/a/../b?q=%20#f");
    let order = json!([{"method": "POST", "url": url, "headers": [["x-a", "1"]], "body": "{}"}]);
    assert_eq!(world.fetch(order).await, "200 fine");
    let asked = site.asked();
    let asked = asked[0].to_lowercase();
    assert!(
        asked.starts_with("post /a/../b?q=%20 http/1.1\r\n"),
        "{asked}"
    );
    let host = format!("\r\nhost: api.test:{}\r\n", site.address.port());
    for part in [
        &*host,
        "\r\nx-a: 1\r\n",
        "\r\ncontent-length: 2\r\n",
        "\r\nuser-agent: dormouse/",
    ] {
        assert!(asked.contains(part), "{part}: {asked}");
    }
    assert!(asked.ends_with("\r\n\r\n{}"), "{asked}");
    assert_eq!(world.outcome("ok"), 1.0);
}

#[tokio::test]
async fn requests_that_are_joined_are_on_their_way_at_once() {
    let site = Site::start().await;
    let granted = site.url("127.0.0.1", "");
    let world = World::new(&[granted], Vec::new(), &["127.0.0.1"]).await;
    let order = json!({"url": site.url("127.0.0.1", "/meet")});
    // The server answers none of them before all three have come.
    let said = world.fetch(json!([order, order, order])).await;
    assert_eq!(said, "200 fine\n200 fine\n200 fine");
}

#[tokio::test]
async fn without_a_grant_nothing_leaves_the_machine() {
    let site = Site::start().await;
    let other = format!("https://127.0.0.1:{}", site.address.port());
    let world = World::new(&[other], vec![site.address], &["127.0.0.1"]).await;
    let said = world
        .fetch(json!([
            {"url": site.url("127.0.0.1", "/")},
            {"url": site.url("api.test", "/")},
            {"url": site.url("0x7f.1", "/")},
        ]))
        .await;
    assert_eq!(said.matches("denied: ").count(), 3, "{said}");
    assert!(
        said.contains("dormouse deploy --grant http://api.test"),
        "{said}"
    );
    assert_eq!(site.asked(), Vec::<String>::new());
    assert_eq!(world.platform.services_denied("http"), 3);
    assert_eq!(world.outcome("denied"), 3.0);
}

#[tokio::test]
async fn a_granted_name_that_leads_inside_is_refused() {
    let site = Site::start().await;
    let names = ["api.test", "127.0.0.1", "[::ffff:127.0.0.1]", "localhost"];
    let granted: Vec<String> = names.iter().map(|name| site.url(name, "")).collect();
    let public: SocketAddr = "8.8.8.8:80".parse().unwrap();
    for to in [vec![site.address], vec![public, site.address]] {
        let world = World::new(&granted, to, &[]).await;
        let orders = names.map(|name| json!({"url": site.url(name, "/")}));
        let said = world.fetch(json!(orders)).await;
        assert_eq!(said.matches("leads to an address").count(), 4, "{said}");
        assert_eq!(world.outcome("prohibited"), 4.0);
    }
    assert_eq!(site.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn a_redirect_is_the_guests_to_follow_and_is_checked_again() {
    let site = Site::start().await;
    let inside = Site::start().await;
    let granted = [site.url("api.test", ""), inside.url("127.0.0.1", "")];
    let rule = site.address.to_string();
    let world = World::new(&granted, vec![site.address], &[&rule]).await;
    let to =
        |url: String| json!({"url": site.url("api.test", &format!("/to?{url}")), "follow": true});
    let said = world
        .fetch(json!([to(site.url("api.test", "/next"))]))
        .await;
    assert_eq!(said, "200 fine");
    let said = world
        .fetch(json!([
            to(inside.url("127.0.0.1", "/")),
            to(inside.url("localhost", "/"))
        ]))
        .await;
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].contains("leads to an address"), "{said}");
    assert!(lines[1].contains("has no grant"), "{said}");
    assert_eq!(inside.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn the_host_puts_secrets_in_and_the_guest_cannot_replace_them() {
    let site = Site::start().await;
    let granted = [site.url("api.test", ""), site.url("other.test", "")];
    let injected = |header: &str, agents: Option<&str>| Injected {
        origin: granted[0]
            .parse::<dormouse_services::Service>()
            .map(origin)
            .unwrap(),
        header: header.parse().unwrap(),
        prefix: "Bearer ".to_owned(),
        secret: Secret::new("s3cret"),
        agents: agents.map(|name| BTreeSet::from([name.to_owned()])),
    };
    let secrets = vec![
        injected("authorization", Some("services")),
        injected("x-key", Some("another")),
    ];
    let world = World::with_secrets(&granted, vec![site.address], &["127.0.0.1"], secrets).await;
    let mine = json!([
        ["Authorization", "mine"],
        ["authorization", "mine too"],
        ["x-key", "mine"]
    ]);
    for host in ["api.test", "other.test"] {
        let order = json!([{"url": site.url(host, "/"), "headers": mine}]);
        assert_eq!(world.fetch(order).await, "200 fine");
    }
    let asked = site.asked();
    assert!(
        asked[0].contains("authorization: Bearer s3cret\r\n"),
        "{}",
        asked[0]
    );
    assert_eq!(
        asked[0].matches("mine").count(),
        1,
        "x-key is another agent's: {}",
        asked[0]
    );
    assert!(!asked[1].contains("s3cret"), "{}", asked[1]);
    // An echo of the request would tell the guest.
    let trace = json!([{"method": "TRACE", "url": site.url("api.test", "/")}]);
    assert!(world.fetch(trace).await.contains("cannot be sent"));
    assert_eq!(site.asked().len(), 2);
}

fn origin(service: dormouse_services::Service) -> dormouse_services::Origin {
    match service {
        dormouse_services::Service::Http(origin) => origin,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn what_is_too_large_broken_or_too_much_is_an_error_that_the_guest_handles() {
    let site = Site::start().await;
    let granted = site.url("127.0.0.1", "");
    let world = World::new(&[granted], Vec::new(), &["127.0.0.1"]).await;
    let url = |path: &str| site.url("127.0.0.1", path);
    for (order, word) in [
        (json!({"url": url("/cut")}), "error: "),
        (json!({"url": url("/garbage")}), "error: "),
        (json!({"url": url("/huge")}), "limit: "),
        (
            json!({"url": url("/"), "method": "POST", "bytes": (8 << 20) + 1}),
            "limit: ",
        ),
        (
            json!({"url": url(&format!("/{}", "p".repeat(9_000)))}),
            "cannot be sent",
        ),
        (
            json!({"url": url("/"), "headers": [["host", "elsewhere"]]}),
            "the host's to set",
        ),
        (
            json!({"url": url("/"), "headers": [["a", "b\r\nc: d"]]}),
            "is none",
        ),
        (json!({"url": "ftp://127.0.0.1/"}), "neither https"),
        (
            json!({"url": format!("http://user:pass@{}/", site.address)}),
            "error: ",
        ),
    ] {
        let said = world.fetch(json!([order])).await;
        assert!(said.contains(word), "{word}: {said}");
    }
    let many: Vec<Value> = (0..40).map(|_| json!({"url": url("/")})).collect();
    let said = world.fetch(json!(many)).await;
    assert_eq!(said.matches("200 fine").count(), 32, "{said}");
    assert_eq!(said.matches("limit: ").count(), 8, "{said}");
    assert_eq!(
        world.fetch(json!([{"url": url("/")}])).await,
        "200 fine",
        "they were given back"
    );
}

/// Agents in other languages do not have the SDK, and many have WASI 0.2.
#[tokio::test]
async fn the_older_wasi_is_held_to_the_same() {
    let site = Site::start().await;
    let granted = site.url("api.test", "");
    let mut world = World::new(&[granted], vec![site.address], &["127.0.0.1"]).await;
    let hostile = world.platform.deploy("hostile").await;
    let version = VersionRef {
        grants: world.agent.version.grants.clone(),
        ..(*hostile.version).clone()
    };
    world.agent = Deployed {
        definition: hostile.definition,
        version: Arc::new(version),
    };
    for (host, said) in [("api.test", "200"), ("127.0.0.1", "HttpRequestDenied")] {
        let authority = format!("{host}:{}", site.address.port());
        let (_, settled) = world
            .platform
            .call(&world.agent, "wasi-http", text(&authority))
            .await;
        assert!(
            answer(&settled).contains(said),
            "{host}: {}",
            answer(&settled)
        );
    }
    assert_eq!(site.asked().len(), 1);
}
