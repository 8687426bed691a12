//! Compression of resources on the wire: always all members, always flushed.
//!
//! Each transfer decodes or encodes on a thread of its own, beside the thread that writes to the
//! device: xz takes milliseconds for a block, which would stall every other client of a worker.

use std::io;

use async_compression::tokio::bufread::{
    BzDecoder, BzEncoder, GzipDecoder, GzipEncoder, XzDecoder, XzEncoder, ZstdDecoder, ZstdEncoder,
};
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt, stream};
use rigd_driver::{
    ChunkSender, Download, DownloadSource, DriverError, Upload, download_channel, upload_channel,
};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt};
use tokio_util::{io::StreamReader, sync::CancellationToken, task::TaskTracker};

/// Size of a decoded or encoded chunk.
const CHUNK: usize = 64 * 1024;
/// Memory one decoder may ask for: the largest preset of xz needs 65 MiB; windows beyond this are
/// a bomb or a setting nobody ships images with.
const MAX_DECODER_MEMORY: u64 = 160 * 1024 * 1024;

/// Compression of the bytes on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::session) enum Encoding {
    /// None.
    Identity,
    Gzip,
    Xz,
    Bzip2,
    Zstd,
}

impl Encoding {
    /// The encoding of this name on the wire; none for no name or an empty one.
    pub(in crate::session) fn parse(name: Option<&str>) -> Result<Self, DriverError> {
        match name {
            None | Some("") => Ok(Self::Identity),
            Some("gzip") => Ok(Self::Gzip),
            Some("xz") => Ok(Self::Xz),
            Some("bz2") => Ok(Self::Bzip2),
            Some("zstd") => Ok(Self::Zstd),
            Some(other) => Err(DriverError::InvalidArgument(format!(
                "unknown content encoding '{other}': gzip, xz, bz2 and zstd are understood"
            ))),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Identity => "raw",
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Bzip2 => "bz2",
            Self::Zstd => "zstd",
        }
    }
}

/// The decoded form of `upload`. `done` is cancelled when nothing more is read from the client.
pub(super) fn decode(
    upload: Upload,
    encoding: Encoding,
    done: CancellationToken,
    tasks: &TaskTracker,
) -> Upload {
    let done = done.drop_guard();
    if encoding == Encoding::Identity {
        return upload.with_guard(done);
    }
    let (chunks, decoded) = upload_channel();
    run(tasks, async move {
        let outcome = decode_all(upload, encoding, &chunks).await;
        match outcome {
            Ok(()) => chunks.end().await,
            Err(error) => chunks.fail(error).await,
        };
        drop(done);
    });
    decoded
}

async fn decode_all(
    upload: Upload,
    encoding: Encoding,
    chunks: &ChunkSender,
) -> Result<(), DriverError> {
    let input = reader(upload);
    #[allow(clippy::disallowed_methods)] // all members: switched on in the next line each
    match encoding {
        Encoding::Identity => copy(input, encoding, chunks, |input| input).await,
        Encoding::Gzip => {
            let mut decoder = GzipDecoder::new(input);
            decoder.multiple_members(true);
            copy(decoder, encoding, chunks, GzipDecoder::into_inner).await
        }
        Encoding::Xz => {
            let mut decoder = XzDecoder::with_mem_limit(input, MAX_DECODER_MEMORY);
            decoder.multiple_members(true);
            copy(decoder, encoding, chunks, XzDecoder::into_inner).await
        }
        Encoding::Bzip2 => {
            let mut decoder = BzDecoder::new(input);
            decoder.multiple_members(true);
            copy(decoder, encoding, chunks, BzDecoder::into_inner).await
        }
        Encoding::Zstd => {
            let mut decoder = ZstdDecoder::new(input);
            decoder.multiple_members(true);
            copy(decoder, encoding, chunks, ZstdDecoder::into_inner).await
        }
    }
}

/// Reads `decoder` to its end, and makes sure that this is the end of the input as well.
async fn copy<D, R>(
    mut decoder: D,
    encoding: Encoding,
    chunks: &ChunkSender,
    into_inner: impl FnOnce(D) -> R,
) -> Result<(), DriverError>
where
    D: AsyncRead + Unpin,
    R: AsyncBufRead + Unpin,
{
    let mut decoded = 0_u64;
    let corrupt = |error: io::Error, decoded: u64| match error.downcast::<DriverError>() {
        Ok(error) => error,
        Err(error) => DriverError::InvalidArgument(format!(
            "corrupt or truncated {} data after {decoded} decoded bytes: {error}",
            encoding.name()
        )),
    };
    loop {
        let mut buffer = BytesMut::with_capacity(CHUNK);
        let count = decoder
            .read_buf(&mut buffer)
            .await
            .map_err(|e| corrupt(e, decoded))?;
        if count == 0 {
            break;
        }
        decoded += count as u64;
        if !chunks.send(buffer.freeze()).await {
            return Ok(());
        }
    }
    let rest = into_inner(decoder)
        .fill_buf()
        .await
        .map_err(|e| corrupt(e, decoded))?
        .len();
    if rest > 0 {
        let trailing = io::Error::other("bytes follow that are no member of it");
        return Err(corrupt(trailing, decoded));
    }
    Ok(())
}

fn reader(upload: Upload) -> impl AsyncBufRead + Send + Unpin {
    let chunks = stream::unfold(upload, |mut upload| async move {
        let item = upload.next().await.map_err(io::Error::other).transpose()?;
        Some((item, upload))
    });
    StreamReader::new(chunks.boxed())
}

/// The encoded form of what a driver writes into `source`.
pub(super) fn encode(
    source: DownloadSource,
    encoding: Encoding,
    tasks: &TaskTracker,
) -> DownloadSource {
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

/// Runs a transfer on a thread of its own. The tracker waits for it.
fn run(tasks: &TaskTracker, work: impl Future<Output = ()> + Send + 'static) {
    let runtime = tokio::runtime::Handle::current();
    let token = tasks.token();
    let thread = std::thread::Builder::new().name("rigd:codec".into());
    let spawned = thread.spawn(move || {
        runtime.block_on(work);
        drop(token);
    });
    if let Err(error) = spawned {
        // The work is dropped, which both of its ends see as a broken transfer.
        tracing::error!(%error, "Cannot start a thread for a transfer.");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    async fn compress(encoding: Encoding, data: &[u8]) -> Vec<u8> {
        let tasks = TaskTracker::new();
        let (mut download, source) = download_channel();
        let mut encoded = encode(source, encoding, &tasks);
        let data = data.to_vec();
        let writer = tokio::spawn(async move {
            for chunk in data.chunks(10_000) {
                download.write(Bytes::copy_from_slice(chunk)).await.unwrap();
            }
            download.finish().await.unwrap();
        });
        let mut out = Vec::new();
        while let Some(chunk) = encoded.chunks.recv().await {
            out.extend_from_slice(&chunk.unwrap());
        }
        encoded.done.await.unwrap();
        encoded.outcome.send(Ok(())).unwrap();
        writer.await.unwrap();
        out
    }

    async fn decompress(
        encoding: Encoding,
        data: &[u8],
        end: bool,
    ) -> Result<Vec<u8>, DriverError> {
        let tasks = TaskTracker::new();
        let (chunks, upload) = upload_channel();
        let mut decoded = decode(upload, encoding, CancellationToken::new(), &tasks);
        let data = data.to_vec();
        tokio::spawn(async move {
            for chunk in data.chunks(7_001) {
                if !chunks.send(Bytes::copy_from_slice(chunk)).await {
                    return;
                }
            }
            if end {
                chunks.end().await;
            }
        });
        let mut out = Vec::new();
        while let Some(chunk) = decoded.next().await? {
            out.extend_from_slice(&chunk);
        }
        Ok(out)
    }

    const ALL: [Encoding; 4] = [
        Encoding::Gzip,
        Encoding::Xz,
        Encoding::Bzip2,
        Encoding::Zstd,
    ];

    fn noise(len: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let step = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        (0..len).map(step).collect()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn every_codec_keeps_every_byte_of_every_member() {
        for encoding in ALL {
            let (a, b) = (noise(300_000), vec![7; 100_000]);
            let mut members = compress(encoding, &a).await;
            members.extend(compress(encoding, &b).await);
            let out = decompress(encoding, &members, true).await.unwrap();
            assert!(out == [a, b].concat(), "{encoding:?}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn truncated_data_and_trailing_garbage_are_errors() {
        for encoding in ALL {
            let whole = compress(encoding, &noise(200_000)).await;
            for broken in [&whole[..whole.len() - 5], &whole[..whole.len() / 2]] {
                let error = decompress(encoding, broken, true).await.unwrap_err();
                assert!(
                    matches!(error, DriverError::InvalidArgument(_)),
                    "{encoding:?}: {error}"
                );
            }
            let garbage = [&whole[..], b"garbage that is no member"].concat();
            let error = decompress(encoding, &garbage, true).await.unwrap_err();
            assert!(
                matches!(error, DriverError::InvalidArgument(_)),
                "{encoding:?}: {error}"
            );
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_broken_upload_stays_the_cause() {
        for encoding in ALL {
            let whole = compress(encoding, &noise(50_000)).await;
            let error = decompress(encoding, &whole[..whole.len() / 2], false)
                .await
                .unwrap_err();
            assert!(
                error.to_string().starts_with("upload broken:"),
                "{encoding:?}: {error}"
            );
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_empty_file_is_an_empty_file() {
        for encoding in ALL {
            let whole = compress(encoding, &[]).await;
            assert!(
                decompress(encoding, &whole, true).await.unwrap().is_empty(),
                "{encoding:?}"
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_flipped_byte_never_passes_as_the_original(at in any::<prop::sample::Index>(), bit in 0_u8..8) {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                let data = noise(5_000);
                for encoding in [Encoding::Gzip, Encoding::Xz, Encoding::Bzip2] {
                    let mut whole = compress(encoding, &data).await;
                    let at = at.index(whole.len());
                    whole[at] ^= 1 << bit;
                    if let Ok(out) = decompress(encoding, &whole, true).await {
                        // Bytes that carry no data (a gzip header's time, its name flag) may flip.
                        prop_assert!(out == data, "{encoding:?} at {at}");
                    }
                }
                Ok(())
            })?;
        }
    }
}
