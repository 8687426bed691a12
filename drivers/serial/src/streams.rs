//! The streams of clients on a console: everybody reads everything from the moment they come, and
//! whole frames go out one after the other.
//!
//! ```text
//!   stream:  open ──finish──> half-closed ──another stream opens──> ended
//!              └──────────────────┴──── close, lease end ─────────────^
//! ```
//!
//! Clients leave their streams half-closed and go away without a word, so a half-closed stream
//! yields to the next one. A lost port ends no stream: it reads on when the port is back.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, Weak,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use rigd_driver::{ByteSink, ByteStream, DriverError, KeyKind, RingReader, async_trait};
use tokio_util::sync::CancellationToken;
use tracing::{Span, info, warn};

use crate::console::{Console, Want};

/// Streams on one port at a time. Twenty clients with a few consoles each are a lot; more are
/// streams that somebody forgot.
const MAX_STREAMS: usize = 64;

/// The streams that are open on one console.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    open: Mutex<Vec<Weak<State>>>,
    /// Held for a whole frame; waiters are served in order, which is what alternates them.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    half_closed: AtomicBool,
    ended: CancellationToken,
    /// Empty once the stream has ended or its reader is gone: its writer alone wants no port.
    want: Mutex<Option<Want>>,
}

impl State {
    fn end(&self) {
        self.ended.cancel();
        self.leave();
    }

    /// Wants the port no more.
    fn leave(&self) {
        let want = self.want.lock();
        want.unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Streams {
    /// A new one; half-closed ones end.
    fn add(&self, name: &str, want: Want) -> Result<Arc<State>, DriverError> {
        let stream = Arc::new(State {
            want: Mutex::new(Some(want)),
            ..State::default()
        });
        let mut open = self.lock();
        open.retain(|stream| {
            let Some(stream) = stream.upgrade() else {
                return false;
            };
            if stream.half_closed.load(Ordering::Acquire) {
                stream.end();
            }
            !stream.ended.is_cancelled()
        });
        if open.len() >= MAX_STREAMS {
            let text = format!("{name} has {MAX_STREAMS} streams open; close some");
            return Err(DriverError::Exhausted(text));
        }
        open.push(Arc::downgrade(&stream));
        Ok(stream)
    }

    /// Ends all of them. Tells whether there were any.
    pub(crate) fn end(&self) -> bool {
        let streams = std::mem::take(&mut *self.lock());
        let mut any = false;
        for stream in streams.iter().filter_map(Weak::upgrade) {
            stream.end();
            any = true;
        }
        any
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<State>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens a stream for a client of this kind, which wants the port as long as it is there.
///
/// # Errors
/// Exhausted: there are too many. Unavailable: the port cannot be had.
pub(crate) async fn connect(
    console: &Arc<Console>,
    kind: KeyKind,
) -> Result<ByteStream, DriverError> {
    let want = console.want();
    console.port().await?;
    let state = console.streams.add(console.name(), want)?;
    let reader = Reader {
        console: console.clone(),
        record: console.reader(kind),
        state: state.clone(),
        span: Span::current(),
    };
    let reader = futures::stream::unfold(reader, async |mut reader| {
        reader.next().await.map(|item| (item, reader))
    });
    let writer = Writer {
        console: console.clone(),
        state,
    };
    Ok(ByteStream::new(reader, writer))
}

/// Sends a whole frame: no byte of another comes in between.
pub(crate) async fn send_frame(console: &Console, frame: Bytes) -> Result<(), DriverError> {
    let _turn = console.streams.turn.lock().await;
    for (wait, piece) in console.pace.pieces(frame) {
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        console.send(&piece).await?;
    }
    Ok(())
}

struct Reader {
    console: Arc<Console>,
    record: RingReader,
    state: Arc<State>,
    span: Span,
}

impl Reader {
    async fn next(&mut self) -> Option<Result<Bytes, DriverError>> {
        // cancel-safe: `ended` only waits, the record gives nothing unless it completes.
        let (bytes, lost) = tokio::select! {
            biased;
            () = self.state.ended.cancelled() => return None,
            item = self.record.next() => item?,
        };
        if lost > 0 {
            let url = self.console.name();
            warn!(
                url,
                lost, "A stream is too slow: {lost} bytes were lost to it."
            );
        }
        Some(Ok(bytes))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.state.leave();
        let url = self.console.name();
        self.span.in_scope(|| info!("Disconnected from {url}"));
    }
}

struct Writer {
    console: Arc<Console>,
    state: Arc<State>,
}

#[async_trait]
impl ByteSink for Writer {
    async fn send(&mut self, bytes: Bytes) -> Result<(), DriverError> {
        // cancel-safe: a stream that ended sends nothing more.
        tokio::select! {
            biased;
            () = self.state.ended.cancelled() => {
                let name = self.console.name();
                Err(DriverError::Cancelled(format!("the stream on {name} was closed")))
            }
            done = send_frame(&self.console, bytes) => done,
        }
    }

    async fn finish(&mut self) -> Result<(), DriverError> {
        self.state.half_closed.store(true, Ordering::Release);
        Ok(())
    }
}
