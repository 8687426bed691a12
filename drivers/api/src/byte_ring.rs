//! The last bytes of an endless output, read by many at their own speed.
//!
//! ```text
//!   oldest                                      newest
//!     │·············capacity·····················│ <── push (never waits)
//!            ^ reader A            ^ reader B    ^ a new reader starts here
//! ```
//!
//! A reader that falls more than the capacity behind loses the bytes in between and is told how
//! many; it never slows the writer or another reader.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::{Bytes, BytesMut};
use tokio::sync::watch;

/// The most that one read gives: peers use 64 KiB frames.
const READ_SIZE: usize = 64 * 1024;

#[derive(Debug)]
struct State {
    bytes: VecDeque<u8>,
    /// Bytes ever pushed; position of the next byte.
    end: u64,
    closed: bool,
}

impl State {
    fn start(&self) -> u64 {
        self.end - self.bytes.len() as u64
    }
}

/// The writing side. Dropping it closes the ring.
#[derive(Debug)]
pub struct ByteRing {
    capacity: usize,
    state: Arc<Mutex<State>>,
    // Wakes readers; carries nothing, so that a slow one cannot miss a state.
    changed: watch::Sender<()>,
}

impl ByteRing {
    /// A ring that keeps the last `capacity` bytes. Memory is taken as bytes come.
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            state: Arc::new(Mutex::new(State {
                bytes: VecDeque::new(),
                end: 0,
                closed: false,
            })),
            changed: watch::Sender::new(()),
        }
    }

    /// Appends `bytes`; the oldest go when there is no room. Never waits. Nothing happens after
    /// [`close`](Self::close).
    pub fn push(&self, bytes: &[u8]) {
        {
            let mut state = lock(&self.state);
            if state.closed || bytes.is_empty() {
                return;
            }
            state.end += bytes.len() as u64;
            let kept = &bytes[bytes.len().saturating_sub(self.capacity)..];
            let room = self.capacity - kept.len();
            let surplus = state.bytes.len().saturating_sub(room);
            state.bytes.drain(..surplus);
            state.bytes.extend(kept);
        }
        self.changed.send_replace(());
    }

    /// A reader of everything that is pushed from now on.
    pub fn reader(&self) -> RingReader {
        let position = lock(&self.state).end;
        RingReader {
            state: self.state.clone(),
            changed: self.changed.subscribe(),
            position,
        }
    }

    /// Ends the ring: readers get what is left, then the end.
    pub fn close(&self) {
        lock(&self.state).closed = true;
        self.changed.send_replace(());
    }
}

impl Drop for ByteRing {
    fn drop(&mut self) {
        self.close();
    }
}

/// One reader's place in a [`ByteRing`].
#[derive(Debug)]
pub struct RingReader {
    state: Arc<Mutex<State>>,
    changed: watch::Receiver<()>,
    position: u64,
}

impl RingReader {
    /// The next bytes, at most 64 KiB, and how many were lost right before them because this reader
    /// was too slow. `None` after the last bytes of a closed ring. Cancel-safe.
    pub async fn next(&mut self) -> Option<(Bytes, u64)> {
        loop {
            self.changed.mark_unchanged();
            match self.take() {
                Taken::Bytes(bytes, lost) => return Some((bytes, lost)),
                Taken::End => return None,
                Taken::Nothing => {}
            }
            // An error means that the ring was dropped, which also closed it: seen above.
            self.changed.changed().await.ok();
        }
    }

    fn take(&mut self) -> Taken {
        let state = lock(&self.state);
        let start = state.start();
        let lost = start.saturating_sub(self.position);
        let position = self.position.max(start);
        // The ring holds what lies between, so the difference fits.
        let skip = (position - start) as usize;
        let length = (state.bytes.len() - skip).min(READ_SIZE);
        if length == 0 {
            return if state.closed {
                Taken::End
            } else {
                Taken::Nothing
            };
        }
        let mut bytes = BytesMut::with_capacity(length);
        let (front, back) = state.bytes.as_slices();
        let from_front = front.get(skip..).unwrap_or_default();
        let from_front = &from_front[..from_front.len().min(length)];
        bytes.extend_from_slice(from_front);
        let skip_back = skip.saturating_sub(front.len());
        let rest = length - from_front.len();
        bytes.extend_from_slice(&back[skip_back..skip_back + rest]);
        drop(state);
        self.position = position + length as u64;
        Taken::Bytes(bytes.freeze(), lost)
    }
}

enum Taken {
    Bytes(Bytes, u64),
    Nothing,
    End,
}

/// A panic while the lock is held cannot leave the ring inconsistent in a way that matters more
/// than losing the console for good.
fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use futures::FutureExt;

    use super::*;

    fn read(reader: &mut RingReader) -> Option<(Bytes, u64)> {
        reader.next().now_or_never().expect("bytes are there")
    }

    #[test]
    fn a_reader_starts_at_now_and_gets_everything_after_it() {
        let ring = ByteRing::new(8);
        ring.push(b"before");
        let mut reader = ring.reader();
        assert!(reader.next().now_or_never().is_none());
        ring.push(b"ab");
        ring.push(b"cd");
        assert_eq!(read(&mut reader), Some((Bytes::from_static(b"abcd"), 0)));
        assert!(reader.next().now_or_never().is_none());
    }

    #[test]
    fn a_slow_reader_is_told_its_loss_and_a_fast_one_loses_nothing() {
        let ring = ByteRing::new(4);
        let (mut slow, mut fast) = (ring.reader(), ring.reader());
        ring.push(b"abc");
        assert_eq!(read(&mut fast), Some((Bytes::from_static(b"abc"), 0)));
        ring.push(b"defg");
        assert_eq!(read(&mut fast), Some((Bytes::from_static(b"defg"), 0)));
        assert_eq!(read(&mut slow), Some((Bytes::from_static(b"defg"), 3)));
        ring.push(b"0123456789");
        assert_eq!(read(&mut slow), Some((Bytes::from_static(b"6789"), 6)));
    }

    #[tokio::test]
    async fn closing_ends_readers_after_what_is_left() {
        let ring = ByteRing::new(8);
        let mut reader = ring.reader();
        let mut waiting = ring.reader();
        let waiting = tokio::spawn(async move {
            let first = waiting.next().await;
            (first, waiting.next().await)
        });
        tokio::task::yield_now().await;
        ring.push(b"last");
        drop(ring);
        let last = Some((Bytes::from_static(b"last"), 0));
        assert_eq!(reader.next().await, last);
        assert_eq!(reader.next().await, None);
        assert_eq!(waiting.await.unwrap(), (last, None));
    }

    #[test]
    fn a_dropped_wait_loses_nothing() {
        let ring = ByteRing::new(8);
        let mut reader = ring.reader();
        for _ in 0..3 {
            assert!(reader.next().now_or_never().is_none());
        }
        ring.push(b"x");
        assert_eq!(read(&mut reader), Some((Bytes::from_static(b"x"), 0)));
    }

    #[test]
    fn one_read_is_bounded() {
        let ring = ByteRing::new(READ_SIZE * 2);
        let mut reader = ring.reader();
        ring.push(&vec![7; READ_SIZE + 1]);
        assert_eq!(read(&mut reader).unwrap().0.len(), READ_SIZE);
        assert_eq!(read(&mut reader).unwrap().0.len(), 1);
    }

    /// Random pushes and reads against a plain list of all bytes: whatever a reader gets is the
    /// true content at its place, and bytes given plus bytes lost are bytes pushed.
    #[test]
    fn any_order_of_pushes_and_reads_gives_the_bytes_at_their_places() {
        let mut seed: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut random = move |below: u64| {
            // xorshift: a fixed sequence, so that a failure comes back.
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed % below
        };
        for capacity in [1, 2, 7, 64] {
            let ring = ByteRing::new(capacity);
            let mut all: Vec<u8> = Vec::new();
            let mut readers: VecDeque<(RingReader, u64)> = VecDeque::new();
            for _ in 0..2_000 {
                match random(4) {
                    0 => {
                        readers.push_back((ring.reader(), all.len() as u64));
                        if readers.len() > 4 {
                            readers.pop_front();
                        }
                    }
                    1 => {
                        for (reader, place) in &mut readers {
                            let Some(got) = reader.next().now_or_never() else {
                                assert_eq!(*place, all.len() as u64);
                                continue;
                            };
                            let (bytes, lost) = got.expect("the ring is open");
                            *place += lost;
                            let from = *place as usize;
                            assert_eq!(bytes, all[from..from + bytes.len()]);
                            assert!(lost == 0 || bytes.len() == capacity.min(READ_SIZE));
                            *place += bytes.len() as u64;
                        }
                    }
                    _ => {
                        let chunk: Vec<u8> = (0..random(12)).map(|_| random(256) as u8).collect();
                        ring.push(&chunk);
                        all.extend(&chunk);
                    }
                }
            }
        }
    }
}
