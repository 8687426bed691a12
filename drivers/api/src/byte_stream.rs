//! Byte streams that a driver opens for a client, e.g. a console or a TCP connection.

use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, WriteHalf};
use tokio_util::io::ReaderStream;

use crate::{DriverError, async_trait};

/// Read size for streams made from I/O objects. Peers use 64 KiB frames as well, so a bulk copy
/// keeps one frame a read.
const READ_SIZE: usize = 64 * 1024;

/// Whether frames are messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Boundaries {
    /// Bytes only: the session may join small frames.
    #[default]
    Free,
    /// One frame is one message (a datagram): never joined or cut.
    Keep,
}

/// The direction from the client to the device.
#[async_trait]
pub trait ByteSink: Send {
    /// Takes one frame; returns when there is room for the next, which is the back-pressure that
    /// reaches the client. Not cancel-safe: after a drop in the middle the stream is of no use.
    async fn send(&mut self, bytes: Bytes) -> Result<(), DriverError>;

    /// The client sends no more. The other direction stays open.
    async fn finish(&mut self) -> Result<(), DriverError>;
}

/// An open byte stream: two directions that end independently.
pub struct ByteStream {
    /// Header keys sent to the client before the first frame.
    pub headers: Vec<(String, String)>,
    /// From the device to the client. Its end is the end of that direction.
    pub reader: BoxStream<'static, Result<Bytes, DriverError>>,
    /// From the client to the device. Dropping it without `finish` means the client is gone.
    pub writer: Box<dyn ByteSink>,
    /// Whether frames are messages.
    pub boundaries: Boundaries,
}

impl std::fmt::Debug for ByteStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ByteStream")
            .field("headers", &self.headers)
            .field("boundaries", &self.boundaries)
            .finish_non_exhaustive()
    }
}

impl ByteStream {
    /// A stream from its two directions.
    pub fn new(
        reader: impl futures::Stream<Item = Result<Bytes, DriverError>> + Send + 'static,
        writer: impl ByteSink + 'static,
    ) -> Self {
        Self {
            headers: Vec::new(),
            reader: reader.boxed(),
            writer: Box::new(writer),
            boundaries: Boundaries::Free,
        }
    }

    /// A stream over a connection; `name` says which in errors. Half-close maps to `shutdown`.
    pub fn from_io<I>(name: impl Into<String>, io: I) -> Self
    where
        I: AsyncRead + AsyncWrite + Send + 'static,
    {
        let name = name.into();
        let (read, write) = tokio::io::split(io);
        let what = format!("cannot read {name}");
        let reader = ReaderStream::with_capacity(read, READ_SIZE)
            .map(move |item| item.map_err(|e| DriverError::io(&what, &e)));
        Self::new(reader, IoSink { name, io: write })
    }

    /// Keeps frames as messages.
    #[must_use]
    pub fn with_boundaries(mut self) -> Self {
        self.boundaries = Boundaries::Keep;
        self
    }
}

struct IoSink<I> {
    name: String,
    io: WriteHalf<I>,
}

#[async_trait]
impl<I: AsyncWrite + Send> ByteSink for IoSink<I> {
    async fn send(&mut self, bytes: Bytes) -> Result<(), DriverError> {
        let done = self.io.write_all(&bytes).await;
        done.map_err(|e| DriverError::io(format_args!("cannot write {}", self.name), &e))
    }

    async fn finish(&mut self) -> Result<(), DriverError> {
        match self.io.shutdown().await {
            // The peer closed first; there is nothing left to close.
            Err(e) if e.kind() == std::io::ErrorKind::NotConnected => Ok(()),
            done => {
                done.map_err(|e| DriverError::io(format_args!("cannot close {}", self.name), &e))
            }
        }
    }
}
