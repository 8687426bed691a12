//! A lab with its port, for tests: loopback, a directory of its own, gone with the value.

use std::{sync::Arc, time::SystemTime};

use hyper_util::rt::TokioIo;
use rigd_proto::client::v1::client_service_client::ClientServiceClient;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::{
    Request, Status,
    metadata::MetadataValue,
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

use super::*;
use crate::{
    auth::{Kind, Subject},
    certs::Source,
    model::World,
    sample,
    schedule::Settings,
    store::{Change, Store},
};

/// Nothing here takes so long unless it hangs.
pub(crate) const SOON: Duration = Duration::from_secs(60);
const NAMESPACE: &str = "lab";

/// A lab with the clients `alice` and `bob`.
pub(crate) struct Site {
    pub(crate) engine: Engine,
    pub(crate) address: std::net::SocketAddr,
    pub(crate) shutdown: CancellationToken,
    pub(crate) server: AbortOnDropHandle<Result<(), ServeError>>,
    pub(crate) certs: Arc<Certs>,
    _directory: tempfile::TempDir,
}

/// What every call of a client carries.
#[derive(Debug, Clone)]
pub(crate) struct Credentials {
    pub(crate) kind: &'static str,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) token: String,
}

impl Interceptor for Credentials {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let pairs = [
            ("authorization", format!("Bearer {}", self.token)),
            ("jumpstarter-kind", self.kind.to_owned()),
            ("jumpstarter-namespace", self.namespace.clone()),
            ("jumpstarter-name", self.name.clone()),
        ];
        for (key, value) in pairs {
            let value = MetadataValue::try_from(value).unwrap();
            request.metadata_mut().insert(key, value);
        }
        Ok(request)
    }
}

pub(crate) type Client = ClientServiceClient<InterceptedService<Channel, Credentials>>;

impl Site {
    pub(crate) async fn open() -> Self {
        Self::open_with(Settings::default()).await
    }

    pub(crate) async fn open_with(settings: Settings) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let made = Source::Made {
            directory: directory.path().join("certificates"),
            names: vec![],
        };
        let certs = Arc::new(Certs::open(made, SystemTime::now()).unwrap());
        let store = Store::open(&directory.path().join("state")).unwrap();
        let engine = Engine::open(NAMESPACE.to_owned(), store, settings).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let services = Services::new(engine.clone(), &address.to_string(), Limits::default());
        let shutdown = CancellationToken::new();
        let options = Options {
            certs: Arc::clone(&certs),
            shutdown: shutdown.clone(),
            grace: Duration::from_millis(100),
        };
        let server = tokio::spawn(serve(services, listener, options));
        let site = Self {
            engine,
            address,
            shutdown,
            server: AbortOnDropHandle::new(server),
            certs,
            _directory: directory,
        };
        site.add(|world| {
            sample::client(world, "alice", &[("team", "a")]);
            sample::client(world, "bob", &[("team", "b")]);
        })
        .await;
        site
    }

    /// Adds clients, exporters and policies.
    pub(crate) async fn add(&self, fill: impl FnOnce(&mut World)) {
        let mut world = World::default();
        fill(&mut world);
        let mut all = Vec::new();
        all.extend(
            world
                .clients
                .into_iter()
                .map(|(n, one)| Change::Client(n, Some(one))),
        );
        all.extend(
            world
                .exporters
                .into_iter()
                .map(|(n, one)| Change::Exporter(n, Some(one))),
        );
        all.extend(
            world
                .policies
                .into_iter()
                .map(|(n, one)| Change::Policy(n, Some(one))),
        );
        self.engine.change(|_, _| Ok(((), all))).await.unwrap();
    }

    pub(crate) fn credentials(&self, kind: Kind, name: &str) -> Credentials {
        let (uid, tokens_from) = self.engine.read(|world| match kind {
            Kind::Client => (world.clients[name].uid, world.clients[name].tokens_from),
            Kind::Exporter => (world.exporters[name].uid, world.exporters[name].tokens_from),
        });
        let subject = Subject {
            kind,
            namespace: NAMESPACE.to_owned(),
            name: name.to_owned(),
            uid,
        };
        let issued = self
            .engine
            .tokens()
            .issue(&subject, tokens_from, SystemTime::now());
        Credentials {
            kind: kind.object(),
            namespace: NAMESPACE.to_owned(),
            name: name.to_owned(),
            token: issued.unwrap().token.reveal().to_owned(),
        }
    }

    pub(crate) fn certs(&self) -> &Certs {
        &self.certs
    }

    /// A TLS connection over this one.
    pub(crate) async fn begin(
        &self,
        io: tokio::net::TcpStream,
    ) -> std::io::Result<TlsStream<tokio::net::TcpStream>> {
        begin(io, &self.certs).await
    }

    /// A TLS connection whose certificate was checked.
    pub(crate) async fn connect(&self) -> TlsStream<tokio::net::TcpStream> {
        let io = tokio::net::TcpStream::connect(self.address).await;
        self.begin(io.unwrap()).await.unwrap()
    }

    pub(crate) async fn channel(&self) -> Channel {
        self.channel_from(std::net::Ipv4Addr::LOCALHOST).await
    }

    /// From this address of this host.
    pub(crate) async fn channel_from(&self, from: std::net::Ipv4Addr) -> Channel {
        let (address, certs) = (self.address, Arc::clone(&self.certs));
        let connector = tower::service_fn(move |_| {
            let certs = Arc::clone(&certs);
            async move {
                let io = connect_from(from, address).await?;
                begin(io, &certs).await.map(TokioIo::new)
            }
        });
        // TLS is the connector's: tonic has none here.
        let endpoint = Endpoint::from_static("http://localhost").connect_timeout(SOON);
        endpoint.connect_with_connector(connector).await.unwrap()
    }

    pub(crate) async fn client_with(&self, credentials: Credentials) -> Client {
        ClientServiceClient::with_interceptor(self.channel().await, credentials)
    }

    pub(crate) async fn client(&self, name: &str) -> Client {
        self.client_with(self.credentials(Kind::Client, name)).await
    }
}

/// From this address of this host.
pub(crate) async fn connect_from(
    from: std::net::Ipv4Addr,
    to: std::net::SocketAddr,
) -> std::io::Result<tokio::net::TcpStream> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    socket.connect(to).await
}

async fn begin(
    io: tokio::net::TcpStream,
    certs: &Certs,
) -> std::io::Result<TlsStream<tokio::net::TcpStream>> {
    let mut roots = RootCertStore::empty();
    for one in CertificateDer::pem_slice_iter(certs.ca_pem().as_bytes()) {
        roots.add(one.unwrap()).unwrap();
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    // Without it, each small call waits for the acknowledgement of the one before.
    io.set_nodelay(true)?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, io).await
}
