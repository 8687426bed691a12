//! How a connection comes about: unix socket, TCP, TLS, and the environment of a shell session.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::{
    metadata::AsciiMetadataValue,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Uri},
};
use tower::service_fn;

use crate::Error;

/// Long enough for a slow virtual private network, short enough to notice a wrong address.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Jumpstarter's own clients ping every 20 s and exporters allow that even without calls.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);

/// As long as Jumpstarter's own clients wait for the answer.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(180);

/// A path is not a host name, and HTTP servers refuse its percent-encoded form.
const UNIX_AUTHORITY: &str = "http://localhost";

/// How to trust a server.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// Certificates to trust, PEM. `None`: the system's.
    pub ca_pem: Option<String>,
    /// Name that the server's certificate must carry. `None`: the host of the address.
    pub domain: Option<String>,
}

/// What a connection over TCP may need. The default is plain text without passphrase.
#[derive(Debug, Clone, Default)]
pub struct ConnectOptions {
    /// Encrypt, and check the server. Ignored on unix sockets.
    pub tls: Option<Tls>,
    /// Sent with every request to an exporter that asks for one.
    pub passphrase: Option<String>,
}

impl ConnectOptions {
    pub(crate) fn passphrase(&self) -> Result<Option<AsciiMetadataValue>, Error> {
        let Some(passphrase) = &self.passphrase else {
            return Ok(None);
        };
        let mut value = AsciiMetadataValue::try_from(passphrase.as_str()).map_err(|_| {
            Error::BadOption(
                "the passphrase has characters that gRPC metadata cannot carry; use printable \
                 ASCII"
                    .to_owned(),
            )
        })?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

pub(crate) async fn unix(path: &Path) -> Result<Channel, Error> {
    let target = path.to_owned();
    let connector = service_fn(move |_: Uri| {
        let target: PathBuf = target.clone();
        async move { UnixStream::connect(target).await.map(TokioIo::new) }
    });
    Endpoint::from_static(UNIX_AUTHORITY)
        .connect_timeout(CONNECT_TIMEOUT)
        .connect_with_connector(connector)
        .await
        .map_err(|source| Error::Connect {
            address: path.display().to_string(),
            source,
        })
}

pub(crate) async fn tcp(address: &str, options: &ConnectOptions) -> Result<Channel, Error> {
    let failed = |source| Error::Connect {
        address: address.to_owned(),
        source,
    };
    let scheme = if options.tls.is_some() {
        "https"
    } else {
        "http"
    };
    let mut endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))
        .map_err(|_| {
            Error::BadOption(format!(
                "\"{address}\" is not an address of the form host:port"
            ))
        })?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    if let Some(tls) = &options.tls {
        endpoint = endpoint.tls_config(tls_config(tls)).map_err(failed)?;
    }
    endpoint.connect().await.map_err(failed)
}

fn tls_config(tls: &Tls) -> ClientTlsConfig {
    let mut config = ClientTlsConfig::new().timeout(CONNECT_TIMEOUT);
    config = match &tls.ca_pem {
        Some(pem) => config.ca_certificate(Certificate::from_pem(pem)),
        None => config.with_native_roots(),
    };
    match &tls.domain {
        Some(domain) => config.domain_name(domain),
        None => config,
    }
}

/// What the environment of a shell session says.
#[derive(Debug)]
pub(crate) enum Target {
    Unix(PathBuf, ConnectOptions),
    Tcp(String, ConnectOptions),
}

/// Reads the variables that Jumpstarter's Python client reads, with the same meaning:
/// `JUMPSTARTER_HOST` is `host:port` when a port number follows its last colon, else a path;
/// TCP is encrypted unless an insecure variable is `1`.
pub(crate) fn from_vars(var: impl Fn(&str) -> Option<String>) -> Result<Target, Error> {
    let host = var("JUMPSTARTER_HOST").ok_or_else(|| {
        Error::BadOption(
            "JUMPSTARTER_HOST is not set; it must hold a socket path or host:port".to_owned(),
        )
    })?;
    let mut options = ConnectOptions {
        tls: None,
        passphrase: var("JMP_GRPC_PASSPHRASE").filter(|it| !it.is_empty()),
    };
    if !is_tcp(&host) {
        return Ok(Target::Unix(host.into(), options));
    }
    let insecure = ["JMP_GRPC_INSECURE", "JUMPSTARTER_GRPC_INSECURE"]
        .iter()
        .any(|name| var(name).as_deref() == Some("1"));
    if !insecure {
        // The variable by which gRPC's own libraries, Python's among them, find other roots.
        let ca_pem = match var("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH") {
            None => None,
            Some(file) => Some(
                std::fs::read_to_string(&file).map_err(|source| Error::Local {
                    action: "read",
                    file,
                    source,
                })?,
            ),
        };
        options.tls = Some(Tls {
            ca_pem,
            domain: None,
        });
    }
    Ok(Target::Tcp(host, options))
}

fn is_tcp(host: &str) -> bool {
    host.rsplit_once(':')
        .and_then(|(_, port)| port.parse::<u16>().ok())
        .is_some_and(|port| port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(vars: &[(&str, &str)]) -> Result<Target, Error> {
        from_vars(|name| {
            vars.iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn host_with_a_port_is_tcp_all_else_a_path() {
        for host in ["lab:1234", "127.0.0.1:1", "[::1]:65535"] {
            let found = target(&[("JUMPSTARTER_HOST", host)]).unwrap();
            assert!(
                matches!(found, Target::Tcp(ref it, _) if it == host),
                "{found:?}"
            );
        }
        for host in ["/run/a.sock", "lab", "lab:0", "lab:65536", "/run/a:b"] {
            let found = target(&[("JUMPSTARTER_HOST", host)]).unwrap();
            assert!(matches!(found, Target::Unix(..)), "{found:?}");
        }
    }

    #[test]
    fn tcp_is_encrypted_unless_told_otherwise() {
        let host = ("JUMPSTARTER_HOST", "lab:1234");
        let Ok(Target::Tcp(_, options)) = target(&[host, ("JMP_GRPC_INSECURE", "0")]) else {
            panic!("not TCP");
        };
        assert!(options.tls.is_some());
        for name in ["JMP_GRPC_INSECURE", "JUMPSTARTER_GRPC_INSECURE"] {
            let Ok(Target::Tcp(_, options)) = target(&[host, (name, "1")]) else {
                panic!("not TCP");
            };
            assert!(options.tls.is_none());
        }
    }

    #[test]
    fn passphrase_comes_from_the_environment_and_must_be_ascii() {
        let host = ("JUMPSTARTER_HOST", "/run/a.sock");
        let Ok(Target::Unix(_, options)) = target(&[host, ("JMP_GRPC_PASSPHRASE", "open")]) else {
            panic!("not a path");
        };
        assert_eq!(options.passphrase().unwrap().unwrap().as_bytes(), b"open");
        let bad = ConnectOptions {
            passphrase: Some("line\nbreak".to_owned()),
            ..ConnectOptions::default()
        };
        assert!(
            bad.passphrase()
                .unwrap_err()
                .to_string()
                .contains("passphrase")
        );
    }

    #[test]
    fn missing_host_names_the_variable() {
        assert!(
            target(&[])
                .unwrap_err()
                .to_string()
                .contains("JUMPSTARTER_HOST")
        );
    }
}
