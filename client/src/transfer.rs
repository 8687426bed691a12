//! Uploads and downloads: a resource stream for the bytes, and a call that gets its handle.

use std::{io, pin::pin, time::Duration};

use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::oneshot,
    time::timeout,
};
use tonic::metadata::MetadataMap;

use crate::{
    ByteChannel, Error, Exporter,
    byte_channel::{ByteReceiver, ByteSender, FRAME_SIZE},
    error::Place,
};

/// How long the other half of a transfer may still speak once one half is over: peers buffer at
/// most 32 frames, and the reason of a broken stream follows at once.
const LAST_WORDS: Duration = Duration::from_secs(30);

/// Response header with the handle of a resource.
const RESOURCE_KEY: &str = "resource";

/// How the bytes of a transfer are compressed. The client never compresses by itself: an upload
/// sends the bytes as they are and the exporter decompresses, a download gets them compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// As they are.
    #[default]
    None,
    /// gzip
    Gzip,
    /// xz
    Xz,
    /// bzip2
    Bz2,
    /// Zstandard
    Zstd,
}

impl Compression {
    fn wire_name(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Gzip => Some("gzip"),
            Self::Xz => Some("xz"),
            Self::Bz2 => Some("bz2"),
            Self::Zstd => Some("zstd"),
        }
    }
}

impl Exporter {
    /// Sends all bytes of `source` to a method of a device and waits for the method's result.
    ///
    /// `args` puts the handle that stands for the bytes among the arguments, e.g.
    /// `|handle| vec![handle]`. A source that fails, and a future that is dropped, cancel the
    /// upload: the exporter sees a broken one, never a complete one. A method that returns early
    /// ends the upload with its result.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with the exporter's code and text, [`Error::Local`] when the source
    /// fails.
    pub async fn upload(
        &self,
        uuid: &str,
        method: &str,
        args: impl FnOnce(Value) -> Vec<Value>,
        source: impl AsyncRead + Unpin,
        compression: Compression,
    ) -> Result<Value, Error> {
        upload(self, uuid, method, args, source, compression).await
    }

    /// Receives all bytes that a method of a device sends, and writes them to `sink`. Returns
    /// their number.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with the exporter's code and text, [`Error::Local`] when the sink
    /// fails. What the sink got before is then incomplete.
    pub async fn download(
        &self,
        uuid: &str,
        method: &str,
        args: impl FnOnce(Value) -> Vec<Value>,
        sink: impl AsyncWrite + Unpin,
        compression: Compression,
    ) -> Result<u64, Error> {
        download(self, uuid, method, args, sink, compression).await
    }
}

pub(crate) async fn upload(
    exporter: &Exporter,
    uuid: &str,
    method: &str,
    args: impl FnOnce(Value) -> Vec<Value>,
    source: impl AsyncRead + Unpin,
    compression: Compression,
) -> Result<Value, Error> {
    let (channel, handle) = open(exporter, uuid, method, compression).await?;
    let (sender, _receiver) = channel.split();
    let (sent, call_sent) = oneshot::channel();
    let mut call = pin!(exporter.call_telling(uuid, method, args(handle), sent));
    // Owns the sender: wherever it ends early, that is dropped, which cancels the stream.
    let mut pump = pin!(async move {
        // Bytes that nobody reads yet can fill the connection's window, and then the call that
        // would read them could not pass. An error here means that the call is over.
        call_sent.await.ok();
        send_all(sender, source).await
    });
    let pumped = tokio::select! {
        result = &mut call => return result,
        pumped = &mut pump => pumped,
    };
    match pumped {
        Ok(()) => call.await,
        Err(error @ Error::Local { .. }) => {
            // The sender is gone. The exporter gets to see the broken upload before it sees the call go away.
            timeout(LAST_WORDS, call).await.ok();
            Err(error)
        }
        // The exporter wants no more: if the method is content, so is the upload.
        Err(error) => match timeout(LAST_WORDS, call).await {
            Ok(result) => result,
            Err(_) => Err(error),
        },
    }
}

async fn send_all(mut sender: ByteSender, mut source: impl AsyncRead + Unpin) -> Result<(), Error> {
    while let Some(chunk) = full_chunk(&mut source)
        .await
        .map_err(|error| local("read", "the source", error))?
    {
        sender.send(chunk).await?;
    }
    sender.finish().await
}

/// Reads until a frame is full, as peers send them; `None` at the end.
async fn full_chunk(source: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Bytes>> {
    let mut chunk = BytesMut::with_capacity(FRAME_SIZE);
    while chunk.len() < FRAME_SIZE {
        let room = FRAME_SIZE - chunk.len();
        if (&mut *source)
            .take(room as u64)
            .read_buf(&mut chunk)
            .await?
            == 0
        {
            break;
        }
    }
    Ok((!chunk.is_empty()).then(|| chunk.freeze()))
}

pub(crate) async fn download(
    exporter: &Exporter,
    uuid: &str,
    method: &str,
    args: impl FnOnce(Value) -> Vec<Value>,
    sink: impl AsyncWrite + Unpin,
    compression: Compression,
) -> Result<u64, Error> {
    let (mut channel, handle) = open(exporter, uuid, method, compression).await?;
    channel.finish().await?;
    let (_sender, receiver) = channel.split();
    let mut call = pin!(exporter.call(uuid, method, args(handle)));
    let mut pump = pin!(receive_all(receiver, sink));
    tokio::select! {
        result = &mut call => {
            result?;
            match timeout(LAST_WORDS, pump).await {
                Ok(received) => received,
                Err(_) => Err(exporter
                    .place(uuid, method)
                    .protocol("the call is over, but its bytes have no end")),
            }
        }
        received = &mut pump => match received {
            Ok(received) => call.await.map(|_| received),
            Err(error @ Error::Local { .. }) => Err(error),
            // A call that is content does not make up for missing bytes.
            Err(error) => match timeout(LAST_WORDS, call).await {
                Ok(Err(reason)) => Err(reason),
                Ok(Ok(_)) | Err(_) => Err(error),
            },
        },
    }
}

async fn receive_all(
    mut receiver: ByteReceiver,
    mut sink: impl AsyncWrite + Unpin,
) -> Result<u64, Error> {
    let mut received = 0;
    let failed = |error| local("write", "the sink", error);
    while let Some(chunk) = receiver.recv().await? {
        sink.write_all(&chunk).await.map_err(failed)?;
        received += chunk.len() as u64;
    }
    sink.flush().await.map_err(failed)?;
    Ok(received)
}

/// Opens a resource stream and waits for the handle that names it in calls.
async fn open(
    exporter: &Exporter,
    uuid: &str,
    method: &str,
    compression: Compression,
) -> Result<(ByteChannel, Value), Error> {
    let request = json!({
        "kind": "resource",
        "uuid": uuid,
        "x_jmp_content_encoding": compression.wire_name(),
    });
    let place = exporter.place(uuid, method);
    let mut channel = exporter.open_channel(&request, place.clone());
    let metadata = channel.opened().await?;
    let handle = handle(&metadata, &place)?;
    Ok((channel, handle))
}

fn handle(metadata: &MetadataMap, place: &Place) -> Result<Value, Error> {
    metadata
        .get(RESOURCE_KEY)
        .and_then(|json| serde_json::from_slice(json.as_bytes()).ok())
        .ok_or_else(|| place.protocol("the exporter opened a resource but sent no handle for it"))
}

pub(crate) fn local(action: &'static str, file: &str, source: io::Error) -> Error {
    Error::Local {
        action,
        file: file.to_owned(),
        source,
    }
}
