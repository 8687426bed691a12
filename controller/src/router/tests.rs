//! The router in a server of its own, with peers over pipes in memory.

use std::{collections::HashMap, io, time::Duration};

use bytes::Bytes;
use hyper_util::rt::TokioIo;
use rigd_proto::v1::{
    FrameType, StreamRequest, StreamResponse, router_service_client::RouterServiceClient,
};
use tokio::{
    io::DuplexStream,
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::{
    Code,
    transport::{Channel, Endpoint, Server},
};

use super::*;

mod cut;
mod joined;
mod load;
mod pairing;
mod table;
mod throughput;

/// The windows of rigd's servers and links: a stream's tiny frames stay within h2's budget.
const STREAM_WINDOW: u32 = 512 * 1024;
const CONNECTION_WINDOW: u32 = 64 * 1024 * 1024;
const TUNNEL_WINDOW: u32 = 2 * 1024 * 1024;
const MAX_FRAME: u32 = 128 * 1024;
/// Nothing here takes so long unless it hangs.
const SOON: Duration = Duration::from_secs(20);

type Client = RouterServiceClient<Channel>;

/// Tokens are `stream/lease/epoch`; leases that are named here are in that epoch.
#[derive(Default)]
struct World(Mutex<HashMap<String, u64>>);

impl World {
    fn now_in(&self, lease: &str, epoch: u64) {
        self.0.lock().unwrap().insert(lease.to_owned(), epoch);
    }
}

impl Passes for World {
    fn admit(&self, token: &Token) -> Result<Pass, Status> {
        let no = || Status::unauthenticated("invalid jwt token");
        let mut parts = token.reveal().split('/');
        let mut part = || parts.next().map(str::to_owned).ok_or_else(no);
        let (stream, lease) = (part()?, part()?);
        let epoch = part()?.parse().map_err(|_| no())?;
        match self.0.lock().unwrap().get(&lease) {
            Some(current) if epoch < *current => Err(no()),
            _ => Ok(Pass {
                stream,
                lease,
                epoch,
            }),
        }
    }
}

struct Lab {
    router: Router,
    world: Arc<World>,
    incoming: mpsc::Sender<io::Result<DuplexStream>>,
    _server: AbortOnDropHandle<()>,
}

impl Lab {
    fn new() -> Self {
        Self::with(RouterLimits::default())
    }

    fn with(limits: RouterLimits) -> Self {
        let world = Arc::<World>::default();
        let router = Router::new(world.clone(), limits);
        let (incoming, connections) = mpsc::channel(1);
        let server = Server::builder()
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(MAX_FRAME)
            .add_service(router.service())
            .serve_with_incoming(ReceiverStream::new(connections));
        let server = tokio::spawn(async move { server.await.unwrap() });
        let _server = AbortOnDropHandle::new(server);
        Self {
            router,
            world,
            incoming,
            _server,
        }
    }

    /// A connection of its own.
    async fn connect(&self) -> Client {
        let incoming = self.incoming.clone();
        let connector = tower::service_fn(move |_| {
            let incoming = incoming.clone();
            async move {
                let (near, far) = tokio::io::duplex(256 * 1024);
                incoming.send(Ok(far)).await.map_err(io::Error::other)?;
                io::Result::Ok(TokioIo::new(near))
            }
        });
        let channel = Endpoint::from_static("http://router")
            .initial_stream_window_size(TUNNEL_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(MAX_FRAME)
            .connect_with_connector(connector)
            .await
            .unwrap();
        RouterServiceClient::new(channel)
    }

    /// An end on a connection of its own.
    async fn end(&self, token: &str) -> Peer {
        Peer::open(&mut self.connect().await, token).await.unwrap()
    }

    async fn pair(&self, token: &str) -> (Peer, Peer) {
        (self.end(token).await, self.end(token).await)
    }

    /// Waits until the statistics are so.
    async fn until(&self, what: impl Fn(RouterStats) -> bool) {
        let until = async {
            while !what(self.router.stats()) {
                sleep(Duration::from_millis(2)).await;
            }
        };
        let stats = || self.router.stats();
        timeout(SOON, until)
            .await
            .unwrap_or_else(|_| panic!("{:?}", stats()));
    }

    /// Every end has left, and nothing remains of them.
    async fn until_idle(&self) {
        self.until(|stats| stats.waiting == 0 && stats.pairs == 0)
            .await;
        let tasks = async {
            while !self.router.shared.tasks.is_empty() {
                sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(SOON, tasks).await.expect("no task is left");
        assert!(self.router.shared.table().is_idle());
    }
}

struct Peer {
    up: Option<mpsc::Sender<StreamRequest>>,
    down: Streaming<StreamResponse>,
}

impl Peer {
    /// Ready when there are response headers.
    async fn open(client: &mut Client, token: &str) -> Result<Self, Status> {
        // Room for one, so that every message is an HTTP/2 frame of its own.
        let (up, frames) = mpsc::channel(1);
        let mut request = Request::new(ReceiverStream::new(frames));
        let bearer = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", bearer);
        let call = client.stream(request);
        let response = timeout(SOON, call).await.expect("an answer")?;
        Ok(Self {
            up: Some(up),
            down: response.into_inner(),
        })
    }

    async fn send(&self, frame: StreamRequest) {
        let up = self.up.as_ref().expect("not ended");
        timeout(SOON, up.send(frame))
            .await
            .expect("no pressure")
            .unwrap();
    }

    async fn say(&self, text: &str) {
        self.send(frame(FrameType::Data, text)).await;
    }

    /// As peers end their direction: GOAWAY and the end of the requests.
    async fn finish(&mut self) {
        self.send(frame(FrameType::Goaway, "")).await;
        self.up = None;
    }

    async fn next(&mut self) -> Result<Option<StreamResponse>, Status> {
        timeout(SOON, self.down.message()).await.expect("news")
    }

    async fn hear(&mut self, text: &str) {
        let heard = self.next().await.unwrap().expect("a frame");
        assert_eq!(heard.payload, text.as_bytes());
    }

    async fn hear_goaway(&mut self) {
        let heard = self.next().await.unwrap().expect("a frame");
        assert_eq!(heard.frame_type(), FrameType::Goaway);
    }

    /// The call ends with OK.
    async fn ends(&mut self) {
        assert_eq!(self.next().await.unwrap(), None);
    }

    async fn fails(&mut self) -> (Code, String) {
        let status = self.next().await.unwrap_err();
        (status.code(), status.message().to_owned())
    }
}

fn frame(kind: FrameType, payload: impl Into<Vec<u8>>) -> StreamRequest {
    StreamRequest {
        payload: Bytes::from(payload.into()),
        frame_type: kind.into(),
    }
}
