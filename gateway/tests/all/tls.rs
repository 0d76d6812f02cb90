//! TLS on the public listener.

use crate::support::{Server, start};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dormouse_gateway::tls::{Tls, TlsError};
use h2::client::SendRequest;
use http_body_util::Empty;
use hyper::Request;
use hyper_util::rt::TokioIo;
use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// A certificate for localhost in a folder.
struct Files {
    dir: tempfile::TempDir,
    known: CertificateDer<'static>,
}

impl Files {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let known = issue(dir.path());
        Self { dir, known }
    }

    fn certificate(&self) -> PathBuf {
        self.dir.path().join("cert.pem")
    }

    fn key(&self) -> PathBuf {
        self.dir.path().join("key.pem")
    }

    fn open(&self) -> Result<Tls, TlsError> {
        Tls::open(&self.certificate(), &self.key())
    }
}

fn issue(dir: &Path) -> CertificateDer<'static> {
    let names = vec!["localhost".to_owned()];
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).unwrap();
    std::fs::write(dir.join("cert.pem"), cert.pem()).unwrap();
    std::fs::write(dir.join("key.pem"), signing_key.serialize_pem()).unwrap();
    cert.der().clone()
}

/// A handshake by somebody who trusts only this certificate.
async fn greet(
    server: &Server,
    trusted: &CertificateDer<'static>,
    protocols: &[&[u8]],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let stream = TcpStream::connect(&server.address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

/// The status of its health, over HTTP/1.1.
async fn health(stream: TlsStream<TcpStream>) -> u16 {
    let (mut client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = Request::get("/healthz").header("host", "localhost");
    let request = request.body(Empty::<bytes::Bytes>::new()).unwrap();
    client
        .send_request(request)
        .await
        .unwrap()
        .status()
        .as_u16()
}

#[tokio::test]
async fn both_protocols_are_spoken_and_agreed_on_in_the_handshake() {
    let files = Files::new();
    let tls = Arc::new(files.open().unwrap());
    let server = start(|config| config.tls = Some(tls)).await;
    let plain: [&[&[u8]]; 2] = [&[], &[b"http/1.1"]];
    for protocols in plain {
        let stream = greet(&server, &files.known, protocols).await.unwrap();
        assert_eq!(health(stream).await, 200);
    }
    let stream = greet(&server, &files.known, &[b"h2", b"http/1.1"])
        .await
        .unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut client: SendRequest<bytes::Bytes> = client.ready().await.unwrap();
    let request = Request::get("https://localhost/healthz").body(()).unwrap();
    let (answer, _) = client.send_request(request, true).unwrap();
    assert_eq!(answer.await.unwrap().status(), 200);
}

#[tokio::test]
async fn who_does_not_speak_tls_gets_nowhere_and_keeps_nobody_waiting() {
    let files = Files::new();
    let tls = Arc::new(files.open().unwrap());
    let server = start(|config| {
        config.tls = Some(tls);
        config.header_timeout = Duration::from_millis(200);
        config.max_connections = 1;
    })
    .await;
    let mut plain = TcpStream::connect(&server.address).await.unwrap();
    plain
        .write_all(b"GET /healthz HTTP/1.1\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    // A reset is as good.
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    // It holds the only place, and says nothing.
    let silent = TcpStream::connect(&server.address).await.unwrap();
    let stream = greet(&server, &files.known, &[]).await.unwrap();
    assert_eq!(health(stream).await, 200);
    drop(silent);
}

#[tokio::test]
async fn a_new_certificate_is_shown_and_a_broken_one_is_not() {
    let mut files = Files::new();
    let tls = Arc::new(files.open().unwrap());
    let shown = Arc::clone(&tls);
    let server = start(|config| config.tls = Some(shown)).await;
    let old = files.known.clone();
    files.known = issue(files.dir.path());
    assert!(greet(&server, &files.known, &[]).await.is_err(), "not yet");
    tls.refresh();
    greet(&server, &files.known, &[]).await.unwrap();
    assert!(greet(&server, &old, &[]).await.is_err());
    // In the middle of being renewed: the key is another one.
    let other = KeyPair::generate().unwrap().serialize_pem();
    std::fs::write(files.key(), other).unwrap();
    tls.refresh();
    greet(&server, &files.known, &[]).await.unwrap();
    std::fs::remove_file(files.certificate()).unwrap();
    tls.refresh();
    greet(&server, &files.known, &[]).await.unwrap();
}

#[test]
fn what_cannot_be_used_is_said() {
    let files = Files::new();
    let (certificate, key) = (files.certificate(), files.key());
    let missing = files.dir.path().join("none.pem");
    let refused = |certificate: &Path, key: &Path| Tls::open(certificate, key).err().unwrap();
    assert!(matches!(
        refused(&missing, &key),
        TlsError::Certificates { .. }
    ));
    assert!(matches!(
        refused(&certificate, &missing),
        TlsError::Key { .. }
    ));
    assert!(matches!(refused(&key, &key), TlsError::NoCertificate(_)));
    let other = files.dir.path().join("other.pem");
    std::fs::write(&other, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    assert!(matches!(
        refused(&certificate, &other),
        TlsError::Unusable(_)
    ));
}

#[tokio::test]
async fn a_client_that_stops_reading_is_dropped() {
    let files = Files::new();
    let tls = Arc::new(files.open().unwrap());
    let server = start(|config| {
        config.tls = Some(tls);
        config.stall_timeout = Duration::from_millis(300);
        config.max_connections = 1;
    })
    .await;
    let mut stream = greet(&server, &files.known, &[]).await.unwrap();
    let asks = async {
        let request = b"GET /v1/agents HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(100);
        while stream.write_all(&request).await.is_ok() {}
    };
    let ended = tokio::time::timeout(Duration::from_secs(20), asks).await;
    ended.expect("it never reads, and may go on writing");
    let stream = greet(&server, &files.known, &[]).await.unwrap();
    assert_eq!(health(stream).await, 200);
}

/// One request over a connection of its own, head and body of the answer together.
async fn told(
    stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin),
    head: &str,
    body: &str,
) -> String {
    let length = body.len();
    let request = format!(
        "{head}\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn filters_are_told_the_version() {
    let files = Files::new();
    let tls = files.open().unwrap();
    let server = start(|config| config.tls = Some(Arc::new(tls))).await;
    let wasm = STANDARD.encode(crate::filters::policy("hostile"));
    let mut stream = greet(&server, &files.known, &[]).await.unwrap();
    let put = serde_json::json!({"wasm": wasm, "instances": 1}).to_string();
    let answer = told(&mut stream, "PUT /v1/filters/guard HTTP/1.1", &put).await;
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    let mut stream = greet(&server, &files.known, &[]).await.unwrap();
    let card = "GET /agents/echo/.well-known/agent-card.json HTTP/1.1\r\nx-do: tls";
    let answer = told(&mut stream, card, "").await;
    assert!(answer.contains("x-tls: TLSv1.3\r\n"), "{answer}");
    // Its twin on a listener without.
    let server = start(|_| {}).await;
    server
        .filter(
            "guard",
            &crate::filters::policy("hostile"),
            serde_json::json!({}),
        )
        .await;
    assert_eq!(
        server.told("echo", "tls").await.header("x-tls"),
        Some("none")
    );
}
