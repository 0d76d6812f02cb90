//! HTTP requests of agents at their bounds: how many at a time, and for how long. Guests are in the scheduler's tests.

use bytes::Bytes;
use dormouse_services::egress::{Egress, EgressError, Sender, Share};
use dormouse_services::net::{AllowList, HttpClient, Lookup, StreamError, Times, Trust};
use dormouse_services::{Grants, Services};
use futures_util::poll;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, Response};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const SITE: &str = "http://api.test/";

/// Names lead to this address, or never anywhere.
fn egress(to: Option<SocketAddr>) -> Egress {
    let lookup: Lookup = Arc::new(move |_, _| {
        Box::pin(async move {
            match to {
                Some(to) => Ok(vec![to]),
                None => std::future::pending().await,
            }
        })
    });
    let allow: AllowList = ["127.0.0.1".parse().unwrap()].into_iter().collect();
    let client = HttpClient::with(allow, lookup, Trust::only([]));
    Egress::new(client, Vec::new(), Services::default().denied).unwrap()
}

fn grants() -> Grants {
    ["http://api.test".parse().unwrap()].into_iter().collect()
}

fn sender<'a>(agent: &'a str, grants: &'a Grants, share: &'a Share) -> Sender<'a> {
    Sender {
        agent,
        grants,
        share,
        trace: None,
    }
}

fn request() -> Request<Empty<Bytes>> {
    Request::get(SITE).body(Empty::new()).unwrap()
}

fn refused<T>(sent: Result<T, EgressError>) -> bool {
    matches!(sent, Err(EgressError::TooMany))
}

#[tokio::test]
async fn instances_agents_and_all_of_them_have_their_bounds() {
    let egress = egress(None);
    let grants = grants();
    let agents = ["a", "b", "c", "d"];
    let shares: Vec<Share> = (0..17).map(|_| Share::default()).collect();
    let mut waiting = Vec::new();
    for (at, agent) in agents.iter().enumerate() {
        // Four instances of it, each with as many requests as it may have.
        for share in &shares[at * 4..at * 4 + 4] {
            for _ in 0..32 {
                let sender = sender(agent, &grants, share);
                let mut sent = Box::pin(egress.send(sender, request(), Times::default()));
                assert!(poll!(&mut sent).is_pending());
                waiting.push(sent);
            }
            let more = sender(agent, &grants, share);
            assert!(refused(
                egress.send(more, request(), Times::default()).await
            ));
        }
        let fresh = Share::default();
        let more = sender(agent, &grants, &fresh);
        assert!(refused(
            egress.send(more, request(), Times::default()).await
        ));
    }
    assert_eq!(waiting.len(), 512);
    let other = |share| sender("e", &grants, share);
    let more = egress.send(other(&shares[16]), request(), Times::default());
    assert!(refused(more.await));
    // What is given up makes room.
    waiting.pop();
    let mut sent = Box::pin(egress.send(other(&shares[16]), request(), Times::default()));
    assert!(poll!(&mut sent).is_pending());
    drop(sent);
    drop(waiting);
    for share in &shares {
        assert!(share.is_idle().await);
    }
}

/// Says this much to whoever comes, and nothing more.
async fn says(text: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _asked = stream.read(&mut [0; 1024]).await.unwrap();
            stream.write_all(text.as_bytes()).await.unwrap();
            kept.push(stream);
        }
    });
    address
}

async fn send(
    to: Option<SocketAddr>,
    times: Times,
) -> Result<Response<Result<Bytes, StreamError>>, EgressError> {
    let (egress, grants, share) = (egress(to), grants(), Share::default());
    let port = to.map_or(80, |to| to.port());
    let origin = format!("http://api.test:{port}");
    let granted: Grants = [origin.parse().unwrap()].into_iter().collect();
    let grants = if to.is_some() { granted } else { grants };
    let request = Request::get(origin).body(Empty::<Bytes>::new()).unwrap();
    let sent = egress.send(sender("a", &grants, &share), request, times);
    let (answer, driving) = sent.await?;
    let (head, body) = answer.into_parts();
    let (body, ()) = tokio::join!(
        async { body.collect().await.map(|body| body.to_bytes()) },
        async {
            let _ = tokio::time::timeout(Duration::from_secs(1), driving).await;
        }
    );
    Ok(Response::from_parts(head, body))
}

const SHORT: Option<Duration> = Some(Duration::from_millis(50));

#[tokio::test]
async fn who_does_not_answer_in_time_is_given_up() {
    let silent = says("").await;
    let times = Times {
        head: SHORT,
        ..Times::default()
    };
    let sent = send(Some(silent), times).await;
    let Err(EgressError::Stream(StreamError::AnswerTimeout)) = sent else {
        panic!("{sent:?}");
    };
}

#[tokio::test]
async fn who_stops_in_the_middle_is_given_up() {
    let half = says("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
    let times = Times {
        piece: SHORT,
        ..Times::default()
    };
    let answer = send(Some(half), times).await.unwrap();
    assert_eq!(answer.status(), 200);
    let body = answer.into_body();
    assert!(matches!(body, Err(StreamError::AnswerTimeout)), "{body:?}");
}

/// It is not waited for less than a second, whatever the agent asks for.
#[tokio::test(start_paused = true)]
async fn a_name_that_leads_nowhere_is_given_up() {
    let times = Times {
        connect: SHORT,
        ..Times::default()
    };
    let begun = tokio::time::Instant::now();
    let sent = send(None, times).await;
    let Err(EgressError::Stream(StreamError::ConnectTimeout)) = sent else {
        panic!("{sent:?}");
    };
    assert_eq!(begun.elapsed().as_secs(), 1);
}
