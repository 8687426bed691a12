//! Encoding on the way to a client.

use std::io;

use async_compression::tokio::bufread::{BzEncoder, GzipEncoder, XzEncoder, ZstdEncoder};
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt, stream};
use rigd_driver::{Download, DownloadSource, DriverError, download_channel};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_util::{io::StreamReader, task::TaskTracker};

use crate::{CHUNK, Encoding, thread::run};

/// The encoded form of what a driver writes into `source`.
pub fn encode(source: DownloadSource, encoding: Encoding, tasks: &TaskTracker) -> DownloadSource {
    if encoding == Encoding::Identity {
        return source;
    }
    let (download, encoded) = download_channel();
    let DownloadSource {
        chunks,
        mut done,
        outcome,
    } = source;
    run(tasks, async move {
        let result = encode_all(chunks, encoding, download, &mut done).await;
        // The driver may have given up; then nobody waits for the outcome.
        outcome.send(result).ok();
    });
    encoded
}

async fn encode_all(
    chunks: tokio::sync::mpsc::Receiver<Result<Bytes, DriverError>>,
    encoding: Encoding,
    mut download: Download,
    done: &mut tokio::sync::oneshot::Receiver<()>,
) -> Result<(), DriverError> {
    let input = StreamReader::new(driver_chunks(chunks).boxed());
    let mut encoder: Box<dyn AsyncRead + Send + Unpin> = match encoding {
        Encoding::Identity => Box::new(input),
        Encoding::Gzip => Box::new(GzipEncoder::new(input)),
        Encoding::Xz => Box::new(XzEncoder::new(input)),
        Encoding::Bzip2 => Box::new(BzEncoder::new(input)),
        Encoding::Zstd => Box::new(ZstdEncoder::new(input)),
    };
    loop {
        let mut buffer = BytesMut::with_capacity(CHUNK);
        let read = encoder.read_buf(&mut buffer).await;
        let count = read.map_err(|error| match error.downcast::<DriverError>() {
            Ok(error) => error,
            Err(error) => DriverError::Device(format!("cannot compress: {error}")),
        })?;
        if count == 0 {
            break;
        }
        download.write(buffer.freeze()).await?;
    }
    if done.try_recv().is_ok() {
        download.finish().await
    } else {
        // Dropping the download without an end tells the client that the data is not complete.
        Err(DriverError::Unknown(
            "the driver gave up in the middle".into(),
        ))
    }
}

fn driver_chunks(
    chunks: tokio::sync::mpsc::Receiver<Result<Bytes, DriverError>>,
) -> impl Stream<Item = io::Result<Bytes>> {
    stream::unfold(chunks, |mut chunks| async move {
        let item = chunks.recv().await?.map_err(io::Error::other);
        Some((item, chunks))
    })
}
