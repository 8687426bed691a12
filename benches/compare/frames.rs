//! The bytes of one connection inside the frames of a router's stream, with nothing around them that
//! is not needed.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::{SinkExt as _, Stream, TryStreamExt as _};
use rigd_proto::v1::{FrameType, StreamRequest, router_service_client::RouterServiceClient};
use tokio::{
    io::{AsyncRead, AsyncWrite, Join, ReadBuf, join},
    sync::mpsc,
};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tokio_util::{
    io::{CopyToBytes, SinkWriter, StreamReader},
    sync::{PollSendError, PollSender},
};
use tonic::{
    Request, Response, Status,
    metadata::errors::InvalidMetadataValue,
    transport::{Channel, server::Connected},
};

/// Frames on their way.
pub(crate) const QUEUE: usize = 16;

type Reading = Pin<Box<dyn AsyncRead + Send>>;
type Writing = Pin<Box<dyn AsyncWrite + Send>>;

/// The bytes of one connection.
pub(crate) struct Tunnel(Join<Reading, Writing>);

impl Tunnel {
    /// What comes and what goes: payloads of frames.
    pub(crate) fn new(
        down: impl Stream<Item = Result<Bytes, Status>> + Send + 'static,
        up: mpsc::Sender<Bytes>,
    ) -> Self {
        let down: Reading = Box::pin(StreamReader::new(Box::pin(down.map_err(io::Error::other))));
        let up =
            PollSender::new(up).sink_map_err(|error: PollSendError<_>| io::Error::other(error));
        let up: Writing = Box::pin(SinkWriter::new(CopyToBytes::new(up)));
        Self(join(down, up))
    }

    /// This end of the stream that `token` names. The call is made when the tunnel is read for the
    /// first time.
    pub(crate) fn through(
        mut router: RouterServiceClient<Channel>,
        token: &str,
    ) -> Result<Self, InvalidMetadataValue> {
        let (up, queue) = mpsc::channel(QUEUE);
        let frames = ReceiverStream::new(queue).map(|payload| StreamRequest {
            payload,
            frame_type: FrameType::Data.into(),
        });
        let mut request = Request::new(frames);
        let bearer = format!("Bearer {token}").parse()?;
        request.metadata_mut().insert("authorization", bearer);
        // The answer may come only with the other end's first frame.
        let call = async move { router.stream(request).await.map(Response::into_inner) };
        let down = futures::stream::once(call)
            .try_flatten()
            .map_ok(|frame| frame.payload);
        Ok(Self::new(down, up))
    }
}

impl Connected for Tunnel {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
