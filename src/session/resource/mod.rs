//! Resources of a session: client streams that wait for a call to use them, and presigned URLs.
//!
//! ```text
//!   Stream RPC ──register──> waiting ──upload/download by a call──> in use ──> over
//!                               └── the client's RPC ends ──> forgotten
//! ```
//!
//! A resource is good for one use and belongs to one instance.

mod presigned;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use futures::{FutureExt, Stream, stream};
pub(super) use rigd_codec::Encoding;
use rigd_driver::{
    ChunkSender, Download, DownloadSource, DriverError, Key, PresignedMethod, ResourceHandle,
    Resources, Upload, async_trait, download_channel, upload_channel,
};
use rigd_proto::v1::StreamResponse;
use tokio::sync::oneshot;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};
use tonic::Status;
use uuid::Uuid;

use super::{
    errors,
    frames::{self, Frames, Uplink},
    small_frames::{SmallFrames, Stalled},
};

/// Client streams that may wait for their call at once. A client opens one for each transfer.
const MAX_WAITING: usize = 256;

/// Largest piece handed to a driver: what peers send at once. A frame may have 4 MiB, and the pieces
/// that wait are counted, not weighed.
const PIECE: usize = 64 * 1024;

/// A client stream that no call has used yet.
struct Waiting {
    upload: Upload,
    /// Tells the client's RPC what the resource is used for.
    usage: oneshot::Sender<Usage>,
}

/// By instance and resource.
type Table = HashMap<(Uuid, Uuid), Waiting>;

enum Usage {
    /// The driver reads; the token is cancelled when it is done reading.
    Upload(CancellationToken),
    /// The driver writes.
    Download(DownloadSource),
}

/// The resources of one session.
pub(super) struct ResourceTable {
    waiting: Mutex<Table>,
    key: Key,
    http: presigned::Http,
    tasks: TaskTracker,
}

impl ResourceTable {
    pub(super) fn new(key: Key, tasks: TaskTracker) -> Self {
        Self {
            waiting: Mutex::default(),
            key,
            http: presigned::Http::default(),
            tasks,
        }
    }

    /// Registers a client stream for `instance`; gives its id and the response of the RPC.
    pub(super) fn register(
        self: &Arc<Self>,
        instance: Uuid,
        frames: Frames,
        small: Arc<SmallFrames>,
    ) -> Result<
        (
            Uuid,
            impl Stream<Item = Result<StreamResponse, Status>> + Send + use<>,
        ),
        DriverError,
    > {
        let id = Uuid::new_v4();
        let (chunks, upload) = upload_channel();
        let (usage_tx, usage) = oneshot::channel();
        {
            let mut waiting = self.lock()?;
            if waiting.len() >= MAX_WAITING {
                return Err(DriverError::Exhausted(format!(
                    "{MAX_WAITING} resources wait for a call to use them"
                )));
            }
            waiting.insert(
                (instance, id),
                Waiting {
                    upload,
                    usage: usage_tx,
                },
            );
        }
        let (gone, closed) = (CancellationToken::new(), CancellationToken::new());
        let rpc = Rpc {
            table: self.clone(),
            entry: (instance, id),
            closed: closed.clone(),
            key: self.key.clone(),
            _gone: gone.clone().drop_guard(),
        };
        let closed = closed.drop_guard();
        let key = self.key.clone();
        self.tasks.spawn(async move {
            feed(frames, chunks, small, &gone, &key).await;
            drop(closed);
        });
        Ok((
            id,
            stream::unfold(Response::Waiting { usage, rpc }, Response::next),
        ))
    }

    fn lock(&self) -> Result<std::sync::MutexGuard<'_, Table>, DriverError> {
        self.waiting
            .lock()
            .map_err(|_| DriverError::Unknown("the resource table is lost".into()))
    }

    /// Takes a waiting client stream out of the table: it is good for one use.
    fn take(&self, instance: Uuid, id: Uuid) -> Result<Waiting, DriverError> {
        let waiting = self.lock()?.remove(&(instance, id));
        waiting.ok_or_else(|| DriverError::Unknown(format!("UUID('{id}')")))
    }
}

/// The client's RPC. When it ends, a resource that nobody used is forgotten.
struct Rpc {
    table: Arc<ResourceTable>,
    entry: (Uuid, Uuid),
    /// Cancelled when the client sends no more.
    closed: CancellationToken,
    key: Key,
    // Ends the task that feeds the upload.
    _gone: DropGuard,
}

impl Drop for Rpc {
    fn drop(&mut self) {
        if let Ok(mut waiting) = self.table.waiting.lock() {
            waiting.remove(&self.entry);
        }
    }
}

/// Moves a client's frames into the upload. Only GOAWAY ends it well. Ends with the RPC or the key,
/// whatever the client and the driver do.
async fn feed(
    mut frames: Frames,
    chunks: ChunkSender,
    small: Arc<SmallFrames>,
    gone: &CancellationToken,
    key: &Key,
) {
    let ended = async || {
        // cancel-safe: both arms only wait. The key comes first: when it ends, so does the RPC,
        // and "the client went away" would be wrong.
        tokio::select! {
            biased;
            fenced = key.revoked() => fenced.into(),
            () = gone.cancelled() => went_away(),
        }
    };
    // cancel-safe: after the first arm the frames are not read again.
    let outcome = tokio::select! {
        biased;
        error = ended() => {
            // A driver that has not taken what is there already will not miss the reason.
            chunks.fail(error).now_or_never();
            return;
        }
        outcome = pump(&mut frames, &chunks, small) => outcome,
    };
    let last = async {
        match outcome {
            Ok(()) => chunks.end().await,
            Err(error) => chunks.fail(error).await,
        };
    };
    // What the client still sends is read beside, so that it never stands still.
    tokio::select! {
        _ = ended() => {}
        _ = async { tokio::join!(last, frames.swallow()) } => {}
    }
}

/// Until the data is complete, or broken. A driver that is gone lets the rest fall.
async fn pump(
    frames: &mut Frames,
    chunks: &ChunkSender,
    small: Arc<SmallFrames>,
) -> Result<(), DriverError> {
    let mut stalled = Stalled::new(small);
    loop {
        match frames.next().await {
            Uplink::Data(mut bytes) => {
                stalled.count(bytes.len());
                while !bytes.is_empty() {
                    let piece = bytes.split_to(bytes.len().min(PIECE));
                    let mut send = std::pin::pin!(chunks.send(piece));
                    if futures::poll!(&mut send).is_pending() {
                        stalled.waits(true)?;
                        send.await;
                        stalled.waits(false)?;
                    }
                }
            }
            Uplink::Goaway => return Ok(()),
            Uplink::Closed | Uplink::Broken(_) => return Err(went_away()),
        }
    }
}

fn went_away() -> DriverError {
    DriverError::Unavailable(
        "upload broken: the client went away before the end of its data".into(),
    )
}

/// The daemon's side of a resource RPC.
enum Response {
    Waiting {
        usage: oneshot::Receiver<Usage>,
        rpc: Rpc,
    },
    Uploading {
        done: CancellationToken,
        rpc: Rpc,
    },
    Downloading {
        source: DownloadSource,
        rpc: Rpc,
    },
    /// GOAWAY is sent. What the client still sends is swallowed until it closes.
    Ended {
        rpc: Rpc,
    },
    Over,
}

impl Response {
    /// The next frame. A revoked key ends the call in every state.
    async fn next(self) -> Option<(Result<StreamResponse, Status>, Self)> {
        let key = match &self {
            Self::Waiting { rpc, .. }
            | Self::Uploading { rpc, .. }
            | Self::Downloading { rpc, .. }
            | Self::Ended { rpc } => rpc.key.clone(),
            Self::Over => return None,
        };
        let ended = matches!(self, Self::Ended { .. });
        // cancel-safe: after the first arm the call is over.
        tokio::select! {
            biased;
            fenced = key.revoked() => (!ended).then(|| fail(&fenced.into())),
            frame = self.frame() => frame,
        }
    }

    async fn frame(mut self) -> Option<(Result<StreamResponse, Status>, Self)> {
        loop {
            self = match self {
                Self::Waiting { usage, rpc } => match usage.await {
                    Ok(Usage::Upload(done)) => Self::Uploading { done, rpc },
                    Ok(Usage::Download(source)) => Self::Downloading { source, rpc },
                    Err(_) => return None,
                },
                Self::Uploading { done, rpc } => {
                    done.cancelled().await;
                    return Some((Ok(frames::goaway()), Self::Ended { rpc }));
                }
                Self::Downloading { mut source, rpc } => match source.chunks.recv().await {
                    Some(Ok(bytes)) => {
                        let next = Self::Downloading { source, rpc };
                        return Some((Ok(frames::data(bytes)), next));
                    }
                    Some(Err(error)) => return Some(fail(&error)),
                    None if source.done.try_recv().is_ok() => {
                        // Everything is handed to HTTP/2; a client that breaks from here on
                        // sees a stream without GOAWAY. The driver may be gone already.
                        source.outcome.send(Ok(())).ok();
                        return Some((Ok(frames::goaway()), Self::Ended { rpc }));
                    }
                    None => {
                        return Some(fail(&DriverError::Unknown(
                            "download broken: the call ended before the end of the data".into(),
                        )));
                    }
                },
                Self::Ended { rpc } => {
                    rpc.closed.cancelled().await;
                    return None;
                }
                Self::Over => return None,
            };
        }
    }
}

fn fail(error: &DriverError) -> (Result<StreamResponse, Status>, Response) {
    (Err(errors::status(error)), Response::Over)
}

/// Resources as the calls of one session see them.
#[async_trait]
impl Resources for ResourceTable {
    async fn upload(
        &self,
        instance: Uuid,
        handle: ResourceHandle,
        memory: u64,
    ) -> Result<Upload, DriverError> {
        match handle {
            ResourceHandle::ClientStream {
                uuid,
                x_jmp_content_encoding,
            } => {
                let encoding = Encoding::parse(x_jmp_content_encoding.as_deref())?;
                let Waiting { upload, usage } = self.take(instance, uuid)?;
                let done = CancellationToken::new();
                // A client that left already shows as a broken upload.
                usage.send(Usage::Upload(done.clone())).ok();
                Ok(rigd_codec::decode(
                    upload,
                    encoding,
                    memory,
                    done,
                    &self.tasks,
                ))
            }
            ResourceHandle::PresignedRequest {
                headers,
                url,
                method: PresignedMethod::Get,
            } => presigned::get(&self.http, &url, &headers, &self.key, &self.tasks).await,
            ResourceHandle::PresignedRequest { .. } => Err(DriverError::InvalidArgument(
                "a presigned PUT cannot be read: this needs a presigned GET".into(),
            )),
        }
    }

    async fn beside(&self, handle: &ResourceHandle, endings: &[(usize, &str)]) -> Option<Bytes> {
        match handle {
            ResourceHandle::PresignedRequest {
                headers,
                url,
                method: PresignedMethod::Get,
            } => presigned::beside(&self.http, url, headers, endings, &self.key).await,
            _ => None,
        }
    }

    async fn download(
        &self,
        instance: Uuid,
        handle: ResourceHandle,
    ) -> Result<Download, DriverError> {
        let (download, source) = download_channel();
        match handle {
            ResourceHandle::ClientStream {
                uuid,
                x_jmp_content_encoding,
            } => {
                let encoding = Encoding::parse(x_jmp_content_encoding.as_deref())?;
                let Waiting { usage, .. } = self.take(instance, uuid)?;
                let source = rigd_codec::encode(source, encoding, &self.tasks);
                if usage.send(Usage::Download(source)).is_err() {
                    return Err(DriverError::Unavailable(
                        "download broken: the client went away before it began".into(),
                    ));
                }
            }
            ResourceHandle::PresignedRequest {
                headers,
                url,
                method: PresignedMethod::Put,
            } => {
                presigned::put(&self.http, &url, &headers, source, &self.key, &self.tasks)?;
            }
            ResourceHandle::PresignedRequest { .. } => {
                return Err(DriverError::InvalidArgument(
                    "a presigned GET cannot be written: this needs a presigned PUT".into(),
                ));
            }
        }
        Ok(download)
    }
}
