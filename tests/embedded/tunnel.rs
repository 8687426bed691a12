//! The way from a client to the exporter of its lease: Dial, and a stream of the router.

use std::{io, sync::Arc};

use rigd_client::Exporter;
use rigd_proto::v1::{FrameType, StreamRequest, router_service_client::RouterServiceClient};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
    sync::mpsc,
    task::{AbortHandle, JoinSet},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status};

use super::caller::{Caller, Credentials};

/// Frames on their way.
const FRAMES: usize = 4;
/// As much as released clients read from a socket at once.
const CHUNK: usize = 64 * 1024;

/// An open way; closed when this is dropped.
pub(crate) struct Door {
    pub(crate) exporter: Exporter,
    task: AbortHandle,
    _dir: TempDir,
}

impl Door {
    pub(super) async fn open(caller: Caller, lease: String) -> Self {
        // Below /tmp, since a socket path may have 107 bytes at most.
        let dir = tempfile::Builder::new()
            .prefix("rigd-test-")
            .tempdir()
            .unwrap();
        let socket = dir.path().join("socket");
        let listener = UnixListener::bind(&socket).unwrap();
        let caller = Arc::new(caller);
        let task = tokio::spawn(async move {
            // Ended with this task.
            let mut connections = JoinSet::new();
            while let Ok((local, _)) = listener.accept().await {
                let (caller, lease) = (caller.clone(), lease.clone());
                connections.spawn(async move {
                    if let Err(status) = carry(&caller, &lease, local).await {
                        eprintln!("tunnel of {lease}: {status}");
                    }
                });
            }
        });
        let exporter = Exporter::connect_unix(&socket).await.unwrap();
        Self {
            exporter,
            task: task.abort_handle(),
            _dir: dir,
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(caller: &Caller, lease: &str, local: UnixStream) -> Result<(), Status> {
    let answer = caller.dial_in_time(lease).await?;
    let who = Credentials {
        endpoint: answer.router_endpoint.clone(),
        ..caller.who.clone()
    };
    // An advertised name need not resolve here: the port is on this host.
    let port = answer
        .router_endpoint
        .rsplit(':')
        .next()
        .unwrap_or_default();
    let channel = who.connect_at(&format!("127.0.0.1:{port}")).await;
    let channel = channel.map_err(|why| Status::unavailable(why.to_string()))?;
    let (tx, rx) = mpsc::channel(FRAMES);
    let mut request = Request::new(ReceiverStream::new(rx));
    let bearer = format!("Bearer {}", answer.router_token).parse().unwrap();
    request.metadata_mut().insert("authorization", bearer);
    let (from, mut to) = local.into_split();
    let up = tokio::spawn(pump(from, tx));
    let mut router = RouterServiceClient::new(channel);
    let down = async {
        let mut replies = router.stream(request).await?.into_inner();
        while let Some(frame) = replies.message().await? {
            let over = frame.frame_type() == FrameType::Goaway;
            if over || to.write_all(&frame.payload).await.is_err() {
                break;
            }
        }
        Ok(())
    };
    let done = down.await;
    up.abort();
    done
}

async fn pump(
    mut from: impl tokio::io::AsyncRead + Unpin,
    tx: mpsc::Sender<StreamRequest>,
) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let count = from.read(&mut buffer).await?;
        let frame_type = match count {
            0 => FrameType::Goaway,
            _ => FrameType::Data,
        };
        let frame = StreamRequest {
            payload: buffer[..count].to_vec().into(),
            frame_type: frame_type.into(),
        };
        if tx.send(frame).await.is_err() || count == 0 {
            return Ok(());
        }
    }
}
