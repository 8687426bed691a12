//! TCP listeners, plain or with TLS.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{Stream, stream};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;

use super::{
    Connection,
    killable::Killable,
    places::{MAX_CONNECTIONS, Place, Places},
};

/// Time for a TLS handshake.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// Handshakes under way at once: a peer that opens connections and says nothing costs no more.
const MAX_HANDSHAKES: usize = 64;
/// See `unix`: a failed accept is a failure of the whole process.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A TCP listener could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address could not be bound.
    #[error("cannot listen on {address}")]
    Bind {
        /// `HOST:PORT` as configured.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// A certificate or key file is not usable.
    #[error("{what} {}: {reason}", .path.display())]
    File {
        /// Which of the two.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// Certificate and key do not belong together, or are of a kind that is not supported.
    #[error("certificate {} and key {}: {reason}", .cert.display(), .key.display())]
    Mismatch {
        /// Certificate file.
        cert: PathBuf,
        /// Key file.
        key: PathBuf,
        /// What the TLS library says.
        reason: String,
    },
}

/// Server-side TLS.
#[derive(Clone)]
pub struct Tls(TlsAcceptor);

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Reads a certificate chain and its key, both PEM.
    pub fn load(cert: &Path, key: &Path) -> Result<Self, BindError> {
        let file = |what, path: &Path, reason: String| BindError::File {
            what,
            path: path.into(),
            reason,
        };
        let read = |what, path: &Path| {
            std::fs::read(path).map_err(|e| file(what, path, format!("cannot read it: {e}")))
        };
        let pem = read("certificate", cert)?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        let chain = chain.map_err(|e| file("certificate", cert, format!("not PEM: {e}")))?;
        if chain.is_empty() {
            return Err(file(
                "certificate",
                cert,
                "holds no certificate in PEM form".into(),
            ));
        }
        let pem = read("key", key)?;
        let private = PrivateKeyDer::from_pem_slice(&pem)
            .map_err(|_| file("key", key, "holds no private key in PEM form".into()))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|b| b.with_no_client_auth().with_single_cert(chain, private));
        let mut config = config.map_err(|e| BindError::Mismatch {
            cert: cert.into(),
            key: key.into(),
            reason: e.to_string(),
        })?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }
}

/// An accepted connection.
#[derive(Debug)]
pub enum Io {
    /// Without TLS.
    Plain(TcpStream),
    /// With TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_read(cx, buf),
            Self::Tls(io) => Pin::new(io).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_write(cx, buf),
            Self::Tls(io) => Pin::new(io).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_write_vectored(cx, bufs),
            Self::Tls(io) => Pin::new(io).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(io) => io.is_write_vectored(),
            Self::Tls(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_flush(cx),
            Self::Tls(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_shutdown(cx),
            Self::Tls(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}

/// A bound listener.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    tls: Option<Tls>,
    places: Places,
}

impl Listener {
    /// Binds `host:port`.
    pub async fn bind(host: &str, port: u16, tls: Option<Tls>) -> Result<Self, BindError> {
        let bound = TcpListener::bind((host, port)).await;
        let listener = bound.map_err(|source| {
            let host = if host.contains(':') {
                format!("[{host}]")
            } else {
                host.to_owned()
            };
            BindError::Bind {
                address: format!("{host}:{port}"),
                source,
            }
        })?;
        Ok(Self {
            listener,
            tls,
            places: Places::new(MAX_CONNECTIONS),
        })
    }

    /// The address it got.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Accepts connections for ever, a bounded number at once; each is cut with `cut`, or when it
    /// does not begin HTTP/2. Handshakes run beside each other.
    pub fn incoming(
        self,
        cut: CancellationToken,
    ) -> impl Stream<Item = io::Result<Killable<Io, Connection>>> + Send {
        let (tx, ready) = mpsc::channel(1);
        let accepting = self.accept_all(tx);
        let state = (Box::pin(accepting), ready, cut);
        stream::unfold(state, |(mut accepting, mut ready, cut)| async move {
            // cancel-safe: `accepting` is pinned in the state, `recv` loses nothing.
            let (io, place) = tokio::select! {
                () = &mut accepting => return None,
                io = ready.recv() => io?,
            };
            let io = Killable::new(io, cut.child_token(), Connection::default());
            let io = io.with_preface_limit().with_place(place);
            Some((Ok(io), (accepting, ready, cut)))
        })
    }

    /// Cancel-safe, as both of its steps are.
    async fn accept(&self) -> (Place, io::Result<(TcpStream, SocketAddr)>) {
        let place = self.places.take().await;
        (place, self.listener.accept().await)
    }

    async fn accept_all(self, ready: mpsc::Sender<(Io, Place)>) {
        let mut handshakes = JoinSet::new();
        loop {
            // cancel-safe: both arms only take what is there.
            let (place, accepted) = tokio::select! {
                accepted = self.accept(), if handshakes.len() < MAX_HANDSHAKES => accepted,
                Some(_) = handshakes.join_next() => continue,
            };
            let (io, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "Cannot accept a connection.");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // Frames are written whole; waiting to join them only delays key strokes. A connection
            // that ended meanwhile shows at its first read.
            io.set_nodelay(true).ok();
            let (tls, ready) = (self.tls.clone(), ready.clone());
            handshakes.spawn(async move {
                let io = match tls {
                    None => Io::Plain(io),
                    Some(Tls(acceptor)) => {
                        match timeout(HANDSHAKE_LIMIT, acceptor.accept(io)).await {
                            Ok(Ok(io)) => Io::Tls(Box::new(io)),
                            Ok(Err(error)) => {
                                tracing::info!(%peer, %error, "A TLS handshake failed.");
                                return;
                            }
                            Err(_) => {
                                tracing::info!(%peer, "A TLS handshake took too long.");
                                return;
                            }
                        }
                    }
                };
                // The server is gone when nobody takes the connection.
                ready.send((io, place)).await.ok();
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use tokio::io::AsyncReadExt;

    use super::*;

    /// Long enough for a loaded machine, or of a paused clock.
    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn one_too_many_waits_until_another_has_left() {
        let mut listener = Listener::bind("127.0.0.1", 0, None).await.unwrap();
        listener.places = Places::new(2);
        let address = listener.local_addr().unwrap();
        let mut incoming = Box::pin(listener.incoming(CancellationToken::new()));
        let _peers = [
            TcpStream::connect(address).await.unwrap(),
            TcpStream::connect(address).await.unwrap(),
            TcpStream::connect(address).await.unwrap(),
        ];
        let first = incoming.next().await.unwrap().unwrap();
        let _second = incoming.next().await.unwrap().unwrap();
        assert!(timeout(PATIENCE, incoming.next()).await.is_err());

        tokio::time::resume();
        drop(first);
        let third = timeout(PATIENCE, incoming.next()).await;
        third.expect("still waits").unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_peer_is_cut() {
        let listener = Listener::bind("127.0.0.1", 0, None).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut incoming = Box::pin(listener.incoming(CancellationToken::new()));
        let _peer = TcpStream::connect(address).await.unwrap();
        let mut io = incoming.next().await.unwrap().unwrap();
        let read = timeout(PATIENCE, io.read_u8()).await.expect("never cut");
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    }
}
