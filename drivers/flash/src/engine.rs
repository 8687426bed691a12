//! One write from its first byte to its end, on a thread of its own.
//!
//! ```text
//!   decoder ──chunks──> engine (place, check) ──buffers──> hasher ──buffers──> writer ──> medium
//! ```
//!
//! All of them run beside each other. Of several errors the first is told. The engine never waits on
//! hardware itself: a writer that hangs is left behind, with the medium that it holds.

use std::{
    sync::{
        Arc,
        atomic::Ordering::Relaxed,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, channel, sync_channel},
    },
    time::Duration,
};

use rigd_driver::{ByteCount, DriverError, TransferProgress};

use crate::{
    blocks::Blocks,
    buffer::Buffer,
    digest::Digests,
    fill::{Exchange, Filler},
    hasher::{self, Part},
    layout::{Gaps, Layout},
    medium::{Keep, Medium, failed},
    progress::Progress,
    settings::{Delta, Report, Verify},
    source::{Piece, Source},
    watchdog::{POLL, STOP, Watchdog},
    writer::{Ended, Shared, Writer},
};

/// Buffers that go round: one is filled, one is hashed, and one is written. A fourth made no write faster.
const BUFFERS: usize = 3;

/// Hears how far the write is, when there is news, and says whether it is still wanted.
pub(crate) type Caller = Box<dyn Fn(Option<TransferProgress>) -> Result<(), DriverError> + Send>;

/// One write.
pub(crate) struct Job {
    pub(crate) source: Box<dyn Source>,
    pub(crate) layout: Layout,
    pub(crate) medium: Arc<dyn Medium>,
    pub(crate) caller: Caller,
    pub(crate) gaps: Gaps,
    pub(crate) delta: Delta,
    /// `None`: by the size of the image.
    pub(crate) verify: Option<Verify>,
    /// How long the medium may take for one buffer.
    pub(crate) stall_limit: Duration,
    /// How long a sync may take.
    pub(crate) sync_limit: Duration,
    /// What the card is known to hold.
    pub(crate) blocks: Blocks,
    /// What is remembered of the image before.
    pub(crate) digests: Digests,
}

/// How a write ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) result: Result<Report, DriverError>,
    /// What the card is known to hold; nothing where the writer was left behind.
    pub(crate) blocks: Blocks,
    /// Bytes handed to the medium; `None` where the writer was left behind.
    pub(crate) written: Option<u64>,
}

/// Writes the image. Blocks until it is done, or broken.
pub(crate) fn run(mut job: Job) -> Outcome {
    let shared = Arc::new(Shared::default());
    let keep = match job.delta {
        Delta::Compare => Keep::Needed,
        Delta::Proven if job.blocks.known().next().is_some() => Keep::Needed,
        Delta::Proven | Delta::None => Keep::No,
    };
    let medium = job.medium.clone();
    let begun = medium.begin(keep);
    let begun = begun.map_err(|e| failed(&*medium, "write", 0, &e));
    let started = begun.and_then(|()| Pipe::start(&mut job, shared.clone()));
    drop(medium);
    let Job {
        source,
        mut layout,
        gaps,
        verify,
        blocks,
        medium,
        ..
    } = job;
    // From here on the writer alone keeps the medium open.
    drop(medium);
    let mut pipe = match started {
        Ok(pipe) => pipe,
        Err(error) => {
            return Outcome {
                result: Err(error),
                blocks,
                written: Some(0),
            };
        }
    };
    pipe.caller = Some(job.caller);
    let filler = Filler::new(pipe, gaps);
    feed(filler, source, &mut layout, verify)
}

fn feed(
    mut filler: Filler<Pipe>,
    mut source: Box<dyn Source>,
    layout: &mut Layout,
    verify: Option<Verify>,
) -> Outcome {
    let fed = pour(&mut filler, &mut *source, layout);
    // The client learns now that nothing more is read.
    drop(source);
    let size = match fed {
        Ok(size) => size,
        Err(error) => return filler.give_up().broken(error, layout.size()),
    };
    let (mut pipe, mapped) = match filler.finish() {
        Ok(done) => done,
        Err((pipe, error)) => return pipe.broken(error, Some(size)),
    };
    let verify = verify.unwrap_or(Verify::by_size(mapped));
    match pipe.end(size, verify) {
        Ok((blocks, hash)) => {
            let sha256 = hash.iter().map(|b| format!("{b:02x}")).collect();
            let report = Report {
                size,
                mapped,
                unchanged: pipe.shared.unchanged.load(Relaxed),
                sha256,
                verify,
                verified: pipe.shared.verified.load(Relaxed),
            };
            pipe.progress.done(&report);
            Outcome {
                result: Ok(report),
                blocks,
                written: Some(pipe.shared.written.load(Relaxed)),
            }
        }
        Err(error) => pipe.broken(error, Some(size)),
    }
}

/// The image from its source into buffers; gives its size.
fn pour(
    filler: &mut Filler<Pipe>,
    source: &mut dyn Source,
    layout: &mut Layout,
) -> Result<u64, DriverError> {
    while let Some(piece) = source.next()? {
        let pipe = filler.exchange();
        pipe.size = layout.size();
        pipe.look()?;
        match piece {
            Piece::Data(bytes) => layout.push(&bytes, filler)?,
            Piece::Hole(count) => layout.hole(count, filler)?,
        }
    }
    layout.end()
}

/// The engine's end of the writer.
pub(crate) struct Pipe {
    full: Option<SyncSender<Part>>,
    empty: Receiver<Buffer>,
    fresh: Vec<Buffer>,
    ended: Receiver<Ended>,
    /// What a writer that failed has left.
    left: Option<Blocks>,
    shared: Arc<Shared>,
    caller: Option<Caller>,
    size: Option<u64>,
    progress: Progress,
    stall_limit: Duration,
    sync_limit: Duration,
    /// The writer was waited for in vain already.
    stalled: bool,
    name: String,
}

impl Pipe {
    fn start(job: &mut Job, shared: Arc<Shared>) -> Result<Self, DriverError> {
        let (full_tx, full) = sync_channel(BUFFERS + 1);
        let hashed = hasher::start(full, BUFFERS + 1, job.digests.clone())?;
        let (empty_tx, empty) = channel();
        let (ended_tx, ended) = channel();
        let writer = Writer {
            medium: job.medium.clone(),
            shared: shared.clone(),
            delta: job.delta,
            blocks: std::mem::take(&mut job.blocks),
            touched: Vec::new(),
        };
        writer.start(hashed, empty_tx, ended_tx)?;
        Ok(Self {
            full: Some(full_tx),
            empty,
            fresh: (0..BUFFERS).map(|_| Buffer::new()).collect(),
            ended,
            left: None,
            progress: Progress::new(shared.clone()),
            shared,
            caller: None,
            size: None,
            stall_limit: job.stall_limit,
            sync_limit: job.sync_limit,
            stalled: false,
            name: job.medium.name().to_owned(),
        })
    }

    /// Tells the progress, and whether to go on.
    fn look(&mut self) -> Result<(), DriverError> {
        let news = self.progress.tick(self.size);
        self.caller.as_ref().map_or(Ok(()), |caller| caller(news))
    }

    /// Hands the end over and waits for the medium to have everything.
    /// Gives what the card holds then, and the SHA-256 of the image.
    fn end(&mut self, size: u64, verify: Verify) -> Result<(Blocks, [u8; 32]), DriverError> {
        self.size = Some(size);
        let scratch = self.empty()?;
        self.send(Part::End {
            size,
            verify,
            scratch,
        })?;
        let mut watch = Watchdog::new();
        loop {
            match self.ended.recv_timeout(POLL) {
                Ok(ended) => {
                    let (blocks, hash) = self.take(ended)?;
                    // A writer that was told to stop ends well, and early.
                    self.look()?;
                    return Ok((blocks, hash.ok_or_else(lost)?));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(lost()),
            }
            self.look()?;
            let syncing = self.shared.syncing.load(Relaxed);
            let limit = if syncing && self.shared.to_verify.load(Relaxed) == 0 {
                self.sync_limit
            } else {
                self.stall_limit
            };
            self.check_stall(&mut watch, limit)?;
        }
    }

    fn check_stall(&mut self, watch: &mut Watchdog, limit: Duration) -> Result<(), DriverError> {
        let shared = &self.shared;
        let done = shared.reached.load(Relaxed) + shared.verified.load(Relaxed);
        let now = (done, shared.syncing.load(Relaxed));
        let checked = watch.check(&self.name, now, limit);
        self.stalled = checked.is_err();
        checked
    }

    fn send(&mut self, part: Part) -> Result<(), DriverError> {
        let full = self.full.as_ref().ok_or_else(lost)?;
        // There are fewer buffers than places, so this never waits.
        match full.send(part) {
            Ok(()) => Ok(()),
            Err(_) => Err(self.writers_error()),
        }
    }

    /// Why the writer went away.
    fn writers_error(&mut self) -> DriverError {
        match self.ended.recv_timeout(STOP) {
            Ok(ended) => self.take(ended).err().unwrap_or_else(lost),
            Err(_) => lost(),
        }
    }

    fn take(&mut self, ended: Ended) -> Result<(Blocks, Option<[u8; 32]>), DriverError> {
        match ended.result {
            Ok(hash) => Ok((ended.blocks, hash)),
            Err(error) => {
                self.left = Some(ended.blocks);
                Err(error)
            }
        }
    }

    /// Stops the writer; `error` is the cause.
    fn broken(mut self, error: DriverError, size: Option<u64>) -> Outcome {
        self.shared.stop.store(true, Relaxed);
        self.full = None;
        let limit = match self.stalled {
            true => Duration::ZERO,
            false => STOP,
        };
        let left = self.left.take();
        let left = left.or_else(|| {
            self.ended
                .recv_timeout(limit)
                .ok()
                .map(|ended| ended.blocks)
        });
        if left.is_none() {
            tracing::warn!("{} does not stop, and is left to itself.", self.name);
        }
        let reached = ByteCount(self.shared.reached.load(Relaxed)).rounded();
        let of = size.map_or(String::new(), |size| {
            format!(" of {}", ByteCount(size).rounded())
        });
        Outcome {
            result: Err(error.with_context(&format!("write stopped at {reached}{of}"))),
            written: left.as_ref().map(|_| self.shared.written.load(Relaxed)),
            blocks: left.unwrap_or_default(),
        }
    }
}

impl Exchange for Pipe {
    fn empty(&mut self) -> Result<Buffer, DriverError> {
        if let Some(fresh) = self.fresh.pop() {
            return Ok(fresh);
        }
        let mut watch = Watchdog::new();
        loop {
            match self.empty.recv_timeout(POLL) {
                Ok(buffer) => return Ok(buffer),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(self.writers_error()),
            }
            self.look()?;
            self.check_stall(&mut watch, self.stall_limit)?;
        }
    }

    fn full(&mut self, buffer: Buffer) -> Result<(), DriverError> {
        self.send(Part::Data(buffer))
    }
}

fn lost() -> DriverError {
    DriverError::Unknown("the writer failed unexpectedly; the daemon's log has the place".into())
}

#[cfg(test)]
pub(crate) mod tests;
