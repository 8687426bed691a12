//! The thread that writes: it owns the medium's time, and nothing else waits on hardware.
//!
//! ```text
//!   engine ──full buffers──> writer ──> medium
//!      ^ ────empty buffers─────┘   End: sync, read back
//! ```
//!
//! A few buffers go round, so that the next one is filled while one is written. When the engine goes
//! away without an end, what was written is synced, so that it can count as known.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, Sender},
    },
    thread,
};

use rigd_driver::DriverError;

use crate::{
    blocks::Blocks,
    buffer::{Buffer, Record},
    medium::{Medium, check_same, failed},
    pages::{BLOCK, BLOCKS, round_up},
    settings::{Delta, Verify},
    verify,
};

/// What is asked of the writer.
#[derive(Debug)]
pub(crate) enum Work {
    Write(Buffer),
    /// The image is complete. The buffer is for reading back.
    End {
        size: u64,
        verify: Verify,
        scratch: Buffer,
        /// SHA-256 of what was to be written, in order.
        hash: [u8; 32],
    },
}

/// What the other threads see of a write.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Nobody wants the write any more.
    pub(crate) stop: AtomicBool,
    /// End of the last byte that is dealt with.
    pub(crate) reached: AtomicU64,
    /// Bytes that the card had already.
    pub(crate) unchanged: AtomicU64,
    /// Bytes handed to the medium, for what counts its sectors.
    pub(crate) written: AtomicU64,
    /// Everything is written; the medium is being synced.
    pub(crate) syncing: AtomicBool,
    /// Bytes read back and to be read back.
    pub(crate) verified: AtomicU64,
    pub(crate) to_verify: AtomicU64,
}

impl Shared {
    pub(crate) fn stopped(&self) -> bool {
        self.stop.load(Relaxed)
    }
}

/// How a writer ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// SHA-256 of what was to be written, where the image came to its end.
    pub(crate) result: Result<Option<[u8; 32]>, DriverError>,
    /// What the card holds for certain; nothing after an error of sync.
    pub(crate) blocks: Blocks,
}

/// One write as the writer sees it.
pub(crate) struct Writer {
    pub(crate) medium: Arc<dyn Medium>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) delta: Delta,
    /// What the card is known to hold, and will be.
    pub(crate) blocks: Blocks,
    /// Blocks of this image, in order.
    pub(crate) touched: Vec<u32>,
}

impl Writer {
    /// Starts the thread. Its end comes through `ended`.
    pub(crate) fn start(
        mut self,
        full: Receiver<Work>,
        empty: Sender<Buffer>,
        ended: Sender<Ended>,
    ) -> Result<(), DriverError> {
        let span = tracing::Span::current();
        let work = move || {
            let result = span.in_scope(|| self.run(&full, &empty));
            let Self { medium, blocks, .. } = self;
            // The medium is let go before anybody hears of the end.
            drop(medium);
            ended.send(Ended { result, blocks }).ok();
        };
        thread::Builder::new()
            .name("rigd:write".into())
            .spawn(work)
            .map(|_| ())
            .map_err(|e| DriverError::Exhausted(format!("cannot start a thread to write: {e}")))
    }

    fn run(
        &mut self,
        full: &Receiver<Work>,
        empty: &Sender<Buffer>,
    ) -> Result<Option<[u8; 32]>, DriverError> {
        let mut scratch = None;
        let mut outcome = Ok(None);
        while let Ok(work) = full.recv() {
            if self.shared.stopped() {
                break;
            }
            match work {
                Work::Write(mut buffer) => {
                    if let Err(error) = self.write(&mut buffer, &mut scratch) {
                        outcome = Err(error);
                        break;
                    }
                    // An engine that is gone needs no more buffers.
                    empty.send(buffer).ok();
                }
                Work::End {
                    size,
                    verify,
                    scratch,
                    hash,
                } => {
                    outcome = Ok(Some((size, verify, scratch, hash)));
                    break;
                }
            }
        }
        let size = outcome.as_ref().ok().and_then(Option::as_ref);
        let size = size.map(|(size, ..)| *size);
        self.shared.syncing.store(true, Relaxed);
        if let Err(error) = self.medium.sync(size) {
            // The kernel has dropped what it could not write; which blocks those were it does not say.
            self.blocks = Blocks::default();
            let error = failed(&*self.medium, "sync", 0, &error);
            // The first error is the cause.
            return outcome.and(Err(error));
        }
        let Some((_, verify, mut scratch, hash)) = outcome? else {
            return Ok(None);
        };
        let (medium, shared) = (&*self.medium, &*self.shared);
        let (blocks, touched) = (&self.blocks, &self.touched);
        verify::read_back(medium, shared, blocks, touched, verify, &mut scratch)
            .and_then(|()| check_same(medium))
            .inspect_err(|_| self.blocks = Blocks::default())?;
        Ok(Some(hash))
    }

    fn write(
        &mut self,
        buffer: &mut Buffer,
        scratch: &mut Option<Buffer>,
    ) -> Result<(), DriverError> {
        check_same(&*self.medium)?;
        let first = buffer.first_block();
        let mut records = [None; BLOCKS];
        let mut wanted = [false; BLOCKS];
        for block in 0..BLOCKS {
            let Some(record) = buffer.record(block) else {
                continue;
            };
            self.touched.push((first + block) as u32);
            if self.has(first + block, &record, buffer, scratch)? {
                self.shared
                    .unchanged
                    .fetch_add(record.len() as u64, Relaxed);
                self.blocks.set(first + block, record);
            } else {
                self.blocks.forget(first + block);
                wanted[block] = true;
                records[block] = Some(record);
            }
        }
        for run in buffer.runs(wanted) {
            let at = buffer.at + run.start as u64;
            let end = self.complete_sector(buffer, run.end)?;
            let bytes = &buffer.bytes()[run.start..end];
            self.shared.written.fetch_add(bytes.len() as u64, Relaxed);
            let written = self.medium.write_at(bytes, at);
            written.map_err(|e| failed(&*self.medium, "write", at, &e))?;
        }
        for (block, record) in records.into_iter().enumerate() {
            if let Some(record) = record {
                self.blocks.set(first + block, record);
            }
        }
        let reached = buffer.at + buffer.valid as u64;
        self.shared.reached.fetch_max(reached, Relaxed);
        Ok(())
    }

    /// Whether the card holds `record` at `block` already.
    fn has(
        &self,
        block: usize,
        record: &Record,
        buffer: &Buffer,
        scratch: &mut Option<Buffer>,
    ) -> Result<bool, DriverError> {
        if self.delta != Delta::None && self.blocks.get(block) == Some(record) {
            return Ok(true);
        }
        if self.delta != Delta::Compare {
            return Ok(false);
        }
        let scratch = scratch.get_or_insert_with(Buffer::new);
        let held = verify::read_block(&*self.medium, block, record, scratch)?;
        let base = (block % BLOCKS) * BLOCK;
        let own = &buffer.bytes()[base..base + BLOCK];
        Ok(held.is_some_and(|held| record.runs().all(|run| held[run.clone()] == own[run])))
    }

    /// Fills a run that ends within a sector up with what the medium has there; gives its end.
    fn complete_sector(&self, buffer: &mut Buffer, end: usize) -> Result<usize, DriverError> {
        let sector = self.medium.sector();
        let whole = round_up(end, sector);
        if whole == end {
            return Ok(end);
        }
        let at = buffer.at + (whole - sector) as u64;
        let mut last = Buffer::new();
        let held = &mut last.bytes_mut()[..sector];
        let read = self.medium.read_at(held, at);
        read.map_err(|e| failed(&*self.medium, "read", at, &e))?;
        let tail = end - (whole - sector)..sector;
        buffer.bytes_mut()[end..whole].copy_from_slice(&held[tail]);
        Ok(whole)
    }
}
