//! The service in a server of its own, with peers over pipes in memory.

mod access;
mod dial;
mod exporters;
mod leases;
mod listen;
mod log;
mod scale;
mod tunnels;

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use hyper_util::rt::TokioIo;
use rigd_proto::v1::{
    ExporterStatus, ReportStatusRequest, StatusRequest, StatusResponse,
    controller_service_client::ControllerServiceClient, router_service_client::RouterServiceClient,
};
use tempfile::TempDir;
use tokio::{io::DuplexStream, sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::{
    Code, Request, Status, Streaming,
    metadata::MetadataValue,
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint, Server},
};
use uuid::Uuid;

use super::ControllerService;
use crate::{
    api::caller::Peer,
    auth::{FailedLogins, Kind, Subject, Token},
    engine::Engine,
    leases::{self as rules, Limits},
    model::{Client, Exporter, Held, Labels, Lease, Presence},
    sample::request,
    schedule::Settings,
    store::{Change, Store},
};

/// Nothing here takes so long unless it hangs.
const SOON: Duration = Duration::from_secs(30);
const ROUTER: &str = "lab.example:8082";
const PEER: &str = "192.0.2.7:4711";

type Api = ControllerServiceClient<InterceptedService<Channel, Who>>;

/// What a caller says of itself with every call.
#[derive(Clone)]
struct Who {
    token: Option<Token>,
    kind: &'static str,
    namespace: &'static str,
    name: String,
}

impl Interceptor for Who {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let map = request.metadata_mut();
        if let Some(token) = &self.token {
            let text = format!("Bearer {}", token.reveal());
            map.insert("authorization", MetadataValue::try_from(text).unwrap());
        }
        map.insert("jumpstarter-kind", MetadataValue::from_static(self.kind));
        map.insert(
            "jumpstarter-namespace",
            MetadataValue::from_static(self.namespace),
        );
        map.insert("jumpstarter-name", self.name.parse().unwrap());
        Ok(request)
    }
}

struct Lab {
    engine: Engine,
    service: ControllerService,
    incoming: mpsc::Sender<io::Result<DuplexStream>>,
    _server: AbortOnDropHandle<()>,
    state: TempDir,
}

impl Lab {
    /// With the clients `bench` and `other`, and the exporter `rig-1`, which was never there.
    async fn new() -> Self {
        let state = tempfile::tempdir().unwrap();
        let store = Store::open(state.path()).unwrap();
        let engine = Engine::open("lab".into(), store, Settings::default()).unwrap();
        let failed = Arc::new(Mutex::new(FailedLogins::new()));
        let service = ControllerService::new(engine.clone(), failed, Limits::default(), ROUTER);
        let (incoming, connections) = mpsc::channel(1);
        let peer = |mut request: Request<()>| {
            let address: SocketAddr = PEER.parse().unwrap();
            request.extensions_mut().insert(Peer(Some(address)));
            Ok(request)
        };
        let server = Server::builder()
            .layer(tonic::service::InterceptorLayer::new(peer))
            .add_service(service.service())
            .add_service(engine.router().service())
            .serve_with_incoming(ReceiverStream::new(connections));
        let server = tokio::spawn(async move { server.await.unwrap() });
        let lab = Self {
            engine,
            service,
            incoming,
            _server: AbortOnDropHandle::new(server),
            state,
        };
        for name in ["bench", "other"] {
            lab.keep(vec![Change::Client(name.into(), Some(client()))])
                .await;
        }
        lab.keep(vec![Change::Exporter("rig-1".into(), Some(exporter()))])
            .await;
        lab
    }

    async fn keep(&self, changes: Vec<Change>) {
        self.engine.change(|_, _| Ok(((), changes))).await.unwrap();
    }

    /// A connection of its own.
    async fn connect(&self) -> Channel {
        let incoming = self.incoming.clone();
        let connector = tower::service_fn(move |_| {
            let incoming = incoming.clone();
            async move {
                let (near, far) = tokio::io::duplex(256 * 1024);
                incoming.send(Ok(far)).await.map_err(io::Error::other)?;
                io::Result::Ok(TokioIo::new(near))
            }
        });
        let endpoint = Endpoint::from_static("http://lab");
        endpoint.connect_with_connector(connector).await.unwrap()
    }

    fn token(&self, kind: Kind, name: &str) -> Token {
        let found = self.engine.read(|world| match kind {
            Kind::Client => world.clients.get(name).map(|it| (it.uid, it.tokens_from)),
            Kind::Exporter => world.exporters.get(name).map(|it| (it.uid, it.tokens_from)),
        });
        let (uid, from) = found.unwrap();
        let subject = Subject {
            kind,
            namespace: "lab".into(),
            name: name.into(),
            uid,
        };
        let issued = self
            .engine
            .tokens()
            .issue(&subject, from, SystemTime::now());
        issued.unwrap().token
    }

    fn who(&self, kind: Kind, name: &str) -> Who {
        Who {
            token: Some(self.token(kind, name)),
            kind: kind.object(),
            namespace: "lab",
            name: name.into(),
        }
    }

    async fn as_who(&self, who: Who) -> Api {
        ControllerServiceClient::with_interceptor(self.connect().await, who)
    }

    async fn exporter(&self, name: &str) -> Api {
        self.as_who(self.who(Kind::Exporter, name)).await
    }

    async fn client(&self, name: &str) -> Api {
        self.as_who(self.who(Kind::Client, name)).await
    }

    async fn router(&self) -> RouterServiceClient<Channel> {
        RouterServiceClient::new(self.connect().await)
    }

    /// `rig-1` as it is when it is free, and its Status stream.
    async fn there(&self) -> (Api, Streaming<StatusResponse>) {
        let mut rig = self.exporter("rig-1").await;
        rig.register(register_request()).await.unwrap();
        report(&mut rig, ExporterStatus::Available).await;
        let mut status = rig.status(StatusRequest {}).await.unwrap().into_inner();
        assert!(!next(&mut status).await.leased);
        (rig, status)
    }

    /// A client asks for a lease of this name.
    async fn ask(&self, lease: &str, client: &str) {
        let wish = rules::Request {
            id: lease.into(),
            exporter: Some("rig-1".into()),
            ..request("")
        };
        let asked = self.engine.change(|world, now| {
            let limits = Limits::default();
            let fresh = Uuid::now_v7();
            let made = rules::create(world, &limits, client, &wish, fresh, now)?;
            Ok(((), vec![Change::Lease(made.name, Some(made.lease))]))
        });
        asked.await.unwrap();
    }

    /// Hands a lease over.
    async fn transfer(&self, lease: &str, to: &str) {
        let handed = self.engine.change(|world, _| {
            let mut handed: Lease = world.leases[lease].clone();
            handed.client = to.to_owned();
            let held: &mut Held = handed.held.as_mut().unwrap();
            held.epoch += 1;
            Ok(((), vec![Change::Lease(lease.to_owned(), Some(handed))]))
        });
        handed.await.unwrap();
    }

    async fn end(&self, lease: &str) {
        let ended = self.engine.change(|world, now| {
            let client = world.leases[lease].client.clone();
            let over = rules::release_as_client(world, &client, lease, now)?;
            let change = over.map(|over| Change::Lease(lease.to_owned(), Some(over)));
            Ok(((), Vec::from_iter(change)))
        });
        ended.await.unwrap();
    }

    /// Waits until the lab is so.
    async fn until(&self, what: &str, so: impl Fn(&crate::model::World) -> bool) {
        let mut version = self.engine.version();
        let wait = async {
            while !self.engine.read(&so) {
                version.changed().await.unwrap();
            }
        };
        timeout(SOON, wait)
            .await
            .unwrap_or_else(|_| panic!("never: {what}"));
    }
}

fn client() -> Client {
    Client {
        uid: Uuid::new_v4(),
        labels: Labels::new(),
        created: SystemTime::now(),
        tokens_from: SystemTime::UNIX_EPOCH,
    }
}

fn exporter() -> Exporter {
    Exporter {
        uid: Uuid::new_v4(),
        labels: Labels::from([("board".into(), "rpi4".into())]),
        created: SystemTime::now(),
        tokens_from: SystemTime::UNIX_EPOCH,
        enabled: true,
        held: None,
        hosted: false,
        devices: vec![],
        presence: Presence::default(),
    }
}

fn register_request() -> rigd_proto::v1::RegisterRequest {
    let report = |uuid: &str, parent: Option<&str>| rigd_proto::v1::DriverInstanceReport {
        uuid: uuid.into(),
        parent_uuid: parent.map(str::to_owned),
        labels: [("jumpstarter.dev/name".to_owned(), uuid.to_owned())].into(),
        ..Default::default()
    };
    rigd_proto::v1::RegisterRequest {
        labels: Default::default(),
        reports: vec![report("root", None), report("power", Some("root"))],
    }
}

async fn report(rig: &mut Api, status: ExporterStatus) {
    let request = ReportStatusRequest {
        status: status.into(),
        message: Some("in a test".into()),
        release_lease: None,
    };
    rig.report_status(request).await.unwrap();
}

async fn next<T>(stream: &mut Streaming<T>) -> T {
    let next = timeout(SOON, stream.message()).await.expect("a message");
    next.unwrap().expect("not the end")
}

/// How a stream ends; what it still tells is skipped.
async fn end<T>(stream: &mut Streaming<T>) -> (Code, String) {
    let ended = async {
        loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                Ok(None) => return (Code::Ok, String::new()),
                Err(status) => return (status.code(), status.message().to_owned()),
            }
        }
    };
    timeout(SOON, ended).await.expect("an end")
}

/// Code and text of an answer.
fn told<T>(answer: Result<T, Status>) -> (Code, String) {
    match answer {
        Ok(_) => (Code::Ok, String::new()),
        Err(status) => (status.code(), status.message().to_owned()),
    }
}
