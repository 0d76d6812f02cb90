//! Spans on their way to a collector while the server stops.

use dormouse_services::net::{AllowList, HttpClient, Lookup, Trust};
use dormouse_services::trace::{Exporter, Tracer, outcomes};
use hyper::HeaderMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

/// Answers each request with these statuses, the first when it is told to; says when one has come.
async fn collector(
    statuses: &'static [u16],
    go: oneshot::Receiver<()>,
) -> (String, mpsc::UnboundedReceiver<()>, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (told, came) = mpsc::unbounded_channel();
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&seen);
    tokio::spawn(async move {
        let mut go = Some(go);
        for status in statuses {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = [0; 64 << 10];
            assert!(stream.read(&mut bytes).await.unwrap() > 0);
            counted.fetch_add(1, Ordering::SeqCst);
            told.send(()).unwrap();
            if let Some(go) = go.take() {
                go.await.unwrap();
            }
            let answer =
                format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (address, came, seen)
}

/// How often the one span was posted, and how many were exported and failed.
async fn stopped_meanwhile(statuses: &'static [u16]) -> (usize, u64, u64) {
    let (go, gone) = oneshot::channel();
    let (address, mut came, seen) = collector(statuses, gone).await;
    let allow: AllowList = [address.parse().unwrap()].into_iter().collect();
    let nowhere: Lookup = Arc::new(|_, _| Box::pin(async { panic!("nobody looks up") }));
    let client = HttpClient::with(allow, nowhere, Trust::only([]));
    let target = client
        .target(&format!("http://{address}/v1/traces"))
        .unwrap();
    let counts = outcomes();
    let (recorder, exporter) = Exporter::start(client, target, HeaderMap::new(), &counts);
    let tracer = Tracer::new(recorder, 1.0);
    drop(tracer.begin("request", &HeaderMap::new()));
    came.recv().await.unwrap();
    // The collector has it, and has not answered yet.
    let closing = tokio::spawn(exporter.close());
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    go.send(()).unwrap();
    closing.await.unwrap();
    let count = |outcome| counts.with_label_values(&[outcome]).get();
    (
        seen.load(Ordering::SeqCst),
        count("exported"),
        count("failed"),
    )
}

#[tokio::test]
async fn what_a_collector_has_already_is_not_sent_again() {
    let (posted, exported, failed) = stopped_meanwhile(&[200, 200]).await;
    assert_eq!((posted, exported + failed), (1, 1));
    assert_eq!(exported, 1);
}

#[tokio::test]
async fn what_it_did_not_take_is_sent_once_more_without_a_wait() {
    assert_eq!(stopped_meanwhile(&[503, 200]).await, (2, 1, 0));
    assert_eq!(stopped_meanwhile(&[503, 503, 200]).await, (2, 0, 1));
}
