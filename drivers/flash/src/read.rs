//! A card on its way to a client.
//!
//! ```text
//!   medium ──> reader ──buffers──> sender ──frames──> client
//!                 ^ ──────empty buffers──┘
//! ```
//!
//! The next part is read while one is sent. The sender never waits on hardware itself: a reader that
//! hangs is left behind, with the medium that it holds.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::Duration,
};

use bytes::Bytes;
use rigd_driver::{ByteCount, DriverError};

use crate::{
    buffer::Buffer,
    medium::{Medium, check_same, failed},
    pages::{BLOCK, round_up},
    watchdog::{POLL, STOP, Watchdog},
};

/// Bytes of one frame towards the client, as upstream sends them.
const FRAME: usize = 64 * 1024;
/// Buffers that go round: one is read into while one is sent.
const BUFFERS: usize = 2;

/// Where the card goes.
pub(crate) trait Taker {
    /// Whether it is still wanted.
    fn look(&mut self) -> Result<(), DriverError>;

    /// Takes the next bytes; waits for as long as the client needs.
    fn frame(&mut self, bytes: Bytes) -> Result<(), DriverError>;
}

/// A part of the card.
struct Part {
    buffer: Buffer,
    len: usize,
}

/// What the reader tells: a part, or that there are no more.
type Told = Result<Option<Part>, DriverError>;

/// Sends everything that `medium` holds. Blocks. The medium may take `stall_limit` for each part.
pub(crate) fn send(
    medium: Arc<dyn Medium>,
    stall_limit: Duration,
    taker: &mut dyn Taker,
) -> Result<(), DriverError> {
    let name = medium.name().to_owned();
    let of = medium.capacity().map_or(String::new(), |size| {
        format!(" of {}", ByteCount(size).rounded())
    });
    let (empty, to_fill) = channel();
    for _ in 0..BUFFERS {
        // The other end is below.
        empty.send(Buffer::new()).ok();
    }
    let mut reading = Reading {
        name,
        parts: start(medium, to_fill)?,
        empty: Some(empty),
        stall_limit,
        stalled: false,
    };
    let mut sent = 0;
    let outcome = reading.pass_on(taker, &mut sent);
    reading.end();
    let sent = ByteCount(sent).rounded();
    outcome.map_err(|error| error.with_context(&format!("read stopped at {sent}{of}")))
}

/// The sender's end of the reader.
struct Reading {
    name: String,
    parts: Receiver<Told>,
    empty: Option<Sender<Buffer>>,
    stall_limit: Duration,
    /// The reader was waited for in vain already.
    stalled: bool,
}

impl Reading {
    fn pass_on(&mut self, taker: &mut dyn Taker, sent: &mut u64) -> Result<(), DriverError> {
        while let Some(Part { buffer, len }) = self.next(taker)? {
            for frame in buffer.bytes()[..len].chunks(FRAME) {
                taker.frame(Bytes::copy_from_slice(frame))?;
                *sent += frame.len() as u64;
            }
            if let Some(empty) = &self.empty {
                // A reader that is through needs no more buffers.
                empty.send(buffer).ok();
            }
        }
        Ok(())
    }

    fn next(&mut self, taker: &mut dyn Taker) -> Told {
        let mut watch = Watchdog::new();
        loop {
            taker.look()?;
            match self.parts.recv_timeout(POLL) {
                Ok(told) => return told,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(lost()),
            }
            let checked = watch.check(&self.name, (0, false), self.stall_limit);
            self.stalled = checked.is_err();
            checked?;
        }
    }

    /// Returns when the reader has let go of the medium, or does not answer.
    fn end(mut self) {
        self.empty = None;
        while !self.stalled {
            match self.parts.recv_timeout(STOP) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => self.stalled = true,
            }
        }
        tracing::warn!("{} does not stop, and is left to itself.", self.name);
    }
}

/// Starts the thread that reads.
fn start(medium: Arc<dyn Medium>, empty: Receiver<Buffer>) -> Result<Receiver<Told>, DriverError> {
    let (tell, parts) = channel();
    let work = move || {
        let last = run(&*medium, &empty, &tell);
        // A sender that is gone has said why.
        tell.send(last.map(|()| None)).ok();
        // The medium is let go before anybody hears of the end.
        drop(medium);
        drop(tell);
    };
    thread::Builder::new()
        .name("rigd:read".into())
        .spawn(work)
        .map(|_| parts)
        .map_err(|e| DriverError::Exhausted(format!("cannot start a thread to read: {e}")))
}

/// Reads until the end of the card, or until nobody gives buffers any more.
fn run(
    medium: &dyn Medium,
    empty: &Receiver<Buffer>,
    tell: &Sender<Told>,
) -> Result<(), DriverError> {
    let end = medium.capacity().unwrap_or(u64::MAX);
    let mut at = 0;
    while at < end {
        let Ok(mut buffer) = empty.recv() else {
            return Ok(());
        };
        let wanted = (end - at).min(BLOCK as u64) as usize;
        let piece = &mut buffer.bytes_mut()[..round_up(wanted, medium.sector())];
        let read = medium.read_at(piece, at);
        let len = read
            .map_err(|e| failed(medium, "read", at, &e))?
            .min(wanted);
        check_same(medium)?;
        at += len as u64;
        let is_last = len < wanted;
        if tell.send(Ok(Some(Part { buffer, len }))).is_err() || is_last {
            return Ok(());
        }
    }
    Ok(())
}

fn lost() -> DriverError {
    DriverError::Unknown("the reader failed unexpectedly; the daemon's log has the place".into())
}

#[cfg(test)]
mod tests;
