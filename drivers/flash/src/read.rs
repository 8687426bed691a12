//! A card on its way to a client.

use bytes::Bytes;
use rigd_driver::{Call, Download, DriverError};
use tokio::runtime::Handle;

use crate::{
    buffer::Buffer,
    medium::{Medium, check_same, failed},
    pages::{BLOCK, round_up},
};

/// Bytes of one frame towards the client, as upstream sends them.
const FRAME: usize = 64 * 1024;

/// Sends everything; the download still has to be finished. Blocks.
pub(crate) fn send(
    medium: &dyn Medium,
    call: &Call,
    runtime: &Handle,
    mut download: Download,
) -> Result<Download, DriverError> {
    let mut buffer = Buffer::new();
    let mut at = 0;
    let end = medium.capacity().unwrap_or(u64::MAX);
    while at < end {
        call.check()?;
        let wanted = (end - at).min(BLOCK as u64) as usize;
        let piece = &mut buffer.bytes_mut()[..round_up(wanted, medium.sector())];
        let read = medium.read_at(piece, at);
        let read = read
            .map_err(|e| failed(medium, "read", at, &e))?
            .min(wanted);
        check_same(medium)?;
        for frame in piece[..read].chunks(FRAME) {
            let sent = download.write(Bytes::copy_from_slice(frame));
            runtime.block_on(async {
                // cancel-safe: both arms only wait; a read that is cancelled is over.
                tokio::select! {
                    biased;
                    sent = sent => sent,
                    error = call.cancelled() => Err(error),
                }
            })?;
        }
        if read < wanted {
            break;
        }
        at += read as u64;
    }
    Ok(download)
}
