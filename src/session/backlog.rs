//! Bytes of a client that the device has not taken yet.
//!
//! Small frames are joined, so that 256 KiB of single bytes cost 256 KiB; when the backlog is full
//! the session stops reading and HTTP/2 holds the client back.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use rigd_driver::Boundaries;

/// Bytes held before reading stops: a quarter of a second of the fastest console, and little
/// enough that a hundred stalled streams cost 25 MiB.
const MAX_BYTES: usize = 256 * 1024;
/// Messages held where they must not be joined. A datagram is cheap to lose, not to hoard.
const MAX_MESSAGES: usize = 1024;
/// Frames up to this size are copied together; larger ones are passed on as they are.
const SMALL: usize = 8 * 1024;

/// A bounded queue of frames towards a device.
#[derive(Debug)]
pub(super) struct Backlog {
    boundaries: Boundaries,
    chunks: VecDeque<Bytes>,
    tail: BytesMut,
    bytes: usize,
}

impl Backlog {
    pub(super) fn new(boundaries: Boundaries) -> Self {
        Self {
            boundaries,
            chunks: VecDeque::new(),
            tail: BytesMut::new(),
            bytes: 0,
        }
    }

    pub(super) fn push(&mut self, bytes: Bytes) {
        self.bytes += bytes.len();
        if self.boundaries == Boundaries::Keep {
            // A copy, since a slice would keep the whole receive buffer alive.
            self.chunks.push_back(Bytes::copy_from_slice(&bytes));
        } else if bytes.is_empty() {
            // No bytes are no event in a stream of bytes.
        } else if bytes.len() <= SMALL && (self.waiting() || bytes.len() < SMALL / 8) {
            self.tail.extend_from_slice(&bytes);
            if self.tail.len() >= 8 * SMALL {
                self.flush();
            }
        } else {
            self.flush();
            self.chunks.push_back(bytes);
        }
    }

    pub(super) fn pop(&mut self) -> Option<Bytes> {
        if self.chunks.is_empty() {
            self.flush();
        }
        let chunk = self.chunks.pop_front()?;
        self.bytes -= chunk.len();
        Some(chunk)
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes >= MAX_BYTES || self.chunks.len() >= MAX_MESSAGES
    }

    fn waiting(&self) -> bool {
        self.bytes > 0
    }

    fn flush(&mut self) {
        if !self.tail.is_empty() {
            self.chunks.push_back(self.tail.split().freeze());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bytes_come_out_in_order_and_messages_stay_whole(
            sizes in prop::collection::vec(1usize..20_000, 0..40),
            keep in any::<bool>(),
            pops in prop::collection::vec(any::<bool>(), 40),
        ) {
            let boundaries = if keep { Boundaries::Keep } else { Boundaries::Free };
            let mut backlog = Backlog::new(boundaries);
            let (mut sent, mut got, mut messages) = (Vec::new(), Vec::new(), Vec::new());
            for (n, size) in sizes.iter().enumerate() {
                let chunk: Vec<u8> = (0..*size).map(|i| (i + n) as u8).collect();
                sent.extend_from_slice(&chunk);
                backlog.push(chunk.into());
                if pops[n] && let Some(chunk) = backlog.pop() {
                    messages.push(chunk.len());
                    got.extend_from_slice(&chunk);
                }
            }
            while let Some(chunk) = backlog.pop() {
                messages.push(chunk.len());
                got.extend_from_slice(&chunk);
            }
            prop_assert_eq!(sent, got);
            prop_assert_eq!(backlog.bytes, 0);
            if keep {
                prop_assert_eq!(messages, sizes);
            }
        }
    }

    #[test]
    fn single_bytes_are_joined_and_fill_it_at_the_limit() {
        let mut backlog = Backlog::new(Boundaries::Free);
        for _ in 0..MAX_BYTES {
            assert!(!backlog.is_full());
            backlog.push(Bytes::from_static(b"x"));
        }
        assert!(backlog.is_full());
        assert!(backlog.chunks.len() <= MAX_BYTES / (8 * SMALL) + 1);
    }
}
