//! The thread that hashes, between the engine and the writer: each block by itself, and the image as a
//! whole.
//!
//! The SHA-256 of the image is for people, who compare it with what `sha256sum` says. Blocks are known by
//! BLAKE3, which costs a fraction of it.

use std::{
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use rigd_driver::DriverError;

use crate::{buffer::Buffer, digest::Digests, settings::Verify, writer::Work};

/// What the engine hands over.
#[derive(Debug)]
pub(crate) enum Part {
    Data(Buffer),
    /// The image is complete. The buffer is for reading back.
    End {
        size: u64,
        verify: Verify,
        scratch: Buffer,
    },
}

/// Starts the thread, which passes `parts` on, hashed. It ends when either side is gone. There is room
/// for `room` parts on the way to the writer.
pub(crate) fn start(
    parts: Receiver<Part>,
    room: usize,
    digests: Digests,
) -> Result<Receiver<Work>, DriverError> {
    let (work, hashed) = sync_channel(room);
    thread::Builder::new()
        .name("rigd:hash".into())
        .spawn(move || run(&parts, &work, &digests))
        .map(|_| hashed)
        .map_err(|e| DriverError::Exhausted(format!("cannot start a thread to hash: {e}")))
}

fn run(parts: &Receiver<Part>, work: &SyncSender<Work>, digests: &Digests) {
    let mut whole = digests.begin();
    while let Ok(part) = parts.recv() {
        // A writer that is gone has said why.
        match part {
            Part::Data(mut buffer) => {
                buffer.hash_blocks();
                whole.add(&buffer);
                if work.send(Work::Write(buffer)).is_err() {
                    return;
                }
            }
            Part::End {
                size,
                verify,
                scratch,
            } => {
                let hash = whole.finish();
                let end = Work::End {
                    size,
                    verify,
                    scratch,
                    hash,
                };
                work.send(end).ok();
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use sha2::{Digest, Sha256};

    use super::*;
    use crate::pages::{BLOCK, BLOCKS, BUFFER};

    #[test]
    fn the_image_has_its_hash_and_each_block_its_own() {
        let image: Vec<u8> = (0..2 * BUFFER + 777).map(|at| (at % 251) as u8).collect();
        let (parts, received) = channel();
        let hashed = start(received, 8, Digests::default()).unwrap();
        for (at, piece) in image.chunks(BUFFER).enumerate() {
            let mut buffer = Buffer::new();
            buffer.reset((at * BUFFER) as u64);
            buffer.put(0..piece.len()).copy_from_slice(piece);
            parts.send(Part::Data(buffer)).unwrap();
        }
        let end = Part::End {
            size: image.len() as u64,
            verify: Verify::None,
            scratch: Buffer::new(),
        };
        parts.send(end).unwrap();
        let mut blocks = image.chunks(BLOCK);
        for work in hashed {
            match work {
                Work::Write(buffer) => {
                    for block in (0..BLOCKS).filter_map(|block| buffer.record(block)) {
                        let own = blocks.next().unwrap();
                        assert_eq!(block.valid as usize, own.len());
                        assert_eq!(block.hash, *blake3::hash(own).as_bytes());
                    }
                }
                Work::End { hash, .. } => {
                    assert_eq!(blocks.next(), None);
                    assert_eq!(hash, <[u8; 32]>::from(Sha256::digest(&image)));
                    return;
                }
            }
        }
        panic!("no end");
    }
}
