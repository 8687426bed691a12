//! Servers on loopback and their certificates.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use futures::{StreamExt, stream};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tonic::{Status, body::Body, server::NamedService};
use tower::Service;

use crate::{
    config::Endpoint,
    link::connect::Io,
    transport::{Connection, killable::Killable},
};

pub(super) struct Certificate {
    pub(super) der: CertificateDer<'static>,
    pub(super) key: KeyPair,
    pub(super) pem: String,
}

pub(super) fn params(name: &str) -> CertificateParams {
    CertificateParams::new([name.to_owned()]).unwrap()
}

pub(super) fn self_signed(params: CertificateParams) -> Certificate {
    let key = KeyPair::generate().unwrap();
    let made = params.self_signed(&key).unwrap();
    Certificate {
        der: made.der().clone(),
        pem: made.pem(),
        key,
    }
}

pub(super) fn authority() -> (Certificate, CertificateParams) {
    let mut params = params("Lab CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    (self_signed(params.clone()), params)
}

pub(super) fn signed(
    params: CertificateParams,
    by: &(Certificate, CertificateParams),
) -> Certificate {
    let key = KeyPair::generate().unwrap();
    let issuer = Issuer::from_params(&by.1, &by.0.key);
    let made = params.signed_by(&key, &issuer).unwrap();
    Certificate {
        der: made.der().clone(),
        pem: made.pem(),
        key,
    }
}

/// A server; its tasks end with it.
pub(super) struct Server {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    _task: JoinSet<()>,
}

impl Server {
    pub(super) fn endpoint(&self, host: &str) -> Endpoint {
        format!("{host}:{}", self.address.port()).parse().unwrap()
    }

    pub(super) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

/// Each connection is handled by `serve`.
pub(super) async fn server<F, C>(serve: F) -> Server
where
    F: Fn(TcpStream) -> C + Send + 'static,
    C: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&accepted);
    let mut task = JoinSet::new();
    task.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (io, _) = listener.accept().await.unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            connections.spawn(serve(io));
        }
    });
    Server {
        address,
        accepted,
        _task: task,
    }
}

pub(super) fn acceptor(certificate: &Certificate, alpn: &[&[u8]]) -> TlsAcceptor {
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(certificate.key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der.clone()], key)
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

/// Answers every call with UNIMPLEMENTED and the `:authority` it was called by.
#[derive(Clone)]
struct Echo;

impl NamedService for Echo {
    const NAME: &'static str = "jumpstarter.v1.ExporterService";
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let authority = request.uri().authority().map(ToString::to_string);
        ready(Ok(
            Status::unimplemented(authority.unwrap_or_default()).into_http()
        ))
    }
}

/// Serves HTTP/2 on one connection, until dropped.
pub(super) async fn grpc(io: impl Io + 'static) {
    let cut = CancellationToken::new();
    let io = Killable::new(io, cut.clone(), Connection::default());
    let _cut = cut.drop_guard();
    let incoming = stream::iter([io::Result::Ok(io)]).chain(stream::pending());
    let server = tonic::transport::Server::builder().add_service(Echo);
    server.serve_with_incoming(incoming).await.unwrap();
}

pub(super) async fn tls_server(certificate: &Certificate) -> Server {
    let acceptor = acceptor(certificate, &[b"h2"]);
    server(move |io| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(io) = acceptor.accept(io).await {
                grpc(io).await;
            }
        }
    })
    .await
}
