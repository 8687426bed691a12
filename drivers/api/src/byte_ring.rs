//! The last bytes of an endless output, read by many at their own speed.
//!
//! ```text
//!   oldest                                      newest
//!     │·············capacity·····················│ <── push (never waits)
//!            ^ reader A            ^ reader B    ^ a new reader starts here
//! ```
//!
//! A reader that falls more than the capacity behind loses the bytes in between and is told how
//! many; it never slows the writer or another reader. Every byte has the time at which it came.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use bytes::{Bytes, BytesMut};
use tokio::sync::watch;

/// The most that one read gives: peers use 64 KiB frames.
const READ_SIZE: usize = 64 * 1024;

/// Bytes that come closer to each other than this share a time.
const RESOLUTION: Duration = Duration::from_millis(1);
/// Times that are kept, 384 KiB of them. A full ring of single keystrokes needs more; then every
/// second one of the older half goes, so that old bytes get the time of a neighbour.
const MAX_TIMES: usize = 16 * 1024;

#[derive(Debug)]
struct State {
    bytes: VecDeque<u8>,
    /// Bytes ever pushed; position of the next byte.
    end: u64,
    /// When the bytes from a position on came, until the position of the next entry. The first one
    /// covers the oldest byte.
    times: VecDeque<(u64, SystemTime)>,
    closed: bool,
}

impl State {
    fn start(&self) -> u64 {
        self.end - self.bytes.len() as u64
    }

    fn stamp(&mut self, now: SystemTime) {
        let soon = |(_, last): &(u64, SystemTime)| {
            // A clock that was set back is another time as well.
            now.duration_since(*last)
                .is_ok_and(|since| since < RESOLUTION)
        };
        if self.times.back().is_some_and(soon) {
            return;
        }
        if self.times.len() >= MAX_TIMES {
            let half = MAX_TIMES / 2;
            let mut index = 0;
            self.times.retain(|_| {
                index += 1;
                index > half || index % 2 == 1
            });
        }
        self.times.push_back((self.end, now));
    }

    fn forget_times(&mut self) {
        let start = self.start();
        while self.times.get(1).is_some_and(|(from, _)| *from <= start) {
            self.times.pop_front();
        }
    }

    /// When the byte at `position` came, and where those of another time begin.
    fn time(&self, position: u64) -> (SystemTime, u64) {
        let next = self.times.partition_point(|(from, _)| *from <= position);
        let own = next.checked_sub(1).and_then(|own| self.times.get(own));
        let time = own.map_or(SystemTime::UNIX_EPOCH, |(_, time)| *time);
        (
            time,
            self.times.get(next).map_or(self.end, |(from, _)| *from),
        )
    }
}

/// Bytes of a [`ByteRing`] that came together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// When they came, to the millisecond.
    pub time: SystemTime,
    /// Bytes that this reader lost right before them because it was too slow.
    pub lost: u64,
    /// At least one, at most 64 KiB.
    pub bytes: Bytes,
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
                times: VecDeque::new(),
                closed: false,
            })),
            changed: watch::Sender::new(()),
        }
    }

    /// Appends `bytes`; the oldest go when there is no room. Never waits. Nothing happens after
    /// [`close`](Self::close).
    pub fn push(&self, bytes: &[u8]) {
        self.push_at(SystemTime::now(), bytes);
    }

    /// The same for bytes that came at `time`.
    pub fn push_at(&self, time: SystemTime, bytes: &[u8]) {
        {
            let mut state = lock(&self.state);
            if state.closed || bytes.is_empty() {
                return;
            }
            state.stamp(time);
            state.end += bytes.len() as u64;
            let kept = &bytes[bytes.len().saturating_sub(self.capacity)..];
            let room = self.capacity - kept.len();
            let surplus = state.bytes.len().saturating_sub(room);
            state.bytes.drain(..surplus);
            state.bytes.extend(kept);
            state.forget_times();
        }
        self.changed.send_replace(());
    }

    /// A reader of everything that is pushed from now on.
    pub fn reader(&self) -> RingReader {
        self.reader_of_last(0, 0)
    }

    /// A reader that begins with the last `most` bytes, as far as they are kept and were pushed at
    /// or after the position `since`.
    pub fn reader_of_last(&self, most: usize, since: u64) -> RingReader {
        let state = lock(&self.state);
        let position = state.end.saturating_sub(most as u64).max(since);
        RingReader {
            position: position.clamp(state.start(), state.end),
            state: self.state.clone(),
            changed: self.changed.subscribe(),
        }
    }

    /// Bytes ever pushed: the position of the next byte.
    pub fn position(&self) -> u64 {
        lock(&self.state).end
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
        let heard = self.wait(false).await?;
        Some((heard.bytes, heard.lost))
    }

    /// The next bytes that came together, with their time. `None` after the last bytes of a closed
    /// ring. Cancel-safe.
    pub async fn next_heard(&mut self) -> Option<Heard> {
        self.wait(true).await
    }

    /// Position of the next byte that this reader gets or loses.
    pub fn position(&self) -> u64 {
        self.position
    }

    async fn wait(&mut self, together: bool) -> Option<Heard> {
        loop {
            self.changed.mark_unchanged();
            match self.take(together) {
                Taken::Bytes(heard) => return Some(heard),
                Taken::End => return None,
                Taken::Nothing => {}
            }
            // An error means that the ring was dropped, which also closed it: seen above.
            self.changed.changed().await.ok();
        }
    }

    /// Only what came together with the first byte, if `together`.
    fn take(&mut self, together: bool) -> Taken {
        let state = lock(&self.state);
        let start = state.start();
        let lost = start.saturating_sub(self.position);
        let position = self.position.max(start);
        // The ring holds what lies between, so the differences fit.
        let skip = (position - start) as usize;
        let mut length = (state.bytes.len() - skip).min(READ_SIZE);
        if length == 0 {
            return if state.closed {
                Taken::End
            } else {
                Taken::Nothing
            };
        }
        let (time, until) = state.time(position);
        if together {
            length = length.min((until - position) as usize);
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
        Taken::Bytes(Heard {
            time,
            lost,
            bytes: bytes.freeze(),
        })
    }
}

enum Taken {
    Bytes(Heard),
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

    #[test]
    fn a_reader_of_the_last_bytes_gets_what_is_kept_and_not_older_than_asked() {
        let ring = ByteRing::new(8);
        ring.push(b"old");
        let since = ring.position();
        let mut none = ring.reader_of_last(100, since);
        assert!(none.next().now_or_never().is_none());
        ring.push(b"abc");
        assert_eq!(read(&mut none), Some((Bytes::from_static(b"abc"), 0)));
        for (most, since, wanted) in [(2, since, "bc"), (100, since, "abc"), (4, 0, "dabc")] {
            let mut reader = ring.reader_of_last(most, since);
            assert_eq!(read(&mut reader), Some((Bytes::from(wanted), 0)), "{most}");
        }
        ring.push(b"defghij");
        // Most of it is gone already: no loss of this reader's.
        let mut reader = ring.reader_of_last(100, since);
        assert_eq!(
            read(&mut reader),
            Some((Bytes::from_static(b"cdefghij"), 0))
        );
        let mut past = ring.reader_of_last(100, u64::MAX);
        assert!(past.next().now_or_never().is_none());
        assert_eq!(past.position(), ring.position());
    }

    fn at(ms: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(ms)
    }

    fn hear(reader: &mut RingReader) -> (SystemTime, u64, String) {
        let heard = reader.next_heard().now_or_never().flatten().expect("bytes");
        let text = String::from_utf8_lossy(&heard.bytes).into_owned();
        (heard.time, heard.lost, text)
    }

    #[test]
    fn bytes_come_with_their_times_also_after_a_loss_and_when_the_clock_is_set_back() {
        let ring = ByteRing::new(6);
        let mut reader = ring.reader();
        ring.push_at(at(10), b"ab");
        ring.push_at(at(10), b"c");
        ring.push_at(at(20), b"de");
        ring.push_at(at(5), b"f");
        let mut late = ring.reader_of_last(2, 0);
        assert_eq!(hear(&mut reader), (at(10), 0, "abc".into()));
        assert_eq!(hear(&mut reader), (at(20), 0, "de".into()));
        assert_eq!(hear(&mut reader), (at(5), 0, "f".into()));
        assert_eq!(hear(&mut late), (at(20), 0, "e".into()));
        ring.push_at(at(30), b"12345");
        assert_eq!(hear(&mut late), (at(5), 0, "f".into()));
        ring.push_at(at(40), b"67");
        assert_eq!(hear(&mut reader), (at(30), 1, "2345".into()));
        assert_eq!(hear(&mut reader), (at(40), 0, "67".into()));
    }

    #[test]
    fn times_are_bounded_and_old_bytes_get_that_of_a_neighbour() {
        let count = MAX_TIMES as u64 * 3;
        let ring = ByteRing::new(count as usize);
        let mut reader = ring.reader();
        for n in 0..count {
            ring.push_at(at(n * 2), b"x");
        }
        assert!(lock(&ring.state).times.len() <= MAX_TIMES);
        let mut place = 0;
        while place < count {
            let (time, lost, text) = hear(&mut reader);
            assert_eq!(lost, 0);
            let own = at(place * 2);
            assert_eq!(
                time, own,
                "the first of those that share a time has its own"
            );
            place += text.len() as u64;
        }
        // The newest are exact.
        let mut last = ring.reader_of_last(100, 0);
        for n in count - 100..count {
            assert_eq!(hear(&mut last), (at(n * 2), 0, "x".into()));
        }
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
                        let end = all.len() as u64;
                        let (most, since) = (random(20), random(end + 5));
                        let oldest = end.saturating_sub(capacity as u64);
                        let place = end.saturating_sub(most).max(since).clamp(oldest, end);
                        let reader = ring.reader_of_last(most as usize, since);
                        readers.push_back((reader, place));
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
