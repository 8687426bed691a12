//! Resources: files of the client (or behind a presigned URL) that a call reads or writes.
//!
//! ```text
//!   upload:    client ──frames──> ChunkSender ══bounded══> Upload ──> driver
//!   download:  driver ──> Download ══bounded══> receiver ──frames──> client
//! ```
//!
//! An upload ends well only by an explicit end; a sender that is dropped before is a broken
//! upload and an error for the driver. A download ends well only by [`Download::finish`].

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::{DriverError, TransferProgress, async_trait};

/// Chunks buffered per direction: 512 KiB with the usual 64 KiB frames. A transfer goes through two of these
/// where it is decoded; more of them made none faster.
const CHUNKS: usize = 8;

/// Memory that one decoder may take unless the driver says otherwise: the largest preset of xz needs
/// 65 MiB; windows beyond this are a bomb or a setting nobody ships images with.
pub const DECODER_MEMORY: u64 = 160 * 1024 * 1024;

/// HTTP method of a presigned request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum PresignedMethod {
    /// Download to the driver.
    Get,
    /// Upload from the driver.
    Put,
}

/// What a client passes as an argument in place of bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ResourceHandle {
    /// A stream that the client opened beside the call.
    ClientStream {
        /// Id given by the daemon when the stream was opened; good for one use.
        uuid: Uuid,
        /// Compression of the bytes on the wire.
        #[serde(default)]
        x_jmp_content_encoding: Option<String>,
    },
    /// The daemon fetches or stores the bytes itself.
    PresignedRequest {
        /// Headers to send.
        headers: BTreeMap<String, String>,
        /// Signed URL: the query is a secret.
        url: String,
        /// GET for uploads to the device, PUT for dumps.
        method: PresignedMethod,
    },
}

/// Where calls find their resources; the session implements it.
#[async_trait]
pub trait Resources: Send + Sync {
    /// Opens the bytes behind `handle` for reading, decoded. `instance` scopes client streams;
    /// `memory` is what a decoder may take, in bytes.
    async fn upload(
        &self,
        instance: Uuid,
        handle: ResourceHandle,
        memory: u64,
    ) -> Result<Upload, DriverError>;

    /// A small file that lies beside what `handle` names, under the first of `endings` that is
    /// there: each replaces the last `usize` endings (`.img`, `.xz`) of the name. `None` where
    /// nothing can lie beside, or nothing does.
    async fn beside(&self, handle: &ResourceHandle, endings: &[(usize, &str)]) -> Option<Bytes> {
        let _ = (handle, endings);
        None
    }

    /// Opens `handle` for writing; bytes are encoded on their way out.
    async fn download(
        &self,
        instance: Uuid,
        handle: ResourceHandle,
    ) -> Result<Download, DriverError>;

    /// Hears how far the call has come with a resource, at most some times a second. Never blocks: the
    /// threads of a transfer tell it. Clients of the protocol have no use for it.
    fn progress(&self, progress: TransferProgress) {
        let _ = progress;
    }
}

enum Item {
    Chunk(Bytes),
    End,
    Broken(DriverError),
}

/// Bytes for the driver to read, decoded.
pub struct Upload {
    items: mpsc::Receiver<Item>,
    /// Looked at already, and not taken yet.
    ahead: Bytes,
    ended: bool,
    size: Option<u64>,
    guard: Option<Box<dyn std::any::Any + Send + Sync>>,
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upload")
            .field("ended", &self.ended)
            .field("guarded", &self.guard.is_some())
            .finish_non_exhaustive()
    }
}

impl Upload {
    /// Keeps `guard` until the upload is dropped, which is how its source learns that the driver is
    /// done with it.
    #[must_use]
    pub fn with_guard(mut self, guard: impl std::any::Any + Send + Sync) -> Self {
        self.guard = Some(Box::new(guard));
        self
    }

    /// Says how many bytes it will have.
    #[must_use]
    pub fn with_size(mut self, size: Option<u64>) -> Self {
        self.size = size;
        self
    }

    /// How many bytes it will have, where that is known before they are there.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// The first `count` bytes of what is left, fewer only if there are no more; [`next`](Self::next)
    /// gives them again. `count` is meant to be a header's. Cancel-safe.
    pub async fn peek(&mut self, count: usize) -> Result<&[u8], DriverError> {
        while self.ahead.len() < count && !self.ended {
            let item = self.items.recv().await;
            if let Some(more) = self.take(item)? {
                let mut joined = BytesMut::from(std::mem::take(&mut self.ahead));
                joined.extend_from_slice(&more);
                self.ahead = joined.freeze();
            }
        }
        Ok(&self.ahead[..self.ahead.len().min(count)])
    }

    /// The next chunk; `None` after the last one. Cancel-safe.
    ///
    /// # Errors
    /// The client went away, the transfer broke, or the data does not decode.
    pub async fn next(&mut self) -> Result<Option<Bytes>, DriverError> {
        if !self.ahead.is_empty() {
            return Ok(Some(std::mem::take(&mut self.ahead)));
        }
        if self.ended {
            return Ok(None);
        }
        let item = self.items.recv().await;
        self.take(item)
    }

    /// As [`next`](Self::next), for the device thread.
    pub fn blocking_next(&mut self) -> Result<Option<Bytes>, DriverError> {
        if !self.ahead.is_empty() {
            return Ok(Some(std::mem::take(&mut self.ahead)));
        }
        if self.ended {
            return Ok(None);
        }
        let item = self.items.blocking_recv();
        self.take(item)
    }

    fn take(&mut self, item: Option<Item>) -> Result<Option<Bytes>, DriverError> {
        match item {
            Some(Item::Chunk(bytes)) => Ok(Some(bytes)),
            Some(Item::End) => {
                self.ended = true;
                Ok(None)
            }
            Some(Item::Broken(error)) => Err(error),
            None => Err(DriverError::Unavailable(
                "upload broken: the client went away before the end of its data".into(),
            )),
        }
    }
}

/// The feeding side of an [`Upload`].
#[derive(Debug)]
pub struct ChunkSender(mpsc::Sender<Item>);

impl ChunkSender {
    /// Hands a chunk over; `false` when nobody reads any more. Cancel-safe: the chunk is then lost.
    pub async fn send(&self, bytes: Bytes) -> bool {
        self.0.send(Item::Chunk(bytes)).await.is_ok()
    }

    /// The data is complete.
    pub async fn end(self) -> bool {
        self.0.send(Item::End).await.is_ok()
    }

    /// The data ends here and is not complete.
    pub async fn fail(self, error: DriverError) -> bool {
        self.0.send(Item::Broken(error)).await.is_ok()
    }

    /// Resolves when the reader is gone. Cancel-safe.
    pub async fn closed(&self) {
        self.0.closed().await;
    }
}

/// A bounded pipe towards a driver.
pub fn upload_channel() -> (ChunkSender, Upload) {
    let (tx, rx) = mpsc::channel(CHUNKS);
    (
        ChunkSender(tx),
        Upload {
            items: rx,
            ahead: Bytes::new(),
            ended: false,
            size: None,
            guard: None,
        },
    )
}

/// Where the driver writes bytes for the client.
#[derive(Debug)]
pub struct Download {
    chunks: mpsc::Sender<Result<Bytes, DriverError>>,
    done: Option<tokio::sync::oneshot::Sender<()>>,
    /// Resolves once the far side has everything (needed for PUT, whose answer decides).
    outcome: tokio::sync::oneshot::Receiver<Result<(), DriverError>>,
}

/// The draining side of a [`Download`].
#[derive(Debug)]
pub struct DownloadSource {
    /// Chunks in order.
    pub chunks: mpsc::Receiver<Result<Bytes, DriverError>>,
    /// Resolves when the driver finished; an error when it gave up.
    pub done: tokio::sync::oneshot::Receiver<()>,
    /// Where to say how the transfer ended.
    pub outcome: tokio::sync::oneshot::Sender<Result<(), DriverError>>,
}

/// A bounded pipe from a driver.
pub fn download_channel() -> (Download, DownloadSource) {
    let (chunk_tx, chunk_rx) = mpsc::channel(CHUNKS);
    let (done_tx, done_rx) = tokio::sync::oneshot::channel();
    let (outcome_tx, outcome_rx) = tokio::sync::oneshot::channel();
    (
        Download {
            chunks: chunk_tx,
            done: Some(done_tx),
            outcome: outcome_rx,
        },
        DownloadSource {
            chunks: chunk_rx,
            done: done_rx,
            outcome: outcome_tx,
        },
    )
}

impl Download {
    /// Sends a chunk; waits for room, which is the client's back-pressure. Cancel-safe: the chunk
    /// is then lost.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), DriverError> {
        match self.chunks.send(Ok(bytes)).await {
            Ok(()) => Ok(()),
            // The far side is going down; its reason is on the way, if it has one.
            Err(_) => Err(outcome((&mut self.outcome).await)),
        }
    }

    /// As [`write`](Self::write), for the device thread.
    pub fn blocking_write(&mut self, bytes: Bytes) -> Result<(), DriverError> {
        match self.chunks.blocking_send(Ok(bytes)) {
            Ok(()) => Ok(()),
            Err(_) => {
                let (_, spent) = tokio::sync::oneshot::channel();
                let told = std::mem::replace(&mut self.outcome, spent);
                Err(outcome(told.blocking_recv()))
            }
        }
    }

    /// Everything was written; waits until the far side took it.
    pub async fn finish(self) -> Result<(), DriverError> {
        let Self {
            chunks,
            mut done,
            outcome,
        } = self;
        if let Some(done) = done.take() {
            // A far side that is gone shows in the outcome below.
            done.send(()).ok();
        }
        drop(chunks);
        outcome.await.unwrap_or_else(|_| {
            Err(DriverError::Unavailable(
                "download broken: the client went away before the end of the data".into(),
            ))
        })
    }
}

/// Why a download broke, as its far side told.
fn outcome(
    told: Result<Result<(), DriverError>, tokio::sync::oneshot::error::RecvError>,
) -> DriverError {
    match told {
        Ok(Err(error)) => error,
        _ => DriverError::Unavailable(
            "download broken: the client went away before the end of the data".into(),
        ),
    }
}
