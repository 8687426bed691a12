//! Which servers are believed to be who they say.
//!
//! | configured | chain | handshake signature, host name |
//! |---|---|---|
//! | nothing | up to one of the system's roots | checked |
//! | `tls.ca` | up to a certificate of the bundle, or the very certificate is in it | checked |
//! | `tls.insecure` | whatever is shown | checked |
//!
//! That is how upstream behaves, whose insecure mode fetches the chain and then takes it as root: a
//! wrong name fails there as well.

use std::sync::Arc;

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{
        CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};

use crate::{
    config::{CaError, Tls, certificates, pem_certificates},
    os::paths::Env,
};

/// Either switches the check of the chain off, as upstream's clients have it.
const INSECURE: [&str; 2] = ["JMP_GRPC_INSECURE", "JUMPSTARTER_GRPC_INSECURE"];

/// How servers are trusted.
#[derive(Clone, Debug)]
pub(crate) enum Trust {
    /// The certificate authorities of this host, read at the first connection.
    System,
    /// These certificates.
    Bundle(Arc<[CertificateDer<'static>]>),
    /// Any chain.
    Any,
    /// No TLS at all; only telemetry can be told to do so.
    Plain,
}

/// No connection can be made with TLS.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum TrustError {
    /// Without roots nobody is trusted.
    #[error(
        "this host has no certificate authorities ({0}): install `ca-certificates`, or give the \
         controller's own in `tls.ca`"
    )]
    NoRoots(String),
    /// The library refuses the set-up.
    #[error("TLS cannot be set up: {0}")]
    SetUp(String),
}

impl Trust {
    /// Reads the section `tls` and the environment.
    ///
    /// # Errors
    /// `tls.ca` is unusable; a loaded configuration was checked for that.
    pub(crate) fn new(tls: &Tls, env: Env<'_>) -> Result<Self, CaError> {
        let set = |name: &&str| env(name).as_deref() == Some("1");
        if tls.insecure || INSECURE.iter().any(set) {
            return Ok(Trust::Any);
        }
        if tls.ca.is_empty() {
            return Ok(Trust::System);
        }
        Ok(Trust::Bundle(certificates(&tls.ca)?.into()))
    }

    /// Trusts a bundle in PEM form.
    ///
    /// # Errors
    /// It holds no certificate that can be used.
    pub(crate) fn pem(pem: &str) -> Result<Self, CaError> {
        Ok(Trust::Bundle(pem_certificates(pem.as_bytes())?.into()))
    }

    /// The set-up for handshakes, nothing when there are none. Reads files: not on a runtime's
    /// worker.
    ///
    /// # Errors
    /// No roots, or none that can be used.
    pub(crate) fn client_config(&self) -> Result<Option<Arc<ClientConfig>>, TrustError> {
        let roots = match self {
            Trust::Plain => return Ok(None),
            Trust::Any => None,
            Trust::Bundle(bundle) => Some(store(bundle)),
            Trust::System => {
                let found = rustls_native_certs::load_native_certs();
                let roots = store(&found.certs);
                if roots.is_empty() {
                    let why = found.errors.first().map(ToString::to_string);
                    let why = why.unwrap_or_else(|| "none found".into());
                    return Err(TrustError::NoRoots(why));
                }
                Some(roots)
            }
        };
        let pinned = match self {
            Trust::Bundle(bundle) => Arc::clone(bundle),
            _ => Arc::default(),
        };
        // Named, since the process-wide default is ambiguous once a second provider is linked in.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let set_up = |error: &dyn std::fmt::Display| TrustError::SetUp(error.to_string());
        let chain = roots
            .map(|roots| chain_verifier(roots, &provider))
            .transpose()?;
        let verifier = Verifier {
            chain,
            pinned,
            algorithms: provider.signature_verification_algorithms,
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| set_up(&error))?;
        let mut config = builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Some(Arc::new(config)))
    }
}

/// Hosts carry the odd root that cannot be read; the others still count.
fn store(certificates: &[CertificateDer<'static>]) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates.iter().cloned());
    roots
}

fn chain_verifier(
    roots: RootCertStore,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, TrustError> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|error| TrustError::SetUp(error.to_string()))
}

/// Checks what a server shows.
#[derive(Debug)]
struct Verifier {
    /// None: any chain.
    chain: Option<Arc<WebPkiServerVerifier>>,
    /// Trusted as they are, whether or not they may be a server's by their own extensions.
    pinned: Arc<[CertificateDer<'static>]>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(chain) = &self.chain {
            let checked = chain.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            );
            let pinned = self.pinned.iter().any(|known| known == end_entity);
            match checked {
                // webpki looks at a certificate's dates before its place in a chain, so that only
                // the latter can be wrong here: it is its own issuer, or marked as an authority.
                Err(Error::InvalidCertificate(
                    CertificateError::UnknownIssuer | CertificateError::Other(_),
                )) if pinned => {}
                checked => return checked,
            }
        }
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
