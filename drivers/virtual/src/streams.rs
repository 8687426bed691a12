//! The open streams of the console: who reads what the board prints, and how a stream ends.
//!
//! ```text
//!   open ──client sends no more──> half-closed ──┬──> ended (by close, a lost console, lease end,
//!     └──────────────────────────────────────────┘     or to make room)
//! ```
//!
//! The board never waits for a reader. A reader that falls behind by more than the ring is told how
//! many bytes it lost and goes on with the oldest that are left. A reader sees what is printed from
//! its start on, nothing before.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use rigd_driver::{ByteRing, DriverError, RingReader};
use tokio::sync::watch;

/// What a reader may fall behind: a second of a fast UART many times over, and small enough for
/// one a board.
pub(crate) const CAPACITY: usize = 1 << 20;
/// Readers at once. Python clients leave streams half-closed behind until their channel closes, so
/// the oldest of those makes room first.
const MAX_READERS: usize = 64;

#[derive(Debug, Clone)]
enum Reading {
    Open,
    /// The client sends no more, and reads on.
    HalfClosed,
    Ended(Option<DriverError>),
}

#[derive(Debug, Default)]
struct State {
    readers: BTreeMap<u64, Reading>,
    next: u64,
}

/// What the board prints, and its readers.
#[derive(Debug)]
pub(crate) struct Streams {
    printed: ByteRing,
    state: Mutex<State>,
    // Wakes readers after a change of `state`; carries nothing.
    changed: watch::Sender<()>,
}

impl Streams {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            printed: ByteRing::new(CAPACITY),
            state: Mutex::default(),
            changed: watch::Sender::new(()),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The board prints. Never waits for a reader.
    pub(crate) fn print(&self, bytes: &[u8]) {
        self.printed.push(bytes);
    }

    /// What the board has printed, for who may see more than one lease of it.
    pub(crate) fn record(&self) -> &ByteRing {
        &self.printed
    }

    /// A new reader, of what is printed from now on.
    pub(crate) fn reader(self: &Arc<Self>) -> Result<Reader, DriverError> {
        let mut state = self.state();
        if state.readers.len() >= MAX_READERS {
            let mut readers = state.readers.iter();
            let idle = readers.find(|(_, reading)| matches!(reading, Reading::HalfClosed));
            let Some(idle) = idle.map(|(id, _)| *id) else {
                return Err(DriverError::Exhausted(format!(
                    "the console has {MAX_READERS} open streams, the most there can be"
                )));
            };
            state.readers.remove(&idle);
        }
        let id = state.next;
        state.next += 1;
        state.readers.insert(id, Reading::Open);
        drop(state);
        // Wakes the one that made room.
        self.changed.send_replace(());
        Ok(Reader {
            streams: self.clone(),
            id,
            printed: self.printed.reader(),
            changed: self.changed.subscribe(),
        })
    }

    /// Ends all streams, with an error or without.
    pub(crate) fn end_all(&self, error: Option<&DriverError>) {
        for reading in self.state().readers.values_mut() {
            if !matches!(reading, Reading::Ended(_)) {
                *reading = Reading::Ended(error.cloned());
            }
        }
        self.changed.send_replace(());
    }

    /// The client of this stream sends no more.
    pub(crate) fn half_close(&self, id: u64) {
        if let Some(reading @ Reading::Open) = self.state().readers.get_mut(&id) {
            *reading = Reading::HalfClosed;
        }
    }

    /// Whether input of this stream's client still counts.
    pub(crate) fn check(&self, id: u64) -> Result<(), DriverError> {
        match self.state().readers.get(&id) {
            Some(Reading::Open | Reading::HalfClosed) => Ok(()),
            Some(Reading::Ended(Some(error))) => Err(error.clone()),
            Some(Reading::Ended(None)) | None => Err(DriverError::Unavailable(
                "this stream of the console was closed".into(),
            )),
        }
    }

    #[cfg(test)]
    fn readers(&self) -> usize {
        self.state().readers.len()
    }
}

/// One reader; dropping it leaves the console.
#[derive(Debug)]
pub(crate) struct Reader {
    streams: Arc<Streams>,
    id: u64,
    printed: RingReader,
    changed: watch::Receiver<()>,
}

impl Reader {
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// The next bytes; an error or `None` when the stream ended, whatever is left to read.
    /// Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, DriverError>> {
        let Self {
            streams,
            id,
            printed,
            changed,
        } = self;
        // cancel-safe: a read that is dropped took nothing, the other arm only waits.
        tokio::select! {
            biased;
            error = ended(streams, *id, changed) => error.map(Err),
            piece = printed.next() => piece.map(|(bytes, lost)| Ok(marked(bytes, lost))),
        }
    }
}

/// Waits for the end of a stream.
async fn ended(
    streams: &Streams,
    id: u64,
    changed: &mut watch::Receiver<()>,
) -> Option<DriverError> {
    loop {
        changed.mark_unchanged();
        match streams.state().readers.get_mut(&id) {
            // The error is told once; after it comes the end.
            Some(Reading::Ended(error)) => return error.take(),
            None => return None,
            Some(Reading::Open | Reading::HalfClosed) => {}
        }
        // The sender is in `streams`, which is held.
        changed.changed().await.ok()?;
    }
}

/// Says in the place of lost bytes how many there were.
fn marked(bytes: Bytes, lost: u64) -> Bytes {
    if lost == 0 {
        return bytes;
    }
    let mut text = format!("\r\n[console: {lost} bytes lost]\r\n").into_bytes();
    text.extend_from_slice(&bytes);
    text.into()
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.streams.state().readers.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn text(reader: &mut Reader) -> String {
        let bytes = reader.next().await.unwrap().unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn every_reader_gets_what_is_printed_after_its_start() {
        let streams = Streams::new();
        streams.print(b"before");
        let mut first = streams.reader().unwrap();
        streams.print(b"one ");
        let mut second = streams.reader().unwrap();
        streams.print(b"two");
        assert_eq!(text(&mut first).await, "one two");
        assert_eq!(text(&mut second).await, "two");
    }

    #[tokio::test]
    async fn a_reader_that_falls_behind_learns_how_much_it_lost() {
        let streams = Streams::new();
        let mut stalled = streams.reader().unwrap();
        let total = 3 * CAPACITY + 10;
        let all: Vec<u8> = (b'a'..=b'y').cycle().take(total).collect();
        all.chunks(9999).for_each(|piece| streams.print(piece));
        let lost = total - CAPACITY;
        let marker = format!("\r\n[console: {lost} bytes lost]\r\n");
        let mut got = text(&mut stalled).await;
        assert!(got.starts_with(&marker), "{}", &got[..60]);
        while got.len() < CAPACITY + marker.len() {
            got += &text(&mut stalled).await;
        }
        assert_eq!(got.as_bytes()[marker.len()..], all[lost..]);
    }

    #[tokio::test]
    async fn ended_readers_hear_why_once_and_then_the_end() {
        let streams = Streams::new();
        let mut reader = streams.reader().unwrap();
        let lost = DriverError::Unavailable("console lost".into());
        streams.print(b"unread");
        streams.end_all(Some(&lost));
        let input = streams.check(reader.id()).unwrap_err();
        assert_eq!(input.to_string(), "console lost");
        let error = reader.next().await.unwrap().unwrap_err();
        assert_eq!(error.to_string(), "console lost");
        assert!(reader.next().await.is_none());
        let mut reader = streams.reader().unwrap();
        streams.end_all(None);
        assert!(reader.next().await.is_none());
    }

    #[tokio::test]
    async fn a_waiting_reader_wakes_for_its_end() {
        let streams = Streams::new();
        let mut reader = streams.reader().unwrap();
        let waiting = tokio::spawn(async move { reader.next().await.is_none() });
        tokio::task::yield_now().await;
        streams.end_all(None);
        assert!(waiting.await.unwrap());
    }

    #[tokio::test]
    async fn half_closed_readers_make_room_open_ones_do_not() {
        let streams = Streams::new();
        let all: Result<Vec<Reader>, _> = (0..MAX_READERS).map(|_| streams.reader()).collect();
        let mut readers = all.unwrap();
        let error = streams.reader().unwrap_err();
        assert!(matches!(error, DriverError::Exhausted(_)), "{error}");
        streams.half_close(readers[7].id());
        let _new = streams.reader().unwrap();
        assert!(readers[7].next().await.is_none());
        drop(readers);
        assert_eq!(streams.readers(), 1);
    }
}
