//! From a URL to a connected stream: look the name up, check every address, connect to one of those.

use super::address::not_public;
use super::allow::AllowList;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::{Arc, LazyLock, OnceLock};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};
use tracing::warn;
use url::{Host, Url};

/// Bytes of a URL. More than this, some servers refuse.
const MAX_URL_BYTES: usize = 2048;

/// Names to addresses. Tests bring their own.
pub type Lookup = Arc<
    dyn Fn(String, u16) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>
        + Send
        + Sync,
>;

/// Lookups of the operating system at a time; more wait. Each takes one of the threads that the store reads on, and
/// goes on when nobody waits for it any more.
const MAX_LOOKUPS: usize = 32;

/// The resolver of the operating system.
pub(super) fn system_lookup() -> Lookup {
    static PLACES: LazyLock<Arc<Semaphore>> =
        LazyLock::new(|| Arc::new(Semaphore::new(MAX_LOOKUPS)));
    bounded(&PLACES, |name, port| {
        Ok((name, port).to_socket_addrs()?.collect())
    })
}

/// A resolver that blocks its thread, in as many of them at a time as there are places.
fn bounded(
    places: &Arc<Semaphore>,
    resolve: impl Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
) -> Lookup {
    let (places, resolve) = (Arc::clone(places), Arc::new(resolve));
    Arc::new(move |name, port| {
        let (places, resolve) = (Arc::clone(&places), Arc::clone(&resolve));
        Box::pin(async move {
            let place = places.acquire_owned().await.map_err(io::Error::other)?;
            let looking = tokio::task::spawn_blocking(move || {
                // Until the thread is free, whoever waits.
                let _place = place;
                resolve(&name, port)
            });
            looking.await.map_err(io::Error::other)?
        })
    })
}

/// Why a URL cannot be a webhook's.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TargetError {
    #[error("it is not a URL")]
    NotAUrl,
    #[error("it is longer than {MAX_URL_BYTES} bytes")]
    TooLong,
    #[error("its scheme must be http or https")]
    Scheme,
    #[error(
        "it must not contain a user name or password; use the authentication of the configuration"
    )]
    UserInfo,
    #[error("its address is {0}, which this server does not send to")]
    NotPublic(&'static str),
}

/// Where a request goes: a URL that has passed the checks that need no lookup.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    url: Url,
}

impl Target {
    pub fn parse(text: &str, allow: &AllowList) -> Result<Self, TargetError> {
        if text.len() > MAX_URL_BYTES {
            return Err(TargetError::TooLong);
        }
        // The URL standard takes line breaks out of URLs; nobody means one to be there.
        if text.bytes().any(|byte| byte.is_ascii_control()) {
            return Err(TargetError::NotAUrl);
        }
        let url = Url::parse(text).map_err(|_| TargetError::NotAUrl)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(TargetError::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(TargetError::UserInfo);
        }
        let target = Self { url };
        if let Some(address) = target.literal()
            && !allow.has_address(address, target.port())
            && let Some(why) = not_public(address)
        {
            return Err(TargetError::NotPublic(why));
        }
        Ok(target)
    }

    pub(super) fn is_https(&self) -> bool {
        self.url.scheme() == "https"
    }

    pub(super) fn port(&self) -> u16 {
        self.url
            .port_or_known_default()
            .expect("http and https have default ports")
    }

    /// Host and port, for logs and limits: nothing in it is secret, unlike in path and query.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host(), self.port())
    }

    /// The value of the `Host` field.
    pub(super) fn host_field(&self) -> String {
        match self.url.port() {
            Some(port) => format!("{}:{port}", self.host()),
            None => self.host().to_owned(),
        }
    }

    /// Path and query; a fragment is not sent.
    pub(crate) fn path(&self) -> String {
        match self.url.query() {
            Some(query) => format!("{}?{query}", self.url.path()),
            None => self.url.path().to_owned(),
        }
    }

    fn host(&self) -> &str {
        self.url.host_str().expect("http and https have a host")
    }

    /// The address, if the host is one rather than a name.
    fn literal(&self) -> Option<IpAddr> {
        match self.url.host() {
            Some(Host::Ipv4(address)) => Some(address.into()),
            Some(Host::Ipv6(address)) => Some(address.into()),
            Some(Host::Domain(_)) | None => None,
        }
    }
}

/// Whom to believe that a host is who it says. Cheap to clone.
#[derive(Clone)]
pub struct Trust(Arc<OnceLock<TlsConnector>>);

impl Trust {
    /// The certificates of the operating system, or of `SSL_CERT_FILE` and `SSL_CERT_DIR`, read when
    /// they are first needed.
    pub fn system() -> Self {
        Self(Arc::default())
    }

    pub fn only(roots: impl IntoIterator<Item = CertificateDer<'static>>) -> Self {
        Self(Arc::new(OnceLock::from(connector(roots))))
    }

    async fn connector(&self) -> TlsConnector {
        if let Some(known) = self.0.get() {
            return known.clone();
        }
        let trust = self.clone();
        let reading = move || trust.0.get_or_init(from_system).clone();
        match tokio::task::spawn_blocking(reading).await {
            Ok(connector) => connector,
            // The runtime is going down, or reading panicked: nobody is believed.
            Err(_died) => connector([]),
        }
    }
}

fn from_system() -> TlsConnector {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        warn!(%error, "some of the system's certificates cannot be read");
    }
    if found.certs.is_empty() {
        warn!("the system has no certificates: https webhooks will fail");
    }
    connector(found.certs)
}

fn connector(roots: impl IntoIterator<Item = CertificateDer<'static>>) -> TlsConnector {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(roots);
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has the default versions")
        .with_root_certificates(store)
        .with_no_client_auth();
    Arc::new(config).into()
}

/// Why there is no connection.
#[derive(Debug, Error)]
pub enum DialError {
    #[error("the name could not be looked up")]
    Lookup(#[source] io::Error),
    #[error("the name has no address")]
    NoAddress,
    #[error("the name leads to an address that is {0}")]
    NotPublic(&'static str),
    #[error("the connection failed")]
    Connect(#[source] io::Error),
    #[error("TLS failed")]
    Tls(#[source] io::Error),
}

pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Connects to an address that was checked.
pub(super) async fn dial(
    target: &Target,
    allow: &AllowList,
    lookup: &Lookup,
    trust: &Trust,
) -> Result<Box<dyn Stream>, DialError> {
    let addresses = checked(target, allow, lookup).await?;
    let stream = TcpStream::connect(&*addresses)
        .await
        .map_err(DialError::Connect)?;
    // A notification is one write; it must not wait for the acknowledgement of the one before.
    stream.set_nodelay(true).map_err(DialError::Connect)?;
    if !target.is_https() {
        return Ok(Box::new(stream));
    }
    let name = server_name(target).map_err(|error| DialError::Tls(io::Error::other(error)))?;
    let stream = trust
        .connector()
        .await
        .connect(name, stream)
        .await
        .map_err(DialError::Tls)?;
    Ok(Box::new(stream))
}

/// All addresses of the target. One that is not public refuses them all: an honest name has none.
async fn checked(
    target: &Target,
    allow: &AllowList,
    lookup: &Lookup,
) -> Result<Vec<SocketAddr>, DialError> {
    let port = target.port();
    let addresses = match target.literal() {
        Some(address) => vec![SocketAddr::new(address, port)],
        None => lookup(target.host().to_owned(), port)
            .await
            .map_err(DialError::Lookup)?,
    };
    if addresses.is_empty() {
        return Err(DialError::NoAddress);
    }
    if target.literal().is_none() && allow.has_name(target.host(), port) {
        return Ok(addresses);
    }
    for address in &addresses {
        if !allow.has_address(address.ip(), port)
            && let Some(why) = not_public(address.ip())
        {
            return Err(DialError::NotPublic(why));
        }
    }
    Ok(addresses)
}

fn server_name(
    target: &Target,
) -> Result<ServerName<'static>, rustls::pki_types::InvalidDnsNameError> {
    match target.literal() {
        Some(address) => Ok(ServerName::IpAddress(address.into())),
        None => ServerName::try_from(target.host().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::sync::Mutex;
    use std::sync::mpsc;

    #[tokio::test]
    async fn a_lookup_that_nobody_waits_for_keeps_its_place_until_it_ends() {
        let places = Arc::new(Semaphore::new(2));
        let (begun, beginning) = mpsc::channel();
        let (go, going) = mpsc::channel::<()>();
        let going = Mutex::new(going);
        let lookup = bounded(&places, move |_, _| {
            begun.send(()).unwrap();
            // Ends when the test does, too.
            let _ended = going.lock().unwrap().recv();
            Ok(Vec::new())
        });
        for _ in 0..10 {
            let mut waiting = lookup("slow.example".to_owned(), 80);
            assert!(futures_util::poll!(&mut waiting).is_pending());
            tokio::task::yield_now().await;
            assert!(futures_util::poll!(&mut waiting).is_pending());
        }
        for _ in 0..2 {
            beginning.recv().unwrap();
        }
        assert_eq!(places.available_permits(), 0, "they are all still looking");
        assert!(beginning.try_recv().is_err(), "no third was begun");
        for _ in 0..2 {
            go.send(()).unwrap();
        }
        let _free = places.acquire_many(2).await.unwrap();
    }
}
