//! Bytes between a client and a file.
//!
//! ```text
//!   store:  Upload ──chunks──> batch ──one step──> writev
//!   send:   read ──one step──> frames ──> Download
//! ```
//!
//! While the device thread moves one batch, the next one is on its way. A thread is held only for
//! the moving itself, never while the client makes up its mind, so a stalled client costs a task
//! and 3 MiB.

use std::{
    fs::File,
    io::{self, IoSlice, Write},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures::FutureExt;
use rigd_driver::{Call, Download, DriverError, Upload};
use rustix::buffer::spare_capacity;

use crate::lane::{Lane, on_own_thread};

/// Bytes of one step: long enough that the hand-over between threads does not show, short enough
/// that other calls of the instance hardly wait.
const BATCH: usize = 1024 * 1024;
/// Chunks of one step. Tiny chunks must not make it long; the kernel takes 1024 at a time.
const BATCH_CHUNKS: usize = 64;
/// Bytes of one frame towards the client, as upstream sends them.
const FRAME: usize = 64 * 1024;
/// How long data may take to reach the medium: what upstream grants an fsync.
const SYNC_LIMIT: Duration = Duration::from_secs(900);

/// A file that bytes are moved to or from, at its cursor.
#[derive(Debug, Clone)]
pub(crate) struct Medium {
    pub(crate) file: Arc<File>,
    /// For errors, e.g. `/srv/card.img`.
    pub(crate) name: Arc<str>,
}

/// Writes all of `upload` at the cursor; returns the number of bytes. More than `limit` bytes are
/// an error that names both sizes. Nothing is synced yet.
///
/// Not cancel-safe: after a drop the file holds a part, and a step that runs adds to it.
pub(crate) async fn store(
    call: &Call,
    lane: &Lane,
    upload: &mut Upload,
    medium: &Medium,
    limit: Option<u64>,
) -> Result<u64, DriverError> {
    let mut progress = Progress::new(medium);
    let done = store_all(call, lane, upload, medium, limit, &mut progress.written).await;
    progress.done = true;
    if let Err(error) = &done {
        tracing::warn!(to = %medium.name, bytes = progress.written, %error, "Upload broke off.");
    }
    done.map(|()| progress.written)
}

async fn store_all(
    call: &Call,
    lane: &Lane,
    upload: &mut Upload,
    medium: &Medium,
    limit: Option<u64>,
    written: &mut u64,
) -> Result<(), DriverError> {
    let mut next = upload.next().await?;
    while let Some(chunk) = next {
        let (batch, bytes) = gather(chunk, upload)?;
        let after = *written + bytes;
        if let Some(limit) = limit.filter(|limit| after > *limit) {
            return Err(too_large(limit, after));
        }
        let step = {
            let medium = medium.clone();
            lane.run(call, move |_| {
                write_batch(&medium.file, &batch)
                    .map_err(|e| cannot("write", &medium.name, &e, after))
            })
        };
        // cancel-safe: a failed write gives up a wait for the next chunk, and the upload with it.
        ((), next) = futures::try_join!(step, upload.next())?;
        *written = after;
    }
    Ok(())
}

/// Says so in the log when an upload is dropped in the middle, because its client died or the
/// lease ended.
struct Progress {
    name: Arc<str>,
    written: u64,
    done: bool,
}

impl Progress {
    fn new(medium: &Medium) -> Self {
        Self {
            name: medium.name.clone(),
            written: 0,
            done: false,
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if !self.done {
            let error = "the caller went away";
            tracing::warn!(to = %self.name, bytes = self.written, error, "Upload broke off.");
        }
    }
}

/// `first` and what else is there already, up to one step's worth.
fn gather(first: Bytes, upload: &mut Upload) -> Result<(Vec<Bytes>, u64), DriverError> {
    let mut bytes = first.len();
    let mut batch = vec![first];
    while bytes < BATCH && batch.len() < BATCH_CHUNKS {
        // At the end of the data `next` says so again when it is asked again.
        let Some(Some(chunk)) = upload.next().now_or_never().transpose()? else {
            break;
        };
        bytes += chunk.len();
        batch.push(chunk);
    }
    Ok((batch, bytes as u64))
}

fn too_large(limit: u64, at_least: u64) -> DriverError {
    DriverError::InvalidArgument(format!(
        "image too large: the card holds {limit} bytes, the image has at least {at_least}"
    ))
}

fn write_batch(mut file: &File, batch: &[Bytes]) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = batch.iter().map(|chunk| IoSlice::new(chunk)).collect();
    let mut rest = &mut slices[..];
    // Empty chunks in front would make a write of nothing look like a full disk.
    IoSlice::advance_slices(&mut rest, 0);
    while !rest.is_empty() {
        match file.write_vectored(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => IoSlice::advance_slices(&mut rest, n),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Sends everything from the cursor to the end of the file and waits until the far side has it;
/// returns the number of bytes. Not cancel-safe: after a drop the client has a part.
pub(crate) async fn send(
    call: &Call,
    lane: &Lane,
    medium: &Medium,
    mut download: Download,
) -> Result<u64, DriverError> {
    let read = || {
        let medium = medium.clone();
        lane.run(call, move |_| {
            read_batch(&medium.file).map_err(|e| cannot("read", &medium.name, &e, 0))
        })
    };
    let mut sent = 0u64;
    let mut frames = read().await?;
    while !frames.is_empty() {
        let send = async {
            for frame in frames {
                sent += frame.len() as u64;
                download.write(frame).await?;
            }
            Ok(())
        };
        // cancel-safe: when one side fails, the whole transfer does.
        ((), frames) = futures::try_join!(send, read())?;
    }
    download.finish().await?;
    Ok(sent)
}

/// The next step's worth of frames; none at the end of the file.
fn read_batch(file: &File) -> io::Result<Vec<Bytes>> {
    let mut frames = Vec::with_capacity(BATCH / FRAME);
    while frames.len() < BATCH / FRAME {
        let mut frame = Vec::with_capacity(FRAME);
        match rustix::io::read(file, spare_capacity(&mut frame)) {
            Ok(0) => break,
            Ok(_) => frames.push(Bytes::from(frame)),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(frames)
}

/// Waits until what was written is on the medium.
pub(crate) async fn sync(medium: Medium) -> Result<(), DriverError> {
    on_own_thread("sync a file", SYNC_LIMIT, move || {
        let done = medium.file.sync_data();
        done.map_err(|e| cannot("sync", &medium.name, &e, 0))
    })
    .await
}

/// The error of an operation on `name`; `after` is how far a write wanted to get.
pub(crate) fn cannot(what: &str, name: &str, error: &io::Error, after: u64) -> DriverError {
    use io::ErrorKind as K;
    let full = match error.kind() {
        K::StorageFull | K::QuotaExceeded => "disk full, ",
        K::FileTooLarge => "file too large, ",
        _ => "",
    };
    let up_to = if after > 0 {
        format!(" up to byte {after}")
    } else {
        String::new()
    };
    DriverError::Device(format!("cannot {what} {name}{up_to}: {full}{error}"))
}
