//! A router on loopback whose calls the test plays itself, and as lazy as the real one: response
//! headers come with the first frame, or with the end.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use hyper_util::rt::TokioIo;
use rigd_proto::v1::{
    FrameType, StreamRequest, StreamResponse,
    router_service_client::RouterServiceClient,
    router_service_server::{RouterService, RouterServiceServer},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::timeout,
};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{
    Request, Response, Status, Streaming,
    metadata::MetadataMap,
    transport::{self, Server},
};

use super::super::{Connect, ConnectError, Endpoint, Phase, RouterClient};
use crate::{link::options::ChannelOptions, transport::killable::Killable};

/// Long enough for a loaded machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

type Frame = Result<StreamResponse, Status>;

/// One side of a tunnel as the router has it.
pub(super) struct Call {
    pub(super) metadata: MetadataMap,
    pub(super) up: Streaming<StreamRequest>,
    pub(super) down: mpsc::Sender<Frame>,
}

impl Call {
    pub(super) async fn send(&self, kind: i32, payload: &'static [u8]) {
        let frame = StreamResponse {
            payload: Bytes::from_static(payload),
            frame_type: kind,
        };
        self.down.send(Ok(frame)).await.unwrap();
    }

    pub(super) async fn data(&self, payload: &'static [u8]) {
        self.send(FrameType::Data.into(), payload).await;
    }

    /// The next frame of the peer: type and payload; none when it ended its direction.
    pub(super) async fn next(&mut self) -> Option<(i32, Bytes)> {
        let frame = timeout(PATIENCE, self.up.message()).await.unwrap().unwrap();
        frame.map(|frame| (frame.frame_type, frame.payload))
    }

    /// Everything up to the end, which must be one GOAWAY and the end of the direction.
    pub(super) async fn rest(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some((kind, payload)) = self.next().await {
            if kind == i32::from(FrameType::Goaway) {
                assert!(payload.is_empty());
                assert!(self.next().await.is_none(), "a frame came after GOAWAY");
                return all;
            }
            assert_eq!(kind, i32::from(FrameType::Data));
            all.extend_from_slice(&payload);
        }
        panic!("the direction ended without GOAWAY");
    }

    /// Copies both ways until both sides ended or one failed, as the real router does with two
    /// calls of one token.
    pub(super) async fn pair(self, other: Self) {
        async fn copy(
            mut up: Streaming<StreamRequest>,
            down: &mpsc::Sender<Frame>,
        ) -> Result<(), Status> {
            while let Some(frame) = up.message().await? {
                let frame = StreamResponse {
                    payload: frame.payload,
                    frame_type: frame.frame_type,
                };
                let sent = down.send(Ok(frame)).await;
                sent.map_err(|_| Status::cancelled("the peer left"))?;
            }
            Ok(())
        }
        let copies =
            futures::future::try_join(copy(self.up, &other.down), copy(other.up, &self.down));
        if let Err(status) = copies.await {
            self.down.send(Err(status.clone())).await.ok();
            other.down.send(Err(status)).await.ok();
        }
    }

    /// Copies what comes back to where it came from, until it ends.
    pub(super) async fn echo(mut self) {
        while let Ok(Some(frame)) = self.up.message().await {
            assert!(frame.payload.len() <= 64 * 1024);
            let frame = StreamResponse {
                payload: frame.payload,
                frame_type: frame.frame_type,
            };
            if self.down.send(Ok(frame)).await.is_err() {
                break;
            }
        }
    }
}

/// Cuts its connections and ends when it is dropped.
pub(super) struct Router {
    pub(super) endpoint: String,
    pub(super) calls: mpsc::Receiver<Call>,
    connections: Arc<()>,
    _ends: DropGuard,
}

struct Service(mpsc::Sender<Call>);

#[tonic::async_trait]
impl RouterService for Service {
    type StreamStream = BoxStream<'static, Frame>;

    async fn stream(
        &self,
        request: Request<Streaming<StreamRequest>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let (down, mut frames) = mpsc::channel(1);
        let call = Call {
            metadata: request.metadata().clone(),
            up: request.into_inner(),
            down,
        };
        self.0.send(call).await.map_err(|_| Status::cancelled(""))?;
        let first = frames.recv().await.transpose()?;
        let frames = futures::stream::iter(first.map(Ok)).chain(ReceiverStream::new(frames));
        Ok(Response::new(frames.boxed()))
    }
}

impl Router {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let (calls_tx, calls) = mpsc::channel(1);
        let connections = Arc::new(());
        let cut = CancellationToken::new();
        let incoming = {
            let (cut, connections) = (cut.clone(), connections.clone());
            TcpListenerStream::new(listener).map(move |io| {
                Ok::<_, std::io::Error>(Killable::new(io?, cut.clone(), connections.clone()))
            })
        };
        let server = Server::builder()
            .add_service(RouterServiceServer::new(Service(calls_tx)))
            .serve_with_incoming_shutdown(incoming, cut.clone().cancelled_owned());
        tokio::spawn(server);
        Self {
            endpoint: address.to_string(),
            calls,
            connections,
            _ends: cut.drop_guard(),
        }
    }

    pub(super) async fn call(&mut self) -> Call {
        timeout(PATIENCE, self.calls.recv()).await.unwrap().unwrap()
    }

    /// Waits until the last connection to it is closed. No event tells that.
    pub(super) async fn left_alone(&self) {
        // One is this router's own, one that of the listener.
        until("connections stay", || {
            Arc::strong_count(&self.connections) <= 2
        })
        .await;
    }
}

/// Looks again and again, for what wakes nobody.
pub(super) async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let look = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, look)
        .await
        .unwrap_or_else(|_| panic!("{what}"));
}

/// Connects without TLS, with the windows of a real one.
#[derive(Debug)]
pub(super) struct Plain;

impl Connect for Plain {
    async fn connect(
        &self,
        endpoint: &Endpoint,
        cut: CancellationToken,
    ) -> Result<RouterClient, ConnectError> {
        let to = (endpoint.host().to_owned(), endpoint.port());
        let connector = tower::service_fn(move |_| {
            let (to, cut) = (to.clone(), cut.clone());
            async move {
                let io = TcpStream::connect(to).await?;
                io.set_nodelay(true)?;
                Ok::<_, std::io::Error>(TokioIo::new(Killable::new(io, cut, ())))
            }
        });
        let channel = ChannelOptions::default()
            .apply_to_tunnel(transport::Endpoint::from_static("http://router"))
            .connect_with_connector(connector)
            .await
            .map_err(|error| ConnectError::new(Phase::Http, endpoint, error.to_string()))?;
        Ok(RouterServiceClient::new(channel))
    }
}
