//! A webhook cannot make the platform talk to its neighbours.

use super::receiver::{Receiver, Reply, is_met};
use super::{Pusher, client, config, followed, quick};
use crate::support::{World, done, finish};
use dormouse_services::net::{AllowList, HttpClient, Lookup, TargetError, Trust};
use dormouse_services::push::PushConfig;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;

/// Answers each lookup with the next of these, and the last for ever.
fn answers(lists: Vec<Vec<SocketAddr>>) -> (Lookup, Arc<Mutex<usize>>) {
    let count = Arc::<Mutex<usize>>::default();
    let counter = Arc::clone(&count);
    let lookup: Lookup = Arc::new(move |name, _| {
        assert_eq!(name, "hooks.test");
        let mut count = counter.lock().unwrap();
        let answer = lists[(*count).min(lists.len() - 1)].clone();
        *count += 1;
        Box::pin(async move { Ok(answer) })
    });
    (lookup, count)
}

/// A task that ends with one event for this URL; the event is given up or delivered.
async fn deliver(url: String, client: HttpClient, outcome: &'static str) {
    let world = World::new().await;
    let pusher = Pusher::start(&world.engine, client, quick(2));
    let config = PushConfig::new(None, url, None, None).unwrap();
    let call = followed(&world.engine, config);
    finish(&call, done()).await;
    pusher.until_counted(outcome, 1).await;
    pusher.stop().await;
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let inside = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world = World::new().await;
    let receiver = Receiver::start().await;
    let target = format!("http://{}/", inside.local_addr().unwrap());
    receiver.script([Reply::Redirect(target.clone()), Reply::Redirect(target)]);
    // Even to where a post could go.
    let client = client(&["127.0.0.0/8"]);
    let pusher = Pusher::start(&world.engine, client, quick(2));
    let call = followed(&world.engine, config("one", &receiver));
    finish(&call, done()).await;
    pusher.until_counted("given_up", 1).await;
    assert!(!is_met(&inside).await);
    pusher.stop().await;
}

#[tokio::test]
async fn a_name_that_leads_inside_is_not_followed() {
    let inside = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = inside.local_addr().unwrap();
    let public: SocketAddr = "8.8.8.8:80".parse().unwrap();
    for answer in [vec![address], vec![public, address], Vec::new()] {
        let (lookup, _) = answers(vec![answer]);
        let client = HttpClient::with(AllowList::default(), lookup, Trust::only([]));
        let url = format!("http://hooks.test:{}/", address.port());
        deliver(url, client, "given_up").await;
        assert!(!is_met(&inside).await);
    }
}

#[tokio::test]
async fn the_connection_goes_to_the_address_that_was_checked() {
    let inside = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let receiver = Receiver::start().await;
    // A second answer would lead elsewhere.
    let (lookup, count) = answers(vec![
        vec![receiver.address],
        vec![inside.local_addr().unwrap()],
    ]);
    let allow: AllowList = [receiver.address.to_string().parse().unwrap()]
        .into_iter()
        .collect();
    let client = HttpClient::with(allow, lookup, Trust::only([]));
    let url = format!("http://hooks.test:{}/x", receiver.address.port());
    deliver(url, client, "delivered").await;
    assert_eq!(*count.lock().unwrap(), 1);
    let post = &receiver.posts(1).await[0];
    let host = format!("hooks.test:{}", receiver.address.port());
    assert_eq!(post.field("host"), host);
    assert!(!is_met(&inside).await);
}

#[tokio::test]
async fn a_name_that_is_let_in_may_lead_anywhere() {
    let receiver = Receiver::start().await;
    let port = receiver.address.port();
    for (rule, outcome) in [
        ("hooks.test".to_owned(), "delivered"),
        (format!("HOOKS.test:{port}"), "delivered"),
        ("hooks.test:1".to_owned(), "given_up"),
        ("other.test".to_owned(), "given_up"),
    ] {
        let (lookup, _) = answers(vec![vec![receiver.address]]);
        let allow = [rule.parse().unwrap()].into_iter().collect();
        let client = HttpClient::with(allow, lookup, Trust::only([]));
        let url = format!("http://hooks.test:{port}/");
        deliver(url, client, outcome).await;
    }
}

#[test]
fn urls_are_checked_before_they_are_kept() {
    let check = |url: &str| client(&["127.0.0.1:9000"]).target(url).map(drop);
    for url in [
        "https://hooks.example.com/x?y=z",
        "http://8.8.8.8:81/",
        "http://127.0.0.1:9000/",
        "https://[2606:4700::1111]/",
        "https://localhost/",
    ] {
        assert_eq!(check(url), Ok(()), "{url}");
    }
    for url in [
        "http://127.0.0.1:9001/",
        "http://127.1/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0177.0.0.1/",
        "http://[::1]/",
        "http://[::ffff:169.254.169.254]/",
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1/",
        "http://[fd00:ec2::254]/",
        "http://0/",
    ] {
        assert!(
            matches!(check(url), Err(TargetError::NotPublic(_))),
            "{url}"
        );
    }
    let long = format!("https://example.com/{}", "x".repeat(2048));
    for (url, error) in [
        ("", TargetError::NotAUrl),
        ("hooks", TargetError::NotAUrl),
        ("/hooks", TargetError::NotAUrl),
        ("https://", TargetError::NotAUrl),
        ("https://example.com/\r\nX: y", TargetError::NotAUrl),
        ("https://exa\nmple.com/", TargetError::NotAUrl),
        ("file:///etc/passwd", TargetError::Scheme),
        ("ftp://example.com/", TargetError::Scheme),
        ("gopher://example.com/", TargetError::Scheme),
        ("https://me@example.com/", TargetError::UserInfo),
        ("https://me:secret@example.com/", TargetError::UserInfo),
        (&long, TargetError::TooLong),
    ] {
        assert_eq!(check(url), Err(error), "{url}");
    }
}
