//! Receivers behind https, with a certificate of a test authority (valid until 2126; made with openssl).

use super::receiver::Receiver;
use super::{Pusher, followed, quick};
use crate::support::{World, done, finish, soon};
use dormouse_services::net::{AllowList, HttpClient, Lookup, Trust};
use dormouse_services::push::PushConfig;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

const AUTHORITY: &[u8] = include_bytes!("../../fixtures/webhook-ca.der");
const CERTIFICATE: &[u8] = include_bytes!("../../fixtures/webhook-cert.der");
const KEY: &[u8] = include_bytes!("../../fixtures/webhook-key.der");

fn acceptor() -> TlsAcceptor {
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from(CERTIFICATE)],
            PrivateKeyDer::try_from(KEY).unwrap(),
        );
    Arc::new(config.unwrap()).into()
}

#[tokio::test]
async fn a_certificate_must_be_trusted_and_be_of_that_name() {
    let authority = || vec![CertificateDer::from(AUTHORITY)];
    for (name, trusted, outcome) in [
        ("hooks.test", authority(), "delivered"),
        ("other.test", authority(), "given_up"),
        ("hooks.test", Vec::new(), "given_up"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            match acceptor().accept(stream).await {
                Ok(stream) => Receiver::serving(stream).await,
                Err(_refused) => Vec::new(),
            }
        });
        let lookup: Lookup = Arc::new(move |_, _| Box::pin(async move { Ok(vec![address]) }));
        let allow: AllowList = [name.parse().unwrap()].into_iter().collect();
        let client = HttpClient::with(allow, lookup, Trust::only(trusted));
        let world = World::new().await;
        let pusher = Pusher::start(&world.engine, client, quick(1));
        let url = format!("https://{name}:{}/", address.port());
        let call = followed(
            &world.engine,
            PushConfig::new(None, url, None, None).unwrap(),
        );
        finish(&call, done()).await;
        pusher.until_counted(outcome, 1).await;
        pusher.stop().await;
        let posts = soon(serving).await.unwrap();
        assert_eq!(posts.len(), usize::from(outcome == "delivered"), "{name}");
    }
}
