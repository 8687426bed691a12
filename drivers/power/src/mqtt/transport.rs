//! Ways to a broker: TCP, TLS over it, a unix socket.

use std::{io, path::Path, sync::Arc};

use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::TlsConnector;

/// A connection, whatever it is made of.
pub(crate) type Connection = Box<dyn Duplex>;

/// Bytes in both directions.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Where the broker is.
#[derive(Clone)]
pub(crate) enum Place {
    Tcp {
        host: String,
        port: u16,
    },
    Tls {
        host: String,
        port: u16,
        tls: TlsConnector,
    },
    Unix(String),
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown())
    }
}

impl Place {
    /// TLS with the certificates that the lab host trusts.
    pub(crate) fn tls(host: String, port: u16) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            return Err(
                "the lab host trusts no certificates (Debian package ca-certificates)".into(),
            );
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions();
        let config = builder.map_err(|error| error.to_string())?;
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let tls = TlsConnector::from(Arc::new(config));
        Ok(Self::Tls { host, port, tls })
    }

    /// As it stands in messages.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Tcp { host, port } | Self::Tls { host, port, .. } => format!("{host}:{port}"),
            Self::Unix(path) => path.clone(),
        }
    }

    /// Connects. Cancel-safe: dropped, nothing stays.
    pub(crate) async fn connect(&self) -> io::Result<Connection> {
        Ok(match self {
            Self::Unix(path) => Box::new(UnixStream::connect(Path::new(path)).await?),
            Self::Tcp { host, port } => Box::new(tcp(host, *port).await?),
            Self::Tls { host, port, tls } => {
                let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
                let stream = tcp(host, *port).await?;
                Box::new(tls.connect(name, stream).await?)
            }
        })
    }
}

async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
