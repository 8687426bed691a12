//! The card: a sparse file that the lab host writes and the board reads.
//!
//! Every access goes through the faults, so that an injected one meets the lab host and the board
//! alike. Nothing here decides who may use the card; that is the mux.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rigd_driver::{DriverError, OpenError};
use sha2::{Digest, Sha256};

use crate::{
    ByteCount,
    card_state::{CardState, StateFile},
    faults::FaultSwitch,
    machine::Medium,
};

/// Piece in which the board reads its card: few enough system calls, and a power-off in between
/// is noticed within a millisecond.
const BOARD_READ: usize = 1 << 20;
/// A card whose first MiB is zero has nothing to boot.
const BOOT_AREA: u64 = 1 << 20;
/// How often a sleeping access looks whether it is still wanted.
const POLL: Duration = Duration::from_millis(10);

/// The reason to stop an access halfway: nobody wants it any more.
pub(crate) type Wanted<'a> = &'a dyn Fn() -> Result<(), DriverError>;

#[derive(Debug)]
pub(crate) struct Card {
    path: PathBuf,
    file: File,
    size: ByteCount,
    state: Mutex<CardState>,
    state_file: StateFile,
    faults: Arc<FaultSwitch>,
}

impl Card {
    /// Opens the card, or makes an empty one. Blocks.
    pub(crate) fn open(
        path: PathBuf,
        size: ByteCount,
        faults: Arc<FaultSwitch>,
    ) -> Result<Self, OpenError> {
        let shown = path.display().to_string();
        let failed = |what: &str, error: io::Error| {
            OpenError::Faulty(format!("cannot {what} the card {shown}: {error}"))
        };
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).map_err(|e| failed("make the directory of", e))?;
        }
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let file = options.open(&path).map_err(|e| failed("open", e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let why = format!("the card {shown} is in use by another board or daemon");
                return Err(OpenError::Faulty(why));
            }
            Err(TryLockError::Error(error)) => return Err(failed("lock", error)),
        }
        let meta = file.metadata().map_err(|e| failed("examine", e))?;
        if !meta.is_file() {
            let why = format!("the card {shown} is not a regular file");
            return Err(OpenError::Faulty(why));
        }
        let existing = meta.len();
        if existing > size.0 {
            return Err(OpenError::Faulty(format!(
                "the card {shown} has {}, more than its configured size of {size}: set a larger \
                 size or remove the file",
                ByteCount(existing)
            )));
        }
        let state_file = StateFile::beside(&path);
        let state = state_file
            .load()
            .map_err(|e| failed("read the state of", e))?;
        // Set before the file grows: of a foreign file, all that was there is the image.
        let state = match state {
            Some(state) => state,
            None => {
                let state = CardState::Complete { length: existing };
                state_file
                    .store(state)
                    .map_err(|e| failed("store the state of", e))?;
                state
            }
        };
        file.set_len(size.0).map_err(|e| failed("size", e))?;
        Ok(Self {
            path,
            file,
            size,
            state: Mutex::new(state),
            state_file,
            faults,
        })
    }

    pub(crate) fn size(&self) -> ByteCount {
        self.size
    }

    pub(crate) fn state(&self) -> CardState {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores the state. A card whose state cannot be stored counts as incomplete.
    fn set_state(&self, state: CardState) -> Result<(), DriverError> {
        let stored = self.state_file.store(state).map_err(|e| {
            let path = self.path.display();
            DriverError::io(
                format_args!("cannot store the state of the card {path}"),
                &e,
            )
        });
        let state = if stored.is_ok() {
            state
        } else {
            CardState::Incomplete
        };
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
        stored
    }

    /// Gives the file up for another board, although somebody may still hold the card.
    pub(crate) fn release(&self) {
        // The lock goes with the last descriptor anyway.
        self.file.unlock().ok();
    }

    /// Starts a write at the beginning of the card, which is incomplete from here on. Blocks.
    pub(crate) fn begin_write(&self) -> Result<CardWrite<'_>, DriverError> {
        self.set_state(CardState::Incomplete)?;
        Ok(CardWrite {
            card: self,
            offset: 0,
        })
    }

    /// Fills the buffer from the card and returns how much of it; 0 at the end. Blocks.
    pub(crate) fn read(
        &self,
        offset: u64,
        buffer: &mut [u8],
        wanted: Wanted<'_>,
    ) -> Result<usize, DriverError> {
        let left = self.size.0.saturating_sub(offset);
        let len = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        self.read_exact(offset, &mut buffer[..len])
            .map_err(|(at, e)| self.failed("read", at, &e))?;
        self.slow_down(len, wanted)?;
        Ok(len)
    }

    fn read_exact(&self, offset: u64, buffer: &mut [u8]) -> Result<(), (u64, io::Error)> {
        self.injected(offset, buffer.len())?;
        let done = self.file.read_exact_at(buffer, offset);
        done.map_err(|error| (offset, error))
    }

    /// What the board finds: the digest of the image, as read from the card. Blocks; `wanted`
    /// fails when the board lost interest, and `None` is returned.
    pub(crate) fn examine(&self, wanted: Wanted<'_>) -> Option<Medium> {
        let length = match self.state() {
            CardState::Complete { length: 0 } => return Some(Medium::Empty),
            CardState::Complete { length } => length,
            CardState::Incomplete => return Some(Medium::Incomplete),
        };
        let mut digest = Sha256::new();
        let mut buffer = vec![0; BOARD_READ];
        let mut blank = true;
        let mut offset = 0;
        while offset < length {
            wanted().ok()?;
            let left = usize::try_from(length - offset).unwrap_or(usize::MAX);
            let piece = &mut buffer[..left.min(BOARD_READ)];
            if let Err((offset, _)) = self.read_exact(offset, piece) {
                return Some(Medium::Error { offset });
            }
            digest.update(&*piece);
            // The first piece is the boot area, or all there is.
            blank &= offset >= BOOT_AREA || piece.iter().all(|byte| *byte == 0);
            if blank && offset + piece.len() as u64 >= BOOT_AREA.min(length) {
                return Some(Medium::Empty);
            }
            offset += piece.len() as u64;
            self.slow_down(piece.len(), wanted).ok()?;
        }
        Some(Medium::Image(hex(&digest.finalize())))
    }

    /// The injected I/O error, when it lies in this range.
    fn injected(&self, offset: u64, len: usize) -> Result<(), (u64, io::Error)> {
        match self.faults.now().card_eio {
            Some(ByteCount(at)) if (offset..offset + len as u64).contains(&at) => {
                Err((at, io::Error::from_raw_os_error(EIO)))
            }
            _ => Ok(()),
        }
    }

    /// Sleeps as long as a slow card takes for `len` bytes.
    fn slow_down(&self, len: usize, wanted: Wanted<'_>) -> Result<(), DriverError> {
        let started = Instant::now();
        while let Some(ByteCount(rate)) = self.faults.now().card_slow {
            let due = Duration::from_secs_f64(len as f64 / rate.max(1) as f64);
            let left = due.saturating_sub(started.elapsed());
            if left.is_zero() {
                break;
            }
            wanted()?;
            std::thread::sleep(left.min(POLL));
        }
        Ok(())
    }

    /// Hangs while the card is stalled; deliberately deaf to its caller.
    fn stall(&self) {
        while self.faults.stalled() {
            std::thread::sleep(POLL);
        }
    }

    fn failed(&self, verb: &str, offset: u64, error: &io::Error) -> DriverError {
        let path = self.path.display();
        if error.kind() == io::ErrorKind::StorageFull {
            return DriverError::Device(format!(
                "no space left on the file system under the card: cannot {verb} {path} at byte {offset}"
            ));
        }
        DriverError::io(
            format_args!("cannot {verb} the card {path} at byte {offset}"),
            error,
        )
    }
}

/// Number of the error that a failing medium gives, the same on all Linux systems.
const EIO: i32 = 5;

/// A write under way; the card stays incomplete unless it is finished.
#[derive(Debug)]
pub(crate) struct CardWrite<'a> {
    card: &'a Card,
    offset: u64,
}

impl CardWrite<'_> {
    /// Writes the next bytes. Blocks.
    pub(crate) fn write(&mut self, bytes: &[u8], wanted: Wanted<'_>) -> Result<(), DriverError> {
        let Self { card, offset } = *self;
        let end = offset + bytes.len() as u64;
        if end > card.size.0 {
            return Err(DriverError::InvalidArgument(format!(
                "image does not fit: it has at least {}, the card {}",
                ByteCount(end),
                card.size
            )));
        }
        card.stall();
        // A lease may have ended meanwhile.
        wanted()?;
        card.injected(offset, bytes.len())
            .map_err(|(at, e)| card.failed("write", at, &e))?;
        card.file
            .write_all_at(bytes, offset)
            .map_err(|e| card.failed("write", offset, &e))?;
        self.offset = end;
        card.slow_down(bytes.len(), wanted)
    }

    /// All is written: syncs, and the card is complete. Returns the length. Blocks.
    pub(crate) fn finish(self) -> Result<ByteCount, DriverError> {
        let Self { card, offset } = self;
        card.file
            .sync_data()
            .map_err(|e| card.failed("sync", offset, &e))?;
        card.set_state(CardState::Complete { length: offset })?;
        Ok(ByteCount(offset))
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        write!(text, "{byte:02x}").ok();
        text
    })
}

#[cfg(test)]
mod tests;
