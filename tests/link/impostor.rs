//! Servers that are not what they should be: certificates of a test's making.

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_STANDARD};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

/// A TLS server on 127.0.0.1 that shakes hands and nothing else.
pub(crate) struct Impostor {
    /// `localhost:PORT`
    pub(crate) endpoint: String,
    /// For `tls.ca`: the authority that its certificate is of.
    pub(crate) ca: String,
    _serving: AbortOnDropHandle<()>,
}

impl Impostor {
    /// With a certificate for `name`, changed as the test says.
    pub(crate) async fn start(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
        let mut leaf = CertificateParams::new([name.to_owned()]).unwrap();
        change(&mut leaf);
        let key = KeyPair::generate().unwrap();
        let leaf = leaf.signed_by(&key, &ca).unwrap();

        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)
            .unwrap();
        server.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(server));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                // Whatever comes of it, the exporter is to tell.
                acceptor.accept(tcp).await.ok();
            }
        });
        Self {
            endpoint: format!("localhost:{port}"),
            ca: BASE64_STANDARD.encode(ca.pem()),
            _serving: AbortOnDropHandle::new(serving),
        }
    }
}
