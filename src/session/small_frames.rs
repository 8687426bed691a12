//! Keeps floods of tiny frames from ending a whole connection.
//!
//! h2 (since 0.4.16) charges a connection `256 - n` for every unread DATA frame of `n` < 256 bytes
//! and closes it when a budget of half the connection window is used up. With the windows of
//! [`transport`](crate::transport) one stalled stream of single bytes uses half of that budget, and
//! gets ordinary back-pressure. The other half is for frames on their way to streams that do read.
//! A second stalled stream on the same connection would take it: that stream, and only that one,
//! ends with RESOURCE_EXHAUSTED.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use rigd_driver::DriverError;

/// Streams of one connection that may stand still with tiny frames: what the budget holds.
const MAX_STALLED: usize = 1;
/// Mean message size from which on a stalled stream is cheap: 512 KiB of 48-byte messages (55 with
/// framing) are 9 500 frames at 201, an eighth of what one stream of single bytes costs.
const TINY: usize = 48;
/// Larger frames cost nothing, see above; counted in full, one transfer would hide thousands of
/// single bytes after it.
const FREE: usize = 256;
/// Frames that the mean looks back on: far fewer than a stalled stream holds.
const RECENT: usize = 4096;

/// The stalled streams of one connection.
#[derive(Debug, Default)]
pub struct SmallFrames(AtomicUsize);

/// One stream's part in it.
#[derive(Debug)]
pub(super) struct Stalled {
    connection: Arc<SmallFrames>,
    counted: bool,
    frames: usize,
    bytes: usize,
}

impl Stalled {
    pub(super) fn new(connection: Arc<SmallFrames>) -> Self {
        Self {
            connection,
            counted: false,
            frames: 0,
            bytes: 0,
        }
    }

    /// A frame came in.
    pub(super) fn count(&mut self, bytes: usize) {
        if self.frames == RECENT {
            self.frames /= 2;
            self.bytes /= 2;
        }
        self.frames += 1;
        self.bytes += bytes.min(FREE);
    }

    /// Whether the stream has stopped reading.
    ///
    /// # Errors
    /// Another stream of tiny frames stands still on this connection already.
    pub(super) fn waits(&mut self, waits: bool) -> Result<(), DriverError> {
        let tiny = self.bytes < self.frames * TINY;
        if waits && tiny && !self.counted {
            let others = self.connection.0.fetch_add(1, Ordering::Relaxed);
            self.counted = true;
            if others >= MAX_STALLED {
                return Err(DriverError::Exhausted(
                    "too many small frames: another stream of this connection stands still as well; \
                     send larger frames or fewer streams"
                        .into(),
                ));
            }
        } else if !waits && self.counted {
            self.release();
        }
        Ok(())
    }

    fn release(&mut self) {
        if self.counted {
            self.connection.0.fetch_sub(1, Ordering::Relaxed);
            self.counted = false;
        }
    }
}

impl Drop for Stalled {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_stalled_stream_of_tiny_frames_is_refused_and_large_frames_never() {
        let connection = Arc::new(SmallFrames::default());
        let stream = |size: usize| {
            let mut stalled = Stalled::new(connection.clone());
            (0..100).for_each(|_| stalled.count(size));
            stalled
        };
        let (mut one, mut two, mut large) = (stream(1), stream(1), stream(1024));
        one.waits(true).unwrap();
        large.waits(true).unwrap();
        let error = two.waits(true).unwrap_err();
        assert!(error.to_string().starts_with("too many small frames"));
        drop(two);
        one.waits(false).unwrap();
        let mut three = stream(1);
        three.waits(true).unwrap();
    }

    #[test]
    fn what_a_stream_sent_long_ago_does_not_count() {
        let connection = Arc::new(SmallFrames::default());
        let _one = {
            let mut stalled = Stalled::new(connection.clone());
            stalled.count(1);
            stalled.waits(true).unwrap();
            stalled
        };
        let mut stalled = Stalled::new(connection.clone());
        (0..100_000).for_each(|_| stalled.count(64 * 1024));
        stalled.waits(true).unwrap();
        // A fraction of what fits into the backlog before a stream stands still.
        (0..20_000).for_each(|_| stalled.count(1));
        stalled.waits(true).unwrap_err();
    }
}
