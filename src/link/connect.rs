//! One connection to a server, from its name to the end of the TLS handshake. Each phase has a budget
//! and an error of its own, so that a slow name server is not taken for a dead controller.

use std::{
    fmt, io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use prost_types::Timestamp;
use rustls::{
    CertificateError, ClientConfig,
    pki_types::{ServerName, UnixTime},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::config::Endpoint;

/// How long each phase may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Looking the name up.
    pub(crate) look_up: Duration,
    /// TCP, over all addresses of the name.
    pub(crate) tcp: Duration,
    /// TCP to one address where there are several: a dead one leaves time for the others.
    pub(crate) address: Duration,
    /// The TLS handshake, which includes two round trips and a signature.
    pub(crate) tls: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            look_up: Duration::from_secs(5),
            tcp: Duration::from_secs(10),
            address: Duration::from_secs(3),
            tls: Duration::from_secs(10),
        }
    }
}

/// What a connection fails at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Finding the addresses of the name.
    LookUp,
    /// Reaching one of them.
    Tcp,
    /// The TLS handshake.
    Tls,
    /// HTTP/2 on top of it.
    Http,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::LookUp => "cannot look up",
            Phase::Tcp => "cannot reach",
            Phase::Tls => "no TLS connection to",
            Phase::Http => "no HTTP/2 connection to",
        })
    }
}

/// A connection could not be made.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{phase} {endpoint}: {reason}")]
pub(crate) struct ConnectError {
    /// What it failed at.
    pub(crate) phase: Phase,
    /// `HOST:PORT`.
    pub(crate) endpoint: String,
    /// What happened and what would help.
    pub(crate) reason: String,
    /// The server was reached but is not trusted, which waiting alone seldom mends.
    pub(crate) untrusted: bool,
}

impl ConnectError {
    pub(crate) fn new(phase: Phase, endpoint: &Endpoint, reason: impl Into<String>) -> Self {
        ConnectError {
            phase,
            endpoint: endpoint.to_string(),
            reason: reason.into(),
            untrusted: false,
        }
    }
}

/// A connection, with or without TLS.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Connects. `tls` is the set-up of TLS and the name that the certificate must hold; with `via` the name
/// is not looked up. Cancel-safe: what was begun is given up.
///
/// # Errors
/// The phase that failed, and why.
pub(crate) async fn connect(
    endpoint: &Endpoint,
    via: Option<SocketAddr>,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    limits: Limits,
) -> Result<Box<dyn Io>, ConnectError> {
    let addresses = match via {
        Some(address) => vec![address],
        None => look_up(endpoint, limits.look_up).await?,
    };
    let io = reach(endpoint, &addresses, limits).await?;
    // Frames are written whole; waiting to join them only delays key strokes. A connection that
    // ended meanwhile shows at its first read.
    io.set_nodelay(true).ok();
    match tls {
        None => Ok(Box::new(io)),
        Some((config, name)) => handshake(endpoint, io, config, name, limits.tls).await,
    }
}

async fn look_up(endpoint: &Endpoint, limit: Duration) -> Result<Vec<SocketAddr>, ConnectError> {
    let error = |reason: String| ConnectError::new(Phase::LookUp, endpoint, reason);
    let host = endpoint.host();
    let found = timeout(limit, lookup_host((host, endpoint.port()))).await;
    let found = found.map_err(|_| {
        error(format!(
            "no answer to the question for `{host}` within {limit:?}; does this host reach its name server?"
        ))
    })?;
    let found = found.map_err(|cause| {
        error(format!(
            "the name `{host}` is not known ({cause}); check its spelling and this host's name server"
        ))
    })?;
    let addresses: Vec<_> = found.collect();
    if addresses.is_empty() {
        return Err(error(format!("the name `{host}` has no address")));
    }
    Ok(addresses)
}

async fn reach(
    endpoint: &Endpoint,
    addresses: &[SocketAddr],
    limits: Limits,
) -> Result<TcpStream, ConnectError> {
    let each = if addresses.len() > 1 {
        limits.address.min(limits.tcp)
    } else {
        limits.tcp
    };
    let mut failures: Vec<String> = Vec::new();
    let attempts = async {
        for address in addresses {
            let failure = match timeout(each, TcpStream::connect(address)).await {
                Ok(Ok(io)) => return Some(io),
                Ok(Err(cause)) => tcp_failure(&cause),
                Err(_) => format!(
                    "no answer within {each:?}; is the host up, and does a firewall drop packets?"
                ),
            };
            failures.push(format!("{address}: {failure}"));
        }
        None
    };
    match timeout(limits.tcp, attempts).await {
        Ok(Some(io)) => return Ok(io),
        Ok(None) => {}
        Err(_) => failures.push(format!(
            "the remaining addresses were not tried within {:?}",
            limits.tcp
        )),
    }
    Err(ConnectError::new(Phase::Tcp, endpoint, failures.join("; ")))
}

fn tcp_failure(cause: &io::Error) -> String {
    use io::ErrorKind as Kind;
    let help = match cause.kind() {
        Kind::ConnectionRefused => {
            "nothing listens there; is the server running, and is this its port?"
        }
        Kind::HostUnreachable | Kind::NetworkUnreachable => {
            "there is no way to it; check this host's network and routes"
        }
        Kind::TimedOut => "no answer; is the host up, and does a firewall drop packets?",
        Kind::PermissionDenied => "a firewall of this host or the unit's restrictions forbid it",
        _ => return cause.to_string(),
    };
    format!("{cause}: {help}")
}

async fn handshake(
    endpoint: &Endpoint,
    io: TcpStream,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    limit: Duration,
) -> Result<Box<dyn Io>, ConnectError> {
    let error = |reason: String| ConnectError::new(Phase::Tls, endpoint, reason);
    let shaken = timeout(limit, TlsConnector::from(config).connect(name, io)).await;
    let shaken = shaken.map_err(|_| {
        error(format!(
            "connected, but the server said nothing within {limit:?}; is this the port of a gRPC server with TLS?"
        ))
    })?;
    let io = shaken.map_err(|cause| {
        let inner = cause.get_ref().and_then(|inner| inner.downcast_ref());
        match inner {
            Some(rustls::Error::InvalidCertificate(wrong)) => ConnectError {
                // A board computer without a battery has a wrong clock until the network gives it the time.
                untrusted: !matches!(wrong, CertificateError::NotValidYetContext { .. }),
                ..error(certificate_failure(wrong))
            },
            Some(wrong) => error(tls_failure(wrong)),
            None => error(format!(
                "the server ended the connection ({cause}); is this the port of a server with TLS, not a \
                 plain-text one?"
            )),
        }
    })?;
    let (_, session) = io.get_ref();
    if session.alpn_protocol() != Some(b"h2") {
        return Err(error(
            "the server does not offer HTTP/2 (ALPN `h2`), so it or the proxy before it does not speak gRPC".into(),
        ));
    }
    Ok(Box::new(io))
}

fn tls_failure(wrong: &rustls::Error) -> String {
    use rustls::{AlertDescription as Alert, Error};
    match wrong {
        Error::InvalidMessage(_) => {
            "the server does not answer in TLS; this looks like a plain-text port".to_owned()
        }
        Error::NoApplicationProtocol | Error::AlertReceived(Alert::NoApplicationProtocol) => {
            "the server does not speak HTTP/2, so it is no gRPC server".to_owned()
        }
        Error::AlertReceived(alert) => {
            format!("the server refused the handshake ({alert:?}); does it serve this name?")
        }
        Error::PeerIncompatible(what) => {
            format!("the server has no TLS 1.2 or 1.3 in common with this host ({what:?})")
        }
        other => other.to_string(),
    }
}

/// What is wrong with a certificate, in words that lead to the cure.
fn certificate_failure(wrong: &CertificateError) -> String {
    match wrong {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "its certificate is not signed by a trusted authority; give the controller's CA in `tls.ca`".to_owned()
        }
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => {
            let name = expected.to_str();
            if presented.is_empty() {
                format!(
                    "its certificate holds no name at all (no subjectAltName), so it is not for `{name}`; the \
                     server needs one that is"
                )
            } else {
                let names: Vec<_> = presented.iter().map(|name| plain_name(name)).collect();
                format!(
                    "its certificate is for {}, not for `{name}`; use one of these names as endpoint, or give the \
                     server a certificate for `{name}`",
                    names.join(", ")
                )
            }
        }
        CertificateError::ExpiredContext { time, not_after } => format!(
            "its certificate expired at {}; the clock of this host says {}, so renew the certificate or set the clock",
            utc(*not_after),
            utc(*time)
        ),
        CertificateError::NotValidYetContext { time, not_before } => format!(
            "its certificate is valid from {} only; the clock of this host says {}, which is probably wrong",
            utc(*not_before),
            utc(*time)
        ),
        CertificateError::InvalidPurposeContext { .. } => format!(
            "its certificate is not one for servers ({wrong}); the server needs one with `serverAuth`"
        ),
        CertificateError::BadEncoding => "its certificate cannot be read as X.509 v3".to_owned(),
        CertificateError::Other(other) => format!("its certificate cannot be used: {other}"),
        other => format!("its certificate is not accepted: {other}"),
    }
}

/// webpki shows names as in `DnsName("a.example")` and `IpAddress(10.0.0.1)`.
fn plain_name(shown: &str) -> String {
    let inner = shown
        .split_once('(')
        .and_then(|(_, rest)| rest.strip_suffix(')'));
    format!("`{}`", inner.unwrap_or(shown).trim_matches('"'))
}

fn utc(time: UnixTime) -> String {
    Timestamp::from(SystemTime::UNIX_EPOCH + Duration::from_secs(time.as_secs())).to_string()
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    #[tokio::test]
    async fn every_address_of_a_name_is_tried() {
        let (closed, first) = listener().await;
        drop(closed);
        let (_open, second) = listener().await;
        let endpoint: Endpoint = "ctl.lab:8082".parse().unwrap();
        let io = reach(&endpoint, &[first, second], Limits::default())
            .await
            .unwrap();
        assert_eq!(io.peer_addr().unwrap(), second);
        let error = reach(&endpoint, &[first, first], Limits::default())
            .await
            .unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("cannot reach ctl.lab:8082: "), "{text}");
        assert_eq!(text.matches(&first.to_string()).count(), 2, "{text}");
    }

    #[test]
    fn failures_of_the_network_name_the_cure() {
        use io::ErrorKind as Kind;
        for (kind, cure) in [
            (Kind::ConnectionRefused, "nothing listens there"),
            (Kind::HostUnreachable, "network and routes"),
            (Kind::NetworkUnreachable, "network and routes"),
            (Kind::TimedOut, "firewall"),
            (Kind::PermissionDenied, "restrictions"),
        ] {
            assert!(tcp_failure(&kind.into()).contains(cure), "{kind}");
        }
    }
}
