//! The client's side of a lease: Dial, a router stream, and bytes through it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rigd_proto::v1::{
    DialRequest, FrameType, StreamRequest, StreamResponse,
    controller_service_client::ControllerServiceClient, router_service_client::RouterServiceClient,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
    sync::mpsc,
    task::{AbortHandle, JoinSet},
    time::Instant,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Code, Request, Status, Streaming,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

use super::{NAMESPACE, state::Shared, tokens::Kind};

/// As long as released clients try.
const DIAL_LIMIT: Duration = Duration::from_secs(30);
/// Released clients begin with 0.3 s; a test has less patience.
const RETRY: Duration = Duration::from_millis(20);
/// Frames on their way.
const FRAMES: usize = 4;
/// As much as released clients read from a socket at once.
const CHUNK: usize = 64 * 1024;

/// Dials a lease in the name of the client that holds it.
#[derive(Clone)]
pub(super) struct Dialer {
    pub(super) shared: Arc<Shared>,
    pub(super) endpoint: String,
    pub(super) ca_pem: String,
    pub(super) lease: String,
}

impl Dialer {
    /// One Dial, and the router stream that it leads to.
    async fn tunnel(&self) -> Result<(mpsc::Sender<StreamRequest>, Replies), Status> {
        let answer = {
            let client = {
                let state = self.shared.look();
                state.lease(&self.lease)?.client.clone()
            };
            let mut request = Request::new(DialRequest {
                lease_name: self.lease.clone(),
            });
            let token = self.shared.token(Kind::Client, &client);
            for (key, value) in [
                ("authorization", format!("Bearer {token}")),
                ("jumpstarter-kind", Kind::Client.name().to_owned()),
                ("jumpstarter-namespace", NAMESPACE.to_owned()),
                ("jumpstarter-name", client),
            ] {
                let value = value.parse().expect("names and tokens are plain");
                request.metadata_mut().insert(key, value);
            }
            let channel = self.channel(&self.endpoint).await?;
            let mut controller = ControllerServiceClient::new(channel);
            controller.dial(request).await?.into_inner()
        };
        let channel = self.channel(&answer.router_endpoint).await?;
        let (tx, rx) = mpsc::channel(FRAMES);
        let mut request = Request::new(ReceiverStream::new(rx));
        let bearer = format!("Bearer {}", answer.router_token);
        let bearer = bearer.parse().expect("tokens are plain");
        request.metadata_mut().insert("authorization", bearer);
        // The headers come with the peer's first frame, so nobody may wait for them here.
        let call = async move {
            let mut router = RouterServiceClient::new(channel);
            router.stream(request).await.map(|it| it.into_inner())
        };
        Ok((tx, Replies::Called(Box::pin(call))))
    }

    /// As `tunnel`, with the patience of released clients.
    async fn tunnel_in_time(&self) -> Result<(mpsc::Sender<StreamRequest>, Replies), Status> {
        let end = Instant::now() + DIAL_LIMIT;
        loop {
            let status = match self.tunnel().await {
                Ok(tunnel) => return Ok(tunnel),
                Err(status) => status,
            };
            let again = status.code() == Code::Unavailable
                || status.code() == Code::FailedPrecondition
                    && status.message().contains("not ready");
            if !again || Instant::now() > end {
                return Err(status);
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn channel(&self, endpoint: &str) -> Result<Channel, Status> {
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&self.ca_pem));
        let failed = |why: tonic::transport::Error| Status::unavailable(format!("{why:?}"));
        Endpoint::from_shared(format!("https://{endpoint}"))
            .and_then(|it| it.tls_config(tls))
            .map_err(failed)?
            .connect_timeout(DIAL_LIMIT)
            .connect()
            .await
            .map_err(failed)
    }

    async fn carry(self, local: UnixStream) -> Result<(), Status> {
        let (tx, mut replies) = self.tunnel_in_time().await?;
        let (mut from, mut to) = local.into_split();
        let up = async {
            let mut buffer = vec![0; CHUNK];
            loop {
                let count = from.read(&mut buffer).await.unwrap_or(0);
                let (frame_type, payload) = match count {
                    0 => (FrameType::Goaway, &[][..]),
                    _ => (FrameType::Data, &buffer[..count]),
                };
                let frame = StreamRequest {
                    payload: payload.to_vec().into(),
                    frame_type: frame_type.into(),
                };
                if tx.send(frame).await.is_err() || count == 0 {
                    break;
                }
            }
            drop(tx);
            Ok(())
        };
        let down = async {
            while let Some(frame) = replies.next().await? {
                if frame.frame_type() == FrameType::Goaway
                    || to.write_all(&frame.payload).await.is_err()
                {
                    break;
                }
            }
            to.shutdown().await.ok();
            Ok(())
        };
        // A failure closes the local connection at once.
        tokio::try_join!(up, down).map(|_| ())
    }
}

type Call =
    std::pin::Pin<Box<dyn Future<Output = Result<Streaming<StreamResponse>, Status>> + Send>>;

/// The answers of a router stream, whose headers may still be on their way.
enum Replies {
    Called(Call),
    Open(Box<Streaming<StreamResponse>>),
}

impl Replies {
    /// `None` at the end. Cancel-safe.
    async fn next(&mut self) -> Result<Option<StreamResponse>, Status> {
        loop {
            match self {
                Self::Called(call) => *self = Self::Open(Box::new(call.as_mut().await?)),
                Self::Open(replies) => return replies.message().await,
            }
        }
    }
}

/// A unix socket that leads to the exporter of a lease, as the one that `jmp shell` makes: each
/// connection is a Dial of its own. Closed when this is dropped.
#[derive(Debug)]
pub(crate) struct Dialled {
    _dir: TempDir,
    socket: PathBuf,
    task: AbortHandle,
}

impl Dialled {
    pub(super) fn open(dialer: Dialer) -> Self {
        // Below /tmp, since a socket path may have 107 bytes at most.
        let dir = tempfile::Builder::new().prefix("lab-").tempdir().unwrap();
        let runtime = dialer.shared.runtime.clone();
        let _context = runtime.enter();
        let socket = dir.path().join("socket");
        let listener = UnixListener::bind(&socket).unwrap();
        let task = runtime.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((local, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                let dialer = dialer.clone();
                connections.spawn(async move {
                    let lease = dialer.lease.clone();
                    if let Err(status) = dialer.carry(local).await {
                        eprintln!("lab: tunnel of {lease}: {status}");
                    }
                });
            }
        });
        Self {
            _dir: dir,
            socket,
            task: task.abort_handle(),
        }
    }

    /// For `rigd_client::Exporter::connect_unix`, or `JUMPSTARTER_HOST` of a `j`.
    pub(crate) fn path(&self) -> &Path {
        &self.socket
    }
}

impl Drop for Dialled {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A router stream without anything behind it: the test says which frames go out.
/// Dropping it cancels the call.
#[derive(Debug)]
pub(crate) struct RawTunnel {
    tx: Option<mpsc::Sender<StreamRequest>>,
    rx: mpsc::Receiver<Result<StreamResponse, Status>>,
    task: AbortHandle,
}

impl RawTunnel {
    pub(super) fn open(dialer: Dialer) -> Self {
        let (tx, mut from_test) = mpsc::channel::<StreamRequest>(FRAMES);
        let (to_test, rx) = mpsc::channel(FRAMES);
        let runtime = dialer.shared.runtime.clone();
        let task = runtime.spawn(async move {
            let (out, mut replies) = match dialer.tunnel_in_time().await {
                Ok(tunnel) => tunnel,
                Err(status) => return drop(to_test.send(Err(status)).await),
            };
            let up = async move {
                while let Some(frame) = from_test.recv().await {
                    if out.send(frame).await.is_err() {
                        return;
                    }
                }
            };
            let down = async {
                while let Some(item) = replies.next().await.transpose() {
                    let last = item.is_err();
                    if to_test.send(item).await.is_err() || last {
                        return;
                    }
                }
            };
            // The call is over when its answers are.
            tokio::select! {
                () = down => {}
                () = async { up.await; std::future::pending().await } => {}
            }
        });
        Self {
            tx: Some(tx),
            rx,
            task: task.abort_handle(),
        }
    }

    /// Sends a frame of any type; `false` once the call is over.
    pub(crate) async fn send(&self, frame_type: i32, payload: &[u8]) -> bool {
        let payload = payload.to_vec().into();
        let frame = StreamRequest {
            payload,
            frame_type,
        };
        match &self.tx {
            Some(tx) => tx.send(frame).await.is_ok(),
            None => false,
        }
    }

    /// Ends the direction to the exporter, without a frame that says so.
    pub(crate) fn half_close(&mut self) {
        self.tx = None;
    }

    /// The next frame or the failure; `None` at the end.
    pub(crate) async fn recv(&mut self) -> Option<Result<StreamResponse, Status>> {
        self.rx.recv().await
    }
}

impl Drop for RawTunnel {
    fn drop(&mut self) {
        self.task.abort();
    }
}
