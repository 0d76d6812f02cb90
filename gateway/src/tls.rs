//! TLS on the public listener. Certificates are read again when their files change, because they are renewed while a
//! server runs.

use crate::handle::Peer;
use crate::stall::Socket;
use arc_swap::ArcSwap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ProtocolVersion, ServerConfig};
use tokio_rustls::server::TlsStream;
use tracing::{info, warn};

/// How often the files are looked at. Certificates are renewed days before they end.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);
/// What is offered by ALPN (RFC 7301), the best first.
const PROTOCOLS: [&[u8]; 2] = [HTTP2, b"http/1.1"];
/// HTTP/2, as ALPN calls it (RFC 9113 §3.2).
pub(crate) const HTTP2: &[u8] = b"h2";

/// The certificate that a server shows, and what proves that it is its own.
pub struct Tls {
    certificates: PathBuf,
    key: PathBuf,
    seen: Mutex<Stamps>,
    acceptor: ArcSwap<ServerConfig>,
}

/// When each file was written, and how long it was.
type Stamps = [Option<(SystemTime, u64)>; 2];

/// Why TLS cannot be had.
#[derive(Debug, Error)]
pub enum TlsError {
    #[error("cannot read the certificates in {}: {cause}", path.display())]
    Certificates { path: PathBuf, cause: pem::Error },
    #[error("{} has no certificate; it must have the server's own first, in PEM", .0.display())]
    NoCertificate(PathBuf),
    #[error("cannot read the private key in {}: {cause}", path.display())]
    Key { path: PathBuf, cause: pem::Error },
    #[error("the certificate and its key cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
}

impl fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = formatter.debug_struct("Tls");
        debug
            .field("certificates", &self.certificates)
            .finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads a chain of certificates, the server's own first, and its private key: both in PEM.
    ///
    /// # Errors
    /// When a file cannot be read, or they do not belong together.
    pub fn open(certificates: &Path, key: &Path) -> Result<Self, TlsError> {
        let seen = stamps(certificates, key);
        let config = read(certificates, key)?;
        Ok(Self {
            certificates: certificates.to_owned(),
            key: key.to_owned(),
            seen: Mutex::new(seen),
            acceptor: ArcSwap::from_pointee(config),
        })
    }

    /// Reads the files again if they are others than before. What cannot be used is not: the old certificate stays. Later
    /// handshakes get the new one.
    pub fn refresh(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = stamps(&self.certificates, &self.key);
        if *seen == now {
            return;
        }
        *seen = now;
        match read(&self.certificates, &self.key) {
            Ok(config) => {
                self.acceptor.store(Arc::new(config));
                info!(certificates = %self.certificates.display(), "a new certificate is shown");
            }
            Err(error) => warn!(%error, "the old certificate is kept"),
        }
    }

    /// [`refresh`](Self::refresh), now and then, until it is dropped.
    pub(crate) async fn keep_fresh(self: &Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            let tls = Arc::clone(self);
            // A panic is one of a library's; the next look is another chance.
            let _ = tokio::task::spawn_blocking(move || tls.refresh()).await;
        }
    }

    pub(crate) async fn accept(&self, stream: Socket) -> io::Result<TlsStream<Socket>> {
        TlsAcceptor::from(self.acceptor.load_full())
            .accept(stream)
            .await
    }
}

fn stamps(certificates: &Path, key: &Path) -> Stamps {
    [certificates, key].map(|path| {
        let known = fs::metadata(path).ok()?;
        Some((known.modified().ok()?, known.len()))
    })
}

fn read(certificates: &Path, key: &Path) -> Result<ServerConfig, TlsError> {
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(certificates).and_then(Iterator::collect);
    let chain = chain.map_err(|cause| TlsError::Certificates {
        path: certificates.to_owned(),
        cause,
    })?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate(certificates.to_owned()));
    }
    let key = PrivateKeyDer::from_pem_file(key).map_err(|cause| TlsError::Key {
        path: key.to_owned(),
        cause,
    })?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(config)
}

/// What a client is connected by.
pub(crate) enum Wire {
    Plain(Socket),
    /// Whoever does not read is noticed below it: it takes what there is and keeps it.
    Tls(Box<TlsStream<Socket>>),
}

impl Wire {
    pub(crate) fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream.tcp(),
            Self::Tls(stream) => stream.get_ref().0.tcp(),
        }
    }

    /// Who is at the other end.
    pub(crate) fn peer(&self) -> Peer {
        let session = match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => stream.get_ref().1.protocol_version(),
        };
        Peer {
            address: self.tcp().peer_addr().ok(),
            tls_version: session.and_then(|version| match version {
                ProtocolVersion::TLSv1_2 => Some("TLSv1.2"),
                ProtocolVersion::TLSv1_3 => Some("TLSv1.3"),
                _ => None,
            }),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bytes),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
