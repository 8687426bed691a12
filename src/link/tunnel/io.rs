//! Owns the bytes of one tunnel: an HTTP/2 connection of a client inside the DATA frames of a
//! `RouterService.Stream` call.
//!
//! ```text
//!            Opening ──headers──> Open ──GOAWAY──> Goaway (reads end, writes go on)
//!               └──error──┐        └─end, error──┐    └─ the call is drained after the drop
//!                       Failed                Ended, Failed
//! ```
//!
//! A router on grpc-go sends response headers with its first frame only, so nothing here waits for
//! them: frames go up from the start. Whoever reads drives the call; there is no task between the
//! server of the connection and the call while it lives. When it is dropped, what is queued still
//! leaves: dropping the call at once would cancel it and lose the last answers.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{BufMut, Bytes, BytesMut};
use futures::{Stream, future::BoxFuture};
use rigd_proto::v1::{FrameType, StreamRequest, StreamResponse};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    runtime::Handle,
    sync::{OwnedSemaphorePermit, mpsc},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::{
    sync::{CancellationToken, DropGuard, PollSender},
    task::TaskTracker,
};
use tonic::{
    Code, Request, Response, Status, Streaming,
    metadata::{Ascii, MetadataValue},
};
use tracing::Instrument;

use super::RouterClient;

/// Bytes of one DATA frame: what the peers send, far below the 4 MiB limit of a gRPC message, and
/// where throughput is best.
const MAX_FRAME: usize = 64 * 1024;
/// Frames between the connection and the call. At most 1 MiB, and enough for the two tasks not to
/// wait for each other.
const UPLINK_FRAMES: usize = 16;
/// Frames without bytes that are skipped before others get their turn.
const SKIPPED_AT_ONCE: usize = 64;
/// How long a connection that is over may take to hand its last frames to the router.
const LINGER: Duration = Duration::from_secs(2);
/// Characters of the router's text that are repeated.
const MAX_TEXT: usize = 256;

/// What a tunnel holds until its call is over, and what it is told apart by.
#[derive(Debug)]
pub(super) struct Life {
    /// For the log: `host:port`.
    pub(super) router: String,
    /// Ends everything at once.
    pub(super) cut: CancellationToken,
    /// Ends the connection to the router when it is dropped. Without it the connection of a router
    /// that stopped reading would stay: only the response, not the request body, ends with the
    /// call that is dropped (hyper 1.12, `PipeToSendStream`).
    pub(super) link: DropGuard,
    /// Runs the task of the last frames.
    pub(super) tasks: TaskTracker,
    /// Among the tunnels that are open.
    pub(super) place: OwnedSemaphorePermit,
}

/// The bytes of one client connection.
///
/// Reading ends at GOAWAY or when the call ends OK; a call that fails is an [`io::Error`] which
/// names the code and the router's text. Shutting down sends GOAWAY and ends the uplink.
pub(crate) struct TunnelIo {
    downlink: Downlink,
    /// Of the frame that is being read.
    rest: Bytes,
    uplink: PollSender<StreamRequest>,
    goaway_sent: bool,
    /// What must not be repeated of the router's texts.
    token: Arc<str>,
    read: u64,
    written: u64,
    // Taken by the drop.
    life: Option<Life>,
    span: tracing::Span,
    handle: Handle,
}

enum Downlink {
    Opening(BoxFuture<'static, Result<Streaming<StreamResponse>, Status>>),
    Open(Box<Streaming<StreamResponse>>),
    Goaway(Box<Streaming<StreamResponse>>),
    Ended,
    Failed,
}

impl TunnelIo {
    /// Sends the request; waits for nothing. To be called in a runtime.
    pub(super) async fn open(
        mut client: RouterClient,
        token: Arc<str>,
        bearer: MetadataValue<Ascii>,
        life: Life,
    ) -> Self {
        let (uplink, frames) = mpsc::channel(UPLINK_FRAMES);
        let mut request = Request::new(ReceiverStream::new(frames));
        request.metadata_mut().insert("authorization", bearer);
        let call = async move { client.stream(request).await.map(Response::into_inner) };
        let mut tunnel = Self {
            downlink: Downlink::Opening(Box::pin(call)),
            rest: Bytes::new(),
            uplink: PollSender::new(uplink),
            goaway_sent: false,
            token,
            read: 0,
            written: 0,
            life: Some(life),
            span: tracing::Span::current(),
            handle: Handle::current(),
        };
        // The call is sent when it is polled for the first time; an answer that is there already
        // is found by the first read.
        std::future::poll_fn(|cx| {
            if let Downlink::Opening(call) = &mut tunnel.downlink
                && let Poll::Ready(answer) = call.as_mut().poll(cx)
            {
                tunnel.downlink = Downlink::Opening(Box::pin(std::future::ready(answer)));
            }
            Poll::Ready(())
        })
        .await;
        tunnel
    }

    /// The next bytes; none at the end.
    fn poll_payload(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        for _ in 0..SKIPPED_AT_ONCE {
            let frame = match &mut self.downlink {
                Downlink::Opening(call) => match ready!(call.as_mut().poll(cx)) {
                    Ok(stream) => {
                        self.downlink = Downlink::Open(Box::new(stream));
                        continue;
                    }
                    Err(status) => return Poll::Ready(Err(self.fail(&status))),
                },
                Downlink::Open(stream) => ready!(Pin::new(stream.as_mut()).poll_next(cx)),
                Downlink::Goaway(_) | Downlink::Ended => return Poll::Ready(Ok(Bytes::new())),
                Downlink::Failed => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            };
            match frame {
                Some(Ok(frame)) if frame.frame_type == i32::from(FrameType::Goaway) => {
                    self.downlink = match std::mem::replace(&mut self.downlink, Downlink::Ended) {
                        Downlink::Open(stream) => Downlink::Goaway(stream),
                        other => other,
                    };
                }
                Some(Ok(frame)) => {
                    if frame.frame_type == i32::from(FrameType::Data) && !frame.payload.is_empty() {
                        return Poll::Ready(Ok(frame.payload));
                    }
                }
                None => self.downlink = Downlink::Ended,
                Some(Err(status)) => return Poll::Ready(Err(self.fail(&status))),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn fail(&mut self, status: &Status) -> io::Error {
        let opened = !matches!(self.downlink, Downlink::Opening(_));
        self.downlink = Downlink::Failed;
        let code = status.code();
        let text = told(status.message(), &self.token);
        let router = self.router();
        // What a router tells when the client went away without a word.
        if opened && matches!(code, Code::Cancelled | Code::Aborted) {
            tracing::debug!(parent: &self.span, router, ?code, text, "The router ended a tunnel.");
        } else {
            tracing::warn!(parent: &self.span, router, ?code, text, "The router ended a tunnel.");
        }
        let kind = match code {
            Code::Unauthenticated | Code::PermissionDenied => io::ErrorKind::PermissionDenied,
            _ => io::ErrorKind::ConnectionReset,
        };
        io::Error::new(
            kind,
            format!("the router ended the tunnel with {code:?}: {text}"),
        )
    }

    fn router(&self) -> &str {
        self.life.as_ref().map_or("", |life| &life.router)
    }

    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        payload: impl FnOnce() -> Bytes,
    ) -> Poll<io::Result<usize>> {
        if self.goaway_sent {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        ready!(self.uplink.poll_reserve(cx)).map_err(|_| over())?;
        let payload = payload();
        let sent = payload.len();
        self.uplink
            .send_item(frame(FrameType::Data, payload))
            .map_err(|_| over())?;
        self.written += sent as u64;
        Poll::Ready(Ok(sent))
    }
}

/// The router's text, bounded, on one line and without the token.
fn told(text: &str, token: &str) -> String {
    let text = if token.is_empty() {
        text.to_owned()
    } else {
        text.replace(token, "***")
    };
    text.chars()
        .take(MAX_TEXT)
        .flat_map(char::escape_debug)
        .collect()
}

fn over() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the router ended the tunnel")
}

fn frame(kind: FrameType, payload: Bytes) -> StreamRequest {
    StreamRequest {
        payload,
        frame_type: kind.into(),
    }
}

/// Says that no more comes and ends the uplink; ready when that is queued or the call is over.
fn poll_goaway(uplink: &mut PollSender<StreamRequest>, cx: &mut Context<'_>) -> Poll<()> {
    if ready!(uplink.poll_reserve(cx)).is_ok() {
        // Fails when the call ended this moment: then nobody is to be told.
        uplink
            .send_item(frame(FrameType::Goaway, Bytes::new()))
            .ok();
    }
    uplink.close();
    Poll::Ready(())
}

/// Reads and drops what comes until the call is over.
async fn drain(downlink: Downlink) {
    let mut stream = match downlink {
        Downlink::Opening(call) => match call.await {
            Ok(stream) => Box::new(stream),
            Err(_) => return,
        },
        Downlink::Open(stream) | Downlink::Goaway(stream) => stream,
        Downlink::Ended | Downlink::Failed => return,
    };
    while let Ok(Some(_)) = stream.message().await {}
}

impl AsyncRead for TunnelIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.rest.is_empty() {
            this.rest = ready!(this.poll_payload(cx))?;
        }
        let part = this.rest.split_to(this.rest.len().min(buf.remaining()));
        buf.put_slice(&part);
        this.read += part.len() as u64;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TunnelIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let part = &buf[..buf.len().min(MAX_FRAME)];
        self.get_mut()
            .poll_send(cx, || Bytes::copy_from_slice(part))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let total: usize = bufs.iter().map(|buf| buf.len()).sum();
        if total == 0 {
            return Poll::Ready(Ok(0));
        }
        self.get_mut().poll_send(cx, || {
            let mut joined = BytesMut::with_capacity(total.min(MAX_FRAME));
            for buf in bufs {
                let room = MAX_FRAME - joined.len();
                joined.put_slice(&buf[..buf.len().min(room)]);
            }
            joined.freeze()
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Frames leave on their own.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.goaway_sent {
            ready!(poll_goaway(&mut this.uplink, cx));
            this.goaway_sent = true;
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for TunnelIo {
    fn drop(&mut self) {
        let Some(life) = self.life.take() else { return };
        let (read, written) = (self.read, self.written);
        let downlink = std::mem::replace(&mut self.downlink, Downlink::Ended);
        // A client that only asks whether its socket is open leaves without a byte.
        tracing::debug!(parent: &self.span, router = &*life.router, read, written, "A tunnel ended.");
        if matches!(downlink, Downlink::Ended | Downlink::Failed) || life.cut.is_cancelled() {
            return;
        }
        let (tasks, goaway_sent) = (life.tasks.clone(), self.goaway_sent);
        // A second handle on the queue, so that the call does not see its end before the GOAWAY.
        let mut uplink = self.uplink.clone();
        let last = async move {
            let goaway = std::future::poll_fn(|cx| {
                if goaway_sent {
                    Poll::Ready(())
                } else {
                    poll_goaway(&mut uplink, cx)
                }
            });
            let last = timeout(LINGER, futures::future::join(goaway, drain(downlink)));
            // cancel-safe: both arms end the task.
            tokio::select! {
                done = last => if done.is_err() {
                    tracing::debug!(router = &*life.router, "A router did not end a tunnel in time.");
                },
                () = life.cut.cancelled() => {}
            }
            drop(life.link);
            drop(life.place);
        };
        let last = last.instrument(self.span.clone());
        tasks.spawn_on(last, &self.handle);
    }
}
