//! With which certificate the controller's port answers.
//!
//! ```text
//!   DIRECTORY/ca-key.pem ──signs──> server.pem (key, chain) ──> Resolver <── each handshake
//!   DIRECTORY/ca.pem     ──base64──> tls.ca of configuration files
//! ```
//!
//! The authority lasts ten years, since clients keep it in their files. The certificate lasts one, and
//! is renewed while the port stays open. Certificates of the site can be given in place of both.

mod made;
mod resolver;
mod trust;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};

use made::Made;
use resolver::Resolver;

/// How often [`Certs::refresh`] is to be called: a renewed certificate of the site is in use within
/// the hour, and a clock that was set is noticed.
pub const REFRESH_EVERY: Duration = Duration::from_secs(60 * 60);

/// Where the certificate comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// Made here and kept in `directory`, for `names` (host names and addresses) beside those of this
    /// host.
    Made {
        /// For secrets; it is made.
        directory: PathBuf,
        /// Under which other names clients reach the controller.
        names: Vec<String>,
    },
    /// Files of the site, in PEM. They are read again at each refresh.
    Given {
        /// The certificate, and the chain up to what clients trust.
        certificate: PathBuf,
        /// Its key.
        key: PathBuf,
        /// What clients are to trust; without it, the certificate itself.
        ca: Option<PathBuf>,
    },
}

/// A certificate cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum CertError {
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file has something else in it.
    #[error("{}: {what}", path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A name that no certificate can hold.
    #[error("{0:?} is no host name and no address")]
    Name(String),
    /// Ten years are over, or the clock is wrong.
    #[error(
        "the certificate authority in {} has ended, by this host's clock: set the clock, or remove \
         ca.pem, ca-key.pem and server.pem there and hand out new configuration files",
        directory.display()
    )]
    Over {
        /// Where it is.
        directory: PathBuf,
    },
    /// The cryptography failed.
    #[error("no certificate could be made: {0}")]
    Make(String),
}

/// What [`Certs::refresh`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refreshed {
    /// The certificate is the one of before.
    Same,
    /// Handshakes from now on have a new one.
    Renewed,
    /// So they have, and what clients were to trust until now did not sign it: they need what
    /// [`Certs::ca_pem`] gives now.
    Distrusted,
}

/// The certificate in use.
pub struct Certs {
    source: Source,
    resolver: Arc<Resolver>,
}

/// Key and chain as read, and what clients are to trust.
struct Material {
    key: Arc<CertifiedKey>,
    ca: String,
}

impl Material {
    fn new(key: CertifiedKey, ca: String) -> Self {
        let key = Arc::new(key);
        Self { key, ca }
    }
}

impl Certs {
    /// Makes or reads what there is to be.
    ///
    /// # Errors
    /// Files that cannot be read or written, or that do not fit each other; names that are none; an
    /// authority that has ended.
    pub fn open(source: Source, now: SystemTime) -> Result<Self, CertError> {
        let resolver = Arc::new(Resolver::new(source.material(now)?));
        Ok(Self { source, resolver })
    }

    /// Renews the certificate when it is time, and takes what is new into use. After an error the one
    /// of before stays in use. It blocks for some milliseconds.
    ///
    /// # Errors
    /// As [`Certs::open`].
    pub fn refresh(&self, now: SystemTime) -> Result<Refreshed, CertError> {
        let before = self.resolver.swap(self.source.material(now)?);
        let current = self.resolver.current();
        if current.key.cert == before.key.cert {
            return Ok(Refreshed::Same);
        }
        Ok(match trust::signed(&before.ca, &current.key.cert, now) {
            true => Refreshed::Renewed,
            false => Refreshed::Distrusted,
        })
    }

    /// For the port: HTTP/2 only, whose clients check the certificate and show none.
    ///
    /// # Errors
    /// The cryptography cannot be set up.
    pub fn server_config(&self) -> Result<Arc<ServerConfig>, CertError> {
        let made = |error: rustls::Error| CertError::Make(error.to_string());
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(made)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&self.resolver) as _);
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }

    /// What clients are to trust, in PEM: that which goes with the certificate in use.
    pub fn ca_pem(&self) -> String {
        self.resolver.current().ca.clone()
    }

    /// The same for `tls.ca` of configuration files.
    pub fn ca_base64(&self) -> String {
        STANDARD.encode(&self.resolver.current().ca)
    }

    /// Whether the certificate in use is for that host name or address (of IPv6, without brackets), as
    /// clients check it.
    pub fn covers(&self, host: &str) -> bool {
        let current = self.resolver.current();
        let leaf = current.key.cert.first();
        leaf.is_some_and(|leaf| trust::covers(leaf, host))
    }

    /// The host names and addresses that the certificate in use is for, as far as they can be told: for
    /// people.
    pub fn names(&self) -> Vec<String> {
        let current = self.resolver.current();
        current
            .key
            .cert
            .first()
            .map(trust::names)
            .unwrap_or_default()
    }
}

impl fmt::Debug for Certs {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Certs")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl Source {
    /// What clients are to trust, in PEM, for a controller that does not run: as [`Certs::ca_pem`],
    /// and the certificate of the port stays as it is.
    ///
    /// # Errors
    /// As [`Certs::open`].
    pub fn ca_pem(&self, now: SystemTime) -> Result<String, CertError> {
        match self {
            Self::Made { directory, names } => Made::new(directory, names)?.ca_pem(now),
            Self::Given { .. } => Ok(self.material(now)?.ca),
        }
    }

    fn material(&self, now: SystemTime) -> Result<Material, CertError> {
        match self {
            Self::Made { directory, names } => Made::new(directory, names)?.material(now),
            Self::Given {
                certificate,
                key,
                ca,
            } => {
                let chain = read(certificate)?;
                let secret = read(key)?;
                let pair = pair((certificate, &chain), (key, &secret))?;
                let ca = match ca {
                    Some(path) => read_certificates(path)?,
                    None => chain,
                };
                Ok(Material::new(pair, ca))
            }
        }
    }
}

/// A chain and its key, each from its file.
fn pair(chain: (&Path, &str), key: (&Path, &str)) -> Result<CertifiedKey, CertError> {
    let content = |path: &Path, what: String| CertError::Content {
        path: path.to_owned(),
        what,
    };
    let certificates = certificates(chain.1).map_err(|what| content(chain.0, what))?;
    let secret = PrivateKeyDer::from_pem_slice(key.1.as_bytes())
        .map_err(|_| content(key.0, "there is no private key in PEM".to_owned()))?;
    let signing = ring::sign::any_supported_type(&secret).map_err(|_| {
        content(
            key.0,
            "the private key is of no kind that can be used".to_owned(),
        )
    })?;
    let pair = CertifiedKey::new(certificates, signing);
    match pair.keys_match() {
        Ok(()) => Ok(pair),
        Err(error) => Err(content(
            chain.0,
            format!(
                "its first certificate does not go with the key in {}: {error}",
                key.0.display()
            ),
        )),
    }
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        Ok(_) => Err("there is no certificate in PEM".to_owned()),
        Err(error) => Err(format!("there is no certificate in PEM: {error}")),
    }
}

fn read_certificates(path: &Path) -> Result<String, CertError> {
    let text = read(path)?;
    match certificates(&text) {
        Ok(_) => Ok(text),
        Err(what) => Err(CertError::Content {
            path: path.to_owned(),
            what,
        }),
    }
}

fn read(path: &Path) -> Result<String, CertError> {
    std::fs::read_to_string(path).map_err(|source| CertError::File {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests;
