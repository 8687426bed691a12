//! Decoding on the way from a client.

use std::io;

use async_compression::{
    tokio::bufread::{BzDecoder, GzipDecoder, XzDecoder, ZstdDecoder},
    zstd::DParameter,
};
use bytes::BytesMut;
use futures::{StreamExt, stream};
use rigd_driver::{ByteCount, ChunkSender, DriverError, Upload, upload_channel};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt};
use tokio_util::{io::StreamReader, sync::CancellationToken, task::TaskTracker};

use crate::{CHUNK, Encoding, need, thread::run};

/// Windows that zstd can be limited to: 1 KiB and 2 GiB.
const ZSTD_WINDOWS: (u64, u64) = (1 << 10, 1 << 31);

/// The decoded form of `upload`, by a decoder that takes at most `memory` bytes. `done` is cancelled
/// when nothing more is read from the client.
pub fn decode(
    upload: Upload,
    encoding: Encoding,
    memory: u64,
    done: CancellationToken,
    tasks: &TaskTracker,
) -> Upload {
    let done = done.drop_guard();
    if encoding == Encoding::Identity {
        return upload.with_guard(done);
    }
    let (chunks, decoded) = upload_channel();
    run(tasks, async move {
        // cancel-safe: when nobody reads any more, nothing of the decoder is polled again.
        let outcome = tokio::select! {
            outcome = decode_all(upload, encoding, memory, &chunks) => Some(outcome),
            () = chunks.closed() => None,
        };
        match outcome {
            Some(Ok(())) => _ = chunks.end().await,
            Some(Err(error)) => _ = chunks.fail(error).await,
            None => {}
        }
        drop(done);
    });
    decoded
}

async fn decode_all(
    mut upload: Upload,
    encoding: Encoding,
    memory: u64,
    chunks: &ChunkSender,
) -> Result<(), DriverError> {
    let header = upload.peek(need::HEADER).await?;
    if let Some(need) = need::first_header(encoding, header).filter(|need| *need > memory) {
        return Err(too_hungry(encoding, Some(need), memory));
    }
    let input = reader(upload);
    let chunks = &Sink {
        encoding,
        memory,
        chunks,
    };
    #[allow(clippy::disallowed_methods)] // all members: switched on in the next line each
    match encoding {
        Encoding::Identity => copy(input, chunks, |input| input).await,
        Encoding::Gzip => {
            let mut decoder = GzipDecoder::new(input);
            decoder.multiple_members(true);
            copy(decoder, chunks, GzipDecoder::into_inner).await
        }
        Encoding::Xz => {
            let mut decoder = XzDecoder::with_mem_limit(input, memory);
            decoder.multiple_members(true);
            copy(decoder, chunks, XzDecoder::into_inner).await
        }
        Encoding::Bzip2 => {
            let mut decoder = BzDecoder::new(input);
            decoder.multiple_members(true);
            copy(decoder, chunks, BzDecoder::into_inner).await
        }
        Encoding::Zstd => {
            let window = memory.max(ZSTD_WINDOWS.0).min(ZSTD_WINDOWS.1).ilog2();
            let mut decoder =
                ZstdDecoder::with_params(input, &[DParameter::window_log_max(window)]);
            decoder.multiple_members(true);
            copy(decoder, chunks, ZstdDecoder::into_inner).await
        }
    }
}

/// Where decoded bytes go, and what its errors need to say.
struct Sink<'a> {
    encoding: Encoding,
    memory: u64,
    chunks: &'a ChunkSender,
}

impl Sink<'_> {
    fn failed(&self, error: io::Error, decoded: u64) -> DriverError {
        let name = self.encoding.name();
        match error.downcast::<DriverError>() {
            Ok(error) => error,
            Err(error) if is_truncation(&error, self.encoding) => DriverError::InvalidArgument(
                format!("truncated {name} data: it ends after {decoded} decoded bytes"),
            ),
            // liblzma: "memory limit reached"; zstd: "Frame requires too much memory for decoding".
            Err(error) if error.to_string().contains("memory") => {
                too_hungry(self.encoding, None, self.memory)
            }
            Err(error) => DriverError::InvalidArgument(format!(
                "checksum or format error in {name} data after {decoded} decoded bytes: {error}"
            )),
        }
    }
}

/// Whether the input ended too early.
fn is_truncation(error: &io::Error, encoding: Encoding) -> bool {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => true,
        // Of liblzma's LZMA_BUF_ERROR, "no progress is possible": all input was given and more output is
        // wanted. What really lacks memory has another kind.
        io::ErrorKind::OutOfMemory => encoding == Encoding::Xz,
        _ => false,
    }
}

fn too_hungry(encoding: Encoding, need: Option<u64>, memory: u64) -> DriverError {
    let more = || format!("more than {}", ByteCount(memory).rounded());
    let need = need.map_or_else(more, |need| ByteCount(need).rounded().to_string());
    DriverError::Exhausted(format!(
        "{} data needs {need} of memory to decode, {} are allowed (maxDecoderMemory)",
        encoding.name(),
        ByteCount(memory).rounded(),
    ))
}

/// Reads `decoder` to its end, and makes sure that this is the end of the input as well.
async fn copy<D, R>(
    mut decoder: D,
    sink: &Sink<'_>,
    into_inner: impl FnOnce(D) -> R,
) -> Result<(), DriverError>
where
    D: AsyncRead + Unpin,
    R: AsyncBufRead + Unpin,
{
    let mut decoded = 0_u64;
    loop {
        let mut buffer = BytesMut::with_capacity(CHUNK);
        let count = decoder
            .read_buf(&mut buffer)
            .await
            .map_err(|e| sink.failed(e, decoded))?;
        if count == 0 {
            break;
        }
        decoded += count as u64;
        if !sink.chunks.send(buffer.freeze()).await {
            return Ok(());
        }
    }
    let rest = into_inner(decoder)
        .fill_buf()
        .await
        .map_err(|e| sink.failed(e, decoded))?
        .len();
    if rest > 0 {
        let trailing = io::Error::other("bytes follow that are no member of it");
        return Err(sink.failed(trailing, decoded));
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
